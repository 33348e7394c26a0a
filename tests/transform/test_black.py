"""What a blanked pixel holds, value by value: for every form of cells, each padding value, each palette."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter
from pydicom.dataset import Dataset

from mapdr.kernel.codec import FrameFormat
from mapdr.kernel.errors import Permanent
from mapdr.transform.image import Attributes, Image
from mapdr.transform.pixels.black import Ink, darkest
from mapdr.transform.pixels.blank import STAGE, Blanking
from mapdr.transform.pixels.entries import files_of, read_entries
from mapdr.transform.pixels.regions import Box, Regions

from .helpers import encoded, image, picture

GREY = FrameFormat(4, 4, 1, 16, 12, False, "MONOCHROME2")
COLOUR = FrameFormat(4, 4, 3, 8, 8, False, "RGB")
PLAIN = Ink(0, None, 0, 0)


def module(**changes: Any) -> Image:
    data = image(picture(4, 4, 0, 1))
    for keyword, value in changes.items():
        setattr(data, keyword, value)
    return Image.of(Attributes(encoded(data)[: -(12 + 32)]))


@pytest.mark.parametrize(
    ("ink", "form", "cells"),
    [
        (PLAIN, GREY, [0]),
        (PLAIN, replace(GREY, photometric="MONOCHROME1"), [4095]),
        (PLAIN, replace(GREY, signed=True), [0xF800]),
        (PLAIN, replace(GREY, signed=True, photometric="MONOCHROME1"), [0x7FF]),
        (PLAIN, replace(GREY, allocated=8, stored=8, photometric="MONOCHROME1"), [255]),
        (replace(PLAIN, shift=4), replace(GREY, photometric="MONOCHROME1"), [0xFFF0]),
        (replace(PLAIN, shift=4), replace(GREY, signed=True), [0x8000]),
        (replace(PLAIN, padding=77), GREY, [77]),
        (replace(PLAIN, padding=-77), replace(GREY, signed=True), [0x10000 - 77]),
        # The bits of an overlay are empty, so those of a sign are too.
        (replace(PLAIN, unused=0xF000), replace(GREY, signed=True), [0x800]),
        (replace(PLAIN, shift=2, unused=0xC003), replace(GREY, signed=True), [0x2000]),
        (replace(PLAIN, index=9), replace(GREY, photometric="PALETTE COLOR"), [9]),
        (replace(PLAIN, index=9, padding=7), replace(GREY, photometric="PALETTE COLOR"), [9]),
        (PLAIN, COLOUR, [0, 0, 0]),
        (replace(PLAIN, padding=7), replace(COLOUR, photometric="YBR_FULL"), [0, 128, 128]),
        (PLAIN, replace(COLOUR, photometric="YBR_FULL", allocated=16, stored=12), [0, 2048, 2048]),
    ],
)
def test_a_blanked_pixel_is_black(ink: Ink, form: FrameFormat, cells: list[int]) -> None:
    found = ink.cells(form)
    assert found.dtype == f"<u{form.allocated // 8}"
    assert found.tolist() == cells


@pytest.mark.parametrize(
    "form",
    [
        replace(COLOUR, photometric="YBR_RCT"),
        replace(COLOUR, photometric="MONOCHROME2"),
        replace(COLOUR, signed=True),
        replace(COLOUR, photometric="YBR_FULL", signed=True),
        replace(COLOUR, samples=4),
        replace(COLOUR, samples=4, photometric="YBR_FULL"),
        replace(COLOUR, samples=2),
    ],
)
def test_in_colours_whose_black_is_not_known_nothing_is_blanked(form: FrameFormat) -> None:
    with pytest.raises(Permanent) as caught:
        PLAIN.cells(form)
    assert caught.value.reason == "pixels"


@pytest.mark.parametrize(
    ("signed", "stored", "vr", "written", "padding"),
    [
        (False, 12, "US", 4095, 4095),
        (False, 12, "US", 4096, None),
        (False, 12, "US", 0, 0),
        (False, 16, "US", 65535, 65535),
        (False, 16, "SS", -2, 65534),
        (False, 12, "SS", -1, None),
        (True, 12, "SS", -2048, -2048),
        (True, 12, "SS", -2049, None),
        (True, 12, "SS", 2047, 2047),
        (True, 12, "SS", 2048, None),
        (True, 16, "US", 0x7FFF, 0x7FFF),
        (True, 16, "US", 0x8000, -0x8000),
        (True, 16, "US", 0xFFFE, -2),
    ],
)
def test_padding_is_read_as_the_pixels_are_and_taken_where_one_may_have_it(
    signed: bool, stored: int, vr: str, written: int, padding: int | None
) -> None:
    data = image(picture(4, 4, 0, 1), signed=signed, stored=stored)
    data.add_new("PixelPaddingValue", vr, written)
    found = Image.of(Attributes(encoded(data)[: -(12 + 32)]))
    assert Ink.of(found) == Ink(0, padding, 0, 0)
    assert Ink.of(replace(found, samples=3)).padding is None


def test_the_bits_of_overlays_are_those_that_no_pixel_uses() -> None:
    data = image(picture(4, 4, 0, 1))
    data.BitsStored, data.HighBit = 10, 11
    for group, bit in ((0x6000, 0), (0x6002, 1), (0x6004, 2), (0x6006, 11), (0x6008, 12), (0x600A, 15)):
        data.add_new(group << 16 | 0x0102, "US", bit)
    data.add_new(0x600C0102, "US", 16)
    data.add_new(0x600E0102, "US", 13)
    data.add_new(0x600E3000, "OW", b"\0\0")  # it has data of its own
    data.add_new(0x60100102, "US", 15)  # once more
    found = Ink.of(Image.of(Attributes(encoded(data)[: -(12 + 32)])))
    assert found == Ink(2, None, 0, 0b1001_0000_0000_0011)
    frame = np.full((4, 4), 0xFFFF, "<u2")
    cleared = found.without_overlays(frame)
    assert (cleared == 0b0110_1111_1111_1100).all()
    assert (frame == 0xFFFF).all(), "a copy"
    assert PLAIN.without_overlays(frame) is not frame
    small = replace(found, unused=0x80).without_overlays(np.full((2, 2), 0xFF, "u1"))
    assert (small.dtype, small.tolist()) == (np.dtype("u1"), [[0x7F, 0x7F]] * 2)


def palette(count: int, first: int, bits: int, *tables: bytes) -> Attributes:
    data = Dataset()
    for name, table in zip(("Red", "Green", "Blue"), tables, strict=False):
        written = [count, first, bits]
        data.add_new(f"{name}PaletteColorLookupTableDescriptor", "US", written)
        data.add_new(f"{name}PaletteColorLookupTableData", "OW", table)
    return Attributes(encoded(data))


def words(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}H", *values)


def test_the_darkest_colour_is_that_of_the_smallest_sum() -> None:
    red, green, blue = words(9, 5, 4, 1), words(0, 2, 1, 5), words(1, 1, 2, 9)
    assert darkest(palette(4, 0, 16, red, green, blue), 8) == 2
    assert darkest(palette(4, 100, 16, red, green, blue), 8) == 102
    assert darkest(palette(4, 254, 16, red, green, blue), 8) == 255, "no more than a pixel can have"
    assert darkest(palette(4, 0, 8, *(bytes(each[::2]) for each in (red, green, blue))), 8) == 2
    assert darkest(palette(4, 0, 8, red, green, blue), 8) == 2, "each of 8 bits in a word"
    many = words(*range(2, 65536), 0, 1)
    assert darkest(palette(0, 0, 16, many, many, many), 16) == 65534, "0 stands for 65536"


def test_a_palette_that_cannot_be_read_has_the_first_value_that_it_maps() -> None:
    whole = words(9, 5, 4, 1)
    for bits in (0, 7, 9, 12, 15, 17):
        assert darkest(palette(4, 3, bits, whole, whole, whole), 8) == 3
    assert darkest(palette(5, 3, 16, whole, whole, whole), 8) == 3
    assert darkest(palette(4, 3, 16, whole, whole, whole[:-2]), 8) == 3
    assert darkest(palette(9, 3, 8, whole, whole, whole), 8) == 3
    assert darkest(palette(8, 0, 8, *[b"\7\6\5\4\3\2\1\2"] * 3), 8) == 6, "one behind another"
    assert darkest(palette(4, 300, 16, whole, whole, whole[:-2]), 8) == 255
    assert darkest(palette(4, 3, 16, whole, whole), 8) == 0, "a colour has no table"
    assert darkest(Attributes(b""), 8) == 0


def test_the_ink_of_a_palette_is_its_darkest_colour() -> None:
    table = words(9, 5, 4, 7)
    plain = module()
    known = replace(plain, photometric="PALETTE COLOR", attributes=palette(4, 0, 16, table, table, table))
    assert Ink.of(known) == Ink(0, None, 2, 0)
    assert Ink.of(replace(known, photometric="MONOCHROME2")).index == 0
    assert Ink.of(module(BitsStored=8, HighBit=10)).shift == 3


# --- The blanking of an image


@pytest.mark.parametrize("samples", [1, 3])
def test_a_frame_is_painted_within_its_regions_and_nowhere_else(samples: int) -> None:
    regions = Regions(4, 5, (Box(1, 3, 2, 4),), keep=False, name="banner")
    form = replace(GREY, columns=5) if samples == 1 else replace(COLOUR, columns=5, photometric="YBR_FULL")
    shape = (4, 5) if samples == 1 else (4, 5, 3)
    frame = np.full(shape, 7, f"<u{form.allocated // 8}")
    blanking = Blanking(regions, replace(PLAIN, padding=9))
    wanted = frame.copy()
    wanted[1:3, 2:4] = 9 if samples == 1 else (0, 128, 128)
    assert np.array_equal(blanking.paint(frame, form, 0), wanted)
    assert (frame == 7).all(), "a copy"
    assert blanking.note == "blanked: banner"
    assert Blanking(replace(regions, name=""), PLAIN).note == "blanked: an entry without a name"
    kept = Blanking(replace(regions, keep=True), replace(PLAIN, padding=9)).paint(frame, form, 0)
    assert np.array_equal(kept == 7, wanted != 7)
    for other in (frame[:3], frame[:, :4]):
        with pytest.raises(Permanent, match="rows and columns") as caught:
            blanking.paint(other, form, 0)
        assert caught.value.reason == "pixels"


def test_only_where_all_text_is_blanked_the_header_says_so() -> None:
    regions = Regions(4, 5, (Box(1, 3, 2, 4),), keep=False)
    data = image(picture(4, 4, 0, 1))
    data.BurnedInAnnotation = "YES"
    header = encoded(data)[: -(12 + 32)]
    for all_text, changed, says in ((True, False, "NO"), (False, False, "YES")):
        blanking = Blanking(replace(regions, all_text=all_text), PLAIN)
        made = Attributes(blanking.header(header, changed=changed))
        assert made.text(0x00280301) == says
        assert "DERIVED" not in made.texts(0x00080008)
    told = Attributes(Blanking(regions, PLAIN).header(header, changed=True))
    assert told.texts(0x00080008)[0] == "DERIVED"


def test_a_file_of_regions_that_is_no_text_is_told_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "ours.toml").write_bytes(b"[[image]]\nname = '\xe9'\n")
    with pytest.raises(ValueError, match=r"ours\.toml is not UTF-8 text; save it as UTF-8"):
        read_entries(tmp_path / "ours.toml", "ours.toml")
    (tmp_path / "ours.toml").write_text("[[image]]\nwhen = 5\n[[image]]\nwhen = {}\nblank = 7\n[extra]\n")
    with pytest.raises(ValueError, match=r"ours\.toml:2 .* \([1-9] more there\)"):
        read_entries(tmp_path / "ours.toml", "ours.toml")


@pytest.mark.parametrize("name", ["ours.toml", ["ultrasound", "ours.toml"], {"regions": "no list"}])
def test_the_files_of_regions_are_known_by_their_place(name: Any, tmp_path: Path) -> None:
    found = files_of(name, tmp_path)
    assert found == (() if isinstance(name, dict) else (tmp_path / "ours.toml",))
    assert files_of(["ultrasound", 5], tmp_path) == ()


def test_a_step_of_a_configuration_names_the_files_that_it_was_read_from(tmp_path: Path) -> None:
    (tmp_path / "ours.toml").write_text(
        "[[image]]\nwhen = {}\nblank = [{ x = 0, y = 0, width = 1, height = 1 }]\n"
    )
    adapter = TypeAdapter(STAGE.config)
    config = adapter.validate_python({"regions": "ours.toml"}, context={"base": tmp_path})
    assert STAGE.files is not None
    assert STAGE.files(config) == config.files == (tmp_path / "ours.toml",)
    again = adapter.validate_python(adapter.dump_python(config, mode="json", exclude_none=True))
    assert again.files == ()
    assert again.regions[0].blank == config.regions[0].blank
