"""What the table does not show: latency, memory, a full index, many senders, a stalled destination, CPU time.

python -m benchmarks.more          prints Markdown; `python -m benchmarks` puts it into RESULTS.md
"""

from __future__ import annotations

import shutil
import socket
import statistics
import struct
import time
import types
from pathlib import Path

from sqlalchemy import update

from benchmarks import contention, deidentify, edits, idle, watching, written
from benchmarks import load as generator
from benchmarks.node import Bench, node
from benchmarks.peers import Sink, load, scratch
from benchmarks.rows import LARGE, SMALL
from mapdr.dicom.scan import scan
from mapdr.kernel.item import Arrival, Routing, Source
from mapdr.store import Store
from mapdr.store.index import schema
from mapdr.store.spool.headers import INDEX_TAGS

GIANT = 2 * 1024**3
PIECE = 1 << 16


def senders() -> list[str]:
    """Rate, time to Success and CPU time with 1, 4 and 16 senders."""
    lines = [
        "| size | durability | senders | images/s | p50 ms | p95 ms | p99 ms | CPU µs/image |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for size, label, count in ((LARGE, "512 kB", 320), (SMALL, "9 kB", 2400)):
        for durability in ("process-crash", "power-loss"):
            for number in (1, 4, 16):
                with scratch("senders") as folder, node(folder, durability=durability) as bench:
                    load(bench.port, 4 * number, size, number)
                    before = bench.cpu()
                    result = load(bench.port, count, size, number)
                    cpu = (bench.cpu() - before) / count * 1e6
                lines.append(
                    f"| {label} | {durability} | {number} | {result['rate']:,.0f} | {result['p50']:.2f} | "
                    f"{result['p95']:.2f} | {result['p99']:.2f} | {cpu:,.0f} |"
                )
    return lines


def full_index() -> list[str]:
    """Intake of small images with 0, 100,000 and 1,000,000 images in the index, in turn.

    No folder goes before the last: ext4 makes files slowly where many were just deleted.
    """
    rates: dict[int, list[float]] = {0: [], 100_000: [], 1_000_000: []}
    with scratch("filled") as filled:
        for known in rates:
            prefill(filled / str(known), known)
        for turn in range(3):
            for known, found in rates.items():
                folder = filled / f"{known}-{turn}"
                shutil.copytree(filled / str(known), folder / "data")
                with node(folder, durability="process-crash") as bench:
                    load(bench.port, 500, SMALL)
                    found += [load(bench.port, 8000, SMALL)["rate"] for _ in range(5)]
    first = statistics.median(rates[0])
    lines = [
        "| images in the index | 9 kB images/s, process-crash, 15 loads | of the empty index's |",
        "|---|---|---|",
    ]
    for known, found in rates.items():
        rate = statistics.median(found)
        spread = f"{rate:,.0f} ({min(found):,.0f} to {max(found):,.0f})"
        lines.append(f"| {known:,} | {spread} | {rate / first:.2f} |")
    return lines


def prefill(data: Path, images: int) -> None:
    """Enter `images` delivered long ago into a node's index: rows without files."""
    store = Store.open(data, "bench", durability="process-crash")
    router = types.SimpleNamespace(
        wanted=INDEX_TAGS, route=lambda header, source: Routing((("elsewhere", "0" * 32),), ("rule",))
    )
    source = Source("modalities", "BENCH", "MAPDR", "127.0.0.1")
    store.use("prefill", router, {"0" * 32: {"steps": []}})
    for start in range(0, images, 1000):
        study = b"2.25.7.%d" % (start // 500)
        header = scan(
            generator.data_set(2000, b"2.25.1", study), "1.2.840.10008.1.2.1", INDEX_TAGS, complete=True
        )
        batch = [
            Arrival(
                id=f"{1_600_000_000_000 + index:012x}7{index % 4096:03x}8{index:015x}",
                source=source,
                sop_class_uid=generator.CT_IMAGE.decode(),
                sop_instance_uid=f"2.25.9.{index}",
                transfer_syntax_uid="1.2.840.10008.1.2.1",
                data_offset=400,
                size=9000,
                digest=index.to_bytes(16, "big"),
                received_at=1_600_000_000 + index / 1000,
                revision="prefill",
                header=header,
            )
            for index in range(start, min(start + 1000, images))
        ]
        store.ingest.enter(batch, {"prefill": router.route})
    settle_all(store)
    store.close()


def settle_all(store: Store) -> None:
    """End what is owed, and take every study for told, as a node would have long ago."""
    with store.database.write() as connection:
        connection.execute(update(schema.delivery).values(state=int(schema.State.DELIVERED)))
        connection.execute(update(schema.progress).values(due=0, announced=1))


def giant() -> list[str]:
    """The largest memory of the node while an object of 2 GB comes in and goes out."""
    with (
        scratch("giant") as folder,
        Sink() as sink,
        node(folder, durability="process-crash", out=sink.port) as bench,
    ):
        began = time.perf_counter()
        base = bench.memory()
        send_giant(bench.port)
        sink.wait(1)
        took = time.perf_counter() - began
        peak = high_water(bench)
    return [
        f"A 2 GB object, in and out, took {took:.1f} s; the node's memory was {base / 1e6:.0f} MB before and "
        f"{peak / 1e6:.0f} MB at its highest."
    ]


def high_water(bench: Bench) -> int:
    """The most memory that the node has had, in bytes (Linux)."""
    status = Path(f"/proc/{bench.process.pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def send_giant(port: int) -> None:
    """One object of GIANT bytes, in P-DATA of 64 kB. Raises RuntimeError unless it is answered Success."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(generator.associate_rq("MAPDR", "BENCH", 1 << 16))
        generator.receive_pdu(sock)
        uid = b"2.25.%d" % time.time_ns()
        command = generator.command_set(uid, 1)
        sock.sendall(struct.pack(">BxIIBB", 4, len(command) + 6, len(command) + 2, 1, 3) + command)
        small = generator.data_set(2000, uid, uid + b".1")
        head = small[: small.rindex(b"\xe0\x7f\x10\x00")] + struct.pack(
            "<HH2sxxI", 0x7FE0, 0x10, b"OW", GIANT
        )
        sock.sendall(struct.pack(">BxIIBB", 4, len(head) + 6, len(head) + 2, 1, 0) + head)
        piece = struct.pack(">BxIIBB", 4, PIECE + 6, PIECE + 2, 1, 0) + bytes(PIECE)
        for _ in range(GIANT // PIECE - 1):
            sock.sendall(piece)
        sock.sendall(struct.pack(">BxIIBB", 4, PIECE + 6, PIECE + 2, 1, 2) + bytes(PIECE))
        sock.settimeout(120)
        if b"\x00\x00\x00\x09\x02\x00\x00\x00\x00\x00" not in generator.receive_pdu(sock):
            raise RuntimeError("the 2 GB object was not answered Success")


def report() -> list[str]:
    """All of it in Markdown."""
    return [
        "## Senders, latency, CPU time",
        "",
        *senders(),
        "",
        "## A full index",
        "",
        *full_index(),
        "",
        "## Memory",
        "",
        *giant(),
        "",
        "## Edits of tags",
        "",
        *edits.report(),
        "",
        "## De-identification",
        "",
        *deidentify.report(),
        "",
        "## Contention",
        "",
        *contention.report(),
        "",
        "## Watching",
        "",
        *watching.report(),
        "",
        "## Bytes written",
        "",
        *written.report(),
        "",
        "## An idle node",
        "",
        *idle.report(),
        "",
    ]


if __name__ == "__main__":
    print("\n".join(report()))
