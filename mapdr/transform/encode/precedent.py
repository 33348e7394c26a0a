"""A lossy image as a precedent: what was decided of it goes for the images of its series that come after it.

From one slice of a series to the next, nothing changes that a plan looks at, nor what a header that is made
of it depends on. So the elements that either reads (`READ`) are compared with those of an image that went
the whole way, and where all of them are equal, its plan is this one's too. What is left is its own: the level
that meets the ratio, the codestream, its verification, its UID and its header. `follow` does that much in
a third of what the whole way takes beside the codec.

The whole way is the plain twin: wherever anything differs, or does not go straight to its end, `follow` gives
None and has changed nothing. `tests/transform/test_precedent.py` compares both, byte by byte, and looks that
the whole way reads no element that is not in `READ`.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from mapdr import _fast
from mapdr._fast.scan_tables import EXPLICIT, UNDEFINED
from mapdr.dicom import tags
from mapdr.dicom.recode import keeps
from mapdr.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN
from mapdr.kernel.codec import FrameFormat, LossyEncoder, Pixels
from mapdr.kernel.item import FileSlice, Instance, Payload, Treatment, total_length
from mapdr.transform.document import OpenImage
from mapdr.transform.encode.aim import LIKELY, SIMPLER
from mapdr.transform.encode.derive import Changes, Loss, lossy_changes, new_uid, uid_changes
from mapdr.transform.encode.forecast import Forecast
from mapdr.transform.encode.frames import Setting, allowed_error
from mapdr.transform.encode.groups import has_groups
from mapdr.transform.encode.plan import Plan
from mapdr.transform.encode.policy import SIGNATURES
from mapdr.transform.encode.quality import Guard, Padding, PaddingGap, Reached, measure
from mapdr.transform.encode.search import Hints, find_level
from mapdr.transform.fragments import OF_OTHER_FRAGMENTS, around, fragment_head
from mapdr.transform.image import Image, OutsideBitsStored
from mapdr.transform.view import Held

_OVERLAYS = tuple(0x60000102 | group << 16 for group in range(0, 0x20, 2))
"""Overlay Bit Position: an overlay is in the pixels' unused bits."""

READ = frozenset(
    (
        tags.IMAGE_TYPE,
        tags.MODALITY,
        tags.DERIVATION_DESCRIPTION,
        tags.SOURCE_IMAGE_SEQUENCE,
        tags.DERIVATION_CODE_SEQUENCE,
        tags.MULTIENERGY_CT_ACQUISITION,
        tags.CONCATENATION_UID,
        tags.SAMPLES_PER_PIXEL,
        tags.PHOTOMETRIC_INTERPRETATION,
        tags.PLANAR_CONFIGURATION,
        tags.NUMBER_OF_FRAMES,
        tags.ROWS,
        tags.COLUMNS,
        tags.BITS_ALLOCATED,
        tags.BITS_STORED,
        tags.HIGH_BIT,
        tags.PIXEL_REPRESENTATION,
        tags.PIXEL_PADDING_VALUE,
        tags.PIXEL_PADDING_RANGE_LIMIT,
        tags.LOSSY_IMAGE_COMPRESSION,
        tags.LOSSY_IMAGE_COMPRESSION_RATIO,
        tags.LOSSY_IMAGE_COMPRESSION_METHOD,
        tags.SHARED_FUNCTIONAL_GROUPS_SEQUENCE,
        tags.PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE,
        *(tag for tag in SIGNATURES if tag < tags.PIXEL_DATA),
        *_OVERLAYS,
    )
)
"""Elements before the pixel data that a plan or a changed header depends on."""
_WRITTEN = (
    tags.SOP_INSTANCE_UID,
    tags.SMALLEST_IMAGE_PIXEL_VALUE,
    tags.LARGEST_IMAGE_PIXEL_VALUE,
    *OF_OTHER_FRAGMENTS,
)
"""Elements that a lossy image changes, and nothing depends on."""
_SOUGHT = tuple(sorted(READ.union(_WRITTEN)))
_PLACE = {tag: place for place, tag in enumerate(_SOUGHT)}
_IS_READ = tuple(tag in READ for tag in _SOUGHT)
_PIXEL_HEAD = 12
"""Bytes of the head of Pixel Data in explicit VR (PS3.5 section 7.1.2)."""


