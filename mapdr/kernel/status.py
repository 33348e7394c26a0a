"""The DIMSE status codes that MAPDR answers with or looks for (PS3.4 table B.2-1, PS3.7 annex C).

The ledger keeps the status that a receiver gave, of DIMSE or of HTTP, and which of them it is.
"""

from __future__ import annotations

from collections.abc import Mapping

SUCCESS = 0x0000
PROCESSING_FAILURE = 0x0110
DUPLICATE_SOP_INSTANCE = 0x0111
INVALID_SOP_INSTANCE = 0x0117
NO_SUCH_SOP_CLASS = 0x0118
SOP_CLASS_NOT_SUPPORTED = 0x0122
UNRECOGNIZED_OPERATION = 0x0211
OUT_OF_RESOURCES = 0xA700
CANNOT_UNDERSTAND = 0xC000

_HTTP = 1 << 16
"""Added to a status of HTTP where one number has to say which it is: those of DIMSE have 16 bits."""


class HttpStatus(int):
    """A status of HTTP; one of DIMSE is a plain int. Many numbers are both: 529 is 0x0211."""

    __slots__ = ()


def is_http(status: int) -> bool:
    """Whether a receiver's status is one of HTTP."""
    return isinstance(status, HttpStatus)


def protocol(status: int | None) -> str:
    """What a receiver's status is of, "DIMSE" or "HTTP"; empty without one."""
    return "" if status is None else "HTTP" if is_http(status) else "DIMSE"


def code(status: int) -> str:
    """A receiver's status as it is written: "0xA700" of DIMSE, "HTTP 503" of a web server."""
    return f"HTTP {status}" if is_http(status) else f"0x{status:04X}"


def to_number(status: int | None) -> int | None:
    """A status as the index keeps it."""
    return status if status is None or not is_http(status) else int(status) + _HTTP


def from_number(number: int | None) -> int | None:
    """The status that `to_number` was given."""
    return number if number is None or number < _HTTP else HttpStatus(number - _HTTP)


def to_facts(status: int | None) -> dict[str, int | str | None]:
    """A status among the facts of an event or a heartbeat (JSON); only one of HTTP says what it is."""
    if status is None or not is_http(status):
        return {"status": status}
    return {"status": int(status), "status_protocol": protocol(status)}


def from_facts(facts: Mapping[str, object]) -> int | None:
    """The status in facts, which may have none."""
    status = facts.get("status")
    if not isinstance(status, int):
        return None
    return HttpStatus(status) if facts.get("status_protocol") == "HTTP" else status
