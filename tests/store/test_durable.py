from __future__ import annotations

import errno
import threading
from pathlib import Path

import pytest

from mapdr.store import durable
from mapdr.store.durable import FolderSync, make_folder, refusal, write_file
from mapdr.testing.wait import until


class SlowFlush:
    """Stands for `sync_folder`; the test says when each flush ends."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun = 0
        self.go = threading.Semaphore(0)
        self.error: OSError | None = None
        monkeypatch.setattr(durable, "sync_folder", self)

    def __call__(self, path: Path) -> None:
        self.begun += 1
        assert self.go.acquire(timeout=10)
        if self.error:
            raise self.error


def run(target: object) -> threading.Thread:
    thread = threading.Thread(target=target, daemon=True)  # type: ignore[arg-type]
    thread.start()
    return thread


def test_threads_that_come_during_a_flush_share_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush, sync, done = SlowFlush(monkeypatch), FolderSync(tmp_path), []

    def one() -> None:
        sync.sync()
        done.append(flush.begun)

    first = run(one)
    until(lambda: flush.begun == 1)
    others = [run(one) for _ in range(5)]
    until(lambda: len(sync._ready._waiters) == 5)  # type: ignore[attr-defined]
    flush.go.release()
    first.join(10)
    until(lambda: flush.begun == 2)
    assert done == [1], "a thread that came during the first flush was told that its name is safe"
    flush.go.release()
    for thread in others:
        thread.join(10)
    assert done == [1, 2, 2, 2, 2, 2]
    assert flush.begun == 2


def test_a_failed_flush_fails_everybody_who_waited_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush, sync = SlowFlush(monkeypatch), FolderSync(tmp_path)
    errors: list[int | None] = []

    def one() -> None:
        try:
            sync.sync()
        except OSError as error:
            errors.append(error.errno)

    flush.error = OSError(errno.EIO, "io")
    threads = [run(one)]
    until(lambda: flush.begun == 1)
    threads += [run(one), run(one)]
    until(lambda: len(sync._ready._waiters) == 2)  # type: ignore[attr-defined]
    flush.go.release()
    flush.go.release()
    for thread in threads:
        thread.join(10)
    assert errors == [errno.EIO] * 3
    flush.error = None
    flush.go.release()
    sync.sync()


def test_a_small_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    write_file(path, b"one", "power-loss")
    write_file(path, b"two", "process-crash")
    assert path.read_bytes() == b"two"
    assert [p.name for p in tmp_path.iterdir()] == ["a.toml"]


def test_folders_are_made_with_their_parents(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b" / "c", "power-loss")
    make_folder(tmp_path / "a" / "b" / "c", "power-loss")
    assert (tmp_path / "a" / "b" / "c").is_dir()


def test_a_refusal_says_why_without_a_path() -> None:
    refused = refusal(OSError(errno.ENOSPC, "No space left", "/secret/NAME"))
    assert refused.status == 0xA700
    assert "disk is full" in refused.comment
    assert "NAME" not in str(refusal(OSError(errno.EIO, "io", "/secret/NAME")))
