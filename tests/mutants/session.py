"""One pytest session in which many mutants are tried: the near tests are collected once, and each mutant gets
a forked copy of that process, in which the code of one function is another.

So no mutant pays for an import, no source is ever changed on the disk, and no mutant sees what another left
behind. First all tests run once as they are, traced: a mutant needs only the tests that reach its statement,
the fastest first, and the first that fails ends it. POSIX only (`fork`).
"""

from __future__ import annotations

import contextlib
import functools
import gc
import json
import os
import select
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any

import pytest

from mutants import mutate

LONGEST_BASELINE = 1800.0
"""Seconds for all tests without a mutant."""
SLACK = 6.0
"""How many times longer than by themselves the tests of a mutant may take."""


@dataclass(slots=True)
class Result:
    """What became of a mutant: "killed" (by the test `by`), "survived" (`tests` of them), "timed out",
    "unreached" by any test, or "not applied" where no such function lives. Only "survived" and "unreached"
    call for a person."""

    path: str
    line: int
    function: str
    change: str
    state: str
    tests: int = 0
    by: str = ""


@dataclass(slots=True)
class Known:
    """What the run without mutants showed of a test: its seconds, whether it passed, the lines it reached."""

    seconds: float = 0.0
    passed: bool = True
    lines: dict[str, set[int]] = field(default_factory=dict)


@dataclass(slots=True)
class Child:
    """A forked process on its way: what it is about, where its word is read, until when (`time.monotonic`) it
    may take, and the folder of its temporary files."""

    result: Result
    pid: int
    reads: int
    ends: float
    folder: str


class Mutants:
    """The plug-in: takes which changes (path -> numbers) to make, gives `results` and the tests that `failed`
    without any. `budget` is how many seconds of tests a mutant gets, by their own time without it, `least`
    how many seconds it has for them at any rate."""

    def __init__(self, wanted: dict[Path, list[int]], *, jobs: int, budget: float, least: float) -> None:
        self._wanted = wanted
        self._jobs = jobs
        self._budget = budget
        self._least = least
        self._report: Callable[[pytest.TestReport], None] = lambda report: None
        self.results: list[Result] = []
        self.failed: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Each phase of each test, in the process that runs it."""
        self._report(report)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """In the place of running the tests once."""
        known = self._baseline(session)
        self.failed = [name for name, each in known.items() if not each.passed]
        running: dict[int, Child] = {}
        try:
            for path, numbers in self._wanted.items():
                for number in numbers:
                    self._start(session, known, path, number, running)
                    while len(running) >= self._jobs:
                        self._wait(running)
            while running:
                self._wait(running)
        finally:
            for child in running.values():  # who interrupts the run ends them, too
                _end(child.pid)
                shutil.rmtree(child.folder, ignore_errors=True)
        print()
        self.results.sort(key=lambda each: (each.path, each.line, each.change))
        return True

    def _baseline(self, session: pytest.Session) -> dict[str, Known]:
        """Every test once, as it is, in a process of its own that is traced."""
        paths = {str(path) for path in self._wanted}
        with tempfile.TemporaryDirectory() as folder:
            into = Path(folder) / "known.json"

            def run() -> str:
                known = {item.nodeid: Known() for item in session.items}
                self._report = lambda report: _add(known[report.nodeid], report)
                caches = _caches(paths)
                for item, following in _pairs(session.items):
                    for cache in caches:
                        cache.cache_clear()  # else only the first test would reach what is behind it
                    with _traced(paths, known[item.nodeid].lines):
                        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                into.write_text(json.dumps({name: _plain(each) for name, each in known.items()}))
                return "done"

            pid, reads = _fork(run, folder)
            try:
                select.select([reads], [], [], LONGEST_BASELINE)
            finally:
                os.close(reads)
                _end(pid)
            if not into.exists():
                raise pytest.UsageError("the tests did not come to their end without a mutant")
            told = json.loads(into.read_text())
        return {
            name: Known(seconds, passed, {path: set(lines) for path, lines in reached.items()})
            for name, (seconds, passed, reached) in told.items()
        }

    def _start(
        self,
        session: pytest.Session,
        known: dict[str, Known],
        path: Path,
        number: int,
        running: dict[int, Child],
    ) -> None:
        tree, change = mutate.mutated(path.read_text(encoding="utf-8"), number)
        name = str(path.relative_to(session.config.rootpath))
        result = Result(name, change.line, change.function, str(change), "unreached")
        self.results.append(result)
        tests = self._choose(known, str(path), range(change.lines[0], change.lines[1] + 1))
        if not tests:
            return
        result.tests = len(tests)
        by_name = {item.nodeid: item for item in session.items}
        items = [by_name[each] for each in tests]

        def run() -> str:
            self._report = _stop_at_failure
            try:
                _put(path, change, compile(tree, str(path), "exec"))
            except LookupError:
                return "not applied"
            for item, following in _pairs(items):
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            return "survived"

        folder = tempfile.mkdtemp(prefix="mutant-")
        pid, reads = _fork(run, folder)
        limit = max(self._least, SLACK * sum(known[each].seconds for each in tests))
        running[reads] = Child(result, pid, reads, time.monotonic() + limit, folder)

    def _choose(self, known: dict[str, Known], path: str, lines: range) -> list[str]:
        """The tests that reach one of `lines`, the fastest first, within the budget, at least one."""
        reach = [
            name
            for name, each in known.items()
            if each.passed and not each.lines.get(path, set()).isdisjoint(lines)
        ]
        chosen: list[str] = []
        spent = 0.0
        for name in sorted(reach, key=lambda name: known[name].seconds):
            spent += known[name].seconds
            if chosen and spent > self._budget:
                break
            chosen.append(name)
        return chosen

    def _wait(self, running: dict[int, Child]) -> None:
        """Until one of the processes has said its word, or its time is over."""
        first = min(child.ends for child in running.values())
        ready, _, _ = select.select(list(running), [], [], max(0.0, first - time.monotonic()))
        now = time.monotonic()
        for child in [each for each in running.values() if each.reads in ready or each.ends <= now]:
            word = os.read(child.reads, 4096).decode() if child.reads in ready else "timed out"
            # A process that died without a word was killed by its mutant as well.
            child.result.state, _, child.result.by = (word or "killed by its end").partition(" by ")
            print(child.result.state[0], end="", flush=True)  # k, s, t: a run may take long
            os.close(running.pop(child.reads).reads)
            _end(child.pid)
            shutil.rmtree(child.folder, ignore_errors=True)


def _put(path: Path, change: mutate.Change, module: CodeType) -> None:
    """The code of the changed function into each function that has been made of the old one.

    They are looked for among all objects that live, as decorators may hide them from their module.
    """
    new = next(code for code in _codes(module) if _is(code, path, change))
    found = [
        each
        for each in gc.get_objects()
        if isinstance(each, FunctionType) and _is(each.__code__, path, change)
    ]
    if not found or any(len(each.__code__.co_freevars) != len(new.co_freevars) for each in found):
        raise LookupError(change.function)
    for each in found:
        each.__code__ = new


def _caches(paths: set[str]) -> list[Any]:
    """What `functools.lru_cache` made of functions of `paths`."""
    return [
        each
        for each in gc.get_objects()
        if isinstance(each, functools._lru_cache_wrapper)
        and isinstance(each.__wrapped__, FunctionType)
        and each.__wrapped__.__code__.co_filename in paths
    ]


def _is(code: CodeType, path: Path, change: mutate.Change) -> bool:
    return (
        code.co_qualname == change.function
        and code.co_firstlineno == change.begins
        and code.co_filename == str(path)
    )


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _codes(each)


def _fork(run: Callable[[], str], folder: str) -> tuple[int, int]:
    """A copy of this process that does `run` and tells its word: its id, and where the word can be read.

    It leads a process group, so that what its tests started ends with it; temporary files lie in `folder`.
    """
    reads, writes = os.pipe()
    if pid := os.fork():
        os.close(writes)
        return pid, reads
    word = ""
    try:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for each in (0, 1, 2):
            os.dup2(null, each)
        os.environ["PYTEST_DEBUG_TEMPROOT"] = os.environ["TMPDIR"] = tempfile.tempdir = folder
        word = run()
    except _Killed as killed:
        word = f"killed by {killed}"
    except BaseException as error:  # what a mutant may raise is anything
        word = f"killed by {type(error).__name__}"
    finally:
        os.write(writes, word.encode()[:4096])
        os._exit(0)


def _end(pid: int) -> None:
    """The end of a forked process and of what it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