class _Header(NamedTuple):
    """A regular header, as far as is asked: `said` is what elements of `READ` hold (VR and value, None for
    what is not there), `places` where what is sought begins and ends; `pixels` is the Pixel Data element and
    all that follows it."""

    header: bytes
    said: tuple[tuple[bytes | None, bytes | None], ...]
    places: list[tuple[int, int]]
    pixels: memoryview


def _read(payload: Payload, held: Held) -> _Header | None:
    """The header of a payload that is as it came, or has another header before its own pixels. None where it
    is not regular, or has a group's length."""
    *before, own = (part for part in payload.parts if part)
    if not isinstance(own, FileSlice) or own.proof is not held.proof or len(before) > 1:
        return None
    edited = before[0] if before else b""
    if not isinstance(edited, bytes):
        return None
    start = own.offset - held.proof.offset
    rest = memoryview(held.data)[start : start + own.length]
    found = _fast.locate(edited or rest, len(edited or rest), EXPLICIT, _SOUGHT)
    if found is None or any(span[4] >= 0 for span in found.spans):
        return None
    header = edited or bytes(rest[: found.header_end])
    level, _, _ = _fast.elements(header, 0, len(header), EXPLICIT)
    nested = (
        header[each.offset : each.end] for each in level if each.vr == b"SQ" or each.length == UNDEFINED
    )
    if found.header_end < len(header) or not all(map(keeps, nested)):
        return None
    said = tuple((span[2], span[3]) for span, is_read in zip(found.spans, _IS_READ, strict=True) if is_read)
    places = [(span[0], span[1]) for span in found.spans]
    return _Header(header, said, places, rest if edited else rest[found.header_end :])


@dataclass(frozen=True, slots=True, eq=False)
class Decided:
    """What was decided of an image: its plan, what its codec is told, and what of its changed header does not
    depend on its pixels. `form` is that of its codestream; hints on its series are kept under `key`."""

    planned: Plan
    encoder: LossyEncoder
    form: FrameFormat
    padding: Padding | None
    changes: Changes
    key: Hashable


@dataclass(frozen=True, slots=True, eq=False)
class Precedent:
    """An image: what was decided of it, what its header says, and how its Pixel Data element begins."""

    decided: Decided
    image: Image
    said: tuple[tuple[bytes | None, bytes | None], ...]
    pixel_head: bytes

    def is_for(self, found: _Header) -> bool:
        """Whether an image may follow it, by its header."""
        return (
            found.said == self.said
            and found.pixels[:_PIXEL_HEAD] == self.pixel_head
            and len(found.pixels) == _PIXEL_HEAD + self.image.native_bytes
        )


class Precedents:
    """The last precedent of as many series as are kept. Thread-safe."""

    def __init__(self, keep: int = 64) -> None:
        self._keep = keep
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, Precedent] = OrderedDict()

    def of(self, payload: Payload, instance: Instance) -> Precedent | None:
        """The precedent of an image's series."""
        with self._lock:
            return self._kept.get(_series(payload, instance))

    def note(self, document: OpenImage, instance: Instance, decided: Decided) -> None:
        """Keep an image that went with loss as a precedent, if it can be one: of one native frame that was
        changed by nothing but its loss, and in a data set that ends with it."""
        image, held, payload = document.image, document.held, document.payload
        is_native = payload.transfer_syntax_uid == EXPLICIT_VR_LITTLE_ENDIAN
        is_plain = document.shown is image and image.frames == 1 and not image.overlays
        if held is None or not is_native or not is_plain or document.is_rewritten:
            return
        if has_groups(image.attributes) or image.native_bytes & 1:
            return
        if (found := _read(payload, held)) is None:
            return
        made = Precedent(decided, image, found.said, bytes(found.pixels[:_PIXEL_HEAD]))
        if not made.is_for(found):
            return
        with self._lock:
            self._kept.pop(_series(payload, instance), None)
            self._kept[_series(payload, instance)] = made
            while len(self._kept) > self._keep:
                self._kept.popitem(last=False)


def _series(payload: Payload, instance: Instance) -> Hashable:
    return instance.series_instance_uid, payload.sop_class_uid, instance.transfer_syntax_uid


@dataclass(frozen=True, slots=True)
class Goal:
    """What a lossy image has to reach: a ratio, and what a guard asks. `hints` tell where to look for it."""

    ratio: float
    guard: Guard
    hints: Hints
    site_key: bytes


