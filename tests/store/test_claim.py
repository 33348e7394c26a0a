from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from mapdr.kernel.errors import ConfigurationError, MapdrError
from mapdr.store import Store
from mapdr.store.spool import claim as claim_module
from mapdr.store.spool.claim import Claim, claimed, node_file, nodes_at_work, running_file
from store.conftest import Opener
from store.world import CT, EXPLICIT, SOURCE, data_set, push


def test_many_put_images_in_and_one_puts_in_order(tmp_path: Path) -> None:
    one, two, three = (Claim(tmp_path / "claim", "north") for _ in range(3))
    one.shared(0)
    one.shared(0)
    two.shared(0)
    with pytest.raises(ConfigurationError, match="north"), three.exclusive(0):
        raise AssertionError
    one.release()
    one.release()
    two.release()
    with three.exclusive(0), pytest.raises(ConfigurationError):
        one.shared(0)
    one.shared(0)
    one.release()


@pytest.mark.parametrize("seconds", [0.0, 5.0])
def test_who_claims_waits_as_long_as_he_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    other, now, pauses = Claim(tmp_path / "claim", "north"), [100.0], [0]
    other.shared(0)

    def sleep(pause: float) -> None:
        pauses[0] += 1
        now[0] += 1.0
        if pauses[0] == 3:
            other.release()

    monkeypatch.setattr(claim_module, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    ours = Claim(tmp_path / "claim", "north")
    if seconds:
        ours.alone(seconds)
        ours.release()
    else:
        with pytest.raises(ConfigurationError):
            ours.alone(seconds)
        other.release()
    assert pauses[0] == (3 if seconds else 1)


def test_whether_a_file_is_claimed(tmp_path: Path) -> None:
    path = tmp_path / "claim"
    assert claimed(path) is None
    one = Claim(path, "north")
    for take in (one.shared, one.alone):
        take(0)
        assert claimed(path) is True
        one.release()
        assert claimed(path) is False, "and to ask is no claim"
    assert running_file(tmp_path, "north") == tmp_path / "spool" / "north" / "running"
    assert node_file(tmp_path, "north") == tmp_path / "spool" / "north" / "node"


def test_which_nodes_work_on_a_data_folder(tmp_path: Path) -> None:
    assert nodes_at_work(tmp_path) == []
    spool = tmp_path / "spool"
    for node in ("west", "south", "north", "east"):
        (spool / node).mkdir(parents=True)
    (spool / "a-file").touch()
    held = [Claim(spool / node / name, node) for node, name in (("west", "claim"), ("north", "running"))]
    held.append(Claim(node_file(tmp_path, "east"), "east"))
    for one in held:
        one.alone(0)
    over = Claim(spool / "south" / "claim", "south")
    over.shared(0)
    assert nodes_at_work(tmp_path) == ["east", "north", "south", "west"]
    over.release()
    assert nodes_at_work(tmp_path) == ["east", "north", "west"]
    for one in held:
        one.release()
    assert nodes_at_work(tmp_path) == []


def test_a_spool_that_cannot_be_read_has_not_no_nodes(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("a file")
    with pytest.raises(MapdrError, match="cannot be read"):
        nodes_at_work(tmp_path)


def test_a_second_node_of_the_same_name_takes_nothing_away(
    opener: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mapdr.store.CLAIM_SECONDS", 0.0)
    store = opener()
    incoming = store.spool.begin(SOURCE, CT, "1.1", EXPLICIT)
    incoming.write(data_set("1.1"))
    with pytest.raises(ConfigurationError, match="another process"):
        opener(start=False).recover(lambda revision: None)
    incoming.commit()
    assert store.writer.flush()
    assert store.counts.today()["received"]["CT"]["images"] == 1


def test_two_processes_put_images_in_at_once(opener: Opener) -> None:
    store, other = opener(), opener()
    for number in range(20):
        push(store, f"1.{number}", study="9.1", series="9.1.1")
        push(other, f"2.{number}", study="9.1", series="9.1.1")
        push(other, f"1.{number}", study="9.1", series="9.1.1")
    assert store.writer.flush()
    assert other.writer.flush()
    numbers = store.counts.today()["received"]["CT"]
    assert (numbers["images"], numbers["studies"], numbers["repeats"]) == (40, 1, 20)


def test_a_claim_ends_with_its_process(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib, os; from mapdr.store.spool.claim import Claim;"
        "Claim(pathlib.Path(sys.argv[1]), 'n').shared(0); os._exit(9)"
    )
    child = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "claim")], check=False, env={**os.environ}, timeout=60
    )
    assert child.returncode == 9
    begun = time.monotonic()
    with Claim(tmp_path / "claim", "n").exclusive(5):
        assert time.monotonic() - begun < 4


def test_of_two_nodes_that_start_in_one_moment_one_runs(tmp_path: Path) -> None:
    data = tmp_path / "data"
    Store.open(data, "node", durability="process-crash").close()
    both = [_node(data), _node(data)]
    try:
        assert [_hear(one) for one in both] == ["opened", "opened"]
        for one in both:
            _go_on(one)
        heard = {one: _hear(one) for one in both}
        assert sorted(heard.values()) == ["recovered", "refused"]
        (first,) = (one for one, said in heard.items() if said == "recovered")
        _go_on(first)
        assert _hear(first) == "runs"
    finally:
        for one in both:
            one.communicate(timeout=60)
    again = _node(data)
    assert again.communicate("\n\n", timeout=60)[0].split() == ["opened", "recovered", "runs"]


def test_a_node_is_the_only_one_until_it_has_given_everything_back(
    opener: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mapdr.store.CLAIM_SECONDS", 0.0)
    store, other = opener(start=False), opener(start=False)
    store.recover(lambda revision: None)
    store.start()
    store.stop(time.monotonic() + 5)  # it takes no more images; what it has leased is still on its way
    with pytest.raises(ConfigurationError, match="another process"):
        other.recover(lambda revision: None)
    store.close()
    other.recover(lambda revision: None)


def _node(data: Path) -> subprocess.Popen[str]:
    child = [sys.executable, str(Path(__file__).with_name("recover_child.py")), str(data)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
    return subprocess.Popen(
        child, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, bufsize=1
    )


def _hear(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def _go_on(child: subprocess.Popen[str]) -> None:
    assert child.stdin is not None
    child.stdin.write("\n")
