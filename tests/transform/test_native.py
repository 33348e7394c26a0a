"""Payloads in other syntaxes: native to native, and decompressed."""

from __future__ import annotations

from dataclasses import replace

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import FileSlice, Payload, Treatment

from .helpers import EXPLICIT, image, payload_of, picture, read, spooled, to_syntax

IMPLICIT, BIG, DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
NATIVE = [IMPLICIT, EXPLICIT, BIG, DEFLATED]
COLOUR = np.stack([picture(20, 31, 0, 255, seed) for seed in range(3)], -1)


def native(values: np.ndarray, syntax: str = EXPLICIT, **facts) -> Payload:
    return to_syntax(payload_of(image(values, **facts))[0], syntax)


@pytest.mark.parametrize("source", NATIVE)
@pytest.mark.parametrize("target", NATIVE)
def test_native_to_native_and_back_is_the_same(source: str, target: str) -> None:
    values = picture(20, 31, -2000, 2000)
    start = native(values, source, signed=True)
    there = to_syntax(start, target)
    found = read(there)
    assert there.transfer_syntax_uid == target
    assert np.array_equal(found.pixel_array, values)
    assert found.PatientName == "Marked^Value"
    assert there.sop_instance_uid == start.sop_instance_uid
    assert (
        there.treatment is (Treatment.RELAYED if start is there else Treatment.REENCODED)
        or source != EXPLICIT
    )
    assert b"".join(to_syntax(there, source).chunks()) == b"".join(start.chunks())


@pytest.mark.parametrize("frames", [1, 3])
def test_bytes_keep_their_order_whatever_the_word(frames: int) -> None:
    values = np.stack([picture(3, 5, 0, 255, seed) for seed in range(frames)])
    start = native(values[0] if frames == 1 else values, allocated=8, stored=8, frames=frames)
    there = to_syntax(start, BIG)
    assert read(there).pixel_array.ravel().tolist() == values.ravel().tolist()
    # 8-bit pixels in OW are swapped as words.
    words = Dataset(read(start))
    words["PixelData"].VR = "OW"
    swapped = read(to_syntax(payload_of(words)[0], BIG))
    assert swapped.pixel_array.ravel().tolist() == values.ravel().tolist()


def test_pixels_stay_in_the_spool_where_their_bytes_do_not_change(tmp_path) -> None:
    payload, _ = payload_of(image(picture(64, 64, 0, 4000)))
    path = tmp_path / "spooled.dcm"
    path.write_bytes(b"".join(payload.chunks()))
    spooled_payload = replace(payload, parts=(FileSlice(path, 0, payload.length),))
    there = to_syntax(spooled_payload, IMPLICIT)
    assert [part.length for part in there.parts if isinstance(part, FileSlice)] == [64 * 64 * 2]
    assert np.array_equal(read(there).pixel_array, picture(64, 64, 0, 4000))


def test_the_same_syntax_changes_nothing() -> None:
    payload, _ = payload_of(image(picture(8, 8, 0, 100)))
    assert to_syntax(payload, EXPLICIT) is payload


def test_an_object_without_pixels_goes_every_way() -> None:
    data = image(picture(8, 8, 0, 100))
    del data.PixelData
    payload, _ = payload_of(data)
    labelled = replace(payload, transfer_syntax_uid="1.2.840.10008.1.2.4.50")
    assert read(to_syntax(labelled, EXPLICIT)).PatientID == "Marked"
    for target in NATIVE:
        assert read(to_syntax(payload, target)).PatientID == "Marked"


@pytest.mark.parametrize(("allocated", "stored", "vr"), [(32, 32, "OW"), (16, 16, "OB"), (1, 1, "OW")])
def test_unclear_byte_orders_are_refused(allocated: int, stored: int, vr: str) -> None:
    data = image(picture(8, 8, 0, 100))
    data.BitsAllocated, data.BitsStored, data.HighBit = allocated, stored, stored - 1
    data.PixelData = b"\0\1" * (32 * allocated)
    data["PixelData"].VR = vr
    with pytest.raises(Permanent) as caught:
        to_syntax(payload_of(data)[0], BIG)
    assert caught.value.reason == "syntax"


