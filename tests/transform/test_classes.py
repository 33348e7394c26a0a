"""Images of each class through `compress`: an independent decoder sees the pixels that came in."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless

from mapdr._fast import whole_pixels
from mapdr.kernel.item import Instance, Payload, Treatment
from mapdr.kernel.registry import Registry
from mapdr.transform.document import OpenImage
from mapdr.transform.encode.methods import METHODS
from mapdr.transform.pipeline import build_pipeline
from peers.data import REAL

from .helpers import CODECS, Notebook, image, payload_of, picture, read, save, settings, spooled
from .test_golden import complaints

US = "1.2.840.10008.5.1.4.1.1.6.1"
US_MULTI = "1.2.840.10008.5.1.4.1.1.3.1"
RLE = str(RLELossless)
ONLY_REAL = pytest.mark.skipif(not REAL, reason="MAPDR_TEST_DATA has none of these files")


def by_rule(payload: Payload, instance: Instance, **config: object) -> Payload:
    """What a rule with this `compress` makes of an image."""
    steps = [{"type": "compress", "config": config}]
    pipeline = build_pipeline({"steps": steps}, Registry(), settings(), CODECS)
    return pipeline.apply(payload, instance, Notebook(), "")


def frames(payload: Payload) -> np.ndarray:
    """The stored values of a payload as MAPDR reads them: (frames, rows, columns[, samples])."""
    with OpenImage(payload, CODECS) as document:
        return np.stack([document.frames.frame(index) for index in range(document.image.frames)])


def by_gdcm(payload: Payload, folder: Path) -> tuple[Dataset, np.ndarray]:
    """The data set that GDCM decompresses, and its cells, shaped as `frames` gives them."""
    path, out = save(payload, folder / "result.dcm"), folder / "native.dcm"
    subprocess.run(["gdcmconv", "--raw", str(path), str(out)], check=True, capture_output=True)
    found = pydicom.dcmread(out)
    shape = [int(found.get("NumberOfFrames", 1) or 1), found.Rows, found.Columns]
    shape += [found.SamplesPerPixel] * (found.SamplesPerPixel > 1)
    kind = "i" if found.PixelRepresentation else "u"
    cells = np.frombuffer(found.PixelData, f"<{kind}{found.BitsAllocated // 8}")[: int(np.prod(shape))]
    return found, cells.reshape(shape)


def colours(rows: int, columns: int, count: int = 1) -> np.ndarray:
    """Frames of three samples of 8 bits, as if of an ultrasound: (frames, rows, columns, 3)."""
    made = [
        np.stack([picture(rows, columns, 0, 255, seed + 3 * index) for seed in range(3)], -1)
        for index in range(count)
    ]
    return np.stack(made)


def halved(pixels: np.ndarray) -> bytes:
    """Native YBR_FULL_422 of frames in YBR_FULL: Y1 Y2 Cb Cr, chrominance of each first pixel."""
    first, second = pixels[:, :, ::2], pixels[:, :, 1::2]
    pairs = np.stack([first[..., 0], second[..., 0], first[..., 1], first[..., 2]], -1)
    return pairs.astype("u1").tobytes()


def sited(pixels: np.ndarray) -> np.ndarray:
    """What whole pixels of `halved` are: each pair has the chrominance of its first pixel."""
    found = pixels.copy()
    found[:, :, 1::2, 1:] = found[:, :, ::2, 1:]
    return found


def ybr(photometric: str, count: int = 1, sop_class: str = "") -> tuple[Dataset, np.ndarray]:
    """A native image in YBR_FULL (planar 0 or 1) or YBR_FULL_422, and its stored values."""
    pixels = colours(40, 48, count)
    name, planar = photometric.removesuffix(" by plane"), int(photometric.endswith("by plane"))
    values = pixels if count > 1 else pixels[0]
    data = image(
        values,
        allocated=8,
        stored=8,
        photometric=name,
        planar=planar,
        sop_class=sop_class or (US_MULTI if count > 1 else US),
        frames=count,
    )
    if name == "YBR_FULL_422":
        data.PixelData, pixels = halved(pixels), sited(pixels)
    return data, pixels


YBR = ("YBR_FULL", "YBR_FULL by plane", "YBR_FULL_422")


@pytest.mark.peer("gdcmconv")
@pytest.mark.parametrize("photometric", YBR)
@pytest.mark.parametrize("count", [1, 3])
def test_luminance_and_chrominance_stay_what_they_are(tmp_path: Path, photometric: str, count: int) -> None:
    data, pixels = ybr(photometric, count)
    result = by_rule(*payload_of(data), to="jpeg2000-lossless")
    assert (result.treatment, result.note) == (Treatment.TRANSCODED, "")
    found = read(result)
    assert (found.PhotometricInterpretation, found.PlanarConfiguration) == ("YBR_FULL", 0)
    assert found.SOPInstanceUID == data.SOPInstanceUID
    theirs, cells = by_gdcm(result, tmp_path)
    assert theirs.PhotometricInterpretation == "YBR_FULL"
    assert np.array_equal(cells, pixels)


@pytest.mark.parametrize("photometric", YBR)
def test_a_ratio_counts_against_the_bytes_that_came(photometric: str) -> None:
    data, pixels = ybr(photometric, 3)
    noise = np.random.default_rng(3).integers(0, 40, pixels.shape)
    pixels = np.clip(pixels + noise, 0, 255).astype("u1")
    data.PixelData = (
        halved(pixels)
        if "422" in photometric
        else np.moveaxis(pixels, -1, 1).tobytes()
        if "plane" in photometric
        else pixels.tobytes()
    )
    result = by_rule(*payload_of(data), to="jpeg2000", ratio=6)
    found = read(result)
    assert found.PhotometricInterpretation == "YBR_FULL"
    reached = len(data.PixelData) / sum(len(each) for each in streams(found))
    assert abs(reached / 6 - 1) <= 0.05
    assert float(found.LossyImageCompressionRatio) == pytest.approx(reached, abs=0.02)


def streams(data: Dataset) -> list[bytes]:
    count = int(data.get("NumberOfFrames", 1) or 1)
    return list(pydicom.encaps.generate_frames(data.PixelData, number_of_frames=count))


@given(st.binary(max_size=4 * 50).map(lambda raw: raw[: len(raw) // 4 * 4]))
def test_whole_pixels_lose_nothing_of_halved_ones(pairs: bytes) -> None:
    whole = np.frombuffer(whole_pixels(pairs), "u1").reshape(-1, 2, 3)
    assert np.array_equal(whole[:, 0, 1:], whole[:, 1, 1:])
    back = np.concatenate([whole[:, :, 0], whole[:, 0, 1:]], -1)
    assert back.tobytes() == pairs


REAL_YBR = (
    "pydicom/SC_ybr_full_422_uncompressed.dcm",
    "pydicom-data/SC_ybr_full_uncompressed.dcm",
    "dcm4che/YBR_422.dcm",
    "dcm4che/YBR_FULL-RLE.dcm",
)


@ONLY_REAL
@pytest.mark.usefixtures("decoders")
@pytest.mark.peer("gdcmconv")
@pytest.mark.parametrize("name", REAL_YBR)
def test_real_images_of_luminance_and_chrominance(data: Path, tmp_path: Path, name: str) -> None:
    payload, instance = spooled(data / name)
    result = by_rule(payload, instance, to="jpeg2000-lossless")
    assert result.treatment is Treatment.TRANSCODED
    source = pydicom.dcmread(data / name)
    if source.PhotometricInterpretation == "YBR_FULL_422":
        pairs = np.frombuffer(source.PixelData[: source.Rows * source.Columns * 2], "u1")
        pairs = pairs.reshape(1, source.Rows, source.Columns // 2, 4)
        expected = np.empty((1, source.Rows, source.Columns, 3), "u1")
        expected[:, :, ::2, 0], expected[:, :, 1::2, 0] = pairs[..., 0], pairs[..., 1]
        expected[:, :, ::2, 1:] = expected[:, :, 1::2, 1:] = pairs[..., 2:]
    elif payload.transfer_syntax_uid == RLE:
        _, expected = by_gdcm(payload, tmp_path)
        if pydicom.dcmread(tmp_path / "native.dcm").PlanarConfiguration:
            expected = np.moveaxis(expected.reshape(1, 3, source.Rows, source.Columns), 1, -1)
    else:
        expected = np.frombuffer(source.PixelData, "u1").reshape(1, source.Rows, source.Columns, 3)
    _, cells = by_gdcm(result, tmp_path)
    assert np.array_equal(cells, expected)


# Bits that are not used


def cells_of(data: Dataset) -> np.ndarray:
    """The cells of one grey frame, as they lie in native pixel data."""
    kind = "i" if data.PixelRepresentation else "u"
    raw = np.frombuffer(data.PixelData, f"<{kind}{data.BitsAllocated // 8}")
    return raw[: data.Rows * data.Columns].reshape(1, data.Rows, data.Columns)


def above(upper: int, *, signed: bool = False) -> Dataset:
    """12 bits in 16, and something else above them in one cell."""
    low, high = (-2048, 2047) if signed else (0, 4095)
    data = image(picture(40, 48, low, high), signed=signed)
    cells = np.frombuffer(data.PixelData, "<u2").copy()
    cells[77] = (int(cells[77]) & 0xFFF) | upper << 12
    data.PixelData = cells.tobytes()
    return data


def below() -> Dataset:
    """The upper 12 bits of 16, and something else below them."""
    data = image(picture(40, 48, 0, 4095) << 4 | 5, stored=16)
    data.BitsStored, data.HighBit = 12, 15
    return data


OUTSIDE = {
    "above unsigned": lambda: above(0b0101),
    "above signed": lambda: above(0b0101, signed=True),
    "below": below,
    "8 bits": lambda: image(picture(40, 48, 0, 255), allocated=8, stored=7),
}


@pytest.mark.peer("gdcmconv")
@pytest.mark.parametrize("lossy", [False, True])
@pytest.mark.parametrize("name", OUTSIDE)
def test_unused_bits_that_are_used_are_kept_with_their_cells(tmp_path: Path, name: str, lossy: bool) -> None:
    data = OUTSIDE[name]()
    target = {"to": "jpeg2000", "ratio": 10} if lossy else {"to": "jpeg2000-lossless"}
    result = by_rule(*payload_of(data), **target)
    assert result.transfer_syntax_uid == "1.2.840.10008.1.2.4.90"
    assert result.note == ("compressed without loss: values-outside-bits-stored" if lossy else "")
    found = read(result)
    assert (found.BitsStored, found.HighBit) == (data.BitsStored, data.HighBit)
    assert found.SOPInstanceUID == data.SOPInstanceUID
    _, cells = by_gdcm(result, tmp_path)
    assert np.array_equal(cells, cells_of(data))


def with_overlays(count: int) -> tuple[Dataset, np.ndarray, np.ndarray]:
    """Frames of 12 bits with overlays in bits 13 and 15: the image, its stored values, the overlays' bits."""
    pixels = np.stack([picture(30, 31, 0, 4095, seed) for seed in range(count)])
    bits = np.random.default_rng(1).integers(0, 2, (2, count, 30, 31))
    data = image(pixels if count > 1 else pixels[0], frames=count)
    data.PixelData = (pixels | bits[0] << 13 | bits[1] << 15).astype("<u2").tobytes()
    for group, position in ((0x6000, 13), (0x6002, 15)):
        for element, value in ((0x10, 30), (0x11, 31), (0x100, 16), (0x102, position)):
            data.add_new(group << 16 | element, "US", value)
    return data, pixels, bits


