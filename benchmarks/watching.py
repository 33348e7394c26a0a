"""What it costs a node that takes 2,000 images a second to be watched, by a page and by `mapdr top`.

python -m benchmarks.watching [ROUNDS]          prints Markdown; `benchmarks.more` puts it into RESULTS.md

The rate is the same all the time. Seconds without and with both alternate in one run, and what is compared is
the CPU time of the node in them; that of `mapdr top` counts as well, that of the browser does not.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import shutil
import statistics
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
from playwright.sync_api import Browser, sync_playwright

from benchmarks.node import Bench, node
from benchmarks.peers import Sink, free_port, load, scratch
from benchmarks.rows import SMALL
from mapdr.operate.signin import Doors

RATE, SENDERS = 2000, 4
SECONDS = 12.0
SETTLED = 3.0
"""Seconds after which who looks has read what is read once."""


@contextlib.contextmanager
def page(browser: Browser, bench: Bench, port: int) -> Iterator[None]:
    """The page's first view, open in a tab."""
    token = Doors(bench.folder / "data").make_link("bench", "operator")
    tab = browser.new_page(viewport={"width": 1440, "height": 1000})
    try:
        tab.goto(f"http://127.0.0.1:{port}/#token={token}")
        tab.get_by_text("Received").first.wait_for()
        yield
    finally:
        tab.close()


@contextlib.contextmanager
def top(bench: Bench) -> Iterator[psutil.Process]:
    """`mapdr top` on a terminal of 50 lines, whose output is read and thrown away."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
    command = [sys.executable, "-I", "-m", "mapdr_cli", "top", "--config", str(bench.folder / "mapdr.toml")]
    environment = {**os.environ, "TERM": "xterm-256color"}
    process = subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=environment)
    os.close(its)
    reader = threading.Thread(target=_read_all, args=(ours,), daemon=True)
    reader.start()
    try:
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(10)
        reader.join(10)
        os.close(ours)


def _read_all(terminal: int) -> None:
    with contextlib.suppress(OSError):  # its other end is closed
        while os.read(terminal, 1 << 16):
            pass


def measure(rounds: int) -> list[tuple[float, float, float]]:
    """CPU seconds a second, round by round: of the node unwatched, of the node watched, of `mapdr top`."""
    found = []
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(scratch("watching"))
        sink = stack.enter_context(Sink())
        port = free_port()
        web = f"\n[web]\nport = {port}\n"
        bench = stack.enter_context(node(folder, durability="process-crash", out=sink.port, steps=web))
        browser = stack.enter_context(sync_playwright()).chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        stack.callback(browser.close)
        images = int(RATE * rounds * 2 * (SECONDS + 2 * SETTLED))
        senders = stack.enter_context(ThreadPoolExecutor(1))
        sent = senders.submit(load, bench.port, images, SMALL, SENDERS, rate=RATE)
        for number in range(rounds):
            alone = _alone(bench) if number % 2 == 0 else None  # the index grows: neither is always first
            with page(browser, bench, port), top(bench) as watcher:
                time.sleep(SETTLED)
                both = _used(bench, watcher)
            found.append((_alone(bench) if alone is None else alone, *both))
        sent.result()
    return found


def _alone(bench: Bench) -> float:
    """CPU seconds a second of the node that nobody watches."""
    time.sleep(SETTLED)
    return _used(bench)[0]


def _used(bench: Bench, watcher: psutil.Process | None = None) -> tuple[float, float]:
    """CPU seconds a second of the node and of `watcher`, over SECONDS."""

    def cpu() -> tuple[float, float, float]:
        used = watcher.cpu_times() if watcher is not None else None
        return time.monotonic(), bench.cpu(), used.user + used.system if used is not None else 0.0

    began, node_before, watcher_before = cpu()
    time.sleep(SECONDS)
    ended, node_after, watcher_after = cpu()
    return (node_after - node_before) / (ended - began), (watcher_after - watcher_before) / (ended - began)


def report(rounds: int = 5) -> list[str]:
    """In Markdown: medians."""
    found = measure(rounds)
    alone, watched, watcher = (statistics.median(column) for column in zip(*found, strict=True))
    shares = sorted((each[1] + each[2]) / each[0] - 1 for each in found)
    return [
        "| images/s | CPU of the node | watched by both | CPU of `mapdr top` | what both cost |",
        "|---|---|---|---|---|",
        f"| {RATE:,} | {alone:.3f} s/s | {watched:.3f} s/s | {watcher:.3f} s/s | "
        f"{statistics.median(shares):.1%} ({shares[0]:.1%} to {shares[-1]:.1%}) |",
    ]


def _main(rounds: int) -> None:
    print("\n".join(report(rounds)))


if __name__ == "__main__":
    _main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
