"""All frames of one image through a codec: lossless, or at a level; each verified by decoding."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from mapdr.kernel import budget
from mapdr.kernel.codec import Dial, Encoder, FrameFormat, LossyEncoder, Pixels, RateControlEncoder, Way
from mapdr.kernel.errors import Permanent, Unavailable
from mapdr.kernel.guard import GuardedThread
from mapdr.kernel.stage import Settings
from mapdr.transform.encode.forecast import Forecast
from mapdr.transform.encode.policy import RGB
from mapdr.transform.encode.quality import Guard, Padding, PaddingGap, Quality, Reached, measure
from mapdr.transform.encode.streams import Streams
from mapdr.transform.image import Frames, Image, same
from mapdr.transform.scratch import Scratch

T = TypeVar("T")

SAMPLE = 4
"""Frames of a long multi-frame image on which a level is searched first."""
LEVEL_BIAS = 0.11
"""Mean square error that OpenJPEG does not count in a level: the median of 32 images where a level allows
less than 0.5, less where it allows more."""
SLACK = {"ISO_15444_15": 16.0}
"""How much larger than a level in dB says the mean square error may be before the codec counts as corrupt: 4
times, or by the method's term, where the level is that of a quantiser's steps and not of what comes out."""


def allowed_error(encoder: LossyEncoder, bits: int, level: float) -> float:
    """The mean square error that a codec may have at a level of its dial, which is a PSNR in dB."""
    return SLACK.get(encoder.method, 4.0) * max(4.0**bits / 10 ** (level / 10), 1.0)


class Objection(Exception):
    """A lossy image may not leave, for `reason`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


Check = tuple[Quality, PaddingGap]
"""What a lossy codestream has kept of its frame, and where the frame's padding lies afterwards."""


def checked(frame: Pixels, decoded: Pixels, padding: Padding | None, guard: Guard) -> Check:
    """Compare a frame with what its codestream decodes to.

    Raises Permanent(reason="codec") for another shape.
    """
    if decoded.shape != frame.shape:
        raise Permanent("a frame decodes to another shape than was encoded", reason="codec")
    quality = measure(frame, decoded, padding, with_ssim=guard.min_ssim is not None)
    return quality, PaddingGap.of(padding, frame, decoded)


def judged(
    checks: Sequence[Check], padding: Padding | None, guard: Guard, allowed: float
) -> tuple[Reached, Padding | None]:
    """What the frames of an image have kept together, and the range of their `padding` afterwards.

    `allowed` is the mean square error that each may have by its level. Raises Objection when a guard fails.
    """
    qualities = [quality for quality, _ in checks]
    for quality in qualities:
        if objection := guard.objection(quality, allowed):
            raise Objection(objection)
    if padding is not None:
        error = max(quality.max_error for quality in qualities)
        padding = PaddingGap.join(padding, [gap for _, gap in checks], error)
        if padding is None:
            raise Objection("padding")
    return Reached.of(qualities), padding


@dataclass(frozen=True, slots=True)
class Setting:
    """What makes a lossy codestream: the codec's level in dB, which wavelet, and how many resolutions (0:
    the codec's default). With a `size` in bytes it is that which makes it, and the level is what it has."""

    level: float
    reversible: bool = False
    resolutions: int = 0
    size: int = 0

    @property
    def way(self) -> Way:
        """The codec's way without the level."""
        return Way(self.reversible, self.resolutions)

    def told(self) -> dict[str, Any]:
        """What is kept and shown of it."""
        told = {"level": self.level, "reversible": self.reversible, "resolutions": self.resolutions}
        return told | {"size": self.size} if self.size else told

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Setting:
        """The setting of which this was `told`."""
        return cls(
            float(told["level"]),
            bool(told.get("reversible")),
            int(told.get("resolutions", 0)),
            int(told.get("size", 0)),
        )


@dataclass(frozen=True, slots=True)
class Encoded:
    """The codestreams of an image, the colour space they are in, and, if lossy, how they were made, what they
    have kept, and the range that padding has afterwards."""

    frames: Streams
    photometric: str
    setting: Setting | None = None
    padding: Padding | None = None
    reached: Reached | None = None

    @property
    def size(self) -> int:
        """Bytes of the codestreams."""
        return self.frames.size


