"""Reads multipart bodies (RFC 2046, section 5.1; PS3.18, 8.6.1.2) as they come: chunks in, events out.

It does no I/O and keeps no part: at most a delimiter's and a header block's length of bytes is held, so that
a part of any size passes. What a peer sends can only raise RemoteProtocolError, and no message repeats any of
it. However a body is cut into chunks, its events are the same, but for where a part's data is cut.

    reader = MultipartReader(boundary(content_type))
    for chunk in body:
        for event in reader.feed(chunk): ...
    reader.close()          # raises unless the body's end was seen

A delimiter is CRLF, `--`, the boundary, and then either `--` (the body's end) or blanks and CRLF; the first
one may stand at the very beginning. What goes on otherwise is data, as for Python's `email`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

from mapdr.kernel.errors import RemoteProtocolError
from mapdr.net.media_type import NAME, MediaType

LONGEST_BOUNDARY = 70
"""Characters (RFC 2046, section 5.1.1)."""

_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")
_BLANKS = re.compile(rb"[ \t]*")
_NEVER = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_CRLF = b"\r\n"


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes, but `fields` and `parts`, which are counts.

    `around` bounds what may stand before the first delimiter, and what after the last one.
    """

    header: int = 8192
    fields: int = 32
    parts: int = 100_000
    around: int = 65536
    padding: int = 64


@dataclass(frozen=True, slots=True)
class PartBegins:
    """A part's headers; names in lower case."""

    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PartData:
    """More bytes of the part; never empty. A view of what was fed, or of a copy: it stays as it is."""

    data: memoryview


@dataclass(frozen=True, slots=True)
class PartEnds:
    """The part is whole."""


@dataclass(frozen=True, slots=True)
class BodyEnds:
    """No part follows; what comes after it is read over."""


Event = PartBegins | PartData | PartEnds | BodyEnds


class _State(Enum):
    BEFORE = auto()
    HEADER = auto()
    DATA = auto()
    AFTER = auto()
    BROKEN = auto()


def boundary(content_type: MediaType) -> bytes:
    """The boundary that a multipart content type names. Raises RemoteProtocolError if it names none."""
    text = content_type.parameters.get("boundary", "")
    if not content_type.essence.startswith("multipart/"):
        raise RemoteProtocolError("the content type is not multipart")
    if len(text) > LONGEST_BOUNDARY:
        raise RemoteProtocolError(f"the boundary is longer than {LONGEST_BOUNDARY} characters")
    if not _BOUNDARY.fullmatch(text):
        raise RemoteProtocolError("the content type names no boundary, or one that is none")
    return text.encode("ascii")


