"""The mutation run itself, on a toy: what it changes, what it finds, and that it leaves the sources alone."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mutants import mutate, session
from mutants.__main__ import entry, grouped, report
from mutants.near import NEAR

ROOT = Path(__file__).resolve().parents[2]
TOY = '''
import functools

def keeps(decorated):
    @functools.wraps(decorated)
    def inside(*arguments):
        return decorated(*arguments)
    return inside

@keeps
def larger(a, b):
    """Of two numbers, the larger one."""
    if a > b:
        return a
    return b

@functools.lru_cache
def cached(a):
    return a * 5

def never(a):
    return a + 1
'''
TESTS = """
import toy

def test_larger():
    assert toy.larger(1, 2) == 2
    assert toy.larger(4, 3) == 4

def test_cached():
    assert toy.cached(0) == 0

def test_cached_again():
    assert toy.cached(0) != 1

def test_that_fails_by_itself():
    assert toy.larger(1, 2) == 1
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="mutants are forked")
def test_a_run_tells_what_was_killed_and_what_survived(tmp_path: Path) -> None:
    (tmp_path / "toy.py").write_text(TOY)
    (tmp_path / "test_toy.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\npythonpath = .\n")
    environment = {**os.environ, "MAPDR_MUTANTS": "0", "PYTHONPATH": str(ROOT / "tests")}
    command = [sys.executable, "-m", "mutants", "--one", str(tmp_path), "told.json", "test_toy.py", "toy.py"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    told = json.loads((tmp_path / "told.json").read_text())
    assert told["failed"] == ["test_toy.py::test_that_fails_by_itself"]
    states = {
        (each["function"], each["change"]): (each["state"], each["by"])
        for each in told["results"]
        if each["function"] != "keeps"
    }
    # The same result for equal numbers: this mutant is the same program.
    assert states.pop(("larger", "a > b  ->  a >= b")) == ("survived", "")
    assert states.pop(("cached", "5  ->  6")) == ("survived", "")
    assert states.pop(("cached", "a * 5  ->  a // 5")) == ("survived", "")
    assert states.pop(("never", "a + 1  ->  a - 1")) == ("unreached", "")
    assert states.pop(("larger", "return a  ->  return None")) == ("killed", "test_toy.py::test_larger")
    assert {state for (function, _), (state, _) in states.items() if function != "never"} == {"killed"}
    assert (tmp_path / "toy.py").read_text() == TOY
    assert report(told).endswith("4 survived, 4 unreached")
    tests = {each["change"]: each["tests"] for each in told["results"]}
    assert tests["5  ->  6"] == 2  # a cache hides a function from no test


@pytest.mark.skipif(not hasattr(os, "fork"), reason="mutants are forked")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_mutant_that_hangs_is_ended_with_what_it_started(tmp_path: Path) -> None:
    mutants = session.Mutants({}, jobs=1, budget=1, least=0)
    result = session.Result("toy.py", 1, "f", "a  ->  b", "unreached")

    def hang() -> str:
        signal.pause()
        return ""

    pid, reads = session._fork(hang, str(tmp_path))
    running = {reads: session.Child(result, pid, reads, time.monotonic(), str(tmp_path))}
    mutants._wait(running)
    assert (result.state, running) == ("timed out", {})
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_every_change_makes_another_program_that_compiles() -> None:
    """Over the modules that matter most, each with all its changes."""
    for name in ("deliver/settle/decide.py", "kernel/durable.py", "wire/status.py"):
        source = (ROOT / "mapdr" / name).read_text(encoding="utf-8")
        plain = ast.unparse(ast.parse(source))
        for number in mutate.sample(source, 0, ""):
            tree, change = mutate.mutated(source, number)
            compile(tree, name, "exec")
            assert ast.unparse(tree) != plain, change
            assert change.lines[0] <= change.lines[1]


def test_a_sample_is_the_same_for_the_same_seed() -> None:
    source = (ROOT / "mapdr/deliver/settle/decide.py").read_text(encoding="utf-8")
    assert mutate.sample(source, 10, "1") == mutate.sample(source, 10, "1") != mutate.sample(source, 10, "2")


def test_what_is_no_behaviour_is_left_alone() -> None:
    source = '''
def f(a: int = 3) -> int:
    """Words."""
    log.error("%d", 1 + 1)
    assert a > 0
    raise ValueError(f"{a + 1}")
'''
    assert [str(each) for each in mutate.changes(ast.parse(source))] == [
        "raise ValueError(f'{a + 1}')  ->  pass"
    ]


def test_the_table_names_files_that_are_there() -> None:
    tests = {path for paths in NEAR.values() for path in paths}
    assert not [path for path in tests if not (ROOT / path).is_file()]
    assert not [path for path in NEAR if not (ROOT / path).is_dir() and not (ROOT / f"{path}.py").is_file()]
    assert entry("mapdr/store/recover") == "mapdr/store/recover"
    assert entry("mapdr/store/spool/filesystem") == "mapdr/store/spool"
    assert entry("mapdr/kernel/item") is None
    assert grouped(["mapdr/wire"]) == {"mapdr/wire/status": ["mapdr/wire/status.py"]}
