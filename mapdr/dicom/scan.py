"""The header scan: what rules and index ask of a data set, read in one pass over its bytes.

Nothing is decoded before it is asked for, nothing is normalised, and no value is copied that nobody wants.
The data set's bytes may lie in bytes, a memoryview or an mmap; the result holds no reference to them.
"""

from __future__ import annotations

import mmap
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from functools import lru_cache
from struct import Struct
from typing import NamedTuple, cast

from mapdr import _fast
from mapdr._fast.scan_tables import (
    BIG_ENDIAN,
    EXPLICIT,
    LONG_VRS,
    REMARKS,
    SHORT_VRS,
    UNDEFINED,
    UNKNOWN_SIZE,
    NeedMore,
    Pixels,
    Tree,
    Unreadable,
    Values,
    Walk,
)
from mapdr.dicom.charset import is_plain, parse_terms, terms_in_use
from mapdr.dicom.path import tag_vr
from mapdr.dicom.tags import ITEM, SEQUENCE_END, SPECIFIC_CHARACTER_SET
from mapdr.dicom.transfer_syntax import BIG_ENDIAN_SYNTAXES, IMPLICIT, is_deflated
from mapdr.dicom.value import texts_of
from mapdr.kernel.character_set import AssumedSet
from mapdr.kernel.item import TagPath

__all__ = ["Layout", "NeedMore", "ScannedHeader", "Unreadable", "layout", "scan"]

Buffer = bytes | bytearray | memoryview | mmap.mmap

MAX_VALUE = 1 << 20
"""Longer values are found but not kept: no rule compares a megabyte."""
MAX_INFLATED = 1 << 26
"""How far a deflated data set is inflated in search of its pixel data, and of its end ..."""
MANY_INFLATED = 1 << 22
"""... and how far many are at once: headers that inflate to more are scanned one after another."""

MAX_FRAGMENTS = 1 << 20
"""Fragments that are followed in search of their end: each costs a read, and empty ones are 8 bytes."""

_long_headers = threading.Lock()

_PIECE = 1 << 20
"""Bytes that are inflated or deflated at a time."""

_ITEM_HEAD = {0: Struct("<HHL").unpack, BIG_ENDIAN: Struct(">HHL").unpack}
_CHARACTER_SET: TagPath = (SPECIFIC_CHARACTER_SET,)


_TEXT = frozenset(b"AE AS CS DA DS DT IS LO PN SH TM UC UI".split())
"""VRs as written whose plain values need no character set."""


class Layout(NamedTuple):
    """Where the parts of a whole data set are, as offsets in bytes from its beginning.

    The header is [0, header_end), the pixel data element [header_end, pixel_end), the trailing elements
    [pixel_end, end), and zeros may follow up to `size`. Without pixel data `header_end` and `pixel_end` are
    `size`; if the pixel data is `truncated`, `pixel_end` is. `flags` is the encoding that was found, which
    may differ from the declared one; `remarks` the sum of bits of `scan_tables.REMARKS`, 0 for a regular data
    set; `pixels` the pixel data element, None if there is none.
    """

    header_end: int
    pixel_end: int
    size: int
    truncated: bool
    end: int
    flags: int
    remarks: int
    pixels: Pixels | None


