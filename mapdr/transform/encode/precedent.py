"""A lossy image as a precedent: what was decided of it goes for the images of its series that come after it.

From one slice of a series to the next, nothing changes that a plan looks at, nor what a header that is made
of it depends on. So the elements that either reads (`READ`) are compared, byte by byte and whole, with those
of an image that went the whole way (`CompressStep.encode`), and where all of them are equal, its plan is this
one's too. What is left is its own: the level that meets the ratio, the codestream, its verification, its UID
and its header. `follow` does that much, in a fraction of what the whole way takes beside the codec.

The whole way is the plain twin: wherever anything differs, or does not go straight to its end, `follow` gives
None and has changed nothing, neither hints nor facts. `tests/transform/test_precedent.py` compares both, byte
by byte, and looks that the whole way reads no element that is not in `READ`.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any, NamedTuple

from mapdr import _fast
from mapdr._fast.scan_tables import EXPLICIT
from mapdr.dicom import tags
from mapdr.dicom.recode import is_regular
from mapdr.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN
from mapdr.dicom.write import replaced
from mapdr.kernel import budget
from mapdr.kernel.codec import FrameFormat, LossyEncoder, Pixels
from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import FileSlice, Instance, Payload, Treatment, total_length
from mapdr.transform.dataset import COPIES
from mapdr.transform.document import OpenImage
from mapdr.transform.encode.aim import LIKELY, SIMPLER
from mapdr.transform.encode.derive import Changes, Loss, loss_changes, method_changes, new_uid, uid_changes
from mapdr.transform.encode.forecast import Forecast
from mapdr.transform.encode.frames import Objection, Setting, allowed_error, checked, judged, streams_room
from mapdr.transform.encode.groups import has_groups
from mapdr.transform.encode.plan import Plan
from mapdr.transform.encode.policy import SIGNATURES
from mapdr.transform.encode.quality import Guard, Padding, Reached
from mapdr.transform.encode.search import Hints, find_level
from mapdr.transform.fragments import OF_OTHER_FRAGMENTS, around, fragment_head
from mapdr.transform.image import Image, OutsideBitsStored
from mapdr.transform.scratch import Scratch
from mapdr.transform.view import Held

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
        *OF_OTHER_FRAGMENTS,
    )
)
"""Elements before the pixel data that a plan or a changed header depends on, but for those of overlays: with
one of these an image goes the whole way."""
OVERLAYS = 0x60000000, 0x60FFFFFF
"""The first and the last tag that an element of an overlay may have (PS3.5 section 7.6)."""
LARGEST = 1 << 16
"""Bytes of the header of a precedent, for it is kept."""
_WRITTEN = (
    tags.SOP_INSTANCE_UID,
    tags.SMALLEST_IMAGE_PIXEL_VALUE,
    tags.LARGEST_IMAGE_PIXEL_VALUE,
)
"""Elements that a lossy image changes, and nothing depends on."""
_SOUGHT = tuple(sorted(READ.union(_WRITTEN, OVERLAYS)))
_PLACE = {tag: place for place, tag in enumerate(_SOUGHT)}
_COMPARED = tuple(_PLACE[tag] for tag in sorted(READ))
_FIRST_OVERLAY, _LAST_OVERLAY = (_PLACE[tag] for tag in OVERLAYS)
_PIXEL_GROUP = _PLACE[tags.PIXEL_GROUP_LENGTH]
_group_at = itemgetter(4)
_PIXEL_HEAD = 12
"""Bytes of the head of Pixel Data in explicit VR (PS3.5 section 7.1.2)."""


class _Header(NamedTuple):
    """A regular header, as far as is asked: `said` are the elements of `READ`, heads and values (empty for
    what is not there), `spans` where what is sought lies; `pixels` is the Pixel Data element and all that
    follows it."""

    header: bytes
    said: tuple[bytes, ...]
    spans: list[tuple[int, int, bytes | None, bytes | None, int]]
    pixels: memoryview


def _read(payload: Payload, held: Held) -> _Header | None:
    """The header of a payload that is as it came, or has another header before its own pixels. None where it
    is not regular, has the length of a group that is changed, or has overlays."""
    *before, own = (part for part in payload.parts if part)
    if payload.transfer_syntax_uid != EXPLICIT_VR_LITTLE_ENDIAN or len(before) > 1:
        return None
    if not isinstance(own, FileSlice) or own.proof is not held.proof:
        return None
    edited = before[0] if before else b""
    if not isinstance(edited, bytes):
        return None
    start = own.offset - held.proof.offset
    rest = memoryview(held.data)[start : start + own.length]
    found = _fast.locate(edited or rest, len(edited or rest), EXPLICIT, _SOUGHT)
    if found is None or max(map(_group_at, found.spans)) >= 0:
        return None
    spans = found.spans
    # What lies between the places of the two would be an overlay's.
    has_overlays = spans[_FIRST_OVERLAY][0] != spans[_LAST_OVERLAY][1]
    if has_overlays or spans[_PIXEL_GROUP][2] is not None or (edited and found.header_end < len(edited)):
        return None
    header = edited or bytes(rest[: found.header_end])
    if not is_regular(header):
        return None
    said = tuple([header[spans[place][0] : spans[place][1]] for place in _COMPARED])
    return _Header(header, said, spans, rest if edited else rest[found.header_end :])


@dataclass(frozen=True, slots=True, eq=False)
class Decided:
    """What was decided of an image: its plan, what its codec is told, and the `changes` of its header that
    its codec's samples make. `form` is that of its codestream; hints on its series are kept under `key`."""

    planned: Plan
    encoder: LossyEncoder
    form: FrameFormat
    padding: Padding | None
    changes: Changes
    key: Hashable