def follow(
    precedent: Precedent, payload: Payload, held: Held, goal: Goal
) -> tuple[Payload, dict[str, Any]] | None:
    """The image as its precedent went, and what is to be kept of it beside its course. None where it has to
    go the whole way. Raises Permanent as a codec does."""
    found = _read(payload, held)
    if found is None or not precedent.is_for(found):
        return None
    image, decided = precedent.image, precedent.decided
    encoder = decided.encoder
    try:
        frame = image.stored_values(found.pixels[_PIXEL_HEAD:])
    except OutsideBitsStored:
        return None
    coded = _at_ratio(precedent, frame, goal)
    if coded is None:
        return None
    decoded = encoder.decode(coded.stream, decided.form)
    if decoded.shape != frame.shape:
        return None
    quality = measure(frame, decoded, decided.padding, with_ssim=goal.guard.min_ssim is not None)
    if goal.guard.objection(quality, allowed_error(encoder, image.stored, coded.setting.level)):
        return None
    padding = None
    if decided.padding is not None:
        gap = PaddingGap.of(decided.padding, frame, decoded)
        padding = PaddingGap.join(decided.padding, [gap], quality.max_error)
        if padding is None:
            return None
    goal.hints.learn(decided.key, coded.learnt)
    loss = Loss(image.native_bytes / len(coded.stream), encoder.method, padding)
    made = _assembled(precedent, payload, found, coded.stream, loss=loss, site_key=goal.site_key)
    return made, asdict(coded.setting) | Reached.of([quality]).told(loss.ratio, coded.encodes)


class _Coded(NamedTuple):
    """A codestream that meets a ratio, the setting that made it, what that teaches, and how many encodes it
    took."""

    stream: bytes
    setting: Setting
    learnt: float
    encodes: int


def _at_ratio(precedent: Precedent, frame: Pixels, goal: Goal) -> _Coded | None:
    """As `aim.hit` of one frame whose series is known; None where that may end otherwise than in one way of
    the codec, with loss."""
    image, form, encoder = precedent.image, precedent.decided.form, precedent.decided.encoder
    dial, forecast = encoder.dial(form), Forecast.of((frame,), image.stored)
    hint = goal.hints.get(precedent.decided.key)
    shortfall = LIKELY * forecast.lossless_bits() / (image.allocated / goal.ratio)
    if hint is None or shortfall <= 1:
        return None
    start = forecast.level(hint, dial.lowest, dial.highest)
    slope = forecast.slope(start)
    size = max(int(image.native_bytes / goal.ratio), 1)
    streams: dict[float, bytes] = {}

    def size_at(level: float) -> int:
        if level not in streams:
            streams[level] = encoder.encode_at(frame, form, level)
        return len(streams[level])

    if shortfall <= 2 and SIMPLER * size_at(start) < size:
        return None  # it may be simpler than it looks
    found = find_level(size_at, size, start, dial.highest, slope, least=dial.lowest)
    if not found.exact or found.size >= image.native_bytes:
        return None
    learnt = forecast.bits(found.level - math.log(found.size / size) / slope)
    return _Coded(streams[found.level], Setting(found.level), learnt, len(streams))


def _assembled(
    precedent: Precedent, payload: Payload, found: _Header, stream: bytes, *, loss: Loss, site_key: bytes
) -> Payload:
    """The payload of a codestream, with a header that is true of it."""
    original = payload.sop_instance_uid
    uid = new_uid(site_key, original, (stream,))
    changes = precedent.decided.changes | uid_changes(uid)
    changes |= lossy_changes(precedent.image, loss, payload.sop_class_uid, original)
    pieces: list[bytes] = []
    at = 0
    for tag in sorted(changes):
        start, end = found.places[_PLACE[tag]]
        pieces += (found.header[at:start], changes[tag] or b"")
        at = end
    padded = len(stream) + (len(stream) & 1)
    tables, pixels = around([padded], (fragment_head(padded), stream.ljust(padded, b"\0")))
    parts = (b"".join((*pieces, found.header[at:], tables)), *pixels)
    return replace(
        payload,
        sop_instance_uid=uid,
        transfer_syntax_uid=precedent.decided.planned.syntax,
        parts=parts,
        length=total_length(parts),
        treatment=Treatment.TRANSCODED,
        others=precedent.decided.planned.others,
    )