class ScannedHeader:
    """What a scan found; implements `mapdr.kernel.item.Header`.

    Offsets are in bytes from the beginning of the data set, of a deflated one after inflating.
    `pixel_offset` is that of the pixel data element, `pixel_value` that of its value, `pixel_length` the
    value's length: None if there is no pixel data, the length also if it is encapsulated. `walked` is how far
    elements were read, to the pixel data or the end; `truncated` says that the data set ends within an
    element there. `flags` is the encoding that was found. `remarks` names oddities in fixed words, without
    values.
    """

    __slots__ = (
        "_assumed",
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
        self._assumed: tuple[AssumedSet, ...] = ()
        pixels = walk.pixels
        self.pixel_offset = pixels.offset if pixels else None
        self.pixel_value = pixels.value if pixels else None
        self.pixel_vr = pixels.vr.decode("latin-1") if pixels else ""
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

    def assuming(self, sets: Sequence[AssumedSet]) -> ScannedHeader:
        """The same header, its text read in the character sets that are assumed."""
        other = copy(self)
        other._assumed = tuple(sets)
        return other

    def _terms(self, own: bytes | None) -> tuple[str, ...]:
        """The character set of text in an item that has its `own`, or in the data set."""
        declared = self.character_set if own is None else parse_terms(own)
        return terms_in_use(declared, self._assumed) if self._assumed else declared

    def texts(self, path: TagPath) -> tuple[str, ...]:
        """All values at `path`, decoded and stripped of padding; empty if absent or empty."""
        out: list[str] = []
        for vr, raw, big_endian, charset in self._values.get(path, ()):
            if raw:
                terms = self._terms(charset)
                out.extend(texts_of(raw, _known_vr(vr, path[-1]), terms, big_endian=big_endian))
        return tuple(out)

    def each(self, path: TagPath) -> list[tuple[str, ...]]:
        """As `texts`, of each element found at `path`: of one in several items, item by item."""
        return [
            tuple(
                texts_of(
                    raw,
                    _known_vr(vr, path[-1]),
                    self._terms(own),
                    big_endian=big_endian,
                )
            )
            for vr, raw, big_endian, own in self._values.get(path, ())
            if raw
        ]

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
    """The VR as written, or the dictionary's in implicit VR, for UN, and where it is none."""
    known = vr in SHORT_VRS or (vr in LONG_VRS and vr != b"UN")
    return vr.decode("ascii") if known else tag_vr(tag)


def encoding_flags(transfer_syntax_uid: str) -> int:
    """How the data set of a transfer syntax is written; unknown ones are explicit VR little endian."""
    if transfer_syntax_uid in IMPLICIT:
        return 0
    return EXPLICIT | BIG_ENDIAN if transfer_syntax_uid in BIG_ENDIAN_SYNTAXES else EXPLICIT


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
    """The offset behind the Sequence Delimitation Item of the fragments that begin at `at` (PS3.5, A.4).

    `read` gives the 8 bytes of an item's head at an offset of a data set of `size` bytes; the fragments
    themselves are not read. An offset beyond `size` says that the delimiter is missing. After MAX_FRAGMENTS
    fragments the search ends and the answer is `size`. Raises Unreadable.
    """
    left = MAX_FRAGMENTS
    while at + 8 <= size:
        group, element, length = _ITEM_HEAD[flags & BIG_ENDIAN](read(at))
        tag = group << 16 | element
        at += 8
        if tag == SEQUENCE_END:
            return at
        if tag != ITEM or length == UNDEFINED:
            raise Unreadable(f"a fragment, or none where one must be, at byte {at - 8}", reason="bad-item")
        if not left:
            return size
        left -= 1
        at += length
    return size + 1


def ends_early(tail: Buffer, flags: int) -> bool:
    """Whether the last element behind the pixel data is cut; `flags`: the encoding. Raises Unreadable."""
    size = len(tail)
    return _fast.walk(cast(bytes, tail), size, size, flags, {}, beyond=True, max_value=0).truncated


def _scan_deflated(buffer: Buffer, tree: Tree, complete: bool) -> ScannedHeader:
    """Inflate until the header is there, never more than MAX_INFLATED bytes; one long header at a time."""
    with memoryview(buffer) as view:
        found = _scan_inflated(view, tree, complete, MANY_INFLATED)
        if found is None:
            with _long_headers:
                found = _scan_inflated(view, tree, complete, MAX_INFLATED)
    if found is None:
        raise Unreadable("the header inflates to too many bytes", reason="too-long")
    return found


def _scan_inflated(view: memoryview, tree: Tree, complete: bool, most: int) -> ScannedHeader | None:
    """Scan after inflating twice as much each time; None if `most` bytes do not hold the header.

    Raises NeedMore if `view` is not `complete` and ends before the header does, and Unreadable.
    """
    beginning = _Beginning(view)
    while True:
        beginning.double()
        data = beginning.data
        ended = beginning.eof or (complete and beginning.dry)
        total = len(data) if ended else UNKNOWN_SIZE
        try:
            values, walk = _fast.collect(
                data, len(data), total, EXPLICIT, tree, beyond=False, max_value=MAX_VALUE
            )
        except NeedMore:
            if beginning.dry:
                raise NeedMore(2 * len(view) + 1) from None
            if len(data) >= most:
                return None
            continue
        if ended and not beginning.eof and walk.pixels is None:
            walk = walk._replace(truncated=True)
        return ScannedHeader(values, walk)


def deflated_ends_early(pieces: Iterable[bytes], least: int) -> bool:
    """Whether a deflated data set is cut: its stream does not end, or inflates to fewer than `least` bytes.

    Inflating ends after MAX_INFLATED bytes, none of which are kept; the answer is then False. Raises
    Unreadable.
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


class _Beginning:
    """The first bytes of a deflated data set, inflated on demand into `data`.

    `eof`: the deflated stream has ended. `dry`: nothing more can be inflated, for it has ended or the rest of
    its bytes is not in `view`.
    """

    def __init__(self, view: memoryview) -> None:
        self.data = bytearray()
        self.eof = self.dry = False
        self._view = view
        self._at = 0
        self._feed: bytes | memoryview = b""
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)

    def double(self) -> None:
        """Inflate until `data` is twice as long, at least 64 KiB, or `dry`. Raises Unreadable."""
        target = max(1 << 16, 2 * len(self.data))
        while len(self.data) < target and not self.dry:
            if not self._feed:
                self._feed = self._view[self._at : self._at + _PIECE]
                self._at += _PIECE
            asked = target - len(self.data)
            try:
                given = self._inflater.decompress(self._feed, asked)
            except zlib.error as error:
                raise Unreadable("the data set cannot be inflated", reason="bad-deflate") from error
            self.data += given
            self._feed = self._inflater.unconsumed_tail
            self.eof = self._inflater.eof
            used_up = not self._feed and self._at >= len(self._view) and len(given) < asked
            self.dry = self.eof or used_up


def inflated_size(data: Buffer, limit: int) -> int:
    """The length in bytes of a deflated data set after inflating, which is not kept.

    Inflating ends once `limit` is passed; the answer is then some number greater than `limit`. Raises
    Unreadable.
    """
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    size = 0
    with memoryview(data) as view:
        for start in range(0, len(view), _PIECE):
            feed: bytes | memoryview = view[start : start + _PIECE]
            while size <= limit:
                try:
                    given = inflater.decompress(feed, _PIECE)
                except zlib.error as error:
                    feed = (
                        b""  # the error holds this frame, and a map is not closed while a slice of it is held
                    )
                    raise Unreadable("the data set cannot be inflated", reason="bad-deflate") from error
                size += len(given)
                feed = inflater.unconsumed_tail
                if len(given) < _PIECE:
                    break
            if inflater.eof or size > limit:
                return size
    raise Unreadable("the deflated data set ends early", reason="truncated")


def inflate_exactly(data: Buffer, size: int) -> bytes:
    """A data set of which `inflated_size` has told the size: one allocation, no copy. Raises Unreadable."""
    try:
        out = zlib.decompress(data, -zlib.MAX_WBITS, max(size, 1))
    except zlib.error as error:
        raise Unreadable("the data set cannot be inflated", reason="bad-deflate") from error
    return out


def deflate_pieces(pieces: Iterable[bytes | memoryview]) -> bytes:
    """A data set, in pieces, as its deflated transfer syntax wants it: raw, of even length (PS3.5, A.5)."""
    return b"".join(deflating(pieces))


def deflating(pieces: Iterable[bytes | memoryview]) -> Iterator[bytes]:
    """The same, piece by piece."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    size = 0
    for piece in pieces:
        for start in range(0, len(piece), _PIECE):
            packed = packer.compress(piece[start : start + _PIECE])
            size += len(packed)
            yield packed
    rest = packer.flush()
    yield rest + bytes((size + len(rest)) & 1)


def layout(buffer: Buffer, transfer_syntax_uid: str) -> Layout:
    """Where header, pixel data and trailing elements of a whole data set are.

    Raises Unreadable, and ValueError for a deflated one (inflate it, and ask with Explicit VR Little Endian).
    """
    if is_deflated(transfer_syntax_uid):
        raise ValueError("inflate the data set first")
    size = len(buffer)
    flags = encoding_flags(transfer_syntax_uid)
    walk = _fast.walk(cast(bytes, buffer), size, size, flags, {}, beyond=True, max_value=0)
    header_end, pixel_end = size, size
    if walk.pixels is not None:
        header_end = walk.pixels.offset
        pixel_end = size if walk.pixels.end is None else walk.pixels.end
    return Layout(
        header_end, pixel_end, size, walk.truncated, walk.end, walk.flags, walk.remarks, walk.pixels
    )


def layout_by_ends(
    begun: bytes, rest: Callable[[int], bytes], size: int, transfer_syntax_uid: str
) -> Layout | None:
    """The layout of a data set of `size` bytes, told from what lies before and behind its pixel data.

    `begun` holds its first bytes, `rest(offset)` reads those from `offset` to the end. None if `begun` does
    not reach the pixel data's value, the pixel data has no length, or anything behind it is irregular: then
    the caller reads the whole data set for `layout`.
    """
    flags = encoding_flags(transfer_syntax_uid)
    try:
        walk = _fast.walk(begun, len(begun), size, flags, {}, beyond=False, max_value=0)
        pixels = walk.pixels
        if pixels is None or pixels.length == UNDEFINED or pixels.value + pixels.length > size:
            return None
        end = pixels.value + pixels.length
        tail = rest(end)
        behind = _fast.walk(tail, len(tail), len(tail), walk.flags, {}, beyond=True, max_value=0)
    except (NeedMore, Unreadable):
        return None
    if behind.pixels is not None or behind.truncated or behind.remarks:
        return None
    return Layout(pixels.offset, end, size, False, size, walk.flags, walk.remarks, pixels)
