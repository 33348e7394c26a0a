"""Real CT slices for the row that compresses: copies under new UIDs, a sender of its own, and the bare pool.

    python -m benchmarks.series compare COPIES       both sides once, with the CPU time that a slice costs
    python -m benchmarks.series send PORT COPIES     one association, every message ready before the clock
    python -m benchmarks.series pool COPIES ENCODES  as many encodes, the verifying decodes, and nothing else

The last two print one line of JSON. A copy is a new study with new series: as if the next patient came. So
what the router must find out about a series weighs on 28 to 30 slices, where the scanners sent 28 and 140,
and no slice is compressed with what was learnt from the same slice before. The pool encodes as often as the
router did, which looks for the level of a new series; and beside it the same sender pushes to the same sink,
for they have no processors of their own.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import socket
import sqlite3
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import imagecodecs
import pydicom
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import generate_uid

from benchmarks.load import PDU_HEADER, associate_rq, command_set, peer_max_pdu, receive_pdu
from benchmarks.node import node
from benchmarks.peers import ROOT, Sink, scratch
from mapdr.transform.encode.quality import measure

SERIES = ("ct_philips_phantom_140", "ct_ge_head_28")
"""A phantom, 12 bits unsigned, 30 of its 140 slices; a head, 16 bits signed with padding, all 28."""
SLICE = 512 * 512 * 2
"""Bytes of pixels in each slice of both."""
RATIO = 10
LEAST_PSNR = 60.0
"""dB: each slice has 65 to 74 at that ratio."""

Figures = dict[str, float]


def folder() -> Path:
    """Where the series lie."""
    data = Path(os.environ.get("MAPDR_TEST_DATA", Path(__file__).parent / "../../shared/data"))
    return data.resolve() / "series"


def slices() -> list[list[pydicom.Dataset]]:
    """The slices of each series in the order in which the scanner made them."""
    found = []
    for name in SERIES:
        one = [pydicom.dcmread(path) for path in (folder() / name).iterdir()]
        found.append(sorted(one, key=lambda data: int(data.InstanceNumber)))
    return found


def messages(copies: int, max_pdu: int) -> list[bytes]:
    """One C-STORE message for each slice of each copy (P-DATA PDUs, PS3.8 section 9.3.5)."""
    made = []
    for _ in range(copies):
        for one in slices():
            study, series = generate_uid(), generate_uid()
            for data in one:
                data.StudyInstanceUID, data.SeriesInstanceUID = study, series
                data.SOPInstanceUID = generate_uid()
                file = DicomBytesIO()
                file.is_implicit_VR, file.is_little_endian = False, True
                write_dataset(file, data)
                command = command_set(str(data.SOPInstanceUID).encode(), len(made) + 1)
                made.append(pdus(command, file.getvalue(), max_pdu))
    return made


def pdus(command: bytes, data: bytes, max_pdu: int) -> bytes:
    """A message as P-DATA-TF PDUs of at most `max_pdu` bytes, one fragment in each."""
    step = ((max_pdu or 1 << 30) - PDU_HEADER) & ~1
    chunks = [data[at : at + step] for at in range(0, len(data), step)]
    fragments = [(3, command), *((2 * (index == len(chunks) - 1), one) for index, one in enumerate(chunks))]
    return b"".join(
        struct.pack(">BxIIBB", 4, len(one) + 6, len(one) + 2, 1, control) + one for control, one in fragments
    )


def send(port: int, copies: int) -> Figures:
    """Send them on one association; `began` is the time (seconds since the epoch) before the first byte."""
    ready = messages(copies, 1 << 16)
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(associate_rq("MAPDR", "BENCH", 1 << 20))
    accept = receive_pdu(sock)
    if accept[0] != 2 or 0 < peer_max_pdu(accept) < 1 << 16:
        raise SystemExit("the association was not accepted, or with smaller PDUs than were made")
    began = time.time()
    for message in ready:
        sock.sendall(message)
        if b"\x00\x00\x00\x09\x02\x00\x00\x00\x00\x00" not in receive_pdu(sock):
            raise SystemExit("the receiver did not answer Success")
    sock.sendall(b"\x05\x00\x00\x00\x00\x04\x00\x00\x00\x00")
    sock.close()
    return {"images": len(ready), "bytes": len(ready) * SLICE, "began": began}


class Work:
    """One slice, and the level at which its size is a tenth: found before the clock."""

    def __init__(self, data: pydicom.Dataset) -> None:
        self.pixels, self.bits = data.pixel_array, int(data.BitsStored)
        low, high = 20.0, 150.0
        while high - low > 0.05:
            self.level = (low + high) / 2
            above = len(self.encode()) * RATIO > self.pixels.nbytes
            low, high = (low, self.level) if above else (self.level, high)

    def encode(self) -> bytes:
        """With the options that the router gives to the codec for a lossy frame."""
        codec: Any = imagecodecs  # its stubs say that a level is an int; it takes dB as a float
        return bytes(
            codec.jpeg2k_encode(
                self.pixels,
                level=self.level,
                codecformat="j2k",
                bitspersample=self.bits,
                reversible=False,
                mct=False,
                numthreads=1,
            )
        )

    def __call__(self) -> int:
        """Encode and verify, which is to decode and to compare. The bytes of the stream."""
        stream = self.encode()
        decoded = imagecodecs.jpeg2k_decode(stream, numthreads=1)
        if measure(self.pixels, decoded).psnr < LEAST_PSNR:
            raise RuntimeError("the pool's codec has lost the picture")
        return len(stream)


def pool(copies: int, encodes: int = 0) -> Figures:
    """The bare pool: as many threads as cores, a verifying decode for each slice, and as many encodes in all
    as the router needed; one for each slice if none are given."""
    work = [Work(data) for one in slices() for data in one] * copies
    more = max(encodes - len(work), 0)
    threads = concurrent.futures.ThreadPoolExecutor(os.cpu_count())
    with (
        Sink() as sink,
        threads,
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.series", "send", str(sink.port), str(copies)],
            stdout=subprocess.PIPE,
            cwd=ROOT,
        ) as sender,
    ):
        while not sink.times()[0]:  # the sender's own work before its clock is before the pool's, too
            time.sleep(0.005)
        used, began = time.process_time(), time.perf_counter()
        sizes = list(threads.map(lambda one: one(), work))
        list(threads.map(lambda one: one.encode(), work[:more]))
        seconds, cpu = time.perf_counter() - began, time.process_time() - used
        if sender.wait():
            raise RuntimeError("the sender beside the pool failed")
    if abs(len(work) * SLICE / sum(sizes) / RATIO - 1) > 0.02:
        raise RuntimeError("the pool does not compress by the ratio")
    return {
        "images": len(work),
        "bytes": len(work) * SLICE,
        "seconds": seconds,
        "cpu": cpu,
        "encodes": len(work) + more,
    }


def apart(*words: object) -> Figures:
    """What this module prints when it is run with `words`."""
    command = [sys.executable, "-m", "benchmarks.series", *map(str, words)]
    out = subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=ROOT).stdout
    figures: Figures = json.loads(out)
    return figures


def pool_apart(copies: int) -> Figures:
    """`pool` in a process of its own, with as many encodes as the router needed last."""
    return apart("pool", copies, round(_encodes.get(copies, 0)))


_encodes: dict[int, float] = {}
"""How often the router encoded, by the number of copies."""


def through_router(copies: int) -> Figures:
    """The slices through the whole router, from the first byte sent to the last image at the sink."""
    steps = f'compress = {{ to = "jpeg2000", ratio = {RATIO} }}\n'
    with scratch("node") as folder, Sink() as sink, node(folder, out=sink.port, steps=steps) as bench:
        used = bench.settled()  # the pool's clocks begin with the first byte
        sent = apart("send", bench.port, copies)
        sink.wait(int(sent["images"]))
        cpu, last = bench.cpu() - used, sink.times()[2]
        _encodes[copies] = encodes(folder / "data" / "index.db")
        return {**sent, "seconds": last - sent["began"], "cpu": cpu, "encodes": _encodes[copies]}


def encodes(index: Path) -> float:
    """How often the slices were encoded, as a node keeps it of each."""
    with contextlib.closing(sqlite3.connect(index)) as connection:
        kept = [
            json.loads(facts)["compress"] for (facts,) in connection.execute("SELECT facts FROM derivation")
        ]
    return sum(one.get("encodes", 1) for one in kept)


def rate(figures: Figures) -> float:
    """Megabytes of pixels per second."""
    return figures["bytes"] / 1e6 / figures["seconds"]


def line(figures: Figures) -> str:
    """Rate and CPU time for a person to read."""
    cpu = 1000 * figures["cpu"] / figures["images"]
    each = figures.get("encodes", figures["images"]) / figures["images"]
    return (
        f"{figures['images']:.0f} slices, {rate(figures):.1f} MB/s, {cpu:.1f} ms of CPU and "
        f"{each:.2f} encodes per slice"
    )


def main() -> None:
    what, *numbers = sys.argv[1:]
    if what == "compare":
        print("router:", line(through_router(*map(int, numbers))))
        print("pool:  ", line(pool_apart(*map(int, numbers))))
        return
    json.dump({"send": send, "pool": pool}[what](*map(int, numbers)), sys.stdout)


if __name__ == "__main__":
    main()