def streams_room(native_bytes: int, scratch: Scratch) -> int:
    """Bytes of memory that are asked for before an image is encoded, for its codestreams: most take less."""
    return min(native_bytes // 2, scratch.held)


_rooms: dict[int, threading.BoundedSemaphore] = {}


def frame_room(workers: int) -> threading.BoundedSemaphore:
    """Room for as many frames as the node has codec threads, shared by the images of all recipes."""
    return _rooms.setdefault(workers, threading.BoundedSemaphore(workers))


def frames_at_once(image: Image, settings: Settings) -> int:
    """How many frames of an image are worked on together: as many as there are threads, unless they take more
    than a quarter of the node's memory."""
    fit = settings.memory // 4 // image.work_bytes
    return max(1, min(settings.workers, image.frames, fit))


def each_of(
    indexes: Sequence[int], work: Callable[[int], T], room: threading.BoundedSemaphore, at_once: int
) -> list[T]:
    """What `work` gives for each index, at most `at_once` of them worked on together and as far as there is
    `room`: one by this thread, the others by threads that end with them.

    Raises what the first of them in order raises, once no other is worked on any more.
    """
    if len(indexes) == 1:
        return [work(indexes[0])]
    found: dict[int, T] = {}
    failed: dict[int, BaseException] = {}
    todo = iter(enumerate(indexes))

    def strand() -> None:
        while not failed and (place := next(todo, None)):
            try:
                found[place[0]] = work(place[1])
            except BaseException as error:  # noqa: BLE001  raised below
                failed[place[0]] = error

    _together(strand, room, min(at_once, len(indexes)))
    if failed:
        # Frames are begun in order, so that the first one at fault is always the same.
        error = failed[min(failed)]
        try:
            raise error
        finally:
            failed.clear()  # else they would hold each other, and the pixels, until the collector comes
            del error
    return [found[place] for place in range(len(indexes))]


def _together(strand: Callable[[], None], room: threading.BoundedSemaphore, at_once: int) -> None:
    """Run `strand` here once there is room, and in threads beside it while there is, `at_once` in all.

    To start a thread takes 0.1 ms, a frame some: none is kept between images.
    """
    others: list[GuardedThread] = []
    with room:
        try:
            while len(others) + 1 < at_once and room.acquire(blocking=False):
                thread = GuardedThread(partial(_beside, strand, room), "mapdr-frames", goes_on=lambda: False)
                try:
                    thread.start()
                except RuntimeError:  # the system gives no more threads: those that are there do it
                    room.release()
                    break
                others.append(thread)
            strand()
        finally:
            for thread in others:
                thread.join()


def _beside(strand: Callable[[], None], room: threading.BoundedSemaphore) -> None:
    try:
        strand()
    finally:
        room.release()


class FrameEncoder:
    """One image on its way through the codec. `room` is shared by the frames of multi-frame images.

    At most `at_once` frames are worked on together; their codestreams go to `scratch`. `told` is what the
    caller has told the budget of codestreams in memory (`streams_room`); what there is more of, is told here
    once they are made.
    """

    def __init__(
        self,
        writers: tuple[Encoder | None, LossyEncoder | None],
        frames: Frames,
        room: threading.BoundedSemaphore,
        guard: Guard,
        padding: Padding | None,
        *,
        scratch: Scratch,
        transform_colour: bool,
        at_once: int = 1 << 30,
    ) -> None:
        """`transform_colour`: RGB by the codec's component transform, if it has one, as YBR_RCT or
        YBR_ICT."""
        encoder, self._lossy_encoder = writers
        self._encoder = encoder
        self._frames = frames
        self._room = room
        self._guard = guard
        self._padding = padding
        self.image = frames.image
        self.bits = frames.image.stored
        count = frames.image.frames
        self.all = range(count)
        self.sample: Sequence[int] = self.all
        if count > SAMPLE:
            self.sample = [count * (2 * step + 1) // (2 * SAMPLE) for step in range(SAMPLE)]
        self._transform_colour = transform_colour
        transform = encoder.colour_transform if encoder is not None else ""
        self._lossless_form = self._form_in((transform, "RGB") if transform else ("RGB",))
        self._only: Pixels | None = None
        self._checked: tuple[Setting, list[Check]] | None = None
        self._encoded = 0
        self.lossless_bits: float | None = None
        """Bits per sample of the lossless codestreams that `try_lossless` has made, of a sample or of all."""
        self._at_once = at_once
        self._scratch = scratch
        self._told = streams_room(frames.image.native_bytes, scratch)

    def lossless(self) -> Encoded:
        """Lossless codestreams. Raises Permanent(reason="codec") if a frame does not come back equal."""
        return self._without_loss(self._lossless_frame)

    def _without_loss(self, work: Callable[[int], bytes]) -> Encoded:
        self._encoded += len(self.all)
        return Encoded(self._gather(self.all, work), self._lossless_form.photometric)

    def lossy(self, setting: Setting, streams: Streams | None = None) -> Encoded:
        """Codestreams at `setting`, which may have been made already. Raises Objection when a guard fails."""
        made = self.streams(self.all, setting) if streams is None else streams
        checks = self._checked
        if checks is None or checks[0] != setting:
            checks = setting, self._each(self.all, lambda index: self._verify(index, made[index], setting))
        assert self._lossy_encoder is not None
        allowed = math.inf
        if self.dial.unit == "dB":
            allowed = allowed_error(self._lossy_encoder, self.bits, setting.level)
        reached, padding = judged(checks[1], self._padding, self._guard, allowed)
        return Encoded(made, self.form(setting).photometric, setting, padding, reached)

    def reached(self, indexes: Sequence[int], setting: Setting, streams: Streams) -> Reached:
        """What the frames at `indexes` have kept in their codestreams; of all frames, noted for `lossy`."""
        checks = self._each(indexes, lambda index: self._verify(index, streams[index], setting))
        if len(indexes) == len(self.all):
            self._checked = setting, checks
        return Reached.of([quality for quality, _ in checks])

    @property
    def has_rate_control(self) -> bool:
        """Whether the codec meets a size in one encode here."""
        encoder = self._lossy_encoder
        return isinstance(encoder, RateControlEncoder) and not encoder.no_rate_control()

    def with_level(self, setting: Setting, streams: Streams) -> Setting:
        """The setting of the size of a single-frame image with the level that its codestream has, which is
        verified for `lossy`."""
        frame, decoded = self._frame(0), self._decoded(streams[0], setting)
        check = checked(frame, decoded, self._padding, self._guard)
        # The codec cares for padding as for all else.
        whole = check[0] if self._padding is None else measure(frame, decoded)
        setting = replace(setting, level=self._measured_level(whole))
        self._checked = setting, [check]
        return setting

    def level_at_size(self, index: int, size: int) -> float:
        """The level at which a frame has `size` bytes."""
        self._encoded += 1
        setting, frame = Setting(0.0, size=size), self._frame(index)
        decoded = self._decoded(self._encode(index, setting), setting)
        return self._measured_level(checked(frame, decoded, None, Guard())[0])

    def _measured_level(self, quality: Quality) -> float:
        kept = quality.mean_square
        return self.level_for_error(kept - LEVEL_BIAS / (1 + kept * kept))

    def level_for_error(self, error: float) -> float:
        """The level that allows a mean square error."""
        dial, peak = self.dial, (1 << self.bits) - 1
        level = 20 * math.log10(peak) - 10 * math.log10(error) if error > 0 else dial.highest
        return min(max(level, dial.lowest), dial.highest)

    def _form_in(self, colours: Sequence[str]) -> FrameFormat:
        """The format of codestreams whose RGB may be written in `colours`, that of a transform first."""
        form = self._frames.image.format
        if form.photometric not in RGB:
            return form
        plain = "RGB" in colours and not self._transform_colour
        return replace(form, photometric="RGB" if plain else colours[0])

    def try_lossless(self, ratio: float) -> Encoded | None:
        """The lossless image if it reaches `ratio`; on a sample of the frames first.

        The sample, and one frame alone that is too large, are not verified: they do not leave. Raises as
        `lossless`.
        """
        sample, image = self.sample, self.image
        if self._encoder is None:
            return None
        if len(sample) < len(self.all):
            self._encoded += len(sample)
            size = sum(self._each(sample, lambda index: len(self._unverified_frame(index))))
            self.lossless_bits = size / (len(sample) * image.frame_bytes) * image.allocated
            if len(sample) * image.frame_bytes < 0.8 * ratio * size:
                return None
        is_alone = len(self.all) == 1  # of several, each would be read once more
        encoded = self._without_loss(self._unverified_frame if is_alone else self._lossless_frame)
        self.lossless_bits = encoded.size / image.native_bytes * image.allocated
        if image.native_bytes < ratio * encoded.size:
            return None
        if is_alone:
            self._refuse_unequal(self._frame(0), encoded.frames[0])
        return encoded

    def forecast(self) -> Forecast:
        """What the image will weigh, by a sample of its frames."""
        return Forecast.of(map(self._frame, self.sample), self.bits)

    def streams(self, indexes: Sequence[int], setting: Setting) -> Streams:
        """The codestreams of some frames at `setting`, not verified."""
        self._encoded += len(indexes)
        return self._gather(indexes, lambda index: self._encode(index, setting))

    def _gather(self, indexes: Sequence[int], work: Callable[[int], bytes]) -> Streams:
        """What `work` makes of the frames at `indexes`."""
        made = Streams(self._scratch)
        self._each(indexes, lambda index: made.put(index, work(index)))
        if made.in_memory > self._told:
            budget.need(made.in_memory - self._told)
            self._told = made.in_memory
        return made

    def _frame(self, index: int) -> Pixels:
        """A frame; that of a single-frame image is kept, for it is read for each encode and to compare."""
        if len(self.all) > 1:
            return self._frames.frame(index)
        if self._only is None:
            self._only = self._frames.frame(0)
        return self._only

    def _encode(self, index: int, setting: Setting) -> bytes:
        encoder, frame, form = self._lossy_encoder, self._frame(index), self.form(setting)
        assert encoder is not None
        if setting.size:
            if not isinstance(encoder, RateControlEncoder):
                raise Unavailable("the codec that is here now encodes to no size")
            return encoder.encode_to_size(frame, form, setting.size, setting.way)
        return encoder.encode_at(frame, form, setting.level, setting.way)

    @property
    def dial(self) -> Dial:
        """The lossy codec's dial for these frames."""
        assert self._lossy_encoder is not None
        return self._lossy_encoder.dial(self.image.format)

    @property
    def ways(self) -> tuple[Way, ...]:
        """The lossy codec's ways, its own first."""
        assert self._lossy_encoder is not None
        return self._lossy_encoder.ways

    @property
    def peak(self) -> int:
        """The range of the values of a frame, without padding."""
        frame = self._frame(self.sample[0])
        if self._padding is not None:
            frame = frame[~self._padding.mask(frame)]
        return int(frame.max()) - int(frame.min()) if frame.size else 0

    @property
    def writes_lossless(self) -> bool:
        """Whether there is a codec without loss for the image."""
        return self._encoder is not None

    @property
    def encodes(self) -> float:
        """How often a frame was encoded so far, in the mean over the frames."""
        return self._encoded / len(self.all)

    def form(self, setting: Setting) -> FrameFormat:
        """The format of the codestreams that a setting makes."""
        assert self._lossy_encoder is not None
        return self._form_in(self._lossy_encoder.rgb_as(setting.way))

    def _lossless_frame(self, index: int) -> bytes:
        frame = self._frame(index)
        assert self._encoder is not None
        stream = self._encoder.encode(frame, self._lossless_form)
        self._refuse_unequal(frame, stream)
        return stream

    def _unverified_frame(self, index: int) -> bytes:
        assert self._encoder is not None
        return self._encoder.encode(self._frame(index), self._lossless_form)

    def _refuse_unequal(self, frame: Pixels, stream: bytes) -> None:
        """Raise Permanent(reason="codec") where a lossless codestream does not give its frame."""
        assert self._encoder is not None
        if not same(self._encoder.decode(stream, self._lossless_form), frame):
            raise Permanent("a frame decodes to other pixels than were encoded", reason="codec")

    def _verify(self, index: int, stream: bytes, setting: Setting) -> Check:
        return checked(self._frame(index), self._decoded(stream, setting), self._padding, self._guard)

    def _decoded(self, stream: bytes, setting: Setting) -> Pixels:
        assert self._lossy_encoder is not None
        return self._lossy_encoder.decode(stream, self.form(setting))

    def _each(self, indexes: Sequence[int], work: Callable[[int], T]) -> list[T]:
        return each_of(indexes, work, self._room, self._at_once)
