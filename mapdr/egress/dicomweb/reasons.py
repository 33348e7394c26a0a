"""What FailureReason (0008,1197) and WarningReason (0008,1196) mean (PS3.18, annex I; PS3.3, C.14.1.1).

A reason that stands with a failed image never makes it delivered, whatever the code says elsewhere: 0xB00E is
a warning by its range, and Azure fails images with it that it has already.
"""

from __future__ import annotations

from enum import StrEnum


class Cause(StrEnum):
    """The classes of failure that call for different behaviour."""

    TROUBLE = "trouble at the receiver"
    SYNTAX = "transfer syntax"
    DUPLICATE = "duplicate"
    REFUSED = "refused"
    UNKNOWN = "unknown"


_FAILURES: dict[int, tuple[Cause, str]] = {
    0x0106: (Cause.REFUSED, "invalid attribute value"),
    0x0110: (Cause.TROUBLE, "processing failure"),
    0x0111: (Cause.DUPLICATE, "the receiver already has this SOP instance"),
    0x0112: (Cause.REFUSED, "no such SOP instance"),
    0x0115: (Cause.REFUSED, "invalid argument value"),
    0x0117: (Cause.REFUSED, "invalid SOP instance UID"),
    0x0118: (Cause.REFUSED, "no such SOP class"),
    0x0119: (Cause.REFUSED, "the SOP instance is not of this SOP class"),
    0x0120: (Cause.REFUSED, "a required attribute is missing"),
    0x0121: (Cause.REFUSED, "a required attribute value is missing"),
    0x0122: (Cause.REFUSED, "SOP class not supported"),
    0x0124: (Cause.REFUSED, "not authorised"),
    0x0213: (Cause.TROUBLE, "resource limitation"),
    0xB00E: (Cause.DUPLICATE, "the receiver already has this SOP instance"),  # Azure
    0xB00F: (Cause.TROUBLE, "the receiver is storing this SOP instance already"),  # Azure
    0xC122: (Cause.SYNTAX, "transfer syntax not supported"),
}

_FAILURE_RANGES: tuple[tuple[int, int, Cause, str], ...] = (
    (0xA700, 0xA7FF, Cause.TROUBLE, "out of resources"),
    (0xA900, 0xA9FF, Cause.REFUSED, "the data set does not match its SOP class"),
    (0xC000, 0xCFFF, Cause.REFUSED, "the receiver cannot understand the data set"),
)

_WARNINGS: dict[int, str] = {
    0x0001: "accepted with a warning",
    0x0111: "the receiver already has this SOP instance",
    0xB000: "accepted, and the receiver changed data elements",
    0xB006: "accepted, and the receiver discarded data elements",
    0xB007: "accepted, although the data set does not match its SOP class",
}


def _entry(reason: int | None) -> tuple[Cause, str]:
    if reason is None:
        return Cause.UNKNOWN, "failed without a reason"
    named = _FAILURES.get(reason)
    if named is not None:
        return named
    for first, last, cause_, text in _FAILURE_RANGES:
        if first <= reason <= last:
            return cause_, text
    return Cause.UNKNOWN, "failed for a reason that the standard does not define"


def cause(reason: int | None) -> Cause:
    """The class of a FailureReason; None where none was given."""
    return _entry(reason)[0]


def failure(reason: int | None) -> str:
    """A FailureReason in plain words, with its code."""
    text = _entry(reason)[1]
    return text if reason is None else f"{text} (0x{reason:04X})"


def warning(reason: int) -> str:
    """A WarningReason in plain words, with its code; the image is stored."""
    return f"{_WARNINGS.get(reason, 'accepted with a warning')} (0x{reason:04X})"
