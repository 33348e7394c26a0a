"""A fault in what somebody wrote: where, what, and the cure; and the nearest name to a misspelt one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

Place = tuple[str | int, ...]
"""Keys and positions from the top of the configuration, e.g. `("rule", 0, "when", "Modality")`."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault. `what` and `cure` never hold a value that could be a secret."""

    place: Place
    what: str
    cure: str


class Faults(ValueError):
    """What is wrong within a value: findings whose places start there, for a validator to raise at once."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = tuple(findings)
        super().__init__("; ".join((self.findings[0].what, self.findings[0].cure)))


SYNONYMS = {
    "add": "set_if_missing",
    "aet": "ae_title",
    "address": "host",
    "delete": "remove",
    "destinations": "send_to",
    "erase": "remove",
    "hostname": "host",
    "htj2k-lossy": "htj2k",
    "if": "when",
    "ip": "host",
    "j2k": "jpeg2000",
    "jp2": "jpeg2000",
    "jpeg-lossy": "jpeg",
    "jpeg2000-lossy": "jpeg2000",
    "jpegls-lossy": "jpegls-near",
    "jpegxl-lossy": "jpegxl",
    "jls": "jpegls",
    "jxl": "jpegxl",
    "lookup": "map",
    "match": "when",
    "regex": "pattern",
    "shift": "shift_date",
    "value": "to",
}
"""What people write from habit, and what it is called here."""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known name that `word` most likely meant, or None."""
    by_lower = {name.lower(): name for name in sorted(known)}
    found = get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def instead(word: str, known: Iterable[str], noun: str = "known") -> str:
    """The cure for an unknown name: the nearest one if there is any, then all that are known."""
    names = sorted(known)
    meant = SYNONYMS.get(word.lower())
    if meant in names:
        return f"write {meant} instead"
    near = nearest(word, names)
    if near is not None:
        return f'did you mean "{near}"?'
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"{noun}: {shown or 'none'}"
