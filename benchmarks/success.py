"""What Success costs under "power-loss": a node with a journal, one without, and the plain loop, in turn.

    python -m benchmarks.sections ROUNDS "Success"

The plain loop (`benchmarks.plain`) makes each image safe as a file of its own, and knows nothing of DICOM, of
an index or of rules. To be read where the folders stand on a device of their own (MAPDR_BENCH_DIR).
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping

from benchmarks.node import node
from benchmarks.peers import load, scratch
from benchmarks.rows import LARGE, SMALL, plain_loop, routed

JOURNALLED = {("512 kB", 1): 1.4, ("512 kB", 8): 1.4, ("9 kB", 1): 2.0, ("9 kB", 8): 2.5}
"""What a node with a journal is asked for, as a multiple of the loop's rate, by size and senders."""
ROUTED = {"512 kB": 1.2, "9 kB": 1.5}
"""The same of one that sets a tag and forwards; the loop does neither."""

Figures = Mapping[str, float]


def taken(size: int, senders: int, count: int, *, journal: bool) -> Figures:
    """Images into a node with one matching rule: `rate` a second, `p99` in milliseconds."""
    with scratch("node") as folder, node(folder, durability="power-loss", journal=journal) as bench:
        return load(bench.port, count, size, senders)


def in_turn(ways: Mapping[str, Callable[[], Figures]], rounds: int) -> dict[str, dict[str, float]]:
    """The median of each figure of each way, measured in turn."""
    found: dict[str, list[Figures]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            found[name].append(way())
    return {
        name: {key: statistics.median(one[key] for one in all_of_it) for key in all_of_it[0]}
        for name, all_of_it in found.items()
    }


def report(rounds: int) -> list[str]:
    """The section in Markdown."""
    lines = [
        f"Medians of {rounds} rounds, images a second; p99 from the first byte to the answer, in ms. The",
        "node sets a tag and forwards where that is said, and the loop never does.",
        "",
        "| work | loop | node | with a journal | of the loop | asked | p99 loop | node | with a journal |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for size, label, count in ((LARGE, "512 kB", 800), (SMALL, "9 kB", 4000)):
        for senders in (1, 8):
            found = in_turn(
                {
                    "loop": lambda size=size, senders=senders, count=count: plain_loop(size, senders, count),
                    "node": lambda size=size, senders=senders, count=count: taken(
                        size, senders, count, journal=False
                    ),
                    "journal": lambda size=size, senders=senders, count=count: taken(
                        size, senders, count, journal=True
                    ),
                },
                rounds,
            )
            rates = [found[name]["rate"] for name in ("loop", "node", "journal")]
            latencies = [f"{found[name]['p99']:.1f}" for name in ("loop", "node", "journal")]
            name = f"receive, {label}, {senders} sender{'s' * (senders > 1)}"
            lines.append(_line(name, rates, JOURNALLED[label, senders], latencies))
            print(lines[-1], flush=True)
    for size, label, count in ((LARGE, "512 kB", 600), (SMALL, "9 kB", 3000)):
        found = in_turn(
            {
                "loop": lambda size=size, count=count: plain_loop(size, 1, count),
                "node": lambda size=size, count=count: {"rate": routed(size, count)},
                "journal": lambda size=size, count=count: {"rate": routed(size, count, journal=True)},
            },
            rounds,
        )
        rates = [found[name]["rate"] for name in ("loop", "node", "journal")]
        lines.append(_line(f"receive, set a tag, forward, {label}", rates, ROUTED[label], ["", "", ""]))
        print(lines[-1], flush=True)
    return lines


def _line(name: str, rates: list[float], asked: float, latencies: list[str]) -> str:
    cells = [f"{rate:,.0f}" for rate in rates]
    ratio = rates[2] / rates[0]
    met = f"{ratio:.2f}" if ratio >= asked else f"**{ratio:.2f}**"
    return "| " + " | ".join([name, *cells, met, f"{asked:g}", *latencies]) + " |"
