"""Blanked regions: what is inside is constant, what is outside stays, in every form that pixels come in."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels import pixel_array
from pydicom.sequence import Sequence

from mapdr.dicom import uids
from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import Instance, Payload, Treatment
from mapdr.kernel.registry import Registry
from mapdr.kernel.step import Changes, Memory, Phase, Reads
from mapdr.transform.image import Attributes
from mapdr.transform.pipeline import Pipeline, build_pipeline, with_brought
from mapdr.transform.pixels.blank import BlankStep
from mapdr.transform.pixels.entries import SETS, RegionEntry, shipped
from mapdr.transform.pixels.regions import Regions, RegionSet

from .helpers import (
    CODECS,
    EXPLICIT,
    Notebook,
    encoded,
    image,
    payload_of,
    picture,
    read,
    settings,
    to_syntax,
)

IMPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
US, US_MULTI = "1.2.840.10008.5.1.4.1.1.6.1", "1.2.840.10008.5.1.4.1.1.3.1"
SECONDARY = "1.2.840.10008.5.1.4.1.1.7"
REGISTRY = Registry()
BANNER = {
    "when": {},
    "blank": [{"x": 3, "y": 0, "width": 20, "height": 6}, {"x": 40, "y": 30, "width": 99, "height": 2}],
}
LOSSLESS = {"type": "compress", "config": {"to": "jpeg2000-lossless"}}
ROWS, COLUMNS = 40, 50


def blank(*regions: Any, **more: Any) -> dict[str, Any]:
    return {"type": "blank", "config": {"regions": list(regions), **more}}


def pipeline(*steps: dict[str, Any]) -> Pipeline:
    return build_pipeline({"steps": list(steps)}, REGISTRY, settings(), CODECS)


def banner(rows: int = ROWS, columns: int = COLUMNS) -> np.ndarray[Any, Any]:
    inside = np.zeros((rows, columns), bool)
    inside[0:6, 3:23] = inside[30:32, 40:139] = True
    return inside


def on_disk(payload: Payload, instance: Instance, folder: Path) -> Instance:
    path = folder / "image.dcm"
    path.write_bytes(b"".join(payload.chunks()))
    syntax = payload.transfer_syntax_uid
    return replace(instance, path=path, data_offset=0, size=payload.length, transfer_syntax_uid=syntax)


def blanked(
    data: Dataset, folder: Path, *steps: dict[str, Any], syntax: str = EXPLICIT, to: str = ""
) -> Payload:
    came = on_disk(*payload_of(data, syntax), folder)
    return pipeline(*(steps or (blank(BANNER),))).prepare(came, Notebook(), to)


def reason_of(act: Callable[[], Any]) -> str:
    with pytest.raises(Permanent) as caught:
        act()
    assert "Marked" not in str(caught.value)
    return caught.value.reason


# --- what a blanked pixel holds ---------------------------------------------------------------------------

GREY = picture(ROWS, COLUMNS, 5, 250)
COLOUR = np.stack([picture(ROWS, COLUMNS, 5, 250, seed) for seed in range(3)], -1)
FORMS: dict[str, tuple[Dataset, Any]] = {
    "12 in 16": (image(GREY), 0),
    "signed": (image(GREY - 100, stored=12, signed=True), -2048),
    "signed 16": (image(GREY - 100, stored=16, signed=True), -32768),
    "8": (image(GREY, allocated=8, stored=8), 0),
    "32": (image(GREY, allocated=32, stored=32), 0),
    "inverse": (image(GREY, photometric="MONOCHROME1"), 4095),
    "RGB": (image(COLOUR, allocated=8, stored=8, photometric="RGB", sop_class=SECONDARY), (0, 0, 0)),
    "planes": (
        image(COLOUR, allocated=8, stored=8, photometric="RGB", planar=1, sop_class=SECONDARY),
        (0, 0, 0),
    ),
    "YBR_FULL": (image(COLOUR, allocated=8, stored=8, photometric="YBR_FULL", sop_class=US), (0, 128, 128)),
    "RGB 16": (image(COLOUR, stored=16, photometric="RGB", sop_class=SECONDARY), (0, 0, 0)),
    "frames": (image(np.stack([GREY, GREY + 1, GREY[::-1]]), frames=3), 0),
}


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
@pytest.mark.parametrize("form", FORMS)
def test_inside_is_black_and_outside_is_what_it_was(form: str, syntax: str, tmp_path: Path) -> None:
    data, black = FORMS[form]
    made = blanked(data, tmp_path, syntax=syntax)
    assert (made.transfer_syntax_uid, made.treatment) == (syntax, Treatment.TRANSCODED)
    before, after = read(payload_of(data)[0]), read(made)
    values, found = (
        pixel_array(each, raw=True).reshape(-1, ROWS, COLUMNS, len(np.atleast_1d(black)))
        for each in (before, after)
    )
    inside = banner()
    assert np.array_equal(values[:, ~inside], found[:, ~inside])
    assert (found[:, inside] == black).all()
    assert after.PhotometricInterpretation == before.PhotometricInterpretation


def test_what_is_big_endian_leaves_little_endian(tmp_path: Path) -> None:
    data = image(GREY)
    data.PixelData = GREY.astype(">u2").tobytes()
    made = blanked(data, tmp_path, syntax=BIG)
    assert made.transfer_syntax_uid == EXPLICIT
    assert np.array_equal(read(made).pixel_array, np.where(banner(), 0, GREY))
    wide = payload_of(FORMS["32"][0], BIG)
    with pytest.raises(Permanent, match="byte-order"):
        pipeline(blank(BANNER)).prepare(on_disk(*wide, tmp_path), Notebook())


@pytest.mark.parametrize(
    ("value", "vr", "signed", "wanted"),
    [(-2000, "SS", True, -2000), (63536, "US", True, -2000), (7, "US", False, 7), (70, "US", False, 70)],
)
def test_what_shows_nothing_is_padded_as_the_image_does(
    value: int, vr: str, signed: bool, wanted: int, tmp_path: Path
) -> None:
    data = image(GREY, stored=16, signed=signed)
    data.add_new("PixelPaddingValue", vr, value)
    assert (read(blanked(data, tmp_path)).pixel_array[banner()] == wanted).all()


def test_a_padding_value_that_no_pixel_can_have_is_not_taken(tmp_path: Path) -> None:
    data = image(GREY)
    data.add_new("PixelPaddingValue", "US", 5000)  # of 12 bits
    assert (read(blanked(data, tmp_path)).pixel_array[banner()] == 0).all()


def palette(data: Dataset, table: list[int], first: int = 0) -> Dataset:
    for colour in ("Red", "Green", "Blue"):
        name = f"{colour}PaletteColorLookupTable"
        data.add_new(f"{name}Descriptor", "US", [len(table), first, 16])
        data.add_new(f"{name}Data", "OW", np.array(table, "<u2").tobytes())
    return data


def test_a_palette_s_darkest_colour_is_its_black(tmp_path: Path) -> None:
    data = image(GREY, allocated=8, stored=8, photometric="PALETTE COLOR", sop_class=SECONDARY)
    shades = [60000] * 256
    shades[9] = 100
    found = read(blanked(palette(data, shades), tmp_path)).pixel_array
    assert np.array_equal(found, np.where(banner(), 9, GREY))
    assert (read(blanked(palette(data, shades[:200], 40), tmp_path)).pixel_array[banner()] == 49).all()
    del data.RedPaletteColorLookupTableData
    assert (read(blanked(data, tmp_path)).pixel_array[banner()] == 40).all()


def test_half_chrominance_becomes_whole_and_keeps_its_luminance(tmp_path: Path) -> None:
    data = image(COLOUR, allocated=8, stored=8, photometric="YBR_FULL_422", sop_class=US)
    pairs = COLOUR.astype("u1").reshape(ROWS, COLUMNS // 2, 2, 3)
    cells = np.concatenate([pairs[..., 0], pairs[:, :, 0, 1:]], -1)
    data.PixelData = cells.tobytes()
    whole = np.repeat(pairs[:, :, :1], 2, axis=2).reshape(ROWS, COLUMNS, 3).copy()
    whole[..., 0] = COLOUR[..., 0]
    whole[banner()] = (0, 128, 128)
    found = read(blanked(data, tmp_path))
    assert found.PhotometricInterpretation == "YBR_FULL"
    raw = np.frombuffer(found.PixelData, "u1").reshape(ROWS, COLUMNS, 3)
    assert np.array_equal(raw, whole)
    data.PixelData += bytes(2)
    assert reason_of(lambda: blanked(data, tmp_path)) == "pixels"


# --- compressed -------------------------------------------------------------------------------------------


def compressed(data: Dataset, syntax: str, streams: list[bytes], photometric: str = "") -> Dataset:
    """A copy of a data set with codestreams in the place of its pixels."""
    copy = pydicom.dcmread(BytesIO(encoded(data)), force=True)
    copy.PixelData = encapsulate(streams)
    copy["PixelData"].VR, copy["PixelData"].is_undefined_length = "OB", True
    copy.PhotometricInterpretation = photometric or data.PhotometricInterpretation
    return copy


LOSSLESS_STREAMS: dict[str, Callable[[Any], bytes]] = {
    uids.JPEG_LOSSLESS_SV1: lambda cells: imagecodecs.jpeg8_encode(
        cells, lossless=True, predictor=1, bitspersample=8
    ),
    uids.JPEG_LS_LOSSLESS: imagecodecs.jpegls_encode,
    uids.HTJ2K_LOSSLESS: imagecodecs.htj2k_encode,
    uids.JPEG2000_LOSSLESS: lambda cells: imagecodecs.jpeg2k_encode(
        cells, codecformat="j2k", reversible=True, mct=False
    ),
    uids.JPEG_XL_LOSSLESS: lambda cells: imagecodecs.jpegxl_encode(cells, lossless=True),
}


@pytest.mark.usefixtures("decoders")
@pytest.mark.parametrize("steps", [(), (LOSSLESS,)], ids=["", "compress"])
@pytest.mark.parametrize("syntax", LOSSLESS_STREAMS)
def test_lossless_frames_lose_nothing_but_the_regions(
    syntax: str, steps: tuple[dict[str, Any], ...], tmp_path: Path
) -> None:
    frames = [GREY.astype("u1"), GREY[::-1].astype("u1")]
    data = image(np.stack(frames), allocated=8, stored=8, frames=2)
    came = compressed(data, syntax, [LOSSLESS_STREAMS[syntax](np.ascontiguousarray(each)) for each in frames])
    made = pipeline(blank(BANNER), *steps).prepare(on_disk(*payload_of(came, syntax), tmp_path), Notebook())
    stays = CODECS.rows[syntax].encoder is not None
    assert made.transfer_syntax_uid == (uids.JPEG2000_LOSSLESS if steps else syntax if stays else EXPLICIT)
    found = read(to_syntax(made, EXPLICIT))
    assert np.array_equal(found.pixel_array, np.where(banner(), 0, np.stack(frames)))
    assert "LossyImageCompression" not in found


@pytest.mark.usefixtures("decoders")
@pytest.mark.parametrize("fragments", [1, 2])
def test_a_frame_that_is_black_already_keeps_its_codestream(fragments: int, tmp_path: Path) -> None:
    frames = np.stack([GREY, np.where(banner(), 0, GREY), GREY + 3])
    lossless = to_syntax(payload_of(image(frames, frames=3))[0], uids.JPEG2000_LOSSLESS)
    data = read(lossless)
    streams = list(generate_frames(data.PixelData, number_of_frames=3))
    data.PixelData = encapsulate(streams, fragments_per_frame=fragments)
    data["PixelData"].is_undefined_length = True
    came = on_disk(*payload_of(Dataset(data), uids.JPEG2000_LOSSLESS), tmp_path)
    made = pipeline(blank(BANNER)).prepare(came, Notebook())
    assert made.transfer_syntax_uid == uids.JPEG2000_LOSSLESS
    assert np.array_equal(read(made).pixel_array, np.where(banner(), 0, frames))
    after = list(generate_frames(read(made).PixelData, number_of_frames=3))
    assert [one == other for one, other in zip(streams, after, strict=True)] == [False, True, False]


@pytest.mark.usefixtures("decoders")
def test_an_image_with_a_second_codestream_behind_a_frame_parks(tmp_path: Path) -> None:
    """It is one frame by the header, black already; what stands behind it no decoder has shown."""
    black, other = np.where(banner(), 0, GREY), GREY
    streams = [
        imagecodecs.jpeg2k_encode(each.astype("u1"), codecformat="j2k", reversible=True)
        for each in (black, other)
    ]
    data = compressed(image(black, allocated=8, stored=8), uids.JPEG2000_LOSSLESS, streams)
    came = on_disk(*payload_of(data, uids.JPEG2000_LOSSLESS), tmp_path)
    with pytest.raises(Permanent) as caught:
        pipeline(blank(BANNER)).prepare(came, Notebook())
    assert caught.value.reason == "fragments"


@pytest.mark.parametrize("step", [blank(BANNER), LOSSLESS])
def test_pixel_data_that_is_there_twice_is_not_opened(step: dict[str, Any], tmp_path: Path) -> None:
    """The second would leave as it came, with what a rule blanks in the first."""
    payload, instance = payload_of(image(GREY, allocated=8, stored=8))
    blob = b"".join(payload.chunks())
    twice = blob + blob[blob.index(b"\xe0\x7f\x10\x00OB") :]
    came = on_disk(replace(payload, parts=(twice,), length=len(twice)), instance, tmp_path)
    if step is LOSSLESS:
        made = pipeline(step).prepare(came, Notebook())
        assert made.note == "not compressed: second-pixel-data"
        assert b"".join(made.chunks()) == twice
    else:
        assert reason_of(lambda: pipeline(step).prepare(came, Notebook())) == "pixels"


def test_a_header_that_other_steps_give_another_size_parks(tmp_path: Path) -> None:
    edits = {"type": "tags", "config": [{"set": "Rows", "to": "50"}, {"set": "Columns", "to": "40"}]}
    assert reason_of(lambda: blanked(image(GREY), tmp_path, edits, blank(BANNER))) == "pixels"


@pytest.mark.usefixtures("decoders")
@pytest.mark.parametrize(
    ("steps", "wanted"),
    [
        ((), EXPLICIT),
        ((LOSSLESS,), uids.JPEG2000_LOSSLESS),
        (({"type": "compress", "config": {"to": "jpeg2000", "ratio": 10}},), uids.JPEG2000_LOSSLESS),
    ],
)
def test_what_was_lossy_is_not_made_lossy_again_and_says_what_it_is(
    steps: tuple[dict[str, Any], ...], wanted: str, tmp_path: Path
) -> None:
    colour = image(
        COLOUR, allocated=8, stored=8, photometric="RGB", sop_class="1.2.840.10008.5.1.4.1.1.77.1.4"
    )
    stream = imagecodecs.jpeg8_encode(np.ascontiguousarray(COLOUR.astype("u1")), level=90)
    lossy = compressed(colour, uids.JPEG_BASELINE, [stream], "YBR_FULL_422")
    came = on_disk(*payload_of(lossy, uids.JPEG_BASELINE), tmp_path)
    made = pipeline(blank(BANNER), *steps).prepare(came, Notebook())
    assert made.transfer_syntax_uid == wanted
    found = read(made)
    assert (found.PhotometricInterpretation, found.LossyImageCompression) == ("RGB", "01")
    decoded = imagecodecs.jpeg_decode(stream)
    assert np.array_equal(found.pixel_array, np.where(banner()[..., None], 0, decoded))


@pytest.mark.usefixtures("decoders")
def test_a_jpeg_that_was_packed_as_jpeg_xl_comes_as_rgb(tmp_path: Path) -> None:
    jpeg = imagecodecs.jpeg8_encode(np.ascontiguousarray(COLOUR.astype("u1")), level=90)
    colour = image(COLOUR, allocated=8, stored=8, photometric="RGB", sop_class=SECONDARY)
    packed = compressed(
        colour, uids.JPEG_XL_JPEG_RECOMPRESSION, [imagecodecs.jpegxl_encode_jpeg(jpeg)], "YBR_FULL_422"
    )
    made = blanked(packed, tmp_path, syntax=uids.JPEG_XL_JPEG_RECOMPRESSION)
    found = read(made)
    assert found.PhotometricInterpretation == "RGB"
    off = found.pixel_array.astype(int) - np.where(banner()[..., None], 0, imagecodecs.jpeg_decode(jpeg))
    assert abs(off).max() <= 40  # two decoders, which smooth the chrominance otherwise
    assert (found.pixel_array[banner()] == 0).all()


@pytest.mark.usefixtures("decoders")
def test_a_recipe_that_is_lossy_makes_one_copy_of_two_sources(tmp_path: Path) -> None:
    data = image(picture(128, 128, 0, 4000) + np.random.default_rng(0).integers(0, 50, (128, 128)))
    made = blanked(
        data, tmp_path, blank(BANNER), {"type": "compress", "config": {"to": "jpeg2000", "ratio": 10}}
    )
    found = read(made)
    assert made.transfer_syntax_uid == uids.JPEG2000
    purposes = [each.PurposeOfReferenceCodeSequence[0].CodeValue for each in found.SourceImageSequence]
    assert purposes == ["121322", "121320"]
    assert list(found.ImageType) == ["DERIVED", "PRIMARY", "AXIAL"]
    assert found.DerivationDescription.startswith("Regions of pixels blanked; Lossy compression")


@pytest.mark.usefixtures("decoders")
def test_a_codestream_that_cannot_be_decoded_does_not_leave(tmp_path: Path) -> None:
    data = compressed(image(GREY, allocated=8, stored=8), uids.JPEG_LS_LOSSLESS, [b"\xff\xd8" + bytes(100)])
    assert reason_of(lambda: blanked(data, tmp_path, syntax=uids.JPEG_LS_LOSSLESS)) == "codec"
    video = "1.2.840.10008.1.2.4.102"
    assert reason_of(lambda: blanked(data, tmp_path, syntax=video)) == "syntax"


# --- the header beside it ---------------------------------------------------------------------------------


def test_a_blanked_image_says_what_it_is_and_a_retry_says_the_same(tmp_path: Path) -> None:
    data = image(GREY)
    data.SmallestImagePixelValue, data.BurnedInAnnotation = 5, "YES"
    named = blank({**BANNER, "name": "banner"})
    first, second = (blanked(data, tmp_path, named) for _ in range(2))
    assert first.note == "blanked: banner"
    assert b"".join(first.chunks()) == b"".join(second.chunks())
    found = read(first)
    assert first.sop_instance_uid == found.SOPInstanceUID != data.SOPInstanceUID
    assert found.ImageType[0] == "DERIVED"
    assert found.DerivationDescription == "Regions of pixels blanked"
    assert found.SourceImageSequence[0].ReferencedSOPInstanceUID == data.SOPInstanceUID
    assert "SmallestImagePixelValue" not in found
    assert found.BurnedInAnnotation == "YES"
    assert found.PatientName == data.PatientName
    assert read(blanked(data, tmp_path, blank({**BANNER, "all_text": True}))).BurnedInAnnotation == "NO"


def test_an_image_that_was_black_there_is_the_same_image(tmp_path: Path) -> None:
    data = image(np.where(banner(), 0, GREY))
    made = blanked(data, tmp_path, blank({**BANNER, "all_text": True}))
    found = read(made)
    assert made.sop_instance_uid == data.SOPInstanceUID
    assert (found.ImageType[0], found.BurnedInAnnotation) == ("ORIGINAL", "NO")
    assert "SourceImageSequence" not in found


def test_functional_groups_keep_the_image_type_that_they_repeat(tmp_path: Path) -> None:
    data = image(GREY)
    data.SharedFunctionalGroupsSequence = Sequence([Dataset()])
    assert read(blanked(data, tmp_path)).ImageType[0] == "ORIGINAL"


def icon() -> Dataset:
    small = Dataset()
    small.Rows, small.Columns, small.BitsAllocated = 2, 2, 8
    small.PixelData = b"Mark"
    small["PixelData"].VR = "OB"
    return small


def test_overlays_and_small_copies_do_not_leave_at_any_depth(tmp_path: Path) -> None:
    data = image(GREY)
    data.IconImageSequence = Sequence([icon()])
    for group in (0x6000, 0x601E):
        data.add_new((group, 0x0010), "US", ROWS)
        data.add_new((group, 0x0022), "LO", "Marked")
        data.add_new((group, 0x3000), "OW", b"Marked" * 10)
    inner, outer = Dataset(), Dataset()
    inner.IconImageSequence, inner.ReferencedSOPInstanceUID = Sequence([icon()]), "1.2.9"
    outer.ReferencedImageSequence, outer.ReferencedSOPInstanceUID = Sequence([inner]), "1.2.8"
    data.ReferencedStudySequence = Sequence([outer])
    block = data.private_block(0x0009, "MAKER", create=True)
    block.add_new(1, "SQ", Sequence([icon()]))
    block.add_new(2, "LO", "kept")
    for group in (0x7FE1, 0x7FE3):
        data.private_block(group, "RAW", create=True).add_new(1, "OB", b"Marked")
    data.add_new(0xFFFCFFFC, "OB", bytes(4))
    data.PatientName, data.PatientID = "X", "Y"
    made = blanked(data, tmp_path)
    assert b"Mark" not in b"".join(made.chunks())
    found = read(made)
    assert not {each.tag.group for each in found} & {0x6000, 0x601E, 0x7FE1, 0x7FE3}
    assert 0xFFFCFFFC in found
    kept = found.ReferencedStudySequence[0].ReferencedImageSequence[0]
    assert [each.keyword for each in kept] == ["ReferencedSOPInstanceUID"]
    assert found.private_block(0x0009, "MAKER")[2].value == "kept"


@pytest.mark.usefixtures("decoders")
@pytest.mark.parametrize("steps", [(), (LOSSLESS,)], ids=["", "compress"])
@pytest.mark.parametrize("signed", [False, True])
def test_overlays_in_unused_bits_are_cleared_everywhere(
    signed: bool, steps: tuple[dict[str, Any], ...], tmp_path: Path
) -> None:
    data = image(GREY - (200 if signed else 0), signed=signed)
    for element, vr, value in [
        (0x10, "US", ROWS),
        (0x11, "US", COLUMNS),
        (0x100, "US", 16),
        (0x102, "US", 14),
    ]:
        data.add_new((0x6000, element), vr, value)
    cells = np.frombuffer(data.PixelData, "<u2") & 0xFFF
    text = np.arange(cells.size) % 3 == 0
    data.PixelData = (cells | text.astype("<u2") << 14).tobytes()
    made = blanked(data, tmp_path, blank(BANNER), *steps)
    raw = read(to_syntax(made, EXPLICIT)).PixelData
    found = np.frombuffer(raw, "<u2").reshape(ROWS, COLUMNS)
    if not steps:
        assert not (found & 1 << 14).any()
    black = 0x800 if signed else 0
    assert np.array_equal(found & 0xFFF, np.where(banner(), black, cells.reshape(ROWS, COLUMNS)))
    assert (0x6000, 0x3000) not in read(made)


# --- which images, which regions --------------------------------------------------------------------------


def header_of(data: Dataset) -> Attributes:
    copy = Dataset(data)
    del copy.PixelData
    return Attributes(encoded(copy))


def regions_of(data: Dataset, *entries: dict[str, Any]) -> Regions | None:
    return RegionSet([RegionEntry.model_validate(each) for each in entries]).regions_for(header_of(data))


def device(**more: Any) -> Dataset:
    data = image(GREY, allocated=8, stored=8, sop_class=US)
    data.Modality, data.Manufacturer, data.ManufacturerModelName = "US", "ACME Medical", "Echo 7"
    data.SoftwareVersions = ["A1", "4.0.1"]
    for name, value in more.items():
        setattr(data, name, value)
    return data


@pytest.mark.parametrize(
    ("when", "fits"),
    [
        ({"Manufacturer": "ACME*", "ManufacturerModelName": "Echo ?", "Modality": "US"}, True),
        ({"SoftwareVersions": "4.*", "Rows": 40, "Columns": [50, 60]}, True),
        ({"Manufacturer": "acme*"}, False),
        ({"Rows": 41}, False),
        ({"not": {"Modality": "US"}}, False),
        ({"any": [{"Modality": "CT"}, {"BurnedInAnnotation": {"present": False}}]}, True),
    ],
)
def test_entries_ask_as_a_rule_s_when_does(when: dict[str, Any], fits: bool) -> None:
    assert (regions_of(device(), {**BANNER, "when": when}) is not None) is fits


def test_the_first_entry_that_fits_and_blanks_something_counts() -> None:
    outside = {"name": "outside", "when": {}, "blank": [{"x": 50, "y": 0, "width": 9, "height": 9}]}
    whole = {"name": "whole", "when": {}, "keep": [{"x": 0, "y": 0, "width": 99, "height": 99}]}
    nothing = {"name": "nothing", "when": {}, "keep": [{"x": 60, "y": 0, "width": 9, "height": 9}]}
    found = regions_of(
        device(), outside, whole, nothing, {**BANNER, "name": "banner"}, {**BANNER, "name": "last"}
    )
    assert found is not None
    assert found.name == "banner"
    assert np.array_equal(found.mask(), banner())
    assert regions_of(device(), outside, whole, nothing) is None


BOX = st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(1, 70), st.integers(1, 70))


@given(st.lists(BOX, min_size=1, max_size=4), st.sampled_from(["blank", "keep"]))
def test_a_mask_is_what_each_pixel_says_of_itself(boxes: list[tuple[int, ...]], word: str) -> None:
    rectangles = [dict(zip(("x", "y", "width", "height"), box, strict=True)) for box in boxes]
    found = regions_of(device(), {"when": {}, word: rectangles})
    within = [
        [
            any(x <= column < x + width and y <= row < y + height for x, y, width, height in boxes)
            for column in range(COLUMNS)
        ]
        for row in range(ROWS)
    ]
    wanted = np.array(within) ^ (word == "keep")
    if found is None:
        assert not wanted.any() or (word == "keep" and wanted.all())
    else:
        assert np.array_equal(found.mask(), wanted)


def area(left: int, top: int, right: int, bottom: int, form: int = 1) -> Dataset:
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType = form, 1
    item.RegionLocationMinX0, item.RegionLocationMinY0 = left, top
    item.RegionLocationMaxX1, item.RegionLocationMaxY1 = right, bottom
    return item


def test_an_ultrasound_image_keeps_what_it_says_is_imaged() -> None:
    areas = Sequence(
        [
            *(area(5, 10, 44, 29), area(0, 0, 49, 39, 0), area(0, 0, 49, 39, 5), area(10, 31, 20, 40, 4)),
            *(area(48, 3, 50, 3), area(2, 5, 2, 6)),
        ]
    )
    data = device(SequenceOfUltrasoundRegions=areas)
    found = RegionSet(shipped("ultrasound")).regions_for(header_of(data))
    assert found is not None
    assert not found.all_text
    kept = np.zeros((ROWS, COLUMNS), bool)
    kept[10:30, 5:45] = kept[31:40, 10:21] = kept[3, 48:] = kept[5:7, 2] = True
    assert np.array_equal(~found.mask(), kept)


@pytest.mark.parametrize(
    "areas",
    [
        [],
        [area(0, 0, 49, 39)],
        [area(0, 0, 50, 40)],
        [area(5, 5, 9, 9, 0)],
        [area(5, 5, 9, 9), area(0, 0, 51, 9)],
        [area(5, 5, 9, 9), area(9, 9, 5, 5)],
        [area(5, 5, 9, 9), Dataset(area(0, 0, 9, 9).group_dataset(0x0018))],
    ],
    ids=["none", "whole", "whole and one", "nothing imaged", "another frame", "corners", "two"],
)
def test_an_ultrasound_image_whose_regions_tell_nothing_has_none(areas: list[Dataset], request: Any) -> None:
    if request.node.callspec.id == "two":
        del areas[1].RegionLocationMaxX1
    data = device(SequenceOfUltrasoundRegions=Sequence(areas))
    assert RegionSet(shipped("ultrasound")).regions_for(header_of(data)) is None


@pytest.mark.parametrize("keyword", ["Rows", "Columns"])
def test_an_image_that_does_not_say_its_size_has_no_regions(keyword: str) -> None:
    corner = {"when": {}, "blank": [{"x": 0, "y": 0, "width": 5, "height": 5}]}
    line = regions_of(device(**{keyword: 1}), corner)
    assert line is not None
    assert line.mask().any()
    assert regions_of(device(**{keyword: 0}), corner) is None
    without = device()
    del without[keyword]
    assert regions_of(without, corner) is None


def test_what_no_entry_fits_parks_or_passes(tmp_path: Path) -> None:
    entry = {**BANNER, "when": {"Modality": "US"}}
    assert reason_of(lambda: blanked(image(GREY), tmp_path, blank(entry))) == "uncovered"
    passed = blanked(image(GREY), tmp_path, blank(entry, uncovered="pass"))
    assert (passed.treatment, passed.note) == (Treatment.RELAYED, "not blanked: no regions")
    report = image(GREY)
    del report.PixelData
    assert blanked(report, tmp_path, blank(entry)).treatment is Treatment.RELAYED


def test_the_image_that_came_is_asked_whatever_other_steps_make_of_it(tmp_path: Path) -> None:
    edits = {
        "type": "tags",
        "config": [{"remove": "Manufacturer"}, {"remove": "SequenceOfUltrasoundRegions"}],
    }
    data = device(SequenceOfUltrasoundRegions=Sequence([area(5, 10, 44, 29)]))
    made = blanked(data, tmp_path, blank("ultrasound"), edits)
    found = read(made)
    assert "Manufacturer" not in found
    kept = np.zeros((ROWS, COLUMNS), bool)
    kept[10:30, 5:45] = True
    assert np.array_equal(found.pixel_array, np.where(kept, GREY, 0))
    named = {**BANNER, "when": {"Manufacturer": "ACME*"}}
    assert read(blanked(data, tmp_path, edits, blank(named))).pixel_array[0, 4] == 0


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_another_step_may_ask_whether_an_image_is_covered_and_bring_the_blanking(
    syntax: str, tmp_path: Path
) -> None:
    regions = RegionSet([RegionEntry.model_validate({**BANNER, "when": {"Modality": "US"}})])

    class Gate:
        """As de-identification: what may show a name leaves only where it is blanked."""

        phase, reads, changes, copies = Phase.HEADER, Reads.HEADER, Changes.HEADER, 0
        brings = BlankStep(regions, parks=False)

        def apply(self, payload: Payload, instance: Instance, memory: Memory) -> Payload:
            pixels = 2 * GREY.size + (8 if syntax == IMPLICIT else 12)
            header = b"".join(payload.chunks())[:-pixels]
            if not regions.covers(header, payload.transfer_syntax_uid):
                raise Permanent("it is not covered", reason="pixels")
            return payload

    gate = Pipeline(with_brought([("gate", Gate())]), settings(), CODECS)
    data = image(GREY)
    for modality in ("CT", "US"):
        data.Modality = modality
        came = on_disk(*payload_of(data, syntax), tmp_path)
        if modality == "CT":
            assert reason_of(lambda: gate.prepare(came, Notebook())) == "pixels"  # noqa: B023
        else:
            assert np.array_equal(
                read(gate.prepare(came, Notebook())).pixel_array, np.where(banner(), 0, GREY)
            )


def test_pixels_that_cannot_be_blanked_park_the_image(tmp_path: Path) -> None:
    bits = image(GREY)
    bits.BitsAllocated = bits.BitsStored = 1
    bits.HighBit, bits.PixelData = 0, bytes(250)
    short = image(GREY)
    short.PixelData = short.PixelData[:-2]
    inks = image(COLOUR, allocated=8, stored=8, photometric="HSV", sop_class=SECONDARY)
    partial = image(COLOUR, allocated=8, stored=8, photometric="YBR_PARTIAL_422", sop_class=SECONDARY)
    lacking = image(GREY)
    del lacking.BitsAllocated
    for data in (bits, short, inks, partial, lacking):
        for steps in ((), (LOSSLESS,)):
            for more in ({}, {"uncovered": "pass"}):
                assert reason_of(lambda: blanked(data, tmp_path, blank(BANNER, **more), *steps)) == "pixels"  # noqa: B023


@pytest.mark.parametrize("name", SETS)
def test_what_is_shipped_fits_images_and_can_be_kept_in_a_recipe(name: str) -> None:
    for entry in shipped(name):
        plain = entry.model_dump(mode="json")
        assert RegionEntry.model_validate(json.loads(json.dumps(plain))) == entry
        assert entry.source
        assert not entry.all_text
        if not isinstance(entry.keep, str):
            assert all(each.width <= 2208 and each.height <= 400 for each in entry.blank)


def test_a_known_device_is_known() -> None:
    data = device(Manufacturer="SIEMENS", ManufacturerModelName="ACUSON S2000", Rows=768, Columns=1024)
    found = RegionSet(shipped("known-devices")).regions_for(header_of(data))
    assert found is not None
    assert [tuple(box) for box in found.boxes] == [(0, 60, 0, 1024)]
    assert RegionSet(shipped("known-devices")).regions_for(header_of(device())) is None
