"""The DIMSE status codes that MAPDR answers with or looks for (PS3.4 table B.2-1, PS3.7 annex C).

The ledger keeps the status that a receiver gave, of DIMSE or of HTTP: the numbers tell which it is.
"""

from __future__ import annotations

SUCCESS = 0x0000
PROCESSING_FAILURE = 0x0110
DUPLICATE_SOP_INSTANCE = 0x0111
INVALID_SOP_INSTANCE = 0x0117
NO_SUCH_SOP_CLASS = 0x0118
SOP_CLASS_NOT_SUPPORTED = 0x0122
UNRECOGNIZED_OPERATION = 0x0211
OUT_OF_RESOURCES = 0xA700
CANNOT_UNDERSTAND = 0xC000

_AMONG_HTTP = frozenset((*range(0x0105, 0x0125), *range(0x0210, 0x0214)))
"""The codes of PS3.7, annex C, among the numbers of HTTP; none of them is a registered status of HTTP."""


def is_http(status: int) -> bool:
    """Whether a receiver's status is one of HTTP, by its number."""
    return 100 <= status < 600 and status not in _AMONG_HTTP


def code(status: int) -> str:
    """A receiver's status as it is written: "0xA700" of DIMSE, "HTTP 503" of a web server."""
    return f"HTTP {status}" if is_http(status) else f"0x{status:04X}"