class MultipartReader:
    """Reads one body; `limits` bound what is kept of it. Unusable after an error."""

    def __init__(self, boundary: bytes, limits: Limits = Limits()) -> None:
        self._delimiter = _CRLF + b"--" + boundary
        self._limits = limits
        self._state = _State.BEFORE
        # The first delimiter has no line's end before it; so it begins like every other.
        self._held = _CRLF
        self._skip = len(_CRLF)
        self._parts = 0
        self._around = 0

    def feed(self, data: bytes) -> list[Event]:
        """What the next bytes of the body say. Raises RemoteProtocolError."""
        events: list[Event] = []
        if self._state is _State.BROKEN:
            raise RemoteProtocolError("the multipart body was broken before")
        if self._held:
            data = self._held + data
            self._held = b""
        try:
            at = 0
            while at >= 0:
                if self._state is _State.AFTER:
                    self._read_over(len(data) - at)
                    at = -1
                elif self._state is _State.HEADER:
                    at = self._header(data, at, events)
                else:
                    at = self._until_delimiter(data, at, events)
        except RemoteProtocolError:
            self._state = _State.BROKEN
            raise
        return events

    def close(self) -> None:
        """The body has ended. Raises RemoteProtocolError unless its last delimiter has been seen."""
        if self._state is _State.BEFORE:
            raise RemoteProtocolError("the multipart body ended before its first part")
        if self._state is not _State.AFTER:
            raise RemoteProtocolError("the multipart body ended early, within a part")

    def _until_delimiter(self, data: bytes, at: int, events: list[Event]) -> int:
        """Before the first part or in one: up to the next delimiter, and over it.

        Where to go on, or -1 when more bytes are needed; what is needed again is held then.
        """
        begun = at
        while (found := data.find(self._delimiter, at)) >= 0:
            end = found + len(self._delimiter)
            if data[end : end + 2] == b"--":
                self._data(data, begun, found, events)
                self._part_ends(events)
                events.append(BodyEnds())
                self._state = _State.AFTER
                return end + 2
            match = _BLANKS.match(data, end, end + self._limits.padding + 1)
            assert match is not None
            after = match.end()
            rest = data[after : after + 2]
            if rest == _CRLF and after - end <= self._limits.padding:
                self._data(data, begun, found, events)
                self._part_ends(events)
                self._part_begins()
                return after + 2
            undecided = len(data) - end < 2 and b"--".startswith(data[end:])
            if (undecided or _CRLF.startswith(rest)) and after - end <= self._limits.padding:
                self._hold(data, begun, found, events)
                return -1
            at = end  # the boundary goes on otherwise: it is data
        self._hold(data, begun, self._safe(data, at), events)
        return -1

    def _safe(self, data: bytes, at: int) -> int:
        """Up to where `data` cannot begin a delimiter that later bytes complete."""
        start = max(at, len(data) - len(self._delimiter) + 1)
        while (start := data.find(b"\r", start)) >= 0:
            if self._delimiter.startswith(data[start:]):
                return start
            start += 1
        return len(data)

    def _hold(self, data: bytes, begun: int, safe: int, events: list[Event]) -> None:
        self._data(data, begun, safe, events)
        self._held = data[safe:]

    def _data(self, data: bytes, begun: int, end: int, events: list[Event]) -> None:
        """`data[begun:end]` belongs to the part, or to what stands before the first one."""
        skipped = min(self._skip, end - begun)
        self._skip -= skipped
        begun += skipped
        if begun == end:
            return
        if self._state is _State.BEFORE:
            self._read_over(end - begun)
        else:
            events.append(PartData(memoryview(data)[begun:end]))

    def _part_ends(self, events: list[Event]) -> None:
        # A part without a body may share the line's end of its headers with the delimiter.
        self._skip = 0
        if self._state is _State.DATA:
            events.append(PartEnds())

    def _part_begins(self) -> None:
        self._parts += 1
        if self._parts > self._limits.parts:
            raise RemoteProtocolError(f"the multipart body has more than {self._limits.parts} parts")
        self._state = _State.HEADER
        self._around = 0

    def _header(self, data: bytes, at: int, events: list[Event]) -> int:
        """The headers of a part, up to the empty line. As `_until_delimiter`."""
        if data.startswith(_CRLF, at):
            end = at
        else:
            end = data.find(_CRLF + _CRLF, at, at + self._limits.header + 4)
            if end >= 0:
                end += len(_CRLF)
        if end < 0:
            if len(data) - at >= self._limits.header + 4:
                raise RemoteProtocolError(
                    f"the headers of a part are longer than {self._limits.header} bytes"
                )
            self._held = data[at:]
            return -1
        events.append(PartBegins(self._fields(data[at:end])))
        self._state = _State.DATA
        # The empty line may be the first of a delimiter: it is looked at again, and is no data.
        self._skip = len(_CRLF)
        return end

    def _fields(self, block: bytes) -> dict[str, str]:
        lines: list[str] = []
        for line in block.decode("latin-1").split("\r\n")[:-1]:
            if line.startswith((" ", "\t")) and lines:
                lines[-1] += line  # a folded line (RFC 5322, section 2.2.3)
            else:
                lines.append(line)
        if len(lines) > self._limits.fields:
            raise RemoteProtocolError(f"a part has more than {self._limits.fields} headers")
        found: dict[str, str] = {}
        for line in lines:
            name, colon, value = line.partition(":")
            name = name.rstrip(" \t").lower()
            if not colon or not re.fullmatch(NAME, name) or _NEVER.search(value):
                raise RemoteProtocolError("a part has a header that is none")
            if name in found:
                raise RemoteProtocolError("a part has a header twice")
            found[name] = value.strip(" \t")
        return found

    def _read_over(self, count: int) -> None:
        self._around += count
        if self._around > self._limits.around:
            raise RemoteProtocolError(f"more than {self._limits.around} bytes stand outside of the parts")
