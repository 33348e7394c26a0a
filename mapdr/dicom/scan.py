"""The header scan: what rules and index ask of a data set, read in one pass over its bytes.

Nothing is decoded before it is asked for, nothing is normalised, and no value is copied that nobody wants.
The data set's bytes may lie in bytes, a memoryview or an mmap; the result holds no reference to them.
"""

from __future__ import annotations

import mmap
import zlib
from collections.abc import Callable, Iterable
from functools import lru_cache
from struct import Struct
from typing import NamedTuple, cast

from mapdr import _fast
from mapdr._fast.scan_tables import (
    BIG_ENDIAN,
    EXPLICIT,
    ITEM,
    REMARKS,
    SEQUENCE_END,
    UNDEFINED,
    UNKNOWN_SIZE,
    NeedMore,
    Tree,
    Unreadable,
    Values,
    Walk,
)
from mapdr.dicom.charset import is_plain, parse_terms
from mapdr.dicom.path import tag_vr
from mapdr.dicom.value import texts_of
from mapdr.kernel.item import TagPath

__all__ = ["Layout", "NeedMore", "ScannedHeader", "Unreadable", "inflate", "is_deflated", "layout", "scan"]

Buffer = bytes | bytearray | memoryview | mmap.mmap

MAX_VALUE = 1 << 20
"""Longer values are found but not kept: no rule compares a megabyte."""
MAX_INFLATED = 1 << 26
"""How far a deflated data set is inflated in search of its pixel data, and of its end."""
_PIECE = 1 << 18

_ITEM_HEAD = {0: Struct("<HHL").unpack, BIG_ENDIAN: Struct(">HHL").unpack}
_CHARACTER_SET: TagPath = (0x00080005,)
_IMPLICIT = frozenset(("1.2.840.10008.1.2", "1.2.840.113619.5.2"))
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
# Deflated Explicit VR Little Endian, and the JPIP syntaxes that deflate the data set.
_DEFLATED = frozenset(("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"))


_TEXT = frozenset(b"AE AS CS DA DS DT IS LO PN SH TM UC UI".split())
"""VRs as written whose plain values need no character set."""


class Layout(NamedTuple):
    """Where a whole data set's parts are: header, then pixel data element, then trailing elements.

    Without pixel data all three are `size`. `pixel_end` is `size` if the pixel data is `truncated`.
    """

    header_end: int
    pixel_end: int
    size: int
    truncated: bool = False


class ScannedHeader:
    """What a scan found; implements `mapdr.kernel.item.Header`.

    `pixel_offset` is where the pixel data element begins (in a deflated data set: after inflating);
    `pixel_value` and `pixel_length` are those of its value, the length None if it is encapsulated.
    `truncated`: the data set ends within an element, as far as it was walked: to `walked`, which is its end
    or the pixel data. `flags` is the encoding. `remarks` are oddities in fixed words, never values.
    """

    __slots__ = (
        "_values",
        "flags",
        "pixel_length",
        "pixel_offset",
        "pixel_value",
        "pixel_vr",
        "remarks",
        "truncated",
        "walked",
    )

    def __init__(self, values: Values, walk: Walk) -> None:
        self._values = values
        pixels = walk.pixels
        self.pixel_offset = pixels.offset if pixels else None
        self.pixel_value = pixels.value if pixels else None
        self.pixel_vr = pixels.vr.decode("ascii") if pixels else ""
        self.pixel_length = pixels.length if pixels and pixels.length != UNDEFINED else None
        self.truncated = walk.truncated
        self.walked = walk.end
        self.flags = walk.flags
        self.remarks: tuple[str, ...] = ()
        if walk.remarks:
            self.remarks = tuple(text for bit, text in REMARKS.items() if walk.remarks & bit)

    @property
    def encapsulated(self) -> bool:
        """Whether the pixel data is in fragments (PS3.5, A.4)."""
        return self.pixel_offset is not None and self.pixel_length is None

    @property
    def character_set(self) -> tuple[str, ...]:
        """The data set's own Specific Character Set, as declared; empty if none is."""
        values = self._values.get(_CHARACTER_SET)
        return parse_terms(values[0][1] or b"") if values else ()

    def texts(self, path: TagPath) -> tuple[str, ...]:
        """All values at `path`, decoded and stripped of padding; empty if absent or empty."""
        out: list[str] = []
        for vr, raw, big_endian, charset in self._values.get(path, ()):
            if raw:
                terms = self.character_set if charset is None else parse_terms(charset)
                out.extend(texts_of(raw, _known_vr(vr, path[-1]), terms, big_endian=big_endian))
        return tuple(out)

    def text(self, path: TagPath) -> str:
        """The first value at `path`, or an empty string."""
        values = self._values.get(path)
        if values is not None and len(values) == 1:
            vr, raw, _, _ = values[0]
            if raw is not None and vr in _TEXT and is_plain(raw) and b"\\" not in raw:
                return raw.decode("ascii").strip(" \0")
        texts = self.texts(path)
        return texts[0] if texts else ""

    def has(self, path: TagPath) -> bool:
        """Whether the element is present, be it empty."""
        return path in self._values

    def uid(self, path: TagPath) -> str | None:
        """The text of the UID at `path`, whose components are not looked at; "" if it is absent or empty.

        None if it is nothing that VR UI can hold: at most 64 characters of ASCII (PS3.5, table 6.2-1).
        """
        values = self._values.get(path)
        if not values:
            return ""
        raw = values[0][1]
        if raw is None:
            return None
        text = raw.strip(b" \0").decode("latin-1")
        return text if len(text) <= 64 and text.isascii() and text.isprintable() else None


