"""Measure sections anew, which do not change the others.

python -m benchmarks.sections [ROUNDS [TITLE ...]]          all of them, or those named
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping

from benchmarks import codecs, contention, deidentify, success, tenfold, watching
from benchmarks.__main__ import HEAD, HERE, conditions, line, measure
from benchmarks.rows import Row, stow_rows, tls_rows


def replaced(text: str, title: str, lines: list[str]) -> str:
    """`text` with another content of the section `title`, which is the last one if it is new."""
    section = re.compile(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    new = "\n".join([f"## {title}", "", *lines, "", ""])
    return section.sub(lambda found: new, text) if section.search(text) else f"{text}\n{new}"


def lines_of(rows: Iterable[Row], rounds: int) -> list[str]:
    """Rows of the table, with machine and versions, in Markdown."""
    lines = [*conditions(rounds), "", *HEAD]
    for row in rows:
        lines.append(line(row, *measure(row, rounds)))
        print(lines[-1], flush=True)
    return lines


def over_tls_and_http(rounds: int) -> list[str]:
    """What goes over TLS and HTTP."""
    return lines_of((*tls_rows(), *stow_rows()), rounds)


def de_identification(rounds: int) -> list[str]:
    """De-identification, beside its peers, and what it costs."""
    return [*lines_of(deidentify.rows(), rounds), "", *deidentify.report(rounds)]


SECTIONS: Mapping[str, Callable[[int], list[str]]] = {
    "Over TLS and HTTP": over_tls_and_http,
    "De-identification": de_identification,
    "Contention": contention.report,
    "Watching": watching.report,
    "Ten to one": tenfold.report,
    "Success": success.report,
    "Codecs beside other programs": codecs.report,
}


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    results = HERE / "RESULTS.md"
    for title in sys.argv[2:] or SECTIONS:
        lines = SECTIONS[title](rounds)
        results.write_text(replaced(results.read_text(), title, lines))


if __name__ == "__main__":
    main()
