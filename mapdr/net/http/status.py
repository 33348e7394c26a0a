"""What an HTTP status means for an image that was sent, and for how long a server asks to be left alone."""

from __future__ import annotations

import time
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import StrEnum

LONGEST_WAIT = 3600.0
"""Seconds: no `Retry-After` is obeyed for longer; a server that says "next year" is asked again before."""


class Kind(StrEnum):
    """The classes of status that call for different behaviour."""

    TAKEN = "taken"
    REDIRECTED = "redirected"
    NOT_LET_IN = "not let in"
    SYNTAX = "another media type"
    TOO_LARGE = "too large"
    TROUBLE = "trouble at the server"
    REFUSED = "refused"


_NAMED: dict[int, tuple[Kind, str]] = {
    401: (Kind.NOT_LET_IN, "the server asks for a login, or does not accept this one"),
    403: (Kind.NOT_LET_IN, "the server does not allow this to who is logged in"),
    404: (Kind.REFUSED, "the server knows no such path"),
    405: (Kind.REFUSED, "the server takes nothing at this path"),
    406: (Kind.SYNTAX, "the server cannot answer in a media type that was asked for"),
    407: (Kind.NOT_LET_IN, "the proxy asks for a login, or does not accept this one"),
    408: (Kind.TROUBLE, "the server waited too long for the request"),
    409: (Kind.REFUSED, "the server took none of it"),
    411: (Kind.REFUSED, "the server wants to know the length"),
    413: (Kind.TOO_LARGE, "the request is too large for the server"),
    415: (Kind.SYNTAX, "the server does not take this media type or transfer syntax"),
    421: (Kind.TROUBLE, "the connection leads to another server"),
    425: (Kind.TROUBLE, "the server takes it only on a settled connection"),
    429: (Kind.TROUBLE, "the server asks for fewer requests"),
    500: (Kind.TROUBLE, "the server failed"),
    501: (Kind.REFUSED, "the server cannot do this"),
    502: (Kind.TROUBLE, "the gateway got no sound answer"),
    503: (Kind.TROUBLE, "the server is out of service or overloaded"),
    504: (Kind.TROUBLE, "the gateway got no answer in time"),
    505: (Kind.REFUSED, "the server does not speak this version of HTTP"),
    507: (Kind.TROUBLE, "the server has no room left"),
}
"""RFC 9110, section 15; 425 is RFC 8470's, 507 is RFC 4918's."""

_CLASSES: tuple[tuple[int, Kind, str], ...] = (
    (200, Kind.TAKEN, "taken"),
    (300, Kind.REDIRECTED, "the server redirects, and not to itself over https"),
    (400, Kind.REFUSED, "the server refuses the request"),
    (500, Kind.TROUBLE, "the server failed"),
)


def _entry(status: int) -> tuple[Kind, str]:
    named = _NAMED.get(status)
    if named is not None:
        return named
    for first, kind_, text in _CLASSES:
        if first <= status < first + 100:
            return kind_, text
    return Kind.TROUBLE, "a status that HTTP does not know"


def kind(status: int) -> Kind:
    """The class of an HTTP status; what is not known may pass."""
    return _entry(status)[0]


def meaning(status: int) -> str:
    """`status` in plain words, with its number."""
    return f"{_entry(status)[1]} (HTTP {status})"


def retry_after(value: str, date: str = "", *, longest: float = LONGEST_WAIT) -> float:
    """Seconds to wait by the header Retry-After (RFC 9110, section 10.2.3): a number or a date.

    Of a date it is the time from `date`, the answer's own Date, so that a server's wrong clock does no harm;
    without one, from now. 0 for what says nothing, `longest` at most.
    """
    value = value.strip()
    if value.isascii() and value.isdigit():
        return longest if len(value) > 9 else min(float(value), longest)
    until = _moment(value)
    if until is None:
        return 0.0
    since = _moment(date)
    return min(max(0.0, until - (time.time() if since is None else since)), longest)


def _moment(text: str) -> float | None:
    """An HTTP date as seconds since the epoch; None if it is none. All are in GMT, asctime's too, which does
    not say so (RFC 9110, section 5.6.7)."""
    try:
        found = parsedate_to_datetime(text.strip())
        return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()
    except (TypeError, ValueError, OverflowError, IndexError):
        return None