def _known_vr(vr: bytes, tag: int) -> str:
    """The VR as written, or the dictionary's in implicit VR and for UN."""
    return tag_vr(tag) if vr in (b"", b"UN") else vr.decode("ascii", "replace")


def encoding_flags(transfer_syntax_uid: str) -> int:
    """How the data set of a transfer syntax is written; unknown ones are explicit VR little endian."""
    if transfer_syntax_uid in _IMPLICIT:
        return 0
    return EXPLICIT | BIG_ENDIAN if transfer_syntax_uid == _BIG_ENDIAN else EXPLICIT


def is_deflated(transfer_syntax_uid: str) -> bool:
    """Whether the whole data set is deflated (PS3.5, A.5)."""
    return transfer_syntax_uid in _DEFLATED


def is_regular(transfer_syntax_uid: str) -> bool:
    """Whether the data set can be scanned as it is, little endian."""
    return not is_deflated(transfer_syntax_uid) and not encoding_flags(transfer_syntax_uid) & BIG_ENDIAN


@lru_cache(maxsize=256)
def header_tree(wanted: frozenset[TagPath]) -> Tree:
    """The wanted paths by level, with the character set."""
    return wanted_tree((*wanted, _CHARACTER_SET))


def wanted_tree(paths: Iterable[TagPath]) -> Tree:
    """Paths as nested dicts, level by level."""
    root: Tree = {}
    for path in paths:
        level = root
        for tag in path:
            level = level.setdefault(tag, {})
    return root


def scan(
    buffer: Buffer,
    transfer_syntax_uid: str,
    wanted: frozenset[TagPath],
    *,
    complete: bool,
    size: int | None = None,
) -> ScannedHeader:
    """Find the wanted elements of the data set that `buffer` holds, or begins with if not `complete`.

    `size`: bytes of the whole data set, if known; of a complete one it is the buffer's length. A complete
    data set is searched behind its pixel data too. Raises NeedMore(at_least) if the header does not fit
    the buffer (never if `complete`), and Unreadable for bytes that are no data set.
    """
    available = len(buffer)
    complete = complete or available == size
    if is_deflated(transfer_syntax_uid):
        return _scan_deflated(buffer, header_tree(wanted), complete)
    total = available if complete else UNKNOWN_SIZE if size is None else size
    try:
        return ScannedHeader(
            *_fast.collect(
                cast(bytes, buffer),
                available,
                total,
                encoding_flags(transfer_syntax_uid),
                header_tree(wanted),
                beyond=complete,
                max_value=MAX_VALUE,
            )
        )
    except NeedMore as error:
        # Twice as much each time, so that a long header is not walked over and over.
        raise NeedMore(max(error.at_least, min(2 * available, total))) from None