@pytest.mark.peer("gdcmconv")
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("lossy", [False, True])
def test_overlays_in_unused_bits_become_overlay_data(tmp_path: Path, count: int, lossy: bool) -> None:
    data, pixels, bits = with_overlays(count)
    target = {"to": "jpeg2000", "ratio": 6} if lossy else {"to": "jpeg2000-lossless"}
    result = by_rule(*payload_of(data), **target)
    found = read(result)
    _, cells = by_gdcm(result, tmp_path)
    assert cells.max() <= 4095
    if not lossy:
        assert np.array_equal(cells, pixels)
    for place, group in enumerate((0x6000, 0x6002)):
        assert (found[group, 0x100].value, found[group, 0x102].value) == (1, 0)
        packed = np.frombuffer(found[group, 0x3000].value, "u1")
        there = np.unpackbits(packed, bitorder="little")[: bits[place].size]
        assert np.array_equal(there.reshape(count, 30, 31), bits[place])
        if count > 1:
            assert (found[group, 0x15].value, found[group, 0x51].value) == (count, 1)
        else:
            assert np.array_equal(found.overlay_array(group), bits[place, 0])


LABEL_MAPS = ("dcmqi/sparse-labelmap-ppv5.dcm", "dcmqi/sparse-labelmap-noppv.dcm")


