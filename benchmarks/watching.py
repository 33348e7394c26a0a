"""What it costs a node that takes 2,000 images a second to be watched, by a page and by `mapdr top`.

python -m benchmarks.watching [ROUNDS]          prints Markdown; `benchmarks.more` puts it into RESULTS.md

The rate is the same all the time; seconds without and with both alternate in one run. What watching costs is
the CPU time of `mapdr top`, and that of those threads of the node that use next to none while nobody looks:
the kernel counts it by thread, to the nanosecond. How the whole node differs is given as well; from one
stretch of seconds to the next it differs by more than that, watched or not.

The page's part is a client that asks for what the page asks for, as often: a browser beside the node would
take its caches, and draws elsewhere. A browser opens the page once; the run fails if it asks for more.
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
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
from playwright.sync_api import sync_playwright

from benchmarks.node import Bench, node
from benchmarks.peers import Sink, free_port, load, scratch
from benchmarks.rows import SMALL
from mapdr.operate.signin import Doors

RATE, SENDERS = 2000, 4
SECONDS = 12.0
SETTLED = 3.0
"""Seconds after which who looks has read what is read once."""
IDLE = 0.0015
"""CPU seconds a second: a thread that uses less serves who looks, or does hardly anything."""


POLLED = ("/counts", "/surroundings")
"""What the first view asks for every POLLING seconds ..."""
POLLING = 5.0
ONCE_A_MINUTE = ("/hours", "/days")
"""... and each minute; beside the stream of states."""


def asked_by_the_page(bench: Bench, port: int) -> set[str]:
    """The paths of the API that the page's first view asks for by itself, in Chromium."""
    asked: set[str] = set()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        tab = browser.new_page()
        tab.goto(f"http://127.0.0.1:{port}/#token={_link(bench)}")
        tab.get_by_text("Received").first.wait_for()
        tab.on("request", lambda request: asked.add(urlsplit(request.url).path.removeprefix("/api/v1")))
        tab.wait_for_timeout(3 * POLLING * 1000)
        browser.close()
    return asked


def _link(bench: Bench) -> str:
    return Doors(bench.folder / "data").make_link("bench", "operator")


@contextlib.contextmanager
def page(bench: Bench, port: int) -> Iterator[None]:
    """The page's first view, as the node sees it."""
    ended = threading.Event()
    with httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", trust_env=False) as client:
        client.post("/session", json={"token": _link(bench)}).raise_for_status()
        with client.stream("GET", "/stream", timeout=10) as stream, ThreadPoolExecutor(2) as threads:
            stream.raise_for_status()
            parts = [threads.submit(_listen, stream, ended), threads.submit(_poll, client, ended)]
            try:
                yield
            finally:
                ended.set()
                for part in parts:
                    part.result()


def _listen(stream: httpx.Response, ended: threading.Event) -> None:
    for _ in stream.iter_raw():  # a state each second
        if ended.is_set():
            break


def _poll(client: httpx.Client, ended: threading.Event) -> None:
    days = {"first": f"{date.today()}", "last": f"{date.today()}"}

    def ask(paths: Iterable[str]) -> None:
        for path in paths:
            client.get(path, params=None if path == "/surroundings" else days).raise_for_status()

    ask((*ONCE_A_MINUTE, *POLLED))
    while not ended.wait(POLLING):
        ask(POLLED)


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


@dataclass(frozen=True, slots=True)
class Round:
    """CPU seconds a second: of the node alone and watched, of its threads that watching wakes, of `top`."""

    alone: float
    watched: float
    page: float
    top: float


def measure(rounds: int) -> list[Round]:
    """What was used, round by round."""
    found = []
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(scratch("watching"))
        sink = stack.enter_context(Sink())
        port = free_port()
        web = f"\n[web]\nport = {port}\n"
        bench = stack.enter_context(node(folder, durability="process-crash", out=sink.port, steps=web))
        if asked := asked_by_the_page(bench, port) - {*POLLED, *ONCE_A_MINUTE}:
            raise RuntimeError(f"the page asks for more than this benchmark: {sorted(asked)}")
        images = int(RATE * rounds * 2 * (SECONDS + 2 * SETTLED))
        senders = stack.enter_context(ThreadPoolExecutor(1))
        sent = senders.submit(load, bench.port, images, SMALL, SENDERS, rate=RATE)
        for number in range(rounds):
            alone = _alone(bench) if number % 2 == 0 else None  # the index grows: neither is always first
            with page(bench, port), top(bench) as watcher:
                time.sleep(SETTLED)
                watched, by_top = _used(bench.process.pid, watcher.pid)
            found.append(_round(_alone(bench) if alone is None else alone, watched, sum(by_top.values())))
        sent.result()
    return found


Threads = dict[int, float]
"""CPU seconds a second of threads, by their number."""


def _round(alone: Threads, watched: Threads, by_top: float) -> Round:
    woken = {number: used for number, used in watched.items() if alone.get(number, 0.0) < IDLE}
    before = sum(alone.get(number, 0.0) for number in woken)
    return Round(sum(alone.values()), sum(watched.values()), sum(woken.values()) - before, by_top)


def _alone(bench: Bench) -> Threads:
    """The node's threads while nobody watches."""
    time.sleep(SETTLED)
    return _used(bench.process.pid)[0]


def _used(*processes: int) -> list[Threads]:
    """What the threads of these processes use, over SECONDS."""
    began, before = time.monotonic(), [_threads(each) for each in processes]
    time.sleep(SECONDS)
    took, after = time.monotonic() - began, [_threads(each) for each in processes]
    return [
        {number: (used - first.get(number, 0.0)) / took for number, used in last.items()}
        for first, last in zip(before, after, strict=True)
    ]


def _threads(process: int) -> Threads:
    """CPU seconds so far of each thread (Documentation/scheduler/sched-stats.rst of Linux)."""
    found = {}
    for task in Path(f"/proc/{process}/task").iterdir():
        with contextlib.suppress(OSError):  # it has ended
            found[int(task.name)] = int((task / "schedstat").read_text().split()[0]) / 1e9
    return found


def report(rounds: int = 5) -> list[str]:
    """In Markdown: medians, and between which values the shares lie."""
    found = measure(rounds)
    alone, by_page, by_top = (
        statistics.median(column)
        for column in zip(*((one.alone, one.page, one.top) for one in found), strict=True)
    )
    return [
        "| images/s | CPU of the node | for the page | CPU of `top` | both cost | the node differs by |",
        "|---|---|---|---|---|---|",
        f"| {RATE:,} | {alone:.3f} s/s | {by_page:.4f} s/s | {by_top:.4f} s/s | "
        f"{_shares([(one.page + one.top) / one.alone for one in found])} | "
        f"{_shares([one.watched / one.alone - 1 for one in found])} |",
    ]


def _shares(values: list[float]) -> str:
    return f"{statistics.median(values):.1%} ({min(values):.1%} to {max(values):.1%})"


def _main(rounds: int) -> None:
    print("\n".join(report(rounds)))


if __name__ == "__main__":
    _main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
