"""A problem as people read it: `mapdr.toml:LINE path: what; cure`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from mapdr.kernel.finding import Finding, Place

_BARE = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Problem:
    """A finding with its file and line. `line` 0 means that the file as a whole is meant."""

    file: str
    line: int
    path: str
    what: str
    cure: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return (
            f"{place} {self.path}: {self.what}; {self.cure}"
            if self.path
            else f"{place}: {self.what}; {self.cure}"
        )


def locate(
    finding: Finding, file: str, lines: Mapping[Place, int], rules: Mapping[int, str] | None = None
) -> Problem:
    """The finding with the line of its place, or of the nearest enclosing place that has one.

    `rules` are the names of the rules by their position, for those that have one.
    """
    place = finding.place
    while place and place not in lines:
        place = place[:-1]
    text = path_text(finding.place, rules or {})
    return Problem(file, lines.get(place, 0), text, finding.what, finding.cure)


def path_text(place: Place, rules: Mapping[int, str] | None = None) -> str:
    """The place in TOML's words: `rule "CT".when.Modality`, positions from 0, odd keys quoted."""
    text = ""
    for depth, part in enumerate(place):
        if isinstance(part, int):
            name = (rules or {}).get(part) if depth == 1 and place[0] == "rule" else None
            text += f"[{part}]" if name is None else f' "{name}"'
        else:
            text += ("." if text else "") + (part if _BARE.fullmatch(part) else f'"{part}"')
    return text
