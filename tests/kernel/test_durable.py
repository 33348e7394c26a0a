"""A file has its name when it is whole and flushed, and not before."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from mapdr.kernel import durable
from mapdr.kernel.durable import FlushFailed, flush_file, fresh_name, write_durably, write_first


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("write", [write_durably, write_first])
def test_a_file_is_whole_and_flushed_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: object
) -> None:
    path = tmp_path / "a"
    seen: list[tuple[bool, list[bytes]]] = []
    real = durable.flush_to_medium

    def flush(descriptor: int) -> None:
        seen.append((path.exists(), [each.read_bytes() for each in tmp_path.iterdir()]))
        real(descriptor)

    monkeypatch.setattr(durable, "flush_to_medium", flush)
    write(path, b"x" * 100_000)  # type: ignore[operator]
    assert seen[0] == (False, [b"x" * 100_000])
    if os.name != "nt":
        assert seen[1][0], "then the name"
        assert path.stat().st_mode & 0o007 == 0
    assert _names(tmp_path) == ["a"]


@pytest.mark.parametrize("write", [write_durably, write_first])
def test_a_flush_that_fails_leaves_all_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: object
) -> None:
    path = tmp_path / "a"
    if write is write_durably:
        path.write_bytes(b"one")

    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(durable, "flush_to_medium", fail)
    before = _names(tmp_path)
    with pytest.raises(FlushFailed):
        write(path, b"two")  # type: ignore[operator]
    assert _names(tmp_path) == before
    assert not before or path.read_bytes() == b"one"


def test_of_two_that_write_first_one_stays(tmp_path: Path) -> None:
    path, together = tmp_path / "key", threading.Barrier(8)

    def write(number: int) -> None:
        together.wait(10)
        write_first(path, bytes([number]) * 32, 0o600)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    first = path.read_bytes()
    assert first in [bytes([number]) * 32 for number in range(8)]
    write_first(path, b"late")
    assert path.read_bytes() == first
    assert _names(tmp_path) == ["key"]


def test_what_has_a_fresh_name_at_the_end_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"

    def fails() -> None:
        with fresh_name(path) as fresh:
            fresh.write_bytes(b"half")
            assert fresh.parent == tmp_path
            raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        fails()
    with fresh_name(path) as fresh:
        fresh.write_bytes(b"whole")
        os.replace(fresh, path)
    assert _names(tmp_path) == ["a.toml"]


def test_what_python_holds_back_is_flushed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, seen = tmp_path / "a", list[bytes]()
    monkeypatch.setattr(durable, "flush_to_medium", lambda descriptor: seen.append(path.read_bytes()))
    with path.open("wb") as file:
        file.write(b"held back")
        flush_file(file)
    assert seen == [b"held back"]
