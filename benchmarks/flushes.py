"""What a flush costs here: a new file for each image against one flush of a segment of zeros.

    python -m benchmarks.flushes [FOLDER [ROUNDS]]       prints Markdown

`mapdr.store.spool.journal` stands on this difference. Four ways, alternating, each for a second a round:

    file      create, write, rename, fsync, fsync of the folder: what an image costs without a journal
    segment   the image into a file that was allocated and zeroed, one fdatasync; writers share flushes
    both      the same, and the image into a file of its own that nobody flushes
    one_by_one, together
              the same, and a thread that flushes those files behind, twice a second, by a flush for each,
              or all by one for the file system (syncfs; Linux): what a journal costs

What one measurement wrote is removed before the next, so that none pays for another.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

SIZES = (9_000, 64_000, 512_000, 2_000_000)
WRITERS = (1, 8)
SECONDS = 1.0
SEGMENT = 64 << 20
LINGER_SECONDS = 0.5
WAYS = ("file", "segment", "both", "one_by_one", "together")

_flush = getattr(os, "fdatasync", os.fsync)
_libc = ctypes.CDLL(None, use_errno=True) if os.name == "posix" else None


class Segment:
    """A zeroed file that writers append to in turn, beginning anew at its end; they share flushes."""

    def __init__(self, path: Path) -> None:
        with path.open("wb") as file:
            for _ in range(SEGMENT >> 20):
                file.write(bytes(1 << 20))
            file.flush()
            os.fsync(file.fileno())
        self.file = os.open(path, os.O_WRONLY)
        self.state = threading.Condition()
        self.at = self.written = self.flushed = 0
        self.flushing = False

    def append(self, data: bytes) -> None:
        """Write, and come back when a flush that began after that has ended."""
        with self.state:
            if self.at + len(data) > SEGMENT:
                self.at = 0
            os.pwrite(self.file, data, self.at)
            self.at += -(-len(data) // 512) * 512
            self.written += 1
            mine = self.written
            while self.flushed < mine:
                if self.flushing:
                    self.state.wait()
                    continue
                self.flushing, upto = True, self.written
                self.state.release()
                try:
                    _flush(self.file)
                finally:
                    self.state.acquire()
                self.flushing, self.flushed = False, upto
                self.state.notify_all()


class Folder:
    """A new folder for a round, its files, and who flushes them behind."""

    def __init__(self, path: Path, segment: Segment, way: str) -> None:
        path.mkdir()
        self.path = path
        self.journal = segment
        self.syncfs = way == "together" and hasattr(_libc, "syncfs")
        self.descriptor = os.open(path, os.O_RDONLY)
        self.waiting: list[str] = []
        self.over = threading.Event()

    def write(self, name: str, data: bytes, *, flush: bool) -> str:
        part, final = f"{self.path}/{name}.part", f"{self.path}/{name}.dcm"
        file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
        os.write(file, data)
        os.rename(part, final)
        if flush:
            os.fsync(file)
        os.close(file)
        return final

    def file(self, name: str, data: bytes) -> None:
        self.write(name, data, flush=True)
        os.fsync(self.descriptor)

    def segment(self, name: str, data: bytes) -> None:
        self.journal.append(data)

    def both(self, name: str, data: bytes) -> None:
        self.write(name, data, flush=False)
        self.journal.append(data)

    def kept(self, name: str, data: bytes) -> None:
        path = self.write(name, data, flush=False)
        self.journal.append(data)
        self.waiting.append(path)

    one_by_one = together = kept

    def keep(self) -> None:
        """Flush behind what `kept` wrote, many together, until it is over and nothing is left."""
        while not self.over.wait(LINGER_SECONDS) or self.waiting:
            paths, self.waiting = self.waiting, []
            if self.syncfs:
                if paths and _libc.syncfs(self.descriptor):
                    raise OSError("syncfs")
                continue
            for path in paths:
                file = os.open(path, os.O_WRONLY)
                _flush(file)
                os.close(file)
            os.fsync(self.descriptor)


def measure(folder: Folder, way: str, writers: int, data: bytes) -> float:
    """Images a second; the flushes behind are within the time."""
    write: Callable[[str, bytes], None] = getattr(folder, way)
    counts = [0] * writers
    keeper = threading.Thread(target=folder.keep)
    begun = time.monotonic()

    def work(number: int) -> None:
        while time.monotonic() < begun + SECONDS:
            write(f"{number}-{counts[number]}", data)
            counts[number] += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(writers)]
    for thread in (keeper, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    taken = time.monotonic() - begun
    if way in WAYS[3:]:  # else the thread that waits would be measured
        folder.over.set()
        keeper.join()
        taken = time.monotonic() - begun
    folder.over.set()
    keeper.join()
    os.close(folder.descriptor)
    return sum(counts) / taken


def main(place: str = "", rounds: str = "5") -> None:
    """Print a table of the medians of images a second."""
    with tempfile.TemporaryDirectory(dir=place or None) as name:
        root = Path(name)
        segment = Segment(root / "segment")
        kind = subprocess.run(["stat", "-f", "-c", "%T", name], capture_output=True, text=True, check=False)
        print(f"File system: {kind.stdout.strip() or 'unknown'}\n")
        print("| bytes | writers | " + " | ".join(WAYS) + " |\n|---|---|" + "---|" * len(WAYS))
        for size in SIZES:
            for writers in WRITERS:
                found: dict[str, list[float]] = {way: [] for way in WAYS}
                for _ in range(int(rounds)):
                    for way in WAYS:
                        path = root / f"{way}-files"
                        found[way].append(measure(Folder(path, segment, way), way, writers, os.urandom(size)))
                        shutil.rmtree(path)
                medians = [f"{statistics.median(found[way]):,.0f}" for way in WAYS]
                print(f"| {size:,} | {writers} | " + " | ".join(medians) + " |", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
