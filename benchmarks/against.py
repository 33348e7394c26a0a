"""Two checkouts of MAPDR side by side: is a row of the table slower here than there by more than its spread?

    python -m benchmarks.against OTHER [--rounds 5] [--only TEXT]

OTHER is a checkout with a `.venv` of its own (`make test` there makes it). Each round measures our side of a
row in both, each with its own interpreter, code and extensions, in alternating order, so that a machine whose
speed drifts changes both. A row is *worse* when its median here lies below everything that was measured
there. Exit status 1 if any row is worse.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.__main__ import HERE, spread
from benchmarks.rows import table

MEASURE = """
import sys
from benchmarks.rows import table
print(next(row for row in table() if row.name == sys.argv[1]).ours())
"""


def interpreter(checkout: Path) -> Path:
    """The Python of a checkout's own environment."""
    return checkout / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def measured(checkout: Path, row: str) -> float:
    """One measurement of our side of a row, by the code of a checkout. Raises CalledProcessError."""
    out = subprocess.run(
        [interpreter(checkout), "-c", MEASURE, row],
        cwd=checkout,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
    ).stdout
    return float(out.split()[-1])


def compare(row: str, here: Path, there: Path, rounds: int) -> tuple[list[float], list[float]]:
    """`rounds` measurements of a row in both, in alternating order."""
    sides: dict[Path, list[float]] = {here: [], there: []}
    for number in range(rounds):
        for checkout in (here, there) if number % 2 else (there, here):
            sides[checkout].append(measured(checkout, row))
    return sides[here], sides[there]


def is_worse(ours: list[float], theirs: list[float]) -> bool:
    """Whether ours are slower by more than the spread of theirs."""
    return statistics.median(ours) < min(theirs)


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare this checkout's speed with another's.")
    parser.add_argument("other", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="rows whose name holds this text")
    args = parser.parse_args()
    here, there = HERE.parent, args.other.resolve()
    units = {row.name: row.unit for row in table() if args.only in row.name}
    worse = 0
    print("| work | here | there | unit | ratio | worse |\n|---|---|---|---|---|---|")
    for name, unit in units.items():
        ours, theirs = compare(name, here, there, args.rounds)
        ratio = statistics.median(ours) / statistics.median(theirs)
        verdict = is_worse(ours, theirs)
        worse += verdict
        said = "**yes**" if verdict else "no"
        print(f"| {name} | {spread(ours)} | {spread(theirs)} | {unit} | {ratio:.2f} | {said} |", flush=True)
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