def test_pixel_data_that_is_cut_off_is_refused() -> None:
    payload, _ = payload_of(image(picture(8, 8, 0, 100)))
    blob = b"".join(payload.chunks())[:-20]
    with pytest.raises(Permanent) as caught:
        to_syntax(replace(payload, parts=(blob,), length=len(blob)), IMPLICIT)
    assert caught.value.reason == "truncated"


def test_a_data_set_that_ends_within_an_element_behind_the_pixel_data_is_refused() -> None:
    data = image(picture(8, 8, 0, 100))
    data.DataSetTrailingPadding = bytes(20)
    payload, _ = payload_of(data)
    blob = b"".join(payload.chunks())[:-6]
    with pytest.raises(Permanent) as caught:
        to_syntax(replace(payload, parts=(blob,), length=len(blob)), IMPLICIT)
    assert caught.value.reason == "truncated"


def test_no_part_of_a_re_encoded_payload_is_empty() -> None:
    payload, _ = payload_of(image(picture(8, 8, 0, 100)))
    assert all(to_syntax(payload, IMPLICIT).parts)


def compressed(data: Dataset, syntax: str, streams: list[bytes], **changes: object) -> Payload:
    for keyword, value in changes.items():
        setattr(data, keyword, value)
    data.PixelData = encapsulate(streams)
    data["PixelData"].VR = "OB"
    data["PixelData"].is_undefined_length = True
    payload, _ = payload_of(data)
    return replace(payload, transfer_syntax_uid=syntax)


@pytest.mark.usefixtures("decoders")
@pytest.mark.parametrize("target", [EXPLICIT, IMPLICIT, DEFLATED])
def test_lossless_streams_are_decompressed_equal(target: str) -> None:
    values = np.stack([picture(20, 31, -2000, 2000, seed) for seed in range(2)])
    streams = [
        imagecodecs.jpeg2k_encode(
            frame.astype("i2"), level=0, codecformat="j2k", bitspersample=12, reversible=True
        )
        for frame in values
    ]
    start = compressed(image(values, signed=True, frames=2), "1.2.840.10008.1.2.4.90", streams)
    there = to_syntax(start, target)
    found = read(there)
    assert np.array_equal(found.pixel_array, values)
    assert there.treatment is Treatment.TRANSCODED
    assert found.SOPInstanceUID == start.sop_instance_uid
    assert "LossyImageCompression" not in found


@pytest.mark.usefixtures("decoders")
def test_colour_comes_out_as_rgb_with_its_flags() -> None:
    facts = {"allocated": 8, "stored": 8, "photometric": "RGB"}
    stream = imagecodecs.jpeg_encode(COLOUR.astype("u1"), level=95)
    start = compressed(
        image(COLOUR, **facts), "1.2.840.10008.1.2.4.50", [stream], PhotometricInterpretation="YBR_FULL_422"
    )
    found = read(to_syntax(start, EXPLICIT))
    assert found.PhotometricInterpretation == "RGB"
    assert found.LossyImageCompression == "01"
    assert np.abs(found.pixel_array.astype(int) - COLOUR).mean() < 8
    stream = imagecodecs.jpeg2k_encode(
        COLOUR.astype("u1"), level=0, codecformat="j2k", bitspersample=8, reversible=True, mct=True
    )
    start = compressed(
        image(COLOUR, **facts, planar=1),
        "1.2.840.10008.1.2.4.90",
        [stream],
        PhotometricInterpretation="YBR_RCT",
    )
    found = read(to_syntax(start, EXPLICIT))
    assert (found.PhotometricInterpretation, found.PlanarConfiguration) == ("RGB", 0)
    assert np.array_equal(found.pixel_array, COLOUR)