@dataclass(frozen=True, slots=True, eq=False)
class Precedent:
    """An image: what was decided of it, what its header says, how its Pixel Data element begins, and
    all `changes` of its header that do not depend on its pixels."""

    decided: Decided
    image: Image
    said: tuple[bytes, ...]
    pixel_head: bytes
    changes: Changes

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
        changed by nothing but its loss, and in a data set that ends with it.

        Its plan has to be one for which no receiver has asked for a transfer syntax.
        """
        image, held, payload = document.image, document.held, document.payload
        is_plain = document.shown is image and image.frames == 1 and not document.is_rewritten
        if held is None or not is_plain or has_groups(image.attributes) or image.native_bytes & 1:
            return
        # The head of its pixel data is judged here, for an edited header does not hold it; others have its.
        pixel = document.data.pixel
        if not document.data.is_regular or pixel is None or pixel.value - pixel.start != _PIXEL_HEAD:
            return
        if len(image.attributes.header) > LARGEST or (found := _read(payload, held)) is None:
            return
        changes = decided.changes | method_changes(image.attributes, decided.encoder.method)
        made = Precedent(decided, image, found.said, bytes(found.pixels[:_PIXEL_HEAD]), changes)
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
    """What a lossy image has to reach: a ratio, and what a guard asks. `hints` tell where to look for it.

    `scratch` says how much of codestreams is in memory, which the budget is told as on the whole way.
    """

    ratio: float
    guard: Guard
    hints: Hints
    site_key: bytes
    scratch: Scratch


def follow(
    precedent: Precedent, payload: Payload, held: Held, goal: Goal
) -> tuple[Payload, dict[str, Any]] | None:
    """The image as its precedent went, and what is to be kept of it beside its course. None where it has to
    go the whole way, also where a codec fails: what becomes of that is told there. Raises Short."""
    found = _read(payload, held)
    if found is None or not precedent.is_for(found):
        return None
    image, decided = precedent.image, precedent.decided
    copies = COPIES * len(found.header)  # as `DataSet.say_need`
    budget.need(copies + image.work_bytes + streams_room(image.native_bytes, goal.scratch))
    try:
        frame = image.stored_values(found.pixels[_PIXEL_HEAD:])
        coded = _at_ratio(precedent, frame, goal)
        if coded is None:
            return None
        reached, padding = _kept(precedent, frame, coded, goal.guard)
        loss = Loss(image.native_bytes / len(coded.stream), decided.encoder.method, padding)
        made = _assembled(precedent, payload, found, coded.stream, loss=loss, site_key=goal.site_key)
    except (Objection, OutsideBitsStored, Permanent):
        return None
    goal.hints.learn(decided.key, coded.learnt)
    return made, coded.setting.told() | reached.told(loss.ratio, coded.encodes)


class _Coded(NamedTuple):
    """A codestream that meets a ratio, the setting that made it, what that teaches, and how many encodes it
    took."""

    stream: bytes
    setting: Setting
    learnt: float
    encodes: float


class _Sizes:
    """The sizes of a frame's codestreams by their level, and the last of these codestreams."""

    def __init__(self, precedent: Precedent, frame: Pixels, scratch: Scratch) -> None:
        self._encoder, self._form = precedent.decided.encoder, precedent.decided.form
        self._frame = frame
        self._told = streams_room(precedent.image.native_bytes, scratch)
        self._sizes: dict[float, int] = {}
        self.last = b""

    def __call__(self, level: float) -> int:
        """The size at a level. Raises Permanent, Short."""
        if level not in self._sizes:
            self.last = b""  # one codestream is enough
            setting = Setting(level)
            self.last = self._encoder.encode_at(self._frame, self._form, level, setting.way)
            size = self._sizes[level] = len(self.last)
            if size > self._told:
                budget.need(size - self._told)
                self._told = size
        return self._sizes[level]

    @property
    def encodes(self) -> int:
        """How often the frame was encoded."""
        return len(self._sizes)


