"""What a C-STORE status means, and what the one who sent the image should do about it.

The codes are those of PS3.4 table B.2-1 and PS3.7 annex C. Warnings count as delivered: the receiver has
the image. Out of resources, and trouble at the receiver, may pass: the image waits. Ranges are compared as
ranges, never as bit masks.
"""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache

from mapdr.kernel.item import Outcome, Verdict
from mapdr.kernel.status import DUPLICATE_SOP_INSTANCE


class Kind(StrEnum):
    """The classes of status that call for different behaviour."""

    SUCCESS = "success"
    WARNING = "warning"
    OUT_OF_RESOURCES = "out of resources"
    TROUBLE = "trouble at the receiver"
    REFUSED = "refused"
    ITEM_FAULT = "item fault"
    UNKNOWN = "unknown"


_VERDICTS = {
    Kind.SUCCESS: Verdict.DELIVERED,
    Kind.WARNING: Verdict.DELIVERED,
    Kind.OUT_OF_RESOURCES: Verdict.RETRY,
    Kind.TROUBLE: Verdict.RETRY,
    Kind.REFUSED: Verdict.REFUSED,
    Kind.ITEM_FAULT: Verdict.REFUSED,
    Kind.UNKNOWN: Verdict.RETRY,
}

STATUSES: dict[int, tuple[Kind, str]] = {
    0x0000: (Kind.SUCCESS, "success"),
    0x0001: (Kind.WARNING, "accepted with a warning"),
    0x0105: (Kind.ITEM_FAULT, "no such attribute"),
    0x0106: (Kind.ITEM_FAULT, "invalid attribute value"),
    0x0107: (Kind.WARNING, "accepted, but the receiver objects to some attributes"),
    0x0110: (Kind.TROUBLE, "processing failure"),
    0x0111: (Kind.WARNING, "the receiver already has this SOP instance"),
    0x0112: (Kind.ITEM_FAULT, "no such SOP instance"),
    0x0115: (Kind.ITEM_FAULT, "invalid argument value"),
    0x0116: (Kind.WARNING, "accepted, but an attribute value is out of range"),
    0x0117: (Kind.ITEM_FAULT, "invalid SOP instance UID"),
    0x0118: (Kind.REFUSED, "no such SOP class"),
    0x0119: (Kind.ITEM_FAULT, "the SOP instance is not of this SOP class"),
    0x0120: (Kind.ITEM_FAULT, "a required attribute is missing"),
    0x0121: (Kind.ITEM_FAULT, "a required attribute value is missing"),
    0x0122: (Kind.REFUSED, "SOP class not supported"),
    0x0124: (Kind.REFUSED, "not authorised"),
    0x0210: (Kind.TROUBLE, "duplicate invocation: the message id is in use"),
    0x0211: (Kind.REFUSED, "the receiver does not know the operation"),
    0x0212: (Kind.REFUSED, "the receiver calls an argument mistyped"),
    0x0213: (Kind.OUT_OF_RESOURCES, "resource limitation"),
    0xB000: (Kind.WARNING, "accepted, and the receiver changed data elements"),
    0xB006: (Kind.WARNING, "accepted, and the receiver discarded data elements"),
    0xB007: (Kind.WARNING, "accepted, although the data set does not match its SOP class"),
    0xFE00: (Kind.TROUBLE, "the receiver cancelled the operation"),
}
"""Every status that the standard names for C-STORE or for any DIMSE operation."""

_RANGES: tuple[tuple[int, int, Kind, str], ...] = (
    (0xA700, 0xA7FF, Kind.OUT_OF_RESOURCES, "out of resources"),
    (0xA900, 0xA9FF, Kind.ITEM_FAULT, "the data set does not match its SOP class"),
    (0xB000, 0xBFFF, Kind.WARNING, "accepted with a warning"),
    (0xC000, 0xCFFF, Kind.ITEM_FAULT, "the receiver cannot understand the data set"),
)


def _entry(status: int) -> tuple[Kind, str]:
    named = STATUSES.get(status)
    if named is not None:
        return named
    for first, last, kind_, text in _RANGES:
        if first <= status <= last:
            return kind_, text
    return Kind.UNKNOWN, "a status that the standard does not define for C-STORE"


def kind(status: int) -> Kind:
    """The class of a C-STORE status; UNKNOWN for what the standard does not define."""
    return _entry(status)[0]


def verdict(status: int) -> Verdict:
    """What to do with an image that was answered with `status`."""
    return _VERDICTS[kind(status)]


def meaning(status: int) -> str:
    """`status` in plain words, with its code."""
    return f"{_entry(status)[1]} (0x{status:04X})"


@lru_cache(maxsize=256)
def outcome(status: int, comment: str = "") -> Outcome:
    """The Outcome of a C-STORE that the receiver answered; its comment, or else the meaning of its status."""
    class_ = kind(status)
    return Outcome(
        _VERDICTS[class_],
        status,
        comment or ("" if class_ is Kind.SUCCESS else meaning(status)),
        peer_fault=class_ in (Kind.OUT_OF_RESOURCES, Kind.TROUBLE),
        duplicate=status == DUPLICATE_SOP_INSTANCE,
    )
