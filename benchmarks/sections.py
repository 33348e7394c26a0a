"""Measure what goes over TLS and HTTP, contention and watching anew: only these sections change.

python -m benchmarks.sections [ROUNDS]
"""

from __future__ import annotations

import re
import sys

from benchmarks import contention, watching
from benchmarks.__main__ import HEAD, HERE, conditions, line, measure
from benchmarks.rows import stow_rows, tls_rows

TLS_AND_HTTP, CONTENTION, WATCHING = "Over TLS and HTTP", "Contention", "Watching"


def replaced(text: str, title: str, lines: list[str]) -> str:
    """`text` with another content of the section `title`, which is the last one if it is new."""
    section = re.compile(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    new = "\n".join([f"## {title}", "", *lines, "", ""])
    return section.sub(lambda found: new, text) if section.search(text) else f"{text}\n{new}"


def over_tls_and_http(rounds: int) -> list[str]:
    """Their rows of the table, with machine and versions, in Markdown."""
    lines = [*conditions(rounds), "", *HEAD]
    for row in (*tls_rows(), *stow_rows()):
        lines.append(line(row, *measure(row, rounds)))
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    results = HERE / "RESULTS.md"
    for title, lines in (
        (TLS_AND_HTTP, over_tls_and_http),
        (CONTENTION, contention.report),
        (WATCHING, watching.report),
    ):
        results.write_text(replaced(results.read_text(), title, lines(rounds)))


if __name__ == "__main__":
    main()