@ONLY_REAL
@pytest.mark.peer("gdcmconv")
@pytest.mark.parametrize("name", LABEL_MAPS)
def test_label_maps_keep_every_label(data: Path, tmp_path: Path, name: str) -> None:
    result = by_rule(*spooled(data / name), to="jpeg2000", ratio=10)
    assert result.transfer_syntax_uid == "1.2.840.10008.1.2.4.90"
    assert result.note == "compressed without loss: label-map"
    # GDCM 3.0 knows no label maps: it is told that they are secondary captures.
    told = read(result)
    told.SOPClassUID = told.file_meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    told.save_as(tmp_path / "told.dcm")
    _, cells = by_gdcm(spooled(tmp_path / "told.dcm")[0], tmp_path)
    assert np.array_equal(cells, pydicom.dcmread(data / name).pixel_array)


@ONLY_REAL
@pytest.mark.peer("gdcmconv")
@pytest.mark.parametrize("lossy", [False, True])
def test_a_real_image_with_overlays_in_its_pixels(data: Path, tmp_path: Path, lossy: bool) -> None:
    path = data / "dcm4che/ovly_p01.dcm"
    target = {"to": "jpeg2000", "ratio": 10} if lossy else {"to": "jpeg2000-lossless"}
    result = by_rule(*spooled(path), **target)
    source, found = pydicom.dcmread(path), read(result)
    before = np.frombuffer(source.PixelData, "<u2").reshape(1, source.Rows, source.Columns)
    _, cells = by_gdcm(result, tmp_path)
    stored = before & (1 << source.BitsStored) - 1
    assert np.array_equal(cells, stored) or (lossy and np.abs(cells.astype(int) - stored).max() < 64)
    groups = [group for group in range(0x6000, 0x6020, 2) if (group, 0x102) in source]
    for group in groups:
        position = source[group, 0x102].value
        if position:
            assert np.array_equal(found.overlay_array(group), before[0] >> position & 1)
    assert groups