def fragments_end(read: Callable[[int], bytes], at: int, size: int, flags: int) -> int:
    """Where the fragments at `at` end, behind their delimiter (PS3.5, A.4); beyond `size` if they never do.

    `read` gives the 8 bytes at an offset of a data set of `size` bytes: the fragments' own are not looked at.
    Raises Unreadable.
    """
    while at + 8 <= size:
        group, element, length = _ITEM_HEAD[flags & BIG_ENDIAN](read(at))
        tag = group << 16 | element
        at += 8
        if tag == SEQUENCE_END:
            return at
        if tag != ITEM or length == UNDEFINED:
            raise Unreadable(f"a fragment, or none where one must be, at byte {at - 8}", reason="bad-item")
        at += length
    return size + 1


def ends_early(tail: Buffer, flags: int) -> bool:
    """Whether the elements behind the pixel data end too soon; `flags`: their encoding. Raises Unreadable."""
    size = len(tail)
    return _fast.walk(cast(bytes, tail), size, size, flags, {}, beyond=True, max_value=0).truncated


def _scan_deflated(buffer: Buffer, tree: Tree, complete: bool) -> ScannedHeader:
    """Inflate until the header is there, never more than MAX_INFLATED bytes."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    data = bytearray()
    feed = bytes(buffer)
    while True:
        try:
            data += inflater.decompress(feed, max(65536, len(data)))
        except zlib.error as error:
            raise Unreadable("the data set cannot be inflated", reason="bad-deflate") from error
        feed = inflater.unconsumed_tail
        ended = inflater.eof or (complete and not feed)
        total = len(data) if ended else UNKNOWN_SIZE
        try:
            values, walk = _fast.collect(
                data, len(data), total, EXPLICIT, tree, beyond=False, max_value=MAX_VALUE
            )
        except NeedMore:
            if not feed:
                raise NeedMore(2 * len(buffer) + 1) from None
            if len(data) >= MAX_INFLATED:
                raise Unreadable("the header inflates to too many bytes", reason="too-long") from None
            continue
        if ended and not inflater.eof and walk.pixels is None:
            walk = walk._replace(truncated=True)
        return ScannedHeader(values, walk)


def deflated_ends_early(pieces: Iterable[bytes], least: int) -> bool:
    """Whether a deflated data set ends before its stream does, or inflates to fewer than `least` bytes.

    It is inflated to MAX_INFLATED bytes at most, none of which are kept; beyond that nothing is known and the
    answer is False. Raises Unreadable.
    """
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    size = 0
    try:
        for piece in pieces:
            feed = piece
            while feed and not inflater.eof:
                size += len(inflater.decompress(feed, _PIECE))
                feed = inflater.unconsumed_tail
                if size > MAX_INFLATED:
                    return False
            if inflater.eof:
                break
        size += len(inflater.flush())
    except zlib.error as error:
        raise Unreadable("the data set cannot be inflated", reason="bad-deflate") from error
    return not inflater.eof or size < least


def inflate(data: Buffer, limit: int) -> bytes:
    """The data set of a deflated transfer syntax. Raises Unreadable, also if it exceeds `limit` bytes."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        out = inflater.decompress(bytes(data), limit + 1)
    except zlib.error as error:
        raise Unreadable("the data set cannot be inflated", reason="bad-deflate") from error
    if len(out) > limit:
        raise Unreadable(f"the data set inflates to over {limit} bytes", reason="too-long")
    if not inflater.eof:
        raise Unreadable("the deflated data set ends early", reason="truncated")
    return out


def deflate(data: bytes) -> bytes:
    """A data set as its deflated transfer syntax wants it: raw, padded to an even length (PS3.5, A.5)."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    out = packer.compress(data) + packer.flush()
    return out + b"\0" * (len(out) & 1)


def layout(buffer: Buffer, transfer_syntax_uid: str) -> Layout:
    """Where header, pixel data and trailing elements of a whole data set are.

    Raises Unreadable, and ValueError for a deflated one (inflate it, and ask with Explicit VR Little Endian).
    """
    if is_deflated(transfer_syntax_uid):
        raise ValueError("inflate the data set first")
    size = len(buffer)
    flags = encoding_flags(transfer_syntax_uid)
    walk = _fast.walk(cast(bytes, buffer), size, size, flags, {}, beyond=True, max_value=0)
    if walk.pixels is None:
        return Layout(size, size, size, walk.truncated)
    end = walk.pixels.end
    return Layout(walk.pixels.offset, size if end is None else end, size, walk.truncated)