class _Killed(BaseException):
    """A test, which is the argument, has failed. No Exception, so that nothing on the way catches it."""


def _stop_at_failure(report: pytest.TestReport) -> None:
    if report.failed:
        raise _Killed(report.nodeid)


def _add(known: Known, report: pytest.TestReport) -> None:
    known.seconds += report.duration
    known.passed = known.passed and not report.failed


def _plain(known: Known) -> list[object]:
    return [known.seconds, known.passed, {path: sorted(lines) for path, lines in known.lines.items()}]


def _pairs(items: list[pytest.Item]) -> Iterator[tuple[pytest.Item, pytest.Item | None]]:
    """Each test with the one that follows, by which pytest knows which fixtures to keep."""
    return zip(items, [*items[1:], None], strict=True)


@contextlib.contextmanager
def _traced(paths: set[str], lines: dict[str, set[int]]) -> Iterator[None]:
    """Notes which lines of `paths` run meanwhile, in threads that begin meanwhile too."""

    def inside(frame: FrameType, event: str, _: object) -> object:
        if event == "line":
            lines.setdefault(frame.f_code.co_filename, set()).add(frame.f_lineno)
        return inside

    def begins(frame: FrameType, event: str, _: object) -> object:
        return inside if frame.f_code.co_filename in paths else None

    threading.settrace(begins)  # type: ignore[arg-type]
    sys.settrace(begins)  # type: ignore[arg-type]
    try:
        yield
    finally:
        sys.settrace(None)
        threading.settrace(None)  # type: ignore[arg-type]


def run(
    tests: list[str],
    wanted: dict[Path, list[int]],
    *,
    jobs: int,
    budget: float,
    least: float,
    options: list[str],
) -> Mutants:
    """The changes `wanted` tried against `tests`."""
    mutants = Mutants(wanted, jobs=jobs, budget=budget, least=least)
    quiet = ["--capture=no", "-p", "no:cacheprovider", "-p", "no:terminal", "--hypothesis-seed=0"]
    os.environ.pop("PYTEST_ADDOPTS", None)  # they are for a run with a terminal
    code = pytest.main([*quiet, *options, *tests], plugins=[mutants])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise SystemExit(f"pytest ended with {code!r}")
    return mutants
