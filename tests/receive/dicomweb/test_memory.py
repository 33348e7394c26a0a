"""A part of any size passes through a receiver's memory, not into it."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mapdr.testing.generator import study
from peers.stow_client import END, part, request

MB = 1_000_000
SIZE = 2_000 * MB
MOST = 150 * MB
CHILD = """
import resource, sys, time
from pathlib import Path
from mapdr.kernel.stage import Settings
from mapdr.kernel.watch import Watch
from mapdr.receive.dicomweb.receiver import STAGE
from mapdr.store.spool.files import Spool

data, arrived = Path(sys.argv[1]), []
spool = Spool(data, "node", "process-crash", submit=arrived.append)
receiver = STAGE.build(
    Settings("web", "node", data, bytes(32), Watch()), STAGE.config.model_validate({"port": 0}), spool
)
receiver.start()
print(receiver.port, flush=True)
sys.stdin.read()
receiver.stop(time.monotonic() + 5)
status = Path("/proc/self/status")  # getrusage counts the process that this one was forked from, too
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
if status.exists():
    peak = next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM"))
print(*(one.size for one in arrived), peak, flush=True)
"""


def pieces(size: int) -> Iterator[bytes]:
    """A body with one part, whose pixel data has `size` bytes."""
    image = next(iter(study("CT", images=1, size=(16, 16))))
    at = image.dataset.index(struct.pack("<HH", 0x7FE0, 0x0010))
    head = image.dataset[: at + 8] + struct.pack("<I", size)
    yield part(replace(image, dataset=head).part10())[:-2]
    piece = os.urandom(4 * MB)
    for _ in range(size // len(piece)):
        yield piece
    yield b"\r\n" + END


@pytest.mark.skipif(sys.platform == "win32", reason="asks POSIX for the peak")
@pytest.mark.timeout(300)
@pytest.mark.skipif(
    "asan" in os.environ.get("LD_PRELOAD", ""), reason="AddressSanitizer keeps what is given back"
)
def test_two_gigabytes_in_one_part(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout
        port = int(child.stdout.readline())
        answer = request(port, pieces(SIZE), timeout=200)
        assert (answer.status, len(answer.stored)) == (200, 1)
        out, _ = child.communicate(timeout=60)
    finally:
        child.kill()
        child.wait()
        for path in tmp_path.rglob("*.dcm"):
            path.unlink()
    size, peak = map(int, out.split())
    assert size > SIZE
    unit = 1 if sys.platform == "darwin" else 1024
    assert peak * unit < MOST, f"{peak * unit / MB:.0f} MB"
