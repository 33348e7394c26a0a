"""One image on its way through a pipeline: opened once, its frames decoded once, whoever asks for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType

from mapdr.dicom import tags
from mapdr.dicom.tags import PIXEL_DATA, PIXEL_TAGS
from mapdr.dicom.transfer_syntax import ALWAYS_LOSSY, NATIVE
from mapdr.dicom.write import Element, element, splice
from mapdr.kernel.cached import cached_property
from mapdr.kernel.codec import Decoder
from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import Payload
from mapdr.kernel.step import Painting
from mapdr.transform.bits import BitFrames
from mapdr.transform.chroma import HalfChroma
from mapdr.transform.codecs.foreign import KEEP, foreign_frames
from mapdr.transform.codecs.table import Codecs
from mapdr.transform.dataset import DataSet
from mapdr.transform.encode.derive import recoloured_changes
from mapdr.transform.image import Attributes, Frames, Image, LeaveAsIs, NativeFrames
from mapdr.transform.painted import Paint, PaintedFrames
from mapdr.transform.rgb import STUDIO, RgbFrames
from mapdr.transform.view import Held

_COMPONENT_TRANSFORMS = ("YBR_RCT", "YBR_ICT")
_LOSSY = element(tags.LOSSY_IMAGE_COMPRESSION, "CS", b"01")
_JPEG = element(tags.LOSSY_IMAGE_COMPRESSION_METHOD, "CS", b"ISO_10918_1")
"""The method of all transfer syntaxes that are always lossy."""


class OpenImage:
    """What steps after the header see of a payload: its data set, its image, its frames. A context manager.

    Nothing is opened before it is asked for. `paints` are the changes of pixels that its frames come with;
    `paintings` change what stands around the pixels therefor. `held` is what of the payload is in memory.
    """

    def __init__(
        self,
        payload: Payload,
        codecs: Codecs,
        *,
        workers: int = 1,
        paints: Sequence[Paint] = (),
        paintings: Sequence[Painting] = (),
        held: Held | None = None,
    ) -> None:
        self.payload = payload
        self.held = held
        self.codecs = codecs
        self.workers = workers
        self._paints = tuple(paints)
        self._paintings = tuple(paintings)
        self._open: DataSet | None = None
        self._whole = False
        self._as_rgb = False

    def __enter__(self) -> OpenImage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open is not None:
            self._open.__exit__(kind, error, trace)
            self._open = None

    @property
    def data(self) -> DataSet:
        """The open data set. Raises Permanent as DataSet does."""
        if self._open is None:
            self._open = DataSet(self.payload, self.held).__enter__()
        return self._open

    @cached_property
    def attributes(self) -> Attributes:
        """The elements before the pixel data, as they have to be beside its frames."""
        return self._revised(self.data.header(), changed=False)

    @property
    def told(self) -> Attributes:
        """The same, with what is to be said of pixels that were changed or decoded; known once all frames
        were read. Raises LeaveAsIs for a lossy JPEG without an Image Pixel module."""
        attributes = self.attributes
        if self._is_repainted:
            attributes = self._revised(attributes.header, changed=True)
        if self._as_rgb:
            changes = recoloured_changes(attributes, self.image.photometric, self.cut_off)
            attributes = Attributes(splice(attributes.header, changes))
        if self.payload.transfer_syntax_uid in ALWAYS_LOSSY:
            attributes = Attributes(splice(attributes.header, self._loss(attributes)))
        return attributes

    def _loss(self, attributes: Attributes) -> dict[int, bytes | None]:
        """What a lossy JPEG says of its loss, where its data set does not (PS3.3 section C.7.6.1.1.5)."""
        changes: dict[int, bytes | None] = {tags.LOSSY_IMAGE_COMPRESSION: _LOSSY}
        pixel, ratio = self.data.pixel, tags.LOSSY_IMAGE_COMPRESSION_RATIO
        if tags.LOSSY_IMAGE_COMPRESSION_METHOD not in attributes:
            changes[tags.LOSSY_IMAGE_COMPRESSION_METHOD] = _JPEG
        if pixel is not None and ratio not in attributes:
            reached = self.image.native_bytes / max(pixel.end - pixel.value, 1)
            changes[ratio] = element(ratio, "DS", f"{reached:.2f}".encode("ascii"))
        return changes

    def _revised(self, header: bytes, *, changed: bool) -> Attributes:
        if self.is_painted:
            for painting in self._paintings:
                header = painting.header(header, changed=changed)
        return Attributes(header)

    @cached_property
    def tail(self) -> bytes:
        """The elements after the pixel data, as explicit VR little endian, as they have to be."""
        tail = self.data.tail(self.attributes.header)
        for painting in self._paintings:
            tail = painting.tail(tail)
        return tail

    @cached_property
    def image(self) -> Image:
        """What the header says of the pixels. Raises LeaveAsIs, also where they are there twice: programs
        disagree on which of them is the image (PS3.5 section 7.1 has each element once)."""
        tail = Attributes(self.data.tail(self.attributes.header))
        if any(tag in tail for tag in PIXEL_TAGS):
            raise LeaveAsIs("second-pixel-data")
        return Image.of(self.attributes)

    @cached_property
    def shown(self) -> Image:
        """What a native data set has to say of the frames, whose samples are all there, pixel by pixel.

        Raises LeaveAsIs, and Permanent(reason="syntax") for colours that no native frame has.
        """
        return replace(self._samples, photometric="RGB") if self._as_rgb else self._samples

    @property
    def _samples(self) -> Image:
        """The same of the frames as they are read, before they become RGB."""
        image = self.image
        seen = self._colour(image), self._halves_chroma(image), self._whole
        if seen == (image.photometric, image.halved, image.whole):
            return image
        photometric, halved, whole = seen
        return replace(image, photometric=photometric, halved=halved, whole=whole)

    def keep_whole_cells(self) -> None:
        """From now on frames are cells with all their bits, for an image that uses those that it may not.

        What its header says of bits stays, so whoever masks them sees what he saw before, and so does who
        does not.
        """
        self._whole = True
        self._reopen()

    def as_rgb(self, wanted: bool) -> None:
        """From now on frames of luminance and chrominance are RGB (`rgb.may_be_rgb`), or are as they came."""
        if wanted != self._as_rgb:
            self._as_rgb = wanted
            self._reopen()

    def _reopen(self) -> None:
        self.__dict__.pop("shown", None)
        self.__dict__.pop("frames", None)
        self.__dict__.pop("_painted", None)

    def _colour(self, image: Image) -> str:
        """The photometric interpretation of the frames."""
        if self.is_native:
            return "YBR_FULL" if image.photometric == "YBR_FULL_422" else image.photometric
        return decoded_colour(image, self.codecs.decoder(self.payload.transfer_syntax_uid))

    def _halves_chroma(self, image: Image) -> bool:
        halved = ("YBR_FULL_422", STUDIO) if self._as_rgb else ("YBR_FULL_422",)
        return self.is_native and image.photometric in halved

    @property
    def is_native(self) -> bool:
        """Whether the frames are read without a codec."""
        return self.payload.transfer_syntax_uid in NATIVE

    @property
    def is_painted(self) -> bool:
        """Whether there are steps that change its pixels."""
        return bool(self._paints) and self.data.pixel is not None

    @property
    def is_rewritten(self) -> bool:
        """Whether its frames are others than came: steps change their pixels, or they are RGB now."""
        return self.is_painted or self._as_rgb

    @property
    def kept_bytes(self) -> int:
        """Bytes of frames that are kept while they are encoded, so that each is decoded once."""
        return 0 if self.is_native and not self._paints else min(KEEP, self.image.native_bytes)

    @property
    def source_bytes(self) -> int:
        """Bytes of the pixels as they came; without a codec, if they cannot leave as they came."""
        pixel = self.data.pixel
        if pixel is None or self._paints:
            return self.image.native_bytes
        return self.shown.native_bytes if self.is_native else pixel.end - pixel.value

    @cached_property
    def frames(self) -> Frames:
        """The frames, with the pixels that they shall have. Raises LeaveAsIs, and Permanent as the codecs."""
        return RgbFrames(self._painted, self.shown) if self._as_rgb else self._painted

    @cached_property
    def _painted(self) -> Frames:
        """The frames with what steps change in them, in the colours that they are read in."""
        image, pixel = self.image, self.data.pixel
        if pixel is None:
            raise LeaveAsIs("no-pixels")
        frames = self._read(image, pixel)
        if not self._paints:
            return frames
        planar = self.is_native and image.samples > 1 and image.planar == 1
        return PaintedFrames(frames, self._samples, self._paints, planar=planar)

    def _read(self, image: Image, pixel: Element) -> Frames:
        """The frames as they came. Raises as `frames`."""
        samples, view, is_big = self._samples, self.data.view, self.data.encoding.big
        if self._halves_chroma(image):
            return HalfChroma(samples, view, pixel)
        if self.is_native and image.allocated == 1:
            return BitFrames(samples, view, pixel, big_endian=is_big)
        if self.is_native:
            return NativeFrames(samples, view.at_hand or view, pixel, big_endian=is_big)
        if image.allocated == 1:
            raise LeaveAsIs("one-bit")  # decoders give cells of whole bytes
        decoder = self.codecs.decoder(self.payload.transfer_syntax_uid)
        keep = 0 if self._paints else KEEP
        frames = foreign_frames(image, view, pixel, decoder, workers=self.workers, keep=keep)
        frames.image = samples
        return frames

    @property
    def pixels_changed(self) -> bool:
        """Whether a frame that was read so far holds other pixels than came: a step has changed it, or its
        colours have no RGB."""
        return self._is_repainted or self.cut_off > 0

    @property
    def cut_off(self) -> int:
        """Pixels of the frames that were read so far whose colours RGB has not (`RgbFrames.cut_off`)."""
        return self.frames.cut_off if self._as_rgb and isinstance(self.frames, RgbFrames) else 0

    @property
    def _is_repainted(self) -> bool:
        """Whether a step has changed a frame that was read so far."""
        return self.is_painted and isinstance(self._painted, PaintedFrames) and self._painted.changed

    @property
    def is_read(self) -> bool:
        """Whether each frame was read with what steps have changed in it: else nobody can have written it."""
        return isinstance(self._painted, PaintedFrames) and self._painted.is_read

    def refuse_unpaintable(self) -> None:
        """Raises Permanent(reason="pixels") where steps would change pixels that cannot be had as frames."""
        if not self._paints or (pixel := self.data.pixel) is None:
            return
        try:
            objection = self._objection(self.image) if pixel.tag == PIXEL_DATA else "they are no integers"
            if not objection:
                _ = self.frames
        except LeaveAsIs as left:
            objection = left.reason
        if objection:
            raise Permanent(f"its pixels cannot be changed here: {objection}", reason="pixels")

    def _objection(self, image: Image) -> str:
        if image.allocated not in (8, 16, 32):
            return f"{image.allocated} bits are allocated"
        if self.is_native and image.photometric.startswith("YBR_PARTIAL_"):
            return f"native pixels in {image.photometric} have no frames of whole pixels"
        return ""


def decoded_colour(image: Image, decoder: Decoder) -> str:
    """The photometric interpretation of decoded frames.

    Raises Permanent(reason="syntax") for colours that no native frame has.
    """
    if image.samples == 1:
        return image.photometric
    # libjpeg gives RGB for lossy JPEG, OpenJPEG undoes component transforms.
    if decoder.gives_rgb or image.photometric in _COMPONENT_TRANSFORMS:
        return "RGB"
    if image.photometric == "YBR_FULL_422":
        # Native YBR_FULL_422 has half the chrominance samples (PS3.3 section C.7.6.3.1.2).
        return "YBR_FULL"
    if image.photometric in ("YBR_PARTIAL_422", "YBR_PARTIAL_420"):
        raise Permanent(f"there are no native frames in {image.photometric}", reason="syntax")
    return image.photometric
