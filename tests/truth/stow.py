"""What each answer of a STOW-RS server does to an image: the half of the truth test's table for HTTP.

Every request that holds the image BAD is answered as its row says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Event

from egress.dicomweb.answers import FAILED, OTHER, REFERENCED, WRONG, Entry, in_json, in_xml
from peers.httpd import Said
from truth.row import BAD, BUSY, LOST
from truth.row import Row as AnyRow

Row = AnyRow["Answer"]

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"

Answer = Callable[[Sequence[str], str], Said]
"""What is said to a request with these SOP Instance UIDs, in this transfer syntax."""

PAGE = b"<!DOCTYPE html><html><body>Please log in</body></html>"


def stored(uids: Sequence[str]) -> list[Entry]:
    return [Entry(REFERENCED, uid) for uid in uids]


def taken(uids: Sequence[str], syntax: str = "") -> Said:
    """All of it is stored."""
    return Said(200, in_json(stored(uids)))


def status(code: int, body: bytes = b"", **headers: str) -> Answer:
    """A status for the request as a whole."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda uids, syntax: Said(code, body, named)


def says(code: int, *bad: Entry, xml: bool = False) -> Answer:
    """A body that calls all stored but BAD, of which it has these entries."""

    def answer(uids: Sequence[str], syntax: str) -> Said:
        entries = [*stored([uid for uid in uids if uid != BAD]), *bad]
        return Said(code, in_xml(entries) if xml else in_json(entries))

    return answer


def failed(reason: int | None) -> Entry:
    return Entry(FAILED, BAD, failure=reason)


def while_explicit(answer: Answer) -> Answer:
    """That answer, until the images come in another transfer syntax."""
    return lambda uids, syntax: answer(uids, syntax) if syntax == EXPLICIT else taken(uids)


def late(uids: Sequence[str], syntax: str) -> Said:
    Event().wait(1.5)
    return taken(uids)


def large(uids: Sequence[str], syntax: str) -> Said:
    """Requests of two images are too large."""
    return Said(413) if len(uids) > 1 else taken(uids)


def cut(uids: Sequence[str], syntax: str) -> Said:
    said = taken(uids)
    return Said(said.status, said.body, cut=10)


TRUST = {"unnamed": "trust-2xx"}