@pytest.mark.usefixtures("decoders")
@pytest.mark.parametrize("target", [EXPLICIT, IMPLICIT])
def test_full_planes_of_a_lossless_jpeg_are_called_ybr_full(target: str) -> None:
    facts = {"allocated": 8, "stored": 8, "photometric": "RGB"}
    stream = imagecodecs.jpeg_encode(
        COLOUR.astype("u1"),
        lossless=True,
        predictor=1,
        bitspersample=8,
        colorspace="RGB",
        outcolorspace="RGB",
    )

    def start(photometric: str) -> Payload:
        syntax = "1.2.840.10008.1.2.4.70"
        return compressed(image(COLOUR, **facts), syntax, [stream], PhotometricInterpretation=photometric)

    found = read(to_syntax(start("YBR_FULL_422"), target))
    assert (found.PhotometricInterpretation, found.PlanarConfiguration) == ("YBR_FULL", 0)
    assert len(found.PixelData) == COLOUR.size + COLOUR.size % 2
    assert found.PixelData[: COLOUR.size] == COLOUR.astype("u1").tobytes()
    with pytest.raises(Permanent) as caught:
        to_syntax(start("YBR_PARTIAL_422"), target)
    assert caught.value.reason == "syntax"


def reversible(values: np.ndarray, bits: int) -> bytes:
    return imagecodecs.jpeg2k_encode(values, level=0, codecformat="j2k", bitspersample=bits, reversible=True)


@pytest.mark.usefixtures("decoders")
@pytest.mark.parametrize("kind", ["native", "compressed", "nested", "damaged"])
def test_icons_are_decompressed_with_their_image(kind: str) -> None:
    values, small = picture(20, 31, 0, 4000), picture(5, 5, 0, 255)
    stream = reversible(values.astype("u2"), 12)
    data, icon = image(values), image(small, allocated=8, stored=8)
    native = icon.PixelData
    if kind != "native":
        icon.PixelData = encapsulate([stream if kind == "damaged" else reversible(small.astype("u1"), 8)])
        icon["PixelData"].is_undefined_length = True
    holder = data
    if kind == "nested":
        holder = Dataset()
        data.ReferencedImageSequence = [holder]
    holder.IconImageSequence = [icon]
    found = read(to_syntax(compressed(data, "1.2.840.10008.1.2.4.90", [stream]), EXPLICIT))
    assert np.array_equal(found.pixel_array, values)
    if kind == "damaged":  # its codestream is another image's: no reader could show it
        assert "IconImageSequence" not in found
        return
    place = found.ReferencedImageSequence[0] if kind == "nested" else found
    shown = place.IconImageSequence[0]
    assert (shown.PixelData, shown["PixelData"].is_undefined_length) == (native, False)
    assert (shown.PhotometricInterpretation, shown.Rows) == ("MONOCHROME2", 5)


@pytest.mark.parametrize(
    ("source", "target"),
    [("1.2.840.10008.1.2.4.100", EXPLICIT), (EXPLICIT, "1.2.840.10008.1.2.4.91"), ("4.90", BIG)],
)
@pytest.mark.usefixtures("decoders")
def test_where_there_is_no_way_it_is_said(source: str, target: str) -> None:
    full = source if source.startswith("1.") else f"1.2.840.10008.1.2.{source}"
    payload = compressed(image(picture(8, 8, 0, 100)), full, [b"\xff\x4f\xff\x51"])
    if source == EXPLICIT:
        payload, _ = payload_of(image(picture(8, 8, 0, 100)))
    with pytest.raises(Permanent) as caught:
        to_syntax(payload, target)
    assert caught.value.reason == "syntax"


@pytest.mark.usefixtures("decoders")
@pytest.mark.parametrize(
    "name", ["MR_small_RLE.dcm", "SC_rgb_rle_32bit.dcm", "emri_small_jpeg_2k_lossless.dcm", "image_dfl.dcm"]
)
def test_pydicoms_own_files_decompress_to_what_pydicom_sees(name: str) -> None:
    found = pydicom.data.get_testdata_file(name, download=False)
    if found is None:
        pytest.skip("not among the installed files")
    payload, _ = spooled(__import__("pathlib").Path(found))
    expected = pydicom.dcmread(found)
    there = to_syntax(payload, EXPLICIT)
    assert np.array_equal(read(there).pixel_array, expected.pixel_array)
