"""What each answer of a C-STORE receiver does to an image: the half of the truth test's table for DIMSE."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from peers.rawsink import Answer
from truth.row import BUSY, LOST
from truth.row import Row as AnyRow

MESSAGE_ID, SOP_CLASS, SOP_INSTANCE = 0x00000120, 0x00000002, 0x00001000
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"


@dataclass(frozen=True)
class Peer:
    """The answer to BAD, and how the receiver is otherwise, until it recovers."""

    answer: Answer = field(default_factory=Answer)
    sink: Mapping[str, Any] = field(default_factory=dict)


Row = AnyRow[Peer]


def status(code: int, state: str, reason: str = "", burnt: int = 1) -> Row:
    return Row(f"{code:04X}", Peer(Answer(code)), state, reason, code, burnt=burnt)


def otherwise(name: str, state: str, reason: str = "", words: str = "", **more: Any) -> Row:
    """The receiver as a whole is otherwise; `more` are those of its arguments, and of the row's."""
    row = {key: more.pop(key) for key in ("down", "both", "status") if key in more}
    return Row(name, Peer(sink=more), state, reason, words=words, **row)


BY_STATUS = [
    *(
        status(code, "delivered")
        for code in (0x0000, 0x0001, 0x0107, 0x0111, 0x0116, 0xB000, 0xB006, 0xB007, 0xB123)
    ),
    *(
        Row(f"{code:04X}", Peer(Answer(code)), **BUSY, status=code)
        for code in (0x0110, 0x0210, 0x0213, 0xA700, 0xA701, 0xA7FF, 0xFE00)
    ),
    *(
        status(code, "parked", "refused", 3)
        for code in (
            *(0x0105, 0x0106, 0x0112, 0x0115, 0x0117, 0x0118, 0x0119, 0x0120, 0x0121, 0x0122, 0x0124),
            *(0x0211, 0x0212, 0xA900, 0xA9FF, 0xC000, 0xC123, 0xCFFF),
        )
    ),
    # Not defined for C-STORE; FF00 and FF01 are the pending of other operations.
    *(
        status(code, "parked", "failed", 3)
        for code in (0x0002, 0x1234, 0xA600, 0xA800, 0xDEAD, 0xFF00, 0xFF01)
    ),
]

# Each try counts: with three of them it would be parked if nobody looks for half a second.
WHILE_LOOKED_AT: dict[str, Any] = {
    "burnt": None,
    "config": {"retry": {"first": 0.05, "max": 0.2, "tries": 1000}},
}

BY_MESSAGE = [
    Row("another message id", Peer(Answer(others={MESSAGE_ID: 4711})), **LOST, **WHILE_LOOKED_AT),
    Row("another SOP instance", Peer(Answer(others={SOP_INSTANCE: "1.9.77"})), **LOST, **WHILE_LOOKED_AT),
    Row(
        "another SOP class",
        Peer(Answer(others={SOP_CLASS: "1.2.840.10008.5.1.4.1.1.4"})),
        **LOST,
        **WHILE_LOOKED_AT,
    ),
    Row("two responses", Peer(Answer(twice=True)), "delivered", status=0),
    Row("no response", Peer(Answer(None)), **LOST, config={"dimse_timeout": 0.5}),
    Row("an abort in place of the response", Peer(Answer(hang_up="abort")), **LOST, **WHILE_LOOKED_AT),
    Row("an end in place of the response", Peer(Answer(hang_up="reset")), **LOST),
    otherwise("an end after 100 bytes of data", **LOST, down="no-answer", cut_after=100),
]

REJECTED = [
    otherwise(
        f"rejected, {result} {source} {reason}", "pending", word, words,
        down=word, reject=bytes((0, result, source, reason)),
    )
    for result, word in ((1, "association-rejected"), (2, "unreachable"))
    for source, reason, words in (
        (1, 1, "rejected"), (1, 2, "rejected"), (1, 3, "AE title"), (1, 7, "AE title"),
        (2, 1, "rejected"), (2, 2, "rejected"), (3, 1, "rejected"), (3, 2, "rejected"),
    )
]  # fmt: skip

CONTEXTS = [
    *(
        otherwise(
            f"context result {result}", "pending", "not-accepted", both=True,
            results={EXPLICIT: result, IMPLICIT: result},
        )
        for result in (1, 2)
    ),
    *(
        otherwise(
            f"context result {result}", "parked", "syntax-refused", both=True,
            results={EXPLICIT: result, IMPLICIT: result},
        )
        for result in (3, 4)
    ),
]  # fmt: skip

LENGTHS = [
    otherwise(
        "PDUs of 16", "pending", "unreachable", "too few for a message", down="unreachable", max_pdu=16
    ),
    *(
        otherwise(f"PDUs of {length}", "delivered", status=0, max_pdu=length)
        for length in (0, 128, 129, 4096, 4097, 16_385)
    ),
]

ROWS = [*BY_STATUS, *BY_MESSAGE, *REJECTED, *CONTEXTS, *LENGTHS]
