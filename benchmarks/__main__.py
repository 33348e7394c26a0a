"""Run the table and write RESULTS.md.

    python -m benchmarks [--rounds 5] [--no-write]
    python -m benchmarks --only TEXT [--rounds 5]       prints these rows, and writes nothing

Both sides of a row are measured in turn within one run, so that a machine whose speed drifts changes
both; what is quoted is the median of each side and the ratio of the medians.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
from datetime import date
from pathlib import Path

from benchmarks import deidentify, more
from benchmarks.rows import LARGE, SMALL, Row, ceiling, table

HERE = Path(__file__).parent
HEAD = ("| work | MAPDR | peer | unit | ratio | asked | met |", "|---|---|---|---|---|---|---|")


def measure(row: Row, rounds: int) -> tuple[list[float], list[float]]:
    """`rounds` alternating measurements of both sides; none of a peer that is not here."""
    ours, peer = [], []
    for _ in range(rounds):
        ours.append(row.ours())
        if row.peer is not None:
            peer.append(row.peer())
    return ours, peer


def spread(values: list[float]) -> str:
    """Median, with minimum and maximum."""
    return f"{statistics.median(values):,.0f} ({min(values):,.0f} to {max(values):,.0f})"


def line(row: Row, ours: list[float], peer: list[float]) -> str:
    """One line of the table in Markdown."""
    if not peer:
        return (
            f"| {row.name} | {spread(ours)} | {row.peer_name}: not here | {row.unit} | | {row.target:g} | |"
        )
    ratio = statistics.median(ours) / statistics.median(peer)
    met = "yes" if ratio >= row.target else "**no**"
    return (
        f"| {row.name} | {spread(ours)} | {row.peer_name}: {spread(peer)} | {row.unit} | "
        f"{ratio:.2f} | {row.target:g} | {met} |"
    )


def version(*command: str) -> str:
    """The first line that a program prints of its version."""
    try:
        out = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return f"{command[0]}: {error.strerror}"
    return next((text.strip() for text in (out.stdout + out.stderr).splitlines() if text.strip()), command[0])


def conditions(rounds: int) -> list[str]:
    """Machine, versions and how it was measured."""
    model = (
        next(
            (
                text.split(":", 1)[1].strip()
                for text in Path("/proc/cpuinfo").read_text().splitlines()
                if text.startswith("model name")
            ),
            platform.processor(),
        )
        if Path("/proc/cpuinfo").exists()
        else platform.processor()
    )
    import mapdr
    from mapdr import _fast

    return [
        f"Measured on {date.today().isoformat()}: {os.cpu_count()} cores, {model}, {platform.system()} "
        f"{platform.release()}, Python {platform.python_version()}, MAPDR {mapdr.__version__} "
        f"(hot paths: {_fast.BACKEND}), "
        f"{version('storescp', '--version')}, {version('Orthanc', '--version')}.",
        "",
        f"{rounds} rounds, both sides of a row in turn, everything on loopback and one disk; the figure is "
        "the median, in brackets the smallest and the largest. Generator and sink with nothing in between: "
        f"{ceiling(LARGE, 1000):,.0f} images/s of 512 kB and {ceiling(SMALL, 10000):,.0f} of 9 kB.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the table and write RESULTS.md.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="rows whose name or peer holds this text")
    parser.add_argument("--no-write", action="store_true")
    args = parser.parse_args()
    lines = []
    for row in (*table(), *deidentify.rows()):
        if args.only in f"{row.name} {row.peer_name}":
            lines.append(line(row, *measure(row, args.rounds)))
            print(lines[-1], flush=True)
    if args.no_write or args.only:
        return
    text = [
        "# Results",
        "",
        *conditions(args.rounds),
        "",
        *HEAD,
        *lines,
        "",
        *more.report(),
    ]
    notes = HERE / "NOTES.md"
    (HERE / "RESULTS.md").write_text("\n".join(text) + (notes.read_text() if notes.exists() else ""))
    print(f"written: {HERE / 'RESULTS.md'}", file=sys.stderr)


if __name__ == "__main__":
    main()