def _at_ratio(precedent: Precedent, frame: Pixels, goal: Goal) -> _Coded | None:
    """As `aim.hit` of one frame of a series that has a hint; None where that may end otherwise than in the
    codec's own way, with loss."""
    image, encoder = precedent.image, precedent.decided.encoder
    dial, forecast = encoder.dial(image.format), Forecast.of((frame,), image.stored)
    wanted = image.allocated / goal.ratio
    shortfall = LIKELY * forecast.lossless_bits() / wanted
    if shortfall <= 1:
        return None
    hint = goal.hints.get(precedent.decided.key)
    if not hint:
        return None
    start = forecast.level(hint, dial.lowest, dial.highest)
    slope = forecast.slope(start)
    size = max(int(image.native_bytes / goal.ratio), 1)
    size_at = _Sizes(precedent, frame, goal.scratch)
    if shortfall <= 2 and SIMPLER * size_at(start) < size:
        return None  # it may be simpler than it looks
    found = find_level(size_at, size, start, dial.highest, slope, least=dial.lowest)
    if not found.exact or found.size >= image.native_bytes:
        return None
    learnt = forecast.bits(found.level - math.log(found.size / size) / slope)
    # A search that ends exactly ends with what it has encoded last.
    return _Coded(size_at.last, Setting(found.level), learnt, float(size_at.encodes))


def _kept(precedent: Precedent, frame: Pixels, coded: _Coded, guard: Guard) -> tuple[Reached, Padding | None]:
    """What a codestream has kept of its frame, and the range of its padding afterwards.

    Raises Objection where it may not leave, and Permanent as a codec does.
    """
    decided, level = precedent.decided, coded.setting.level
    decoded = decided.encoder.decode(coded.stream, decided.form)
    allowed = allowed_error(decided.encoder, precedent.image.stored, level)
    return judged([checked(frame, decoded, decided.padding, guard)], decided.padding, guard, allowed)


def _assembled(
    precedent: Precedent, payload: Payload, found: _Header, stream: bytes, *, loss: Loss, site_key: bytes
) -> Payload:
    """The payload of a codestream, with a header that is true of it."""
    original = payload.sop_instance_uid
    uid = new_uid(site_key, original, (stream,))
    changes = precedent.changes | uid_changes(uid)
    changes |= loss_changes(precedent.image, loss, payload.sop_class_uid, original)
    places = [(*found.spans[_PLACE[tag]][:2], changes[tag]) for tag in sorted(changes)]
    padded = len(stream) + (len(stream) & 1)
    tables, pixels = around([padded], (fragment_head(padded), stream.ljust(padded, b"\0")))
    parts = (replaced(found.header, places) + tables, *pixels)
    return replace(
        payload,
        sop_instance_uid=uid,
        transfer_syntax_uid=precedent.decided.planned.syntax,
        parts=parts,
        length=total_length(parts),
        treatment=Treatment.TRANSCODED,
        note="",
        others=precedent.decided.planned.others,
    )
