"""One healthy destination beside others: beside one that says nothing, and one that refuses half.

python -m benchmarks.contention [ROUNDS]          prints Markdown; `benchmarks.more` puts it into RESULTS.md

The p95 is that of all images of a round; it takes many of them to tell 1.2 times from chance.
"""

from __future__ import annotations

import statistics
import sys
from contextlib import ExitStack
from typing import NamedTuple

from benchmarks.node import node
from benchmarks.peers import Sink, load, scratch, stalled
from benchmarks.rows import LARGE, SMALL

SENDERS = 16
WARM = 320
"""Images before the measurement: associations are open then, and the slow destination is known to be slow."""


class Found(NamedTuple):
    """Images a second at the healthy destination, p95 of Success in ms, and CPU us of the node an image."""

    rate: float
    p95: float
    cpu: float


def egress(name: str, port: int) -> str:
    """A destination, and a rule that sends it everything."""
    return (
        f'[egress.{name}]\ntype = "dicom"\nae_title = "OTHER"\nhost = "127.0.0.1"\nport = {port}\n'
        f'[[rule]]\nname = "{name}"\nwhen = {{}}\nsend_to = ["{name}"]\n'
    )


def measure(others: tuple[str, ...], size: int, images: int, durability: str) -> Found:
    """16 senders push `images` through a node to the healthy destination, and to `others` beside it."""
    with ExitStack() as stack:
        folder = stack.enter_context(scratch("contention"))
        sink = stack.enter_context(Sink())
        steps = ""
        if "stalled" in others:
            steps += egress("stalled", stack.enter_context(stalled()))
        if "half" in others:
            steps += egress("half", stack.enter_context(Sink(refuses_half=True)).port)
        bench = stack.enter_context(node(folder, durability=durability, out=sink.port, steps=steps))
        load(bench.port, WARM, size, SENDERS)
        sink.wait(WARM)
        before = bench.cpu()
        told = load(bench.port, images, size, SENDERS)
        sink.wait(WARM + images)
        seconds = sink.times()[2] - told["began"]
        return Found(images / seconds, told["p95"], (bench.cpu() - before) / images * 1e6)


CASES: dict[str, tuple[str, ...]] = {
    "alone": (),
    "beside one that says nothing": ("stalled",),
    "beside one that refuses half": ("half",),
    "beside both": ("stalled", "half"),
}
WORK = ((SMALL, "9 kB", 9600, "process-crash"), (LARGE, "512 kB", 1920, "power-loss"))


def report(rounds: int = 3) -> list[str]:
    """Every case in turn, round after round, in Markdown: medians, and those of the ratios within a round."""
    lines = [
        "16 senders, everything to every destination; the rate is that of the healthy one.",
        "",
        "| size | durability | the healthy one | images/s | of alone | p95 ms | of alone | CPU us/image |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for size, label, images, durability in WORK:
        found: dict[str, list[Found]] = {case: [] for case in CASES}
        for _ in range(rounds):
            for case, others in CASES.items():
                found[case].append(measure(others, size, images, durability))
        for case, rows in found.items():
            rate, p95, cpu = (statistics.median(column) for column in zip(*rows, strict=True))
            pairs = list(zip(rows, found["alone"], strict=True))
            of_rate = statistics.median(one.rate / alone.rate for one, alone in pairs)
            of_p95 = statistics.median(one.p95 / alone.p95 for one, alone in pairs)
            lines.append(
                f"| {label} | {durability} | {case} | {rate:,.0f} | {of_rate:.2f} | "
                f"{p95:.2f} | {of_p95:.2f} | {cpu:,.0f} |"
            )
    return lines


if __name__ == "__main__":
    print("\n".join(report(int(sys.argv[1]) if len(sys.argv) > 1 else 3)))
