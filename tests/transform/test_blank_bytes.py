"""What reads bytes for blanking: any header, any sequence, any palette; a plain way beside each."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.sequence import Sequence

from mapdr.dicom.write import element
from mapdr.kernel.codec import FrameFormat
from mapdr.kernel.errors import Permanent
from mapdr.transform.image import Attributes, Image
from mapdr.transform.pixels.black import Ink, darkest
from mapdr.transform.pixels.copies import without_copies
from mapdr.transform.pixels.regions import ultrasound_boxes

from .helpers import encoded, image, picture

PLAIN = st.sampled_from(
    [
        (0x00080060, "CS", "US"),
        (0x00100010, "PN", "A^B"),
        (0x00111001, "LO", "private"),
        (0x00281201, "OW", b"\x88\x00\x00\x02\xe0\x7f\x10\x00"),  # looks like tags that go
        (0x60FF1001, "LO", "odd"),
    ]
)
GONE = st.sampled_from(
    [
        (0x60000010, "US", 3),
        (0x60003000, "OW", b"GO" * 3),
        (0x601E0022, "LO", "GOGO"),
        (0x7FE11001, "OB", b"GOGO"),
    ]
)
PIXELS = st.just((0x7FE00010, "OW", b"GOGO"))
SEQUENCES = [0x00081115, 0x00081140, 0x00880200, 0x00091010, 0x52009229]


def build(parts: list[Any]) -> Dataset:
    data = Dataset()
    for part in parts:
        if isinstance(part, tuple) and len(part) == 3:
            data.add_new(*part)
        else:
            tag, items, undefined = part[0], part[1], part[2]
            data.add_new(tag, "SQ", Sequence([build(item) for item in items]))
            data[tag].is_undefined_length = undefined
    return data


def nested(parts: Any) -> Any:
    sequences = st.tuples(st.sampled_from(SEQUENCES), st.lists(parts, max_size=2), st.booleans()).map(list)
    return st.lists(PLAIN | GONE | sequences, max_size=5)


HEADERS = st.recursive(st.lists(PLAIN | GONE | PIXELS, max_size=4), nested, max_leaves=12)


def plainly(data: Dataset) -> Dataset:
    """The same as `without_copies`, element by element with pydicom."""
    kept = Dataset()
    for each in data:
        group = each.tag.group
        if 0x6000 <= group <= 0x60FF or (group > 0x7FE0 and group < 0x8000) or each.tag == 0x00880200:
            continue
        if each.VR == "SQ":
            if any(0x7FE00010 in item for item in each.value):
                continue
            kept.add_new(each.tag, "SQ", Sequence([plainly(item) for item in each.value]))
        else:
            kept.add(each)
    return kept


@given(HEADERS)
def test_what_shows_the_pixels_again_goes_and_all_else_stays(parts: list[Any]) -> None:
    data = build([each for each in parts if each[0] != 0x7FE00010])
    header = encoded(data)
    cleaned = without_copies(header)
    assert read_dataset(BytesIO(cleaned), is_implicit_VR=False, is_little_endian=True) == plainly(data)
    assert without_copies(cleaned) == cleaned
    if plainly(data) == data:
        assert cleaned == header


@given(st.binary(max_size=60), st.sampled_from([0x00186011, 0x00880200, 0x00091010]))
def test_a_sequence_of_any_bytes_is_read_or_parks(value: bytes, tag: int) -> None:
    header = element(tag, "SQ", value + bytes(len(value) % 2)) + element(0x60000022, "LO", b"GO")
    for read in (without_copies, lambda given: ultrasound_boxes(given, 40, 50)):
        try:
            found = read(header)
        except Permanent:
            continue
        assert isinstance(found, list) or b"GO" not in found[-10:]


@given(
    st.integers(1, 300),
    st.integers(0, 300),
    st.sampled_from([8, 16]),
    st.sampled_from([8, 16]),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_the_darkest_colour_is_the_darkest(
    count: int, first: int, bits: int, stored: int, in_words: bool, seed: int
) -> None:
    colours = np.random.default_rng(seed).integers(0, 1 << bits, (3, count))
    data = Dataset()
    for colour, name in enumerate(("Red", "Green", "Blue")):
        cells = colours[colour].astype("<u2" if bits == 16 or in_words else "u1").tobytes()
        data.add_new(f"{name}PaletteColorLookupTableDescriptor", "US", [count, first, bits])
        data.add_new(f"{name}PaletteColorLookupTableData", "OW", cells + bytes(len(cells) % 2))
    found = darkest(Attributes(encoded(data)), stored)
    if found < (1 << stored) - 1:
        assert colours.sum(0)[found - first] == colours.sum(0).min()


@given(
    st.integers(2, 16),
    st.integers(0, 15),
    st.booleans(),
    st.sampled_from(["MONOCHROME1", "MONOCHROME2"]),
    st.none() | st.integers(-40000, 70000),
)
def test_a_blanked_cell_holds_a_value_that_the_image_can_have(
    stored: int, above: int, signed: bool, photometric: str, padding: int | None
) -> None:
    """Whatever bits it uses: what is read out of the cell is the value that was meant."""
    high = min(stored - 1 + above, 15)
    data = image(picture(4, 4, 0, 1), stored=stored, signed=signed, photometric=photometric)
    data.HighBit = high
    given = None if padding is None else max(min(padding, 65535), -32768)
    if given is not None:
        data.add_new("PixelPaddingValue", "SS" if given < 0 else "US", given)
    module = Image.of(
        Attributes(encoded(Dataset({each.tag: each for each in data if each.tag < 0x7FE00000})))
    )
    ink = Ink.of(module)
    cell = ink.cells(FrameFormat(4, 4, 1, 16, stored, signed, photometric))
    (value,) = module.stored_values(np.repeat(cell, 16).tobytes())[0, :1]
    low, top = (-(1 << stored - 1), (1 << stored - 1) - 1) if signed else (0, (1 << stored) - 1)
    assert low <= value <= top
    if ink.padding is None:
        assert value == (top if photometric == "MONOCHROME1" else low)
    else:
        assert given is not None
        assert (int(value) - given) % (1 << 16) == 0
