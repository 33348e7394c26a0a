"""The rows of the table: what is measured, against whom, and what ratio is asked for.

A row has two sides that are measured in turn, ours and the peer's, in one run; each side gives a rate in
images per second (or megabytes per second), higher is better.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import load as generator
from benchmarks import series, stow
from benchmarks.node import TAG_RULE, node, wait_until
from benchmarks.peers import ROOT, Sink, certificate, free_port, load, orthanc, running, scratch, storescp

BULK, LARGE, SMALL = 8_000_000, 1 << 19, 9000
COPIES = 12
"""Copies of the real series that are compressed: 696 slices, some ten seconds of work for two cores."""


@dataclass(frozen=True)
class Row:
    """One line of the table; `target` is the ratio asked for, ours / peer's.

    `peer` is None where an optional peer is not installed.
    """

    name: str
    size: int
    target: float
    ours: Callable[[], float]
    peer: Callable[[], float] | None
    peer_name: str
    unit: str = "images/s"


def receive(size: int, durability: str, senders: int, count: int) -> float:
    """Images per second into a node with one matching rule."""
    with scratch("node") as folder, node(folder, durability=durability) as bench:
        return load(bench.port, count, size, senders)["rate"]


def receive_over_tls(size: int, count: int, *, tls: bool = True) -> float:
    """Images per second into a node over TLS, or the same without it."""
    with scratch("node") as folder:
        pair = certificate(folder) if tls else ()
        with node(folder, durability="process-crash", tls=pair) as bench:
            return load(bench.port, count, size, tls=pair[0] if pair else None)["rate"]


def into_storescp_over_tls(size: int, count: int) -> float:
    """The same into DCMTK's storescp, which asks for no certificate."""
    with scratch("storescp") as folder, scratch("tls") as keys:
        cert, key = certificate(keys)
        with storescp(folder, ("+tls", str(key), str(cert), "-ic")) as port:
            return load(port, count, size, tls=cert)["rate"]


def into_storescp(size: int, count: int) -> float:
    """The same into DCMTK's storescp, which writes one file per image and syncs nothing."""
    with scratch("storescp") as folder, storescp(folder) as port:
        return load(port, count, size)["rate"]


def into_orthanc(size: int, senders: int, count: int) -> float:
    """The same into Orthanc as installed."""
    with scratch("orthanc") as folder, orthanc(folder) as (port, _):
        return load(port, count, size, senders, "ORTHANC")["rate"]


def into_plain_loop(size: int, senders: int, count: int) -> float:
    """The same bytes into the plain loop of `benchmarks.plain`: images per second."""
    return plain_loop(size, senders, count)["rate"]


def plain_loop(size: int, senders: int, count: int) -> dict[str, float]:
    """The same: `rate`, and `p99` of the milliseconds to its answer."""
    with scratch("plain") as folder:
        server = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.plain", "serve", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        try:
            assert server.stdout is not None
            port = server.stdout.readline().strip()
            command = [
                sys.executable,
                "-m",
                "benchmarks.plain",
                "send",
                port,
                str(count // senders),
                str(size),
            ]
            clients = [subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) for _ in range(senders)]
            results = [json.loads(client.communicate(timeout=600)[0]) for client in clients]
            latencies = sorted(each for result in results for each in result["latencies"])
            return {
                "rate": len(latencies) / max(result["seconds"] for result in results),
                "p99": latencies[int(0.99 * len(latencies))],
            }
        finally:
            server.terminate()
            server.wait(10)


def end_to_end(port: int, sink: Sink, size: int, count: int, called: str) -> float:
    """Images per second from the first byte sent to the last image at the sink."""
    began = load(port, count, size, called=called)["began"]
    sink.wait(count)
    return count / (sink.times()[2] - began)


def routed(size: int, count: int, *, journal: bool = False) -> float:
    """Receive, set a tag, forward."""
    with (
        scratch("node") as folder,
        Sink() as sink,
        node(folder, out=sink.port, steps=TAG_RULE, journal=journal) as bench,
    ):
        return end_to_end(bench.port, sink, size, count, "MAPDR")


def routed_by_orthanc(size: int, count: int) -> float:
    """The same through Orthanc with a Lua route, as its users build it."""
    with Sink() as sink, scratch("orthanc") as folder, orthanc(folder, sink.port) as (port, _):
        return end_to_end(port, sink, size, count, "ORTHANC")


def backlog(folder: Path, size: int, count: int, out: int) -> None:
    """Leave a node's folder with `count` images that wait for the port `out`, where nobody listens yet."""
    with node(folder, durability="process-crash", out=out) as bench:
        load(bench.port, count, size)
        wait_until(lambda: bench.status()["pending"] == count)


