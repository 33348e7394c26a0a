"""A file has its name when it is whole and flushed, and not before."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
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


def test_a_file_of_another_process_is_flushed_and_left_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, flushed, opened = tmp_path / "a", list[int](), list[int]()
    path.write_bytes(b"some")

    def flush(descriptor: int) -> None:
        opened.append(descriptor)
        flushed.append(os.fstat(descriptor).st_ino)

    monkeypatch.setattr(durable, "flush_to_medium", flush)
    durable.sync_file(path)
    assert flushed == [path.stat().st_ino]
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        os.fstat(opened[0])
    assert path.read_bytes() == b"some"


@pytest.mark.parametrize("owned", [False, True])
def test_a_file_is_its_owner_s_before_it_has_its_name_where_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owned: bool
) -> None:
    path, given = tmp_path / "a", list[tuple[bytes, bool]]()
    monkeypatch.setattr(
        durable, "give_to_owner", lambda fresh: given.append((fresh.read_bytes(), path.exists()))
    )
    write_durably(path, b"one", owned=owned)
    assert given == ([(b"one", False)] if owned else [])


@pytest.mark.parametrize("write", [write_durably, write_first])
@pytest.mark.parametrize("short", [False, True])
def test_a_write_that_is_short_goes_on_and_one_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[..., None], short: bool
) -> None:
    real, opened = os.write, set[int]()

    def part(file: int, data: bytes) -> int:
        opened.add(file)
        if not short:
            raise OSError(errno.ENOSPC, "full")
        return real(file, bytes(data)[:3])

    monkeypatch.setattr(os, "write", part)
    if short:
        write(tmp_path / "a", b"0123456789")
        assert (tmp_path / "a").read_bytes() == b"0123456789"
    else:
        with pytest.raises(OSError, match="full"):
            write(tmp_path / "a", b"0123456789")
        assert _names(tmp_path) == []
    (file,) = opened
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        os.fstat(file)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_only_a_want_of_room_leaves_the_disk_to_be_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def fails(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(durable, "flush_to_medium", fails)
    (tmp_path / "a").touch()
    with pytest.raises(OSError, match=os.strerror(code)) as caught:
        durable.sync_file(tmp_path / "a")
    assert isinstance(caught.value, FlushFailed) is (code == errno.EIO)
    assert caught.value.errno == code


@pytest.mark.skipif(os.name == "nt", reason="of POSIX")
@pytest.mark.parametrize("code", [errno.EPERM, errno.EMLINK, errno.EIO])
def test_where_a_file_can_have_no_second_name_it_is_renamed_over_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refuse)
    if code == errno.EIO:
        with pytest.raises(OSError, match=os.strerror(code)):
            write_first(tmp_path / "a", b"one")
        return
    write_first(tmp_path / "a", b"one")
    write_first(tmp_path / "a", b"two")
    assert (tmp_path / "a").read_bytes() == b"one"
    assert _names(tmp_path) == ["a"]


@pytest.mark.skipif(os.name == "nt", reason="of POSIX")
@pytest.mark.parametrize("publish", [durable.publish, durable.publish_new])
@pytest.mark.parametrize("durability", ["power-loss", "process-crash"])
def test_a_file_that_is_published_is_flushed_where_that_is_asked_for_and_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, publish: Callable[..., None], durability: str
) -> None:
    flushed: list[bool] = []
    target = tmp_path / "a"
    monkeypatch.setattr(durable, "flush_to_medium", lambda descriptor: flushed.append(target.exists()))
    (tmp_path / "part").write_bytes(b"some")
    file = os.open(tmp_path / "part", os.O_RDWR)
    publish(file, str(tmp_path / "part"), str(target), durability)
    named_first = publish is durable.publish
    assert flushed == ([named_first] if durability == "power-loss" else [])
    assert _names(tmp_path) == ["a"]
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        os.fstat(file)
