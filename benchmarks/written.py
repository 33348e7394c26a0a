"""Bytes that the disk writes for each byte of an image: an SSD's life is a cost of taking images, too.

python -m benchmarks.written [IMAGES]         prints Markdown; `benchmarks.more` puts it into RESULTS.md

Counted is what the device has written (/sys/dev/block/<device>/stat) from the first image until all is on it:
images, journal and index, the file system's own journal, and whatever others write to that device meanwhile.
So the figures mean something where the folders stand on a device of their own (MAPDR_BENCH_DIR). What a node
writes before its first image (two segments of zeros, an empty index) is not in them; segments that it makes
later are: with 800 images of 512 kB at most 0.5. Linux only.

`write_bytes` of /proc/PID/io would leave others out, and cannot be used: on ext4 of Linux 6.18 it counted
more than ten times what the device of a journal wrote (docs/decisions/0096).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.node import node
from benchmarks.peers import load, scratch
from benchmarks.rows import LARGE, SMALL, into_plain_loop

_SECTOR = 512  # bytes that the system counts in, whatever the device's own sectors are
_SETTLE_SECONDS = 2.0  # the journal's keeper comes twice a second, the index's writer sooner


def device(folder: Path) -> Callable[[], int] | None:
    """Tells how many bytes the device has written on which a folder stands; None if the system does not."""
    number = folder.stat().st_dev
    path = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}/stat")
    if not path.exists():  # a file system of no device, or of several
        return None
    return lambda: int(path.read_text().split()[6]) * _SECTOR


def by_node(size: int, senders: int, count: int, *, journal: bool) -> float | None:
    """Push images of `size` bytes into a node under "power-loss"; bytes written for each byte of them."""
    with scratch("written") as folder, node(folder, durability="power-loss", journal=journal) as bench:
        load(bench.port, 2 * senders, size, senders)
        time.sleep(_SETTLE_SECONDS)
        return written(folder, lambda: load(bench.port, count, size, senders), size * count)


def by_plain_loop(size: int, senders: int, count: int) -> float | None:
    """The same by the plain loop of `benchmarks.plain`."""
    with scratch("written") as folder:
        return written(folder, lambda: into_plain_loop(size, senders, count), size * count)


def written(folder: Path, work: Callable[[], object], images: int) -> float | None:
    """Bytes written to a folder's device for each of so many bytes of images; None if nobody tells."""
    count = device(folder)
    if count is None:
        return None
    os.sync()
    before = count()
    work()
    time.sleep(_SETTLE_SECONDS)
    os.sync()
    return (count() - before) / images


def report(images: int = 1600) -> list[str]:
    """The table, in Markdown. `images` of 9 kB, half as many of 512 kB; a multiple of 16."""
    lines = [
        "| bytes written for each byte of an image | plain loop | node | node with a journal |",
        "|---|---|---|---|",
    ]
    for size, label, count in ((LARGE, "512 kB", images // 2), (SMALL, "9 kB", images)):
        for senders in (1, 8):
            found = (
                by_plain_loop(size, senders, count),
                by_node(size, senders, count, journal=False),
                by_node(size, senders, count, journal=True),
            )
            cells = " | ".join("not told" if each is None else f"{each:.2f}" for each in found)
            lines.append(f"| {label}, power-loss, {senders} sender{'s' * (senders > 1)} | {cells} |")
    return lines


if __name__ == "__main__":
    print("\n".join(report(*map(int, sys.argv[1:]))))
