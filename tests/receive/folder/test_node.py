"""A watched folder in a configuration and in the real node."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import tomlkit

from mapdr.config.read import read_text
from mapdr.kernel.registry import Registry
from mapdr.node.plan import make_plan
from mapdr.node.surroundings import faults
from mapdr.testing.wait import until
from peers.node import Node, everything_to
from receive.folder.world import IMAGE, IMAGES, NAME, files, zipped


@pytest.fixture
def problems(tmp_path: Path) -> Callable[[str], list[str]]:
    def found(text: str) -> list[str]:
        head = '[node]\ndata = "data"\n'
        rule = '[[rule]]\nname = "r"\nwhen = {}\nsend_to = []\n'
        loaded = read_text(f"{head}{text}{rule}", Registry(), base=tmp_path)
        if loaded.config is None or loaded.problems:
            return [str(each) for each in loaded.problems]
        plan = make_plan(loaded.config, Registry())
        return [str(each) for each in loaded.locate([*plan.problems, *faults(loaded, plan)])]

    return found


IN = '[receive.drop]\ntype = "folder"\npath = "in"\n'


def test_a_configuration_that_can_be_used(problems: Callable[[str], list[str]]) -> None:
    more = 'peer = "CD reader"\ntaken = "keep"\nquiet = "2 s"\nscan_every = "1 min"\n'
    limits = 'zip = { files = 100, size = "2 GB", ratio = 50 }\n'
    assert not problems(IN)
    assert not problems(IN + more + limits)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (IN.replace('"in"', '"file"'), "path: is not a folder; name another one"),
        (IN + 'taken = "delete"\n', "taken:"),
        (IN + 'peer = "a\\u0007"\n', "peer: is not a name"),
        (IN + "quiet = 5\n", "quiet: has no unit"),
        (IN + IN.replace("drop", "two"), "receive.two: folder:"),
        (IN + IN.replace("drop", "two").replace('"in"', '"in/../in"'), "receive.two: folder:"),
        (IN + '[egress.out]\ntype = "folder"\npath = "in"\n', "egress.out: folder:"),
        (IN + '[egress.out]\ntype = "folder"\npath = "in/out"\n', "egress.out: lies in the folder of"),
        (IN.replace('"in"', '"data/spool"'), "receive.drop: lies in the folder of node.data"),
        (IN.replace('"in"', '"data"'), "receive.drop: lies in the folder of node.data"),
        (IN.replace('"in"', '"."'), "receive.drop: lies in the folder of node.data, or has it in it"),
    ],
)
def test_a_configuration_that_cannot(
    tmp_path: Path, problems: Callable[[str], list[str]], text: str, words: str
) -> None:
    (tmp_path / "file").write_bytes(b"")
    found = problems(text)
    assert any(words in each for each in found), found


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
@pytest.mark.parametrize("path", ["link", "link/out"])
def test_a_destination_that_a_link_leads_into_a_watched_folder(
    tmp_path: Path, problems: Callable[[str], list[str]], path: str
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "in")
    found = problems(IN + f'[egress.out]\ntype = "folder"\npath = "{path}"\n')
    assert len(found) == 1
    assert "egress.out: lies in the folder of receive.drop" in found[0]


def test_a_node_takes_files_from_a_folder_into_a_folder(tmp_path: Path) -> None:
    path, out = tmp_path / "in", tmp_path / "out"
    table = {"type": "folder", "path": str(path), "quiet": "100 ms", "scan_every": "1 s", "peer": "CD"}
    node = Node(
        tmp_path / "node",
        egress={"out": {"type": "folder", "path": str(out), "layout": "{SOPInstanceUID}.dcm"}},
        rules=[everything_to("out")],
    )
    document = tomlkit.parse(node.config.read_text())
    document["receive"]["drop"] = table  # type: ignore[index]
    node.config.write_text(tomlkit.dumps(document))
    try:
        node.start()
        (path / "a.dcm").write_bytes(IMAGE.part10())
        (path / "b.zip").write_bytes(zipped({f"{NAME}{n}": each.part10() for n, each in enumerate(IMAGES)}))
        (path / f"{NAME}.txt").write_bytes(b"notes")
        status = node.when(lambda status: len(files(path / "done")) == 2 and status["pending"] == 0)
        until(lambda: len(files(path / "refused")) == 2)
        assert sorted(f"{image.sop_instance_uid}.dcm" for image in IMAGES) == [
            name for name in files(out) if not name.startswith(".")
        ]
        status = node.when(lambda status: status["today"]["received"].get("CT", {}).get("images") == 6)
        assert status["repeats"]["received"] == 1, "the one that came alone as well"
        told = {one["name"]: one for one in status["node"]["receivers"]}
        assert (told["drop"]["ae_title"], told["drop"]["address"]) == ("folder", str(path))
        (source,) = node.json("sources")["sources"]
        assert (source["source"]["calling_ae"], source["source"]["protocol"]) == ("CD", "folder")
        assert "from CD" in node.command("find", "--accession", IMAGE.accession_number)
        assert "out" in node.command("explain", str(path / "done" / "a.dcm"), "--receiver", "drop")
        # Another peer's name, by a reload: what comes from now on has it.
        document["receive"]["drop"]["peer"] = "USB"  # type: ignore[index]
        node.config.write_text(tomlkit.dumps(document))
        node.command("reload")
        shutil.copy(path / "done" / "a.dcm", path / "c.dcm")
        until(lambda: len(node.json("sources")["sources"]) == 2, 30)
        assert NAME not in node.output()
    finally:
        node.stop()