BY_BODY = [
    Row("all is stored", says(200, Entry(REFERENCED, BAD)), "delivered", status=200),
    Row("all is stored, in XML", says(200, Entry(REFERENCED, BAD), xml=True), "delivered", status=200),
    Row("stored under 202", says(202, Entry(REFERENCED, BAD)), "delivered", status=202),
    Row("stored under 400", says(400, Entry(REFERENCED, BAD)), "delivered", status=400),
    Row("stored under 409", says(409, Entry(REFERENCED, BAD)), "delivered", status=409),
    Row(
        "stored with a warning", says(202, Entry(REFERENCED, BAD, warning=0xB000)), "delivered",
        status=0xB000, words="changed data elements",
    ),
    Row(
        "a warning that it is there", says(202, Entry(REFERENCED, BAD, warning=0x0111)), "delivered",
        status=0x0111, words="already has",
    ),
    Row("out of resources", says(202, failed(0xA700)), **BUSY, status=0xA700, words="out of resources"),
    Row("out of resources under 200", says(200, failed(0xA701)), **BUSY, status=0xA701),
    Row("processing failure", says(409, failed(0x0110)), **BUSY, status=0x0110, words="processing failure"),
    Row("resource limitation", says(202, failed(0x0213)), **BUSY, status=0x0213),
    Row("Azure stores it already", says(202, failed(0xB00F)), **BUSY, status=0xB00F),
    Row("it is there", says(409, failed(0x0111)), "delivered", status=0x0111, words="already has"),
    Row("it is there, by Azure", says(409, failed(0xB00E)), "delivered", status=0xB00E, words="already has"),
    *(
        Row(f"refused for {reason:04X}", says(202, failed(reason)), "parked", "refused", reason, burnt=3)
        for reason in (0x0106, 0x0117, 0x0122, 0x0124, 0xA900, 0xA9FF, 0xC000, 0xCFFF)
    ),
    Row(
        "failed without a reason", says(202, failed(None)), "parked", "failed",
        202, "failed without a reason", 3,
    ),
    Row("a reason that nobody knows", says(202, failed(0x1234)), "parked", "failed", 0x1234, burnt=3),
    Row(
        "transfer syntax not supported", while_explicit(says(202, failed(0xC122))), "delivered", status=200
    ),
    Row("no transfer syntax supported", says(202, failed(0xC122)), "parked", "syntax-refused", 0xC122),
    Row(
        "stored and failed", says(202, Entry(REFERENCED, BAD), failed(0xA700)), **BUSY,
        status=0xA700, words="stored as well",
    ),
    Row(
        "stored and there", says(202, Entry(REFERENCED, BAD), failed(0x0111)), "parked", "failed",
        0x0111, "stored as well", 3,
    ),
    Row(
        "stored with a failure", says(202, Entry(REFERENCED, BAD, failure=0xA700)), **BUSY, status=0xA700
    ),
    Row("not named", says(200), "parked", "unnamed", 200, "does not name the image", 3),
    Row("not named under 400", says(400), "parked", "refused", 400, burnt=3),
    Row("not named, trusted", says(200), "delivered", status=200, words="trusted", config=TRUST),
    Row("not named under 409, not trusted", says(409), "parked", "refused", 409, burnt=3, config=TRUST),
    Row(
        "not named beside a nameless failure", says(202, Entry(OTHER, None, failure=0xC000)), "parked",
        "unnamed", 202, "without a name", 3, config=TRUST,
    ),
    Row("named in a wrong sequence", says(200, Entry(WRONG, BAD)), "parked", "unnamed", 200, burnt=3),
    Row(
        "another image is named", says(200, Entry(REFERENCED, "1.9.3")), "parked", "unnamed", 200, burnt=3
    ),
    Row("an empty answer", status(200), "parked", "unnamed", 200, burnt=3),
    Row("no content", status(204), "parked", "unnamed", 204, burnt=3),
    Row("no content, trusted", status(204), "delivered", status=204, words="trusted", config=TRUST),
    Row("a page with 400", status(400, PAGE), "parked", "refused", 400, "page for people", 3),
    Row("nothing with 409", status(409), "parked", "refused", 409, burnt=3),
    *(
        Row(name, status(200, body), "pending", "unreadable-answer", 200, words, down="unreadable-answer",
            config=config)
        for config in ({}, TRUST)
        for name, body, words in (
            (f"a page, {config or 'owed'}", PAGE, "page for people"),
            (f"half an answer, {config or 'owed'}", b'{"00081199": {"vr"', "not whole"),
            (f"text, {config or 'owed'}", b"OK", "neither"),
        )
    ),
]  # fmt: skip
"""Answers whose body is asked."""

BY_STATUS = [
    Row("too many in a request", large, "delivered", status=200),
    Row("too large", status(413), "parked", "too-large", 413, "0.0 MB", 1),
    *(
        Row(f"{code} in explicit VR", while_explicit(status(code)), "delivered", status=200)
        for code in (406, 415)
    ),
    *(Row(f"{code} always", status(code), "parked", "syntax-refused", code) for code in (406, 415)),
    *(Row(f"{code}", status(code), "parked", "refused", code, burnt=3) for code in (402, 411, 412, 418, 422)),
    *(
        Row(f"{code}", status(code), "pending", "unauthorized", code, f"HTTP {code}", down="unauthorized")
        for code in (401, 403, 407)
    ),
    *(
        Row(f"{code}", status(code), "pending", "no-service", code, f"HTTP {code}", down="no-service")
        for code in (404, 405, 410, 501, 505)
    ),
    *(
        Row(f"{code}", status(code, location="https://other.example/"), "pending", "redirected", code,
            "redirects", down="redirected")
        for code in (301, 302, 303, 307, 308)
    ),
    *(Row(f"{code}", status(code), **BUSY, status=code) for code in (408, 421, 425, 500, 502, 504, 599)),
    *(Row(f"{code}", status(code), "pending", "busy", code, down="busy") for code in (429, 503)),
    *(
        Row(f"{code} with Retry-After", status(code, retry_after="1"), "pending", "busy", code, down="busy")
        for code in (429, 500, 503)
    ),
    Row("no room", status(507), "pending", "no-room", 507, down="no-room"),
]  # fmt: skip
"""Answers whose status says it all."""

NO_ANSWER = [
    Row("hangs up", lambda uids, syntax: Said(body=None), **LOST),
    Row("an answer that is cut", cut, **LOST),
    Row("too late", late, **LOST, words="timed out", config={"timeout": 0.3}),
]
"""No answer, or not all of it."""

ROWS = [*BY_BODY, *BY_STATUS, *NO_ANSWER]