# Sources that were compressed with loss, where the rule wants them decoded

JPEGS = {
    "pydicom/examples_ybr_color.dcm": 60,
    "pydicom/JPGExtended.dcm": 100,
    "generated/us_jpeg_baseline422.dcm": 60,
}


@ONLY_REAL
@pytest.mark.usefixtures("decoders")
@pytest.mark.peer("dcmdjpeg", "gdcmconv")
@pytest.mark.parametrize("name", JPEGS)
def test_a_jpeg_that_a_rule_wants_smaller_tells_both_losses(data: Path, tmp_path: Path, name: str) -> None:
    rule = {"to": "jpeg2000", "ratio": JPEGS[name], "allow": ["already-lossy", "secondary-capture"]}
    result = by_rule(*spooled(data / name), color="ybr", **rule)
    assert (result.treatment, result.note) == (Treatment.TRANSCODED, "")
    found, source = read(result), pydicom.dcmread(data / name)
    assert found.LossyImageCompression == "01"
    first = source.get("LossyImageCompressionMethod", "ISO_10918_1")
    assert list(found.LossyImageCompressionMethod) == [first, "ISO_15444_1"]
    jpeg = sum(map(len, streams(source)))
    before, after = map(float, found.LossyImageCompressionRatio)
    assert float(source.get("LossyImageCompressionRatio", before)) == before
    _, cells = by_gdcm(result, tmp_path)
    if "LossyImageCompressionRatio" not in source:
        assert before == pytest.approx(cells.nbytes / jpeg, rel=0.01)
    assert after == pytest.approx(cells.nbytes / sum(map(len, streams(found))), abs=0.02)
    subprocess.run(
        ["dcmdjpeg", str(data / name), str(tmp_path / "jpeg.dcm")], check=True, capture_output=True
    )
    theirs = pydicom.dcmread(tmp_path / "jpeg.dcm")
    expected = np.frombuffer(theirs.PixelData, cells.dtype)[: cells.size].reshape(cells.shape)
    if theirs.get("PlanarConfiguration"):
        expected = np.moveaxis(expected.reshape(len(cells), 3, *cells.shape[1:3]), 1, -1)
    off = cells.astype(float) - expected
    peak = (1 << source.BitsStored) - 1
    assert 10 * np.log10(peak**2 / np.square(off).mean()) > 30


