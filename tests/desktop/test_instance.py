"""One program for each user: by two programs in one folder."""

from __future__ import annotations

import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mapdr.kernel.errors import MapdrError
from mapdr.testing.wait import until
from mapdr_desktop import instance
from mapdr_desktop.instance import Instance, take_or_ask


def _second(folder: Path, word: str) -> int:
    """The exit status of another process that finds the place taken, and asks."""
    program = (
        "import sys; from pathlib import Path; from mapdr_desktop.instance import take_or_ask\n"
        "sys.exit(3 if take_or_ask(Path(sys.argv[1]), sys.argv[2]) else 0)"
    )
    return subprocess.run([sys.executable, "-c", program, str(folder), word], check=False).returncode


def test_the_second_start_has_the_first_do_it(tmp_path: Path) -> None:
    first = Instance.take(tmp_path / "run")
    assert first is not None
    asked: list[str] = []
    first.listen(lambda word: not asked.append(word))
    try:
        assert _second(tmp_path / "run", "open") == 0
        assert _second(tmp_path / "run", "quit") == 0
        until(lambda: asked == ["open", "quit"], 10, "both words")
    finally:
        first.end()
    after = Instance.take(tmp_path / "run")
    assert after is not None, "the place is free again"
    after.end()


def test_who_does_not_know_the_secret_is_not_obeyed(tmp_path: Path) -> None:
    first = Instance.take(tmp_path)
    assert first is not None
    asked: list[str] = []
    first.listen(lambda word: not asked.append(word))
    try:
        port = first._listener.getsockname()[1]
        for said in (b"quit", b"0123 quit", first._secret.encode() + b" format"):
            with socket.create_connection(("127.0.0.1", port), 5) as connection:
                connection.sendall(said)
                assert connection.recv(2) == b""
        assert take_or_ask(tmp_path, "open") is None
        until(lambda: asked == ["open"], 10, "the one that knows it")
    finally:
        first.end()


def test_a_first_that_does_not_answer_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instance, "PATIENCE", 0.2)
    first = Instance.take(tmp_path)
    assert first is not None
    try:
        with pytest.raises(MapdrError, match="does not answer"):
            take_or_ask(tmp_path, "open")
    finally:
        first.end()


def test_a_start_while_the_first_ends_has_its_place_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Instance.take(tmp_path)
    assert first is not None
    monkeypatch.setattr(instance, "PATIENCE", 0.5)
    asked: list[str] = []
    first.listen(lambda word: bool(asked.append(word)))
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(take_or_ask, tmp_path, "open")
        until(lambda: len(asked) >= 10, 60, "more than its patience, which is for who does not answer")
        monkeypatch.setattr(instance, "PATIENCE", 60.0)
        before = len(asked)
        until(lambda: len(asked) >= before + 2, 10, "that it has this patience")
        first.end()
        after = second.result(20)
    assert after is not None
    after.end()


@pytest.mark.skipif(sys.platform == "win32", reason="a folder of Windows has the rights of the one above")
def test_nobody_else_reads_the_secret(tmp_path: Path) -> None:
    first = Instance.take(tmp_path / "run")
    assert first is not None
    try:
        assert (tmp_path / "run").stat().st_mode & 0o077 == 0
        assert (tmp_path / "run" / "desktop.json").stat().st_mode & 0o007 == 0
    finally:
        first.end()
