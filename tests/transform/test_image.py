"""Frames out of native pixel data, in every shape that the standard allows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapdr.dicom.write import element, encoding_of, number, walk
from mapdr.transform.image import Attributes, Image, LeaveAsIs, NativeFrames, OutsideBitsStored

from .helpers import EXPLICIT, encoded, image, picture

BIG = "1.2.840.10008.1.2.2"


def frames_of(data, syntax: str = EXPLICIT) -> NativeFrames:
    blob = encoded(data)
    header = Attributes(
        blob[: next(e.start for e in walk(blob, encoding_of(EXPLICIT)) if e.tag == 0x7FE00010)]
    )
    wire = encoded(data, syntax)
    pixel = next(e for e in walk(wire, encoding_of(syntax)) if e.tag == 0x7FE00010)
    return NativeFrames(Image.of(header), wire, pixel, big_endian=syntax == BIG)


@st.composite
def shapes(draw):
    allocated = draw(st.sampled_from([8, 16]))
    stored = draw(st.integers(2, allocated))
    signed = draw(st.booleans())
    samples = draw(st.sampled_from([1, 3]))
    frames, rows, columns = draw(st.integers(1, 3)), draw(st.integers(1, 5)), draw(st.integers(4, 9))
    low, high = (-(1 << stored - 1), (1 << stored - 1) - 1) if signed else (0, (1 << stored) - 1)
    count = frames * rows * columns * samples
    values = draw(st.lists(st.integers(low, high), min_size=count, max_size=count))
    shape = (frames,) * (frames > 1) + (rows, columns) + (3,) * (samples == 3)
    planar = draw(st.integers(0, 1)) if samples == 3 else 0
    return np.array(values).reshape(shape), allocated, stored, signed, planar, frames


@given(shapes(), st.sampled_from([EXPLICIT, BIG]))
def test_stored_values_come_back(shape, syntax: str) -> None:
    values, allocated, stored, signed, planar, frames = shape
    data = image(
        values,
        allocated=allocated,
        stored=stored,
        signed=signed,
        planar=planar,
        frames=frames,
        photometric="RGB" if values.shape[-1] == 3 else "MONOCHROME2",
    )
    if syntax == BIG and allocated == 16:
        data.PixelData = np.frombuffer(data.PixelData, "<u2").astype(">u2").tobytes()
    found = frames_of(data, syntax)
    expected = values if frames > 1 else values[None]
    for index in range(frames):
        assert np.array_equal(found.frame(index), expected[index])


def test_words_of_8_bit_cells_are_swapped_in_big_endian() -> None:
    values = np.arange(3 * 3 * 3).reshape(3, 3, 3)
    data = image(values, allocated=8, stored=8, frames=3)
    cells = np.frombuffer(data.PixelData, "u1").reshape(-1, 2)[:, ::-1].tobytes()
    data.PixelData = cells
    data["PixelData"].VR = "OW"
    found = frames_of(data, BIG)
    assert [found.frame(index).tolist() for index in range(3)] == values.tolist()


def test_high_bit_above_the_stored_bits_is_shifted_down() -> None:
    values = picture(8, 8, -500, 1000)
    data = image(values << 4, stored=16, signed=True)
    data.BitsStored, data.HighBit = 12, 15
    assert np.array_equal(frames_of(data).frame(0), values)


@pytest.mark.parametrize("upper", ["zero", "sign"])
def test_a_sign_needs_no_extension_to_be_read(upper: str) -> None:
    values = picture(8, 8, -2048, 2047)
    data = image(values, signed=True)
    if upper == "zero":
        data.PixelData = (values & 0xFFF).astype("<u2").tobytes()
    assert np.array_equal(frames_of(data).frame(0), values)


@pytest.mark.parametrize(("signed", "cell"), [(False, 4096), (True, 0x1800), (True, 0xE000)])
def test_values_outside_bits_stored_leave_the_image_as_it_is(signed: bool, cell: int) -> None:
    data = image(picture(8, 8, 0, 2000), signed=signed)
    data.PixelData = data.PixelData[:-2] + cell.to_bytes(2, "little")
    with pytest.raises(OutsideBitsStored, match="values-outside-bits-stored"):
        frames_of(data).frame(0)


def with_overlay(values, overlay):
    data = image(values)
    data.PixelData = (values | overlay << 13).astype("<u2").tobytes()
    data.add_new(0x60000010, "US", values.shape[0])
    data.add_new(0x60000011, "US", values.shape[1])
    data.add_new(0x60000100, "US", 16)
    data.add_new(0x60000102, "US", 13)
    return data


def test_an_overlay_in_unused_bits_is_told_apart() -> None:
    values, overlay = picture(9, 7, 0, 4095), np.random.default_rng(1).integers(0, 2, (9, 7))
    found = frames_of(with_overlay(values, overlay))
    assert np.array_equal(found.frame(0), values)
    bits = found.image.overlay_bits(found.cells(0), 0x6000)
    assert np.array_equal(bits.reshape(9, 7), overlay)


@pytest.mark.parametrize("bit", [0, 1, 14, 15])
def test_an_overlay_may_stand_right_beside_the_pixels(bit: int) -> None:
    values = picture(8, 8, 0, 4095)
    data = with_overlay(values, np.zeros((8, 8), int))
    data[0x60000102].value, data.HighBit = bit, 13
    data.PixelData = (values << 2 | 1 << bit).astype("<u2").tobytes()
    found = frames_of(data)
    assert np.array_equal(found.frame(0), values)
    assert found.image.overlay_bits(found.cells(0), 0x6000).all()
    data[0x60000102].value = 2 if bit < 2 else 13  # those are pixels
    with pytest.raises(LeaveAsIs, match="overlay"):
        frames_of(data).frame(0)


def test_an_overlay_with_data_of_its_own_is_none_in_the_pixels() -> None:
    data = with_overlay(picture(8, 8, 0, 4095), np.zeros((8, 8), int))
    assert frames_of(data).image.overlays == (0x6000,)
    data.add_new(0x60003000, "OW", bytes(8))
    assert frames_of(data).image.overlays == ()


def test_an_overlay_of_another_size_or_beside_colours_is_not_believed() -> None:
    for tag, value in ((0x60000010, 7), (0x60000011, 9)):
        data = with_overlay(picture(8, 8, 0, 4095), np.zeros((8, 8), int))
        data[tag].value = value
        with pytest.raises(LeaveAsIs, match="overlay"):
            frames_of(data).frame(0)
    data = image(np.zeros((8, 8, 3), int), photometric="RGB")
    for step, value in ((0x10, 8), (0x11, 8), (0x102, 13)):
        data.add_new(0x60000000 + step, "US", value)
    with pytest.raises(LeaveAsIs, match="overlay"):
        frames_of(data).frame(0)


def test_without_a_high_bit_it_is_the_highest_of_the_stored_ones() -> None:
    data = image(picture(8, 8, 0, 4095))
    del data.HighBit
    assert frames_of(data).image.high == 11
    assert np.array_equal(frames_of(data).frame(0), picture(8, 8, 0, 4095))


@pytest.mark.parametrize("signed", [False, True])
def test_bits_below_and_above_the_stored_ones_hold_nothing_or_the_sign(signed: bool) -> None:
    values = picture(8, 8, -2048, 2047) if signed else picture(8, 8, 0, 4095)
    data = image(values, signed=signed)
    data.HighBit = 13
    cells = (values << 2) & (0xFFFF if signed else 0x3FFF)
    for kept in (0x3FFF, 0xFFFF):
        data.PixelData = (cells & kept).astype("<u2").tobytes()
        assert np.array_equal(frames_of(data).frame(0), values)
    for outside in (1, 2, 0x4000, 0x8000):
        data.PixelData = ((cells & 0x3FFF) | outside).astype("<u2").tobytes()
        with pytest.raises(OutsideBitsStored):
            frames_of(data).frame(0)


def test_big_endian_cells_are_words_or_bytes() -> None:
    data = image(picture(8, 8, 0, 4095))
    data["PixelData"].VR = "OB"
    with pytest.raises(LeaveAsIs, match="byte-order"):
        frames_of(data, BIG)
    assert frames_of(image(np.zeros((8, 8), int), allocated=8, stored=8), BIG).frame(0).shape == (8, 8)
    for vr in ("OB", "OW"):
        wide = image(np.zeros((8, 8), int), allocated=32, stored=32)
        wide["PixelData"].VR = vr
        with pytest.raises(LeaveAsIs, match="byte-order"):
            frames_of(wide, BIG)


def test_what_a_frame_takes_while_it_is_encoded() -> None:
    data = image(np.zeros((5, 7, 3), int), allocated=8, stored=8, photometric="RGB")
    assert frames_of(data).image.work_bytes == 14 * 5 * 7 * 3


@pytest.mark.parametrize("bit", [5, 16])
def test_an_overlay_bit_within_the_pixels_is_not_believed(bit: int) -> None:
    data = with_overlay(picture(8, 8, 0, 4095), np.zeros((8, 8), int))
    data[0x60000102].value = bit
    with pytest.raises(LeaveAsIs, match="overlay"):
        frames_of(data).frame(0)


def test_an_odd_length_has_its_pad_byte() -> None:
    values = picture(3, 3, 0, 255)
    data = image(values, allocated=8, stored=8)
    assert len(data.PixelData) == 10
    assert np.array_equal(frames_of(data).frame(0), values)


@pytest.mark.parametrize("change", [-2, 2, 512])
def test_another_length_than_the_module_says_leaves_the_image_as_it_is(change: int) -> None:
    data = image(picture(16, 16, 0, 4000))
    data.PixelData = data.PixelData[:change] if change < 0 else data.PixelData + b"\0" * change
    with pytest.raises(LeaveAsIs, match="pixel-length"):
        frames_of(data)


@pytest.mark.parametrize(
    ("keyword", "value"), [("Rows", 0), ("BitsStored", 17), ("HighBit", 3), ("NumberOfFrames", "0")]
)
def test_a_module_that_contradicts_itself_leaves_the_image_as_it_is(keyword: str, value: object) -> None:
    data = image(picture(8, 8, 0, 4000))
    setattr(data, keyword, value)
    with pytest.raises(LeaveAsIs, match="pixel-module"):
        frames_of(data)


@pytest.mark.parametrize(
    ("text", "frames"),
    [
        ("", 1),
        (" 2 ", 2),
        ("+2", 2),
        ("2\\3", 2),
        ("+-2", 0),
        ("--2", 0),
        ("2.0", 0),
        ("-2", 0),
        ("9" * 5000, 0),
    ],
)
def test_a_number_of_frames_is_a_number_or_none_is_believed(text: str, frames: int) -> None:
    header = element(0x00280008, "IS", text.encode("ascii"))
    for tag, value in ((0x00280010, 4), (0x00280011, 4), (0x00280100, 16), (0x00280101, 12)):
        header += number(tag, value)
    if frames:
        assert Image.of(Attributes(header)).frames == frames
    else:
        with pytest.raises(LeaveAsIs, match="pixel-module"):
            Image.of(Attributes(header))