# Other methods, and cells of other sizes

BY_DCMTK = {"jpegls": ["dcmdjpls"], "rle": ["dcmdrle"], "jpeg-lossless": ["dcmdjpeg", "+cn"]}
"""What decodes a method's codestreams; colours are not to be converted."""


def by_dcmtk(payload: Payload, method: str, folder: Path) -> np.ndarray:
    """The cells that DCMTK decompresses, shaped as `frames` gives them."""
    path, out = save(payload, folder / "dcmtk-in.dcm"), folder / "dcmtk-out.dcm"
    subprocess.run([*BY_DCMTK[method], str(path), str(out)], check=True, capture_output=True)
    found = pydicom.dcmread(out)
    count = int(found.get("NumberOfFrames", 1) or 1)
    cells = np.frombuffer(found.PixelData, f"<u{found.BitsAllocated // 8}")
    cells = cells[: count * found.Rows * found.Columns * found.SamplesPerPixel]
    if found.SamplesPerPixel == 1:
        return cells.reshape(count, found.Rows, found.Columns)
    if found.PlanarConfiguration:
        return np.moveaxis(cells.reshape(count, 3, found.Rows, found.Columns), 1, -1)
    return cells.reshape(count, found.Rows, found.Columns, 3)


def needs(method: str) -> None:
    if CODECS.rows[METHODS[method].lossless].encoder is None:
        pytest.skip(f"nothing here writes {method}")


@pytest.mark.peer("dcmdjpls", "dcmdrle", "dcmdjpeg")
@pytest.mark.parametrize("photometric", [*YBR, "PALETTE COLOR"])
@pytest.mark.parametrize("method", BY_DCMTK)
def test_other_methods_keep_colours_as_they_are_too(tmp_path: Path, method: str, photometric: str) -> None:
    needs(method)
    if photometric == "PALETTE COLOR":
        pixels = picture(40, 48, 0, 40)[None]
        data = image(pixels[0], allocated=8, stored=8, photometric=photometric, sop_class=US)
    else:
        data, pixels = ybr(photometric, 3)
    result = by_rule(*payload_of(data), to=method)
    if result.note == "not compressed: not-smaller":
        pytest.skip("it does not become smaller")
    assert result.transfer_syntax_uid == METHODS[method].lossless
    found = read(result)
    assert found.PhotometricInterpretation == photometric.split(" by ", maxsplit=1)[0].replace("_422", "")
    assert np.array_equal(by_dcmtk(result, method, tmp_path), pixels)


@ONLY_REAL
@pytest.mark.peer("dcmdrle", "dciodvfy")
def test_an_ultrasound_in_rle_has_its_planes_as_its_iod_wants_them(data: Path, tmp_path: Path) -> None:
    path = data / "dcm4che/YBR_422.dcm"
    result = by_rule(*spooled(path), to="rle")
    found = read(result)
    assert (found.PhotometricInterpretation, found.PlanarConfiguration) == ("YBR_FULL", 1)
    assert not complaints(save(result, tmp_path / "rle.dcm")) - complaints(path)


def test_what_does_not_know_ybr_full_leaves_it() -> None:
    data, _ = ybr("YBR_FULL")
    assert by_rule(*payload_of(data), to="jpegxl-lossless").note == "not compressed: photometric"