def forward(size: int, count: int) -> float:
    """A backlog to the sink on one association: from its first image to its last."""
    with scratch("node") as folder:
        out = free_port()
        backlog(folder, size, count, out)
        with Sink(out) as sink, node(folder, durability="process-crash", out=out, associations=1):
            return count / sink.wait(count)


def forward_over_tls(size: int, count: int, *, tls: bool = True) -> float:
    """A backlog to the sink on one association over TLS, or the same without it."""
    with scratch("node") as folder:
        out = free_port()
        backlog(folder, size, count, out)
        pair = certificate(folder) if tls else ()
        with (
            Sink(out, pair) as sink,
            node(folder, durability="process-crash", out=out, associations=1, tls=pair),
        ):
            return count / sink.wait(count)


def forward_to_storescp_over_tls(size: int, count: int) -> float:
    """A backlog to storescp over TLS, by the files as they appear."""
    with scratch("node") as folder, scratch("storescp") as received:
        out = free_port()
        backlog(folder, size, count, out)
        cert, key = certificate(folder)
        command = ["storescp", "+B", "+tls", str(key), str(cert), "-ic", "-od", str(received), str(out)]
        with (
            running(command, out, env={**os.environ, "TCP_NODELAY": "1"}),
            node(folder, durability="process-crash", out=out, associations=1, tls=(cert, key)),
        ):
            return files_rate(received, count)


def storescp_by_storescu_over_tls(size: int, count: int) -> float:
    """storescu to storescp over TLS, both without Nagle's algorithm: DCMTK's dcmsend (3.6.7) has no TLS."""
    environment = {**os.environ, "TCP_NODELAY": "1"}
    with scratch("storescp") as folder, scratch("tls") as keys, scratch("files") as sources:
        cert, key = certificate(keys)
        generator.files(sources, size, count)
        port = free_port()
        command = ["storescp", "+B", "+tls", str(key), str(cert), "-ic", "-od", str(folder), str(port)]
        with running(command, port, env=environment):
            sender = ["storescu", "+tla", "+cf", str(cert), "+sd", "127.0.0.1", str(port), str(sources)]
            with subprocess.Popen(sender, env=environment, stdout=subprocess.DEVNULL):
                return files_rate(folder, count)


