"""A payload opened for a transform: header, pixel data and tail, at random access."""

from __future__ import annotations

from types import TracebackType

from mapdr._fast import unreadable
from mapdr.dicom.recode import is_regular, recode
from mapdr.dicom.scan import Layout, NeedMore, inflate_exactly, inflated_size, layout, layout_by_ends
from mapdr.dicom.transfer_syntax import is_deflated
from mapdr.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN
from mapdr.dicom.write import EXPLICIT_LITTLE, UNDEFINED, Element, encoding_from, encoding_of
from mapdr.kernel import budget
from mapdr.kernel.cached import cached_property
from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import Part, Payload
from mapdr.transform.view import Held, PartsView

BEGINNING = 1 << 16
"""Bytes of a spooled data set that are read in search of its pixel data before all of it is."""
COPIES = 4
"""How often what stands around the pixel data is in memory at once while something is made of it."""
INFLATE_LIMIT = 1 << 31
"""Bytes to which a deflated data set may grow: larger ones are an attack or belong in another syntax."""


class DataSet:
    """The parts of a payload's data set, inflated if it was deflated. A context manager.

    `encoding` is the one that the data set shows, `end` where its last element ends (zeros may follow).
    Pixel data that is cut off ends one byte beyond the view.
    Raises Permanent when the top level cannot be walked or ends within another element than the pixel data,
    or a deflated data set is broken or too large.
    """

    def __init__(self, payload: Payload, held: Held | None = None) -> None:
        """`held` is what of the payload is in memory already."""
        self.payload = payload
        self._held = held
        self.encoding = encoding_of(payload.transfer_syntax_uid)
        self.end = 0
        self._where: Layout | None = None
        self._is_said = False
        self._view: PartsView | None = None
        self.pixel: Element | None = None

    def __enter__(self) -> DataSet:
        parts: tuple[Part, ...] = self.payload.parts
        if is_deflated(self.payload.transfer_syntax_uid):
            parts = (inflated(self.payload, self._held),)
        self._view = PartsView(parts, self._held)
        try:
            self.pixel = self._find_pixels()
        except BaseException:
            self._view.__exit__(None, None, None)
            raise
        return self

    def _find_pixels(self) -> Element | None:
        where = self._layout()
        self.encoding = encoding_from(where.flags)
        self.end, self._where = where.end, where
        if where.truncated and (where.pixels is None or where.pixel_end < where.size):
            raise unreadable("it ends within an element", where.end, -1, "truncated")
        if where.pixels is None:
            return None
        tag, vr, start, value, length, _ = where.pixels
        end = where.pixel_end + where.truncated
        return Element(tag, vr.decode("latin-1"), start, value, end, length == UNDEFINED)

    def _layout(self) -> Layout:
        view, syntax = self.view, self.payload.transfer_syntax_uid
        syntax = EXPLICIT_VR_LITTLE_ENDIAN if is_deflated(syntax) else syntax
        if len(view.parts) > 1:
            # One buffer of several parts is a copy. Few need it: pixel data with a length is not read.
            first = view.parts[0]
            begun = view[: (len(first) if isinstance(first, bytes) else 0) + BEGINNING]
            found = layout_by_ends(begun, lambda end: view[end:], len(view), syntax)
            if found is not None:
                return found
            budget.need(len(view))
        elif len(view) > BEGINNING and view.at_hand is None:
            found = layout_by_ends(view[:BEGINNING], self._short_tail, len(view), syntax)
            if found is not None:
                return found
        with view.buffer() as buffer:
            return layout(buffer, syntax)

    def _short_tail(self, end: int) -> bytes:
        """What lies behind `end`. Raises NeedMore if it is too long to be copied."""
        if len(self.view) - end > BEGINNING:
            raise NeedMore(len(self.view))
        return self.view[end:]

    @cached_property
    def is_regular(self) -> bool:
        """Whether nothing about it is odd, and its own bytes can stand for it."""
        where = self._where
        if where is None:
            raise RuntimeError("the data set is not open")
        if where.remarks or where.truncated or self.encoding != EXPLICIT_LITTLE:
            return not where.remarks
        self.say_need()
        return is_regular(self.view[: where.header_end]) and is_regular(self.view[where.pixel_end :])

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.view.__exit__(kind, error, trace)

    @property
    def view(self) -> PartsView:
        """The whole data set."""
        if self._view is None:
            raise RuntimeError("the data set is not open")
        return self._view

    @property
    def header_end(self) -> int:
        """Where the pixel data element begins, or the data set's last element ends."""
        return self.pixel.start if self.pixel else self.end

    def say_need(self) -> None:
        """Whoever copies what stands around the pixel data says so first; counts once. Raises Short."""
        if not self._is_said:
            self._is_said = True
            pixels = self.pixel.end - self.pixel.start if self.pixel else 0
            budget.need(COPIES * max(len(self.view) - pixels, 0))

    def header(self) -> bytes:
        """The elements before the pixel data, in explicit VR little endian: their own bytes if regular."""
        self.say_need()
        return self._explicit(self.view[: self.header_end])

    def tail(self, header: bytes) -> bytes:
        """The elements after the pixel data, as `header` is; it gives the context for ambiguous VRs."""
        if self.pixel is None:
            return b""
        self.say_need()
        return self._explicit(self.view[self.pixel.end : self.end], header, self.pixel.end)

    def _explicit(self, data: bytes, context: bytes = b"", base: int = 0) -> bytes:
        if self.encoding == EXPLICIT_LITTLE and self.is_regular:
            return data
        return recode(data, self.encoding, EXPLICIT_LITTLE, context=context, base=base)


def inflated(payload: Payload, held: Held | None = None) -> bytes:
    """The data set of a deflated payload (PS3.5 section A.5), within the node's budget.

    `held` is what of the payload is in memory already. Raises Permanent for a broken one, and Short.
    """
    most = budget.most()
    limit = INFLATE_LIMIT if most is None else min(most, INFLATE_LIMIT)
    with PartsView(payload.parts, held) as view, view.buffer() as data:
        size = inflated_size(data, limit)
        budget.need(size)
        if size > limit:
            raise Permanent(f"the data set inflates to over {limit} bytes", reason="too-long")
        return inflate_exactly(data, size)