def bits_of(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Zeros and ones in areas, as of a segmentation."""
    random = np.random.default_rng(seed)
    found = np.zeros(shape, "u1")
    for frame in found:
        row, column = random.integers(0, shape[1] // 2), random.integers(0, shape[2] // 2)
        frame[row : row + shape[1] // 2, column : column + shape[2] // 3] = 1
    return found


def segmentation(pixels: np.ndarray) -> Dataset:
    """A binary segmentation: bits packed across the ends of frames."""
    data = image(np.zeros((4, 4)), allocated=8, stored=1, sop_class="1.2.840.10008.5.1.4.1.1.66.4")
    data.NumberOfFrames, data.Rows, data.Columns = pixels.shape
    data.BitsAllocated = 1
    packed = np.packbits(pixels.ravel(), bitorder="little").tobytes()
    data.PixelData = packed + b"\0" * (len(packed) % 2)
    data["PixelData"].VR = "OB"
    return data


@pytest.mark.peer("gdcmconv")
@pytest.mark.parametrize("lossy", [False, True])
@pytest.mark.parametrize("columns", [256, 253])
def test_bits_are_compressed_without_loss(tmp_path: Path, columns: int, lossy: bool) -> None:
    pixels = bits_of((3, 255, columns))
    target = {"to": "jpeg2000", "ratio": 10} if lossy else {"to": "jpeg2000-lossless"}
    result = by_rule(*payload_of(segmentation(pixels)), **target)
    found = read(result)
    assert result.transfer_syntax_uid == "1.2.840.10008.1.2.4.90"
    assert (found.BitsAllocated, found.BitsStored, found.HighBit) == (1, 1, 0)
    _, cells = by_gdcm(result, tmp_path)
    assert np.array_equal(cells, pixels)


@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 11), st.data())
def test_bits_of_frames_that_begin_within_a_byte(count: int, rows: int, columns: int, drawn: Any) -> None:
    size = count * rows * columns
    values = drawn.draw(st.lists(st.integers(0, 1), min_size=size, max_size=size))
    pixels = np.array(values, "u1").reshape(count, rows, columns)
    assert np.array_equal(frames(payload_of(segmentation(pixels))[0]), pixels)


REAL_BITS = ("liver.dcm", "liver_nonbyte_aligned.dcm", "liver_expb.dcm")


@ONLY_REAL
@pytest.mark.peer("gdcmconv", "dciodvfy")
@pytest.mark.parametrize("name", REAL_BITS)
def test_real_segmentations(data: Path, tmp_path: Path, name: str) -> None:
    path = data / "pydicom-data" / name
    result = by_rule(*spooled(path), to="jpeg2000-lossless")
    assert result.length < path.stat().st_size / 10
    _, cells = by_gdcm(result, tmp_path)
    assert np.array_equal(cells, pydicom.dcmread(path).pixel_array)
    assert not complaints(save(result, tmp_path / "j2k.dcm")) - complaints(path)


@ONLY_REAL
@pytest.mark.usefixtures("decoders")
@pytest.mark.parametrize("method", ["jpeg2000-lossless", "rle", "htj2k-lossless"])
def test_bits_in_rle_are_left_as_they_are(data: Path, method: str) -> None:
    # Some readers do not know them, and GDCM 3.0 ends its process over them.
    result = by_rule(*spooled(data / "pydicom-data/liver_rle.dcm"), to=method)
    assert (result.treatment, result.note[:16]) == (Treatment.RELAYED, "not compressed: ")


@pytest.mark.peer("dcmdrle")
@pytest.mark.parametrize("signed", [False, True])
def test_cells_of_32_bits_in_rle(tmp_path: Path, signed: bool) -> None:
    values = picture(40, 48, -(1 << 30) if signed else 0, 1 << 30) // 4096 * 4096
    data = image(values, allocated=32, stored=32, signed=signed, sop_class="1.2.840.10008.5.1.4.1.1.481.2")
    result = by_rule(*payload_of(data), to="rle")
    assert result.transfer_syntax_uid == RLE
    cells = by_dcmtk(result, "rle", tmp_path)
    assert np.array_equal(cells.view("<i4" if signed else "<u4")[0], values)