def dcmsend(size: int, count: int, port: int, environment: dict[str, str]) -> float:
    """Seconds that dcmsend takes for `count` files."""
    with scratch("files") as folder:
        generator.files(folder, size, count)
        began = time.perf_counter()
        subprocess.run(
            ["dcmsend", "+sd", "--no-uid-checks", "127.0.0.1", str(port), str(folder)],
            check=True,
            env={**os.environ, **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        return time.perf_counter() - began


def forward_by_dcmsend(size: int, count: int) -> float:
    """dcmsend without Nagle's algorithm to the sink; its own start and scan of the files do not count."""
    with Sink() as sink:
        dcmsend(size, count, sink.port, {"TCP_NODELAY": "1"})
        return count / sink.wait(count)


def forward_to_storescp(size: int, count: int) -> float:
    """A backlog to storescp as installed, from the first delivery to the last, by the ledger."""
    with scratch("node") as folder, scratch("storescp") as received:
        out = free_port()
        backlog(folder, size, count, out)
        with running(["storescp", "+B", "-od", str(received), str(out)], out):
            for name in list(received.iterdir()):
                name.unlink()
            with node(folder, durability="process-crash", out=out, associations=1):
                return files_rate(received, count)


def files_rate(folder: Path, count: int) -> float:
    """Files per second, from the first to the last of `count` that appear in a folder."""
    wait_until(lambda: len(os.listdir(folder)) >= count)
    times = sorted(entry.stat().st_mtime for entry in os.scandir(folder))
    return (count - 1) / max(times[-1] - times[0], 1e-6)


def storescp_by_dcmsend(size: int, count: int) -> float:
    """dcmsend to storescp, both as installed: files per second as they appear."""
    with scratch("storescp") as folder, storescp(folder) as port:
        dcmsend(size, count, port, {})
        return files_rate(folder, count)


def compress_by_router() -> float:
    """Megabytes of pixels per second through the whole router, JPEG 2000 10:1."""
    return series.rate(series.through_router(COPIES))


def compress_by_pool() -> float:
    """The same pixels in a bare pool, in a process of its own."""
    return series.rate(series.pool_apart(COPIES))


def table() -> list[Row]:
    """Every row of the design's table "Where it must be fast"."""
    rows = []
    for size, label, target, count in ((LARGE, "512 kB", 1.1, 800), (SMALL, "9 kB", 1.5, 20000)):
        rows.append(
            Row(
                f"receive, {label}, process-crash, 1 sender",
                size,
                target,
                lambda size=size, count=count: receive(size, "process-crash", 1, count),
                lambda size=size, count=count: into_storescp(size, count),
                "DCMTK storescp",
            )
        )
    for size, label, count in ((LARGE, "512 kB", 800), (SMALL, "9 kB", 4000)):
        for senders in (1, 8):
            rows.append(
                Row(
                    f"receive, {label}, power-loss, {senders} sender{'s' * (senders > 1)}",
                    size,
                    0.8,
                    lambda size=size, count=count, senders=senders: receive(
                        size, "power-loss", senders, count
                    ),
                    lambda size=size, count=count, senders=senders: into_plain_loop(size, senders, count),
                    "plain loop with fsync",
                )
            )
            rows.append(
                Row(
                    f"receive, {label}, power-loss, {senders} sender{'s' * (senders > 1)}",
                    size,
                    3,
                    lambda size=size, count=count, senders=senders: receive(
                        size, "power-loss", senders, count
                    ),
                    lambda size=size, count=count, senders=senders: into_orthanc(size, senders, count),
                    "Orthanc",
                )
            )
    for size, label, count in ((LARGE, "512 kB", 600), (SMALL, "9 kB", 3000)):
        rows.append(
            Row(
                f"receive, set a tag, forward, {label}, power-loss",
                size,
                20,
                lambda size=size, count=count: routed(size, count),
                lambda size=size: routed_by_orthanc(size, 60),
                "Orthanc with a Lua route",
            )
        )
    for size, label, count in ((LARGE, "512 kB", 1000), (SMALL, "9 kB", 12000)):
        rows.append(
            Row(
                f"forward to the sink, {label}",
                size,
                1,
                lambda size=size, count=count: forward(size, count),
                lambda size=size, count=count: forward_by_dcmsend(size, count),
                "dcmsend with TCP_NODELAY=1",
            )
        )
    for size, label, count in ((LARGE, "512 kB", 300), (SMALL, "9 kB", 1000)):
        rows.append(
            Row(
                f"forward to storescp as installed, {label}",
                size,
                50,
                lambda size=size, count=count: forward_to_storescp(size, count),
                lambda size=size: storescp_by_dcmsend(size, 50),
                "dcmsend as installed",
            )
        )
    rows += tls_rows()
    rows += stow_rows()
    if series.folder().is_dir():
        rows.append(
            Row(
                "compress to JPEG 2000 10:1 through the router",
                LARGE,
                0.9,
                compress_by_router,
                compress_by_pool,
                "bare pool, encode and verify",
                "MB/s",
            )
        )
    return rows


def tls_rows() -> list[Row]:
    """C-STORE over TLS, against DCMTK and against the same without TLS."""
    rows = [
        Row(
            "receive over TLS, 512 kB, process-crash, 1 sender",
            LARGE,
            1.1,
            lambda: receive_over_tls(LARGE, 500),
            lambda: into_storescp_over_tls(LARGE, 500),
            "DCMTK storescp +tls",
        ),
        Row(
            "forward over TLS to storescp, 512 kB",
            LARGE,
            1,
            lambda: forward_to_storescp_over_tls(LARGE, 300),
            lambda: storescp_by_storescu_over_tls(LARGE, 300),
            "storescu +tls, TCP_NODELAY=1",
        ),
    ]
    for size, label, count in ((BULK, "8 MB", 60), (LARGE, "512 kB", 600)):
        for what, measure in (("receive", receive_over_tls), ("forward to the sink", forward_over_tls)):
            rows.append(
                Row(
                    f"{what} over TLS, {label}, process-crash",
                    size,
                    0.5,
                    lambda measure=measure, size=size, count=count: measure(size, count),
                    lambda measure=measure, size=size, count=count: measure(size, count, tls=False),
                    "MAPDR without TLS",
                )
            )
    return rows


def stow_rows() -> list[Row]:
    """STOW-RS out to one and the same server, against curl as the limit and against dicomweb-client."""
    rows = []
    # curl's small images are a body that is ready: there is nothing in it that costs for each of them.
    for size, label, count, of_curl in ((LARGE, "512 kB", 1000, 0.6), (SMALL, "9 kB", 10000, 0.08)):
        peers = [("curl with bodies that are ready", of_curl, stow.by_curl)]
        if stow.CLIENT:
            peers.append(("dicomweb-client", 1.0, stow.by_client))
        rows += [
            Row(
                f"STOW-RS, {label}, one request at a time",
                size,
                target,
                lambda size=size, count=count: stow.forward(size, count, 1),
                lambda size=size, count=count, peer=peer: peer(size, count),
                name,
            )
            for name, target, peer in peers
        ]
    return rows


def ceiling(size: int, count: int) -> float:
    """What generator and sink do with nothing in between."""
    with Sink() as sink:
        return load(sink.port, count, size, called="SINK")["rate"]
