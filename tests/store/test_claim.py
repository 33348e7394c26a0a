from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mapdr.kernel.errors import ConfigurationError
from mapdr.store.spool.claim import Claim
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


def test_a_second_node_of_the_same_name_takes_nothing_away(opener: Opener) -> None:
    store = opener()
    incoming = store.spool.begin(SOURCE, CT, "1.1", EXPLICIT)
    incoming.write(data_set("1.1"))
    with pytest.raises(ConfigurationError, match="another process"):
        opener(start=False).recover(lambda revision, path: None, wait=0)
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
