"""One image on its way: what is said of its frames, which colours they have, and frames that steps change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydicom.encaps import encapsulate

from mapdr.dicom import tags, uids
from mapdr.kernel.codec import Decoder, Pixels
from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import Payload, Treatment
from mapdr.transform import painted
from mapdr.transform.document import OpenImage, PaintedFrames, decoded_colour
from mapdr.transform.encode.compress import CompressStep
from mapdr.transform.encode.wish import CompressConfig
from mapdr.transform.image import Attributes, Image, LeaveAsIs

from .helpers import CODECS, EXPLICIT, Notebook, applied, encoded, image, payload_of, picture, settings

PLAIN = Decoder(lambda form, stream: np.zeros((form.rows, form.columns), "u2"))


def described(**changes: Any) -> Image:
    data = image(np.zeros((2, 4, 6, 3), int), allocated=8, stored=8, photometric="RGB", frames=2)
    return replace(Image.of(Attributes(encoded(data)[: -(12 + 144)])), **changes)


class Cells:
    """Frames whose cells count up, and how often each was asked for."""

    def __init__(self, found: Image) -> None:
        self.image = found
        self.asked: list[int] = []

    def cells(self, index: int) -> bytes:
        self.asked.append(index)
        return bytes((index + step) % 256 for step in range(self.image.frame_bytes))

    def frame(self, index: int) -> Pixels:
        raise AssertionError("nobody asks for it")


def inverted(frame: Pixels, *_: Any) -> Pixels:
    return ~frame


def unchanged(frame: Pixels, *_: Any) -> Pixels:
    return frame.copy()


# --- Painted frames


@pytest.mark.parametrize("planar", [False, True])
def test_painted_frames_come_interleaved_and_say_which_were_changed(planar: bool) -> None:
    source = Cells(described(planar=int(planar)))
    given: list[tuple[int, Pixels]] = []

    def second_only(frame: Pixels, form: Any, index: int) -> Pixels:
        given.append((index, frame))
        return ~frame if index == 1 else frame.copy()

    frames = PaintedFrames(source, source.image, [second_only], planar=planar)
    assert not frames.changed
    assert not frames.is_read
    raw = [np.frombuffer(source.cells(index), "u1") for index in range(2)]
    shown = [each.reshape(3, 4, 6).transpose(1, 2, 0) if planar else each.reshape(4, 6, 3) for each in raw]
    assert frames.cells(0) == shown[0].tobytes()
    assert (frames.changed, frames.is_read, frames.was_changed(0)) == (False, False, False)
    assert frames.cells(1) == (~shown[1]).tobytes()
    assert (frames.changed, frames.is_read, frames.was_changed(1)) == (True, True, True)
    assert not frames.was_changed(0)
    assert [index for index, _ in given] == [0, 1]
    assert np.array_equal(given[0][1], shown[0])
    assert np.array_equal(frames.frame(1), ~shown[1])


def test_a_grey_frame_has_two_dimensions_and_paints_follow_each_other() -> None:
    grey = described(samples=1, photometric="MONOCHROME2")
    shapes = []

    def noted(frame: Pixels, *_: Any) -> Pixels:
        shapes.append(frame.shape)
        return ~frame

    frames = PaintedFrames(Cells(grey), grey, [inverted, inverted, noted], planar=False)
    assert frames.frame(0).shape == (4, 6)
    assert shapes == [(4, 6)]
    assert frames.cells(0) == (~np.arange(24, dtype="u1")).tobytes()
    again = PaintedFrames(Cells(grey), grey, [inverted, inverted], planar=False)
    assert again.cells(0) == bytes(range(24))
    assert not again.changed, "what came back to itself was not changed"


@pytest.mark.parametrize(
    ("keep", "asked"),
    [(0, [0, 1, 0, 1]), (71, [0, 1, 0, 1]), (72, [0, 1, 1]), (143, [0, 1, 1]), (144, [0, 1])],
)
def test_as_many_painted_frames_are_kept_as_fit(
    keep: int, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(painted, "KEEP", keep)
    source = Cells(described())
    frames = PaintedFrames(source, source.image, [unchanged], planar=False)
    first = [frames.cells(index) for index in (0, 1)]
    assert [frames.cells(index) for index in (0, 1)] == first
    assert source.asked == asked


def writing(frame: Pixels, *_: Any) -> Pixels:
    frame[0] = 1
    return frame


class Loose(np.ndarray):  # type: ignore[type-arg]
    """An array of another class."""


@pytest.mark.parametrize(
    ("paint", "words"),
    [
        (lambda frame, *_: frame[:1], "another shape or type"),
        (lambda frame, *_: frame.astype("u2"), "another shape or type"),
        (lambda frame, *_: frame.view("i1"), "another shape or type"),
        (lambda frame, *_: frame.view(Loose), "no plain array"),
        (lambda frame, *_: None, "no plain array"),
    ],
)
def test_what_is_no_frame_of_the_same_form_is_refused(paint: Any, words: str) -> None:
    found = described()
    with pytest.raises(Permanent, match=words) as caught:
        PaintedFrames(Cells(found), found, [paint], planar=False).cells(0)
    assert caught.value.reason == "pixels"


def test_nobody_writes_into_a_frame_that_another_step_was_given() -> None:
    found = described()
    for paints in ([writing], [unchanged, writing]):
        with pytest.raises(ValueError, match="read-only"):
            PaintedFrames(Cells(found), found, paints, planar=False).cells(0)


# --- Colours


def test_the_colour_of_decoded_frames_is_one_that_native_frames_have() -> None:
    rgb = replace(PLAIN, gives_rgb=True)
    for photometric, plain in (
        ("RGB", "RGB"),
        ("YBR_FULL", "YBR_FULL"),
        ("YBR_FULL_422", "YBR_FULL"),
        ("YBR_RCT", "RGB"),
        ("YBR_ICT", "RGB"),
    ):
        assert decoded_colour(described(photometric=photometric), PLAIN) == plain
        assert decoded_colour(described(photometric=photometric), rgb) == "RGB"
    for photometric in ("YBR_PARTIAL_422", "YBR_PARTIAL_420"):
        with pytest.raises(Permanent, match="no native frames") as caught:
            decoded_colour(described(photometric=photometric), PLAIN)
        assert caught.value.reason == "syntax"
    for photometric in ("MONOCHROME1", "PALETTE COLOR", "YBR_PARTIAL_422"):
        assert decoded_colour(described(samples=1, photometric=photometric), rgb) == photometric


# --- What is said


def native() -> Payload:
    return payload_of(image(picture(16, 16, 0, 4000)))[0]


def lossy_jpeg(**known: Any) -> Payload:
    data = image(picture(16, 16, 0, 250), allocated=8, stored=8)
    for keyword, value in known.items():
        setattr(data, keyword, value)
    data.PixelData = encapsulate([b"\xff\xd8\xff" + bytes(61)])
    data["PixelData"].VR, data["PixelData"].is_undefined_length = "OB", True
    return replace(payload_of(data)[0], transfer_syntax_uid=uids.JPEG_BASELINE)


def test_a_jpeg_tells_its_loss_where_its_data_set_does_not() -> None:
    with OpenImage(lossy_jpeg(), CODECS) as opened:
        pixel = opened.data.pixel
        assert pixel is not None
        told = opened.told
        assert told.text(tags.LOSSY_IMAGE_COMPRESSION) == "01"
        assert told.text(tags.LOSSY_IMAGE_COMPRESSION_METHOD) == "ISO_10918_1"
        ratio = 256 / (pixel.end - pixel.value)
        assert told.text(tags.LOSSY_IMAGE_COMPRESSION_RATIO) == f"{ratio:.2f}"
        assert opened.source_bytes == pixel.end - pixel.value
        assert opened.kept_bytes == 256
        assert tags.LOSSY_IMAGE_COMPRESSION not in opened.attributes
    known = lossy_jpeg(LossyImageCompressionMethod="OTHER", LossyImageCompressionRatio="7")
    with OpenImage(known, CODECS) as opened:
        assert opened.told.text(tags.LOSSY_IMAGE_COMPRESSION) == "01"
        assert opened.told.text(tags.LOSSY_IMAGE_COMPRESSION_METHOD) == "OTHER"
        assert opened.told.text(tags.LOSSY_IMAGE_COMPRESSION_RATIO) == "7"


class Noting:
    """A painting that marks what it was asked for."""

    note = "noted"

    def paint(self, frame: Pixels, form: Any, index: int) -> Pixels:
        return ~frame

    def header(self, header: bytes, *, changed: bool) -> bytes:
        mark = b"\xfe\x5f\x10\x00LO\x02\0" + (b"CH" if changed else b"AS")
        return header + mark

    def tail(self, tail: bytes) -> bytes:
        return tail + b"\xfe\x7f\x10\x00LO\x02\0ab"


def test_what_steps_paint_is_told_once_a_frame_of_it_was_read() -> None:
    noting = Noting()
    with OpenImage(native(), CODECS, paints=[noting.paint], paintings=[noting]) as opened:
        assert opened.is_painted
        assert opened.attributes.value(0x5FFE0010) == b"AS"
        assert (opened.pixels_changed, opened.is_read) == (False, False)
        assert opened.told.value(0x5FFE0010) == b"AS"
        opened.frames.cells(0)
        assert (opened.pixels_changed, opened.is_read) == (True, True)
        assert opened.told.header.endswith(b"CH")
        assert opened.tail == b"\xfe\x7f\x10\x00LO\x02\0ab"
        assert opened.kept_bytes == opened.source_bytes == opened.image.native_bytes == 512
        opened.refuse_unpaintable()
    with OpenImage(native(), CODECS) as opened:
        assert not opened.is_painted
        opened.frames.cells(0)
        assert (opened.pixels_changed, opened.is_read) == (False, False)
        assert (opened.kept_bytes, opened.source_bytes, opened.tail) == (0, 512, b"")
        opened.refuse_unpaintable()


def test_without_pixels_nothing_is_painted() -> None:
    data = image(picture(16, 16, 0, 4000))
    del data.PixelData
    noting = Noting()
    with OpenImage(payload_of(data)[0], CODECS, paints=[noting.paint], paintings=[noting]) as opened:
        assert not opened.is_painted
        assert not opened.pixels_changed
        assert 0x5FFE0010 not in opened.attributes
        opened.refuse_unpaintable()
        with pytest.raises(LeaveAsIs, match="no-pixels"):
            _ = opened.frames


def test_painted_pixels_of_a_jpeg_count_as_they_would_leave() -> None:
    noting = Noting()
    with OpenImage(lossy_jpeg(), CODECS, paints=[noting.paint], paintings=[noting]) as opened:
        assert opened.source_bytes == opened.kept_bytes == 256


def test_an_image_is_opened_once_and_closed_at_the_end() -> None:
    with OpenImage(native(), CODECS) as opened:
        data = opened.data
        assert opened.data is data
        assert data.view[:2] == b"\x08\0"
    assert opened._open is None


def test_whole_cells_are_asked_for_before_the_frames_are_read() -> None:
    data = image(picture(16, 16, 0, 4000))
    data.PixelData = data.PixelData[:-1] + b"\xf0"
    with OpenImage(payload_of(data)[0], CODECS) as opened:
        with pytest.raises(LeaveAsIs, match="outside"):
            opened.frames.frame(0)
        opened.keep_whole_cells()
        assert opened.shown.whole
        assert opened.frames.frame(0)[-1, -1] >> 12 == 0xF


def test_pixels_that_cannot_be_had_as_frames_park_an_image_that_is_painted() -> None:
    noting = Noting()
    data = image(np.zeros((16, 16), int))
    whole = encoded(data)
    floats = whole[:-524] + b"\xe0\x7f\x08\x00OF\0\0" + (1024).to_bytes(4, "little") + bytes(1024)
    for blob, words in ((floats, "no integers"), (whole[:-1], "pixel")):
        payload = replace(payload_of(data)[0], parts=(blob,), length=len(blob))
        with OpenImage(payload, CODECS, paints=[noting.paint], paintings=[noting]) as opened:
            with pytest.raises(Permanent, match=words) as caught:
                opened.refuse_unpaintable()
            assert caught.value.reason == "pixels"
    assert payload.transfer_syntax_uid == EXPLICIT
    for change, words in (
        ({"BitsAllocated": 24}, "24 bits are allocated"),
        ({"PhotometricInterpretation": "YBR_PARTIAL_422"}, "no frames of whole pixels"),
    ):
        data = image(np.zeros((16, 16), int))
        for keyword, value in change.items():
            setattr(data, keyword, value)
        painted = OpenImage(payload_of(data)[0], CODECS, paints=[noting.paint])
        with painted, pytest.raises(Permanent, match=words):
            painted.refuse_unpaintable()
    packed = lossy_jpeg(PhotometricInterpretation="YBR_PARTIAL_422")
    with OpenImage(packed, CODECS, paints=[noting.paint]) as opened:
        opened.refuse_unpaintable()


@pytest.mark.parametrize("planar", [0, 1])
def test_painted_colours_of_a_native_image_are_read_plane_by_plane_where_they_lie_so(planar: int) -> None:
    values = np.arange(4 * 6 * 3).reshape(4, 6, 3)
    data = image(values, allocated=8, stored=8, photometric="RGB", planar=planar)
    noting = Noting()
    with OpenImage(payload_of(data)[0], CODECS, paints=[noting.paint]) as opened:
        assert opened.frames.cells(0) == (~values.astype("u1")).tobytes()
    with OpenImage(payload_of(data)[0], CODECS) as opened:
        assert np.array_equal(opened.frames.frame(0), values)


def test_halved_chrominance_is_shown_as_what_its_frames_are() -> None:
    data = image(np.zeros((4, 6, 3), int), allocated=8, stored=8, photometric="YBR_FULL_422")
    data.PixelData = bytes(4 * 6 * 2)
    with OpenImage(payload_of(data)[0], CODECS) as opened:
        assert (opened.shown.photometric, opened.shown.halved) == ("YBR_FULL", True)
        assert opened.source_bytes == 48
    with OpenImage(payload_of(data)[0], CODECS, paints=[Noting().paint]) as opened:
        assert opened.source_bytes == 72, "what leaves has all of its chrominance"
    data = image(np.zeros((4, 6, 3), int), allocated=8, stored=8, photometric="YBR_FULL")
    with OpenImage(payload_of(data)[0], CODECS) as opened:
        assert (opened.shown.photometric, opened.shown.halved) == ("YBR_FULL", False)


def test_native_frames_of_one_bit_are_a_cell_a_pixel() -> None:
    data = image(np.zeros((3, 5), int), allocated=8, stored=1)
    data.BitsAllocated = 1
    data.PixelData, data["PixelData"].VR = b"\x55\x2a", "OB"
    with OpenImage(payload_of(data)[0], CODECS) as opened:
        assert opened.frames.cells(0) == bytes([1, 0, 1, 0, 1, 0, 1, 0, 0, 1, 0, 1, 0, 1, 0])


def test_one_bit_in_a_codestream_has_no_frames() -> None:
    packed = lossy_jpeg(BitsAllocated=1, BitsStored=1, HighBit=0)
    with OpenImage(packed, CODECS) as opened, pytest.raises(LeaveAsIs, match="one-bit"):
        _ = opened.frames


def test_halved_chrominance_that_compression_makes_larger_stays_as_it_came() -> None:
    """All of its chrominance is in the codestream: it is smaller than whole pixels, not than what came."""
    random = np.random.default_rng(1)
    data = image(np.zeros((64, 64, 3), int), allocated=8, stored=8, photometric="YBR_FULL_422")
    data.PixelData = random.integers(0, 256, 64 * 64 * 2, dtype=np.uint8).tobytes()
    payload, instance = payload_of(data)
    step = CompressStep(settings(), CompressConfig(to="jpeg2000-lossless"))
    made = applied(step, payload, instance, Notebook())
    assert made.treatment is Treatment.RELAYED
    assert made.length == payload.length
