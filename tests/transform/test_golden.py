"""Real images, and programs that are not ours: pixels agree, ratios are met, no new fault is found."""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.encaps import generate_frames

from mapdr.kernel.item import Treatment
from mapdr.testing.generator import study
from mapdr.transform.codecs.jpeg2000 import Jpeg2000
from mapdr.transform.encode.compress import STAGE, CompressStep
from mapdr.transform.encode.wish import CompressConfig
from peers.data import REAL

from .helpers import Notebook, applied, image, payload_of, picture, read, save, settings, spooled

US = "1.2.840.10008.5.1.4.1.1.6.1"
LOSSY = "1.2.840.10008.1.2.4.91"
REAL_FILES = [
    "series/ct_philips_phantom_140/I10",
    "series/ct_ge_head_28/05.dcm",
    "generated/ct_src.dcm",
    "generated/ge_src.dcm",
    "generated/us_src.dcm",
    "generated/nm_src.dcm",
    "generated/ct_rle_cython.dcm",
    "generated/ge_signed_jpeg_sv1.dcm",
    "highdicom/dx_image.dcm",
    "pydicom/MR_small_implicit.dcm",
    "pydicom/MR_small_bigendian.dcm",
    "pydicom/examples_palette.dcm",
    "pydicom/image_dfl.dcm",
    "dcm4che/ovly_p01.dcm",
]
MADE_FILES = [
    "variety/1_2_MONOCHROME2_12u_1x0.dcm",
    "variety/1_2_MONOCHROME2_16s_1x0.dcm",
    "variety/1_6.1_RGB_8u_1x0.dcm",
    "variety/2_4_MONOCHROME2_16u_3x0.dcm",
    "variety/5_2_MONOCHROME2_12u_1x0.dcm",
    "variety/4.70_2_MONOCHROME2_16s_1x0.dcm",
    "variety/4.57_2_MONOCHROME2_12u_1x0.dcm",
    "variety/1_1_MONOCHROME1_10u_1x0.dcm",
    "variety/1_6.1_PALETTECOLOR_8u_1x0.dcm",
    "variety/overlay.dcm",
    "pydicom/MR_small_implicit.dcm",
    "pydicom/MR_small_bigendian.dcm",
    "pydicom/image_dfl.dcm",
]
FILES = REAL_FILES if REAL else MADE_FILES
"""Explicit, implicit, big endian, deflated, RLE, JPEG lossless; signed and not; colour, palette, frames."""
DECODED = [f"generated/{name}_src.dcm" for name in ("ct", "ge", "us")] if REAL else MADE_FILES[:3]


def step(lossy: bool) -> CompressStep:
    config = (
        CompressConfig(to="jpeg2000", ratio=10, color="ybr")
        if lossy
        else CompressConfig(to="jpeg2000-lossless", color="ybr")
    )
    return STAGE.build(settings(), config, None)


def streams(data: pydicom.Dataset) -> list[bytes]:
    return list(generate_frames(data.PixelData, number_of_frames=int(data.get("NumberOfFrames", 1) or 1)))


def decoded(data: pydicom.Dataset) -> np.ndarray:
    codec = Jpeg2000()
    return np.stack([codec.decode(stream) for stream in streams(data)])


def pixels(data: pydicom.Dataset) -> np.ndarray:
    """What pydicom sees, always with frames first."""
    found = data.pixel_array
    return found if int(data.get("NumberOfFrames", 1) or 1) > 1 else found[None]


def complaints(path: Path) -> Counter[str]:
    done = subprocess.run(
        ["dciodvfy", str(path)], capture_output=True, text=True, errors="replace", check=False
    )
    lines = (done.stderr + done.stdout).splitlines()
    return Counter(line for line in lines if line.startswith("Error"))


def decompressed_by_gdcm(path: Path) -> pydicom.Dataset:
    out = path.with_suffix(".raw")
    subprocess.run(["gdcmconv", "--raw", str(path), str(out)], check=True, capture_output=True)
    return pydicom.dcmread(out)


@pytest.mark.usefixtures("decoders")
@pytest.mark.parametrize("name", FILES)
def test_lossless_pixels_are_those_that_pydicom_sees(data: Path, name: str) -> None:
    source = pydicom.dcmread(data / name)
    try:
        expected = pixels(source)
    except (RuntimeError, AttributeError) as error:  # no pydicom plugin is installed for the syntax
        pytest.skip(f"pydicom cannot decode it here: {type(error).__name__}")
    payload, instance = spooled(data / name)
    result = applied(step(lossy=False), payload, instance, Notebook())
    assert result.treatment is Treatment.TRANSCODED
    assert np.array_equal(decoded(read(result)), expected)


SERIES = (
    {"ct_philips_phantom_140": 14, "ct_ge_head_28": 4, "mr_ge_mprage_130": 12} if REAL else {"CT": 1, "MR": 1}
)


@pytest.mark.parametrize(("series", "every"), SERIES.items())
def test_a_series_meets_ten_to_one_slice_by_slice(
    data: Path, tmp_path: Path, series: str, every: int
) -> None:
    folder = data / "series" / series if REAL else generated(series, tmp_path)
    slices = sorted(folder.iterdir())[::every]
    transcoder = step(lossy=True)
    for path in slices:
        payload, instance = spooled(path)
        found = read(applied(transcoder, payload, instance, Notebook()))
        source = pydicom.dcmread(path)
        reached = len(source.PixelData) / sum(map(len, streams(found)))
        if found.file_meta.TransferSyntaxUID == LOSSY:
            assert abs(reached / 10 - 1) <= 0.05, path.name
            assert float(found.LossyImageCompressionRatio) == pytest.approx(reached, abs=0.02)
            assert found.SOPInstanceUID != source.SOPInstanceUID
        else:
            assert reached >= 9.5, path.name
            assert np.array_equal(decoded(found), pixels(source))


def generated(modality: str, folder: Path) -> Path:
    """Four slices of a generated study, in files."""
    for number, slice_ in enumerate(study(modality, images=4)):
        (folder / f"{number}.dcm").write_bytes(slice_.part10())
    return folder


def test_the_head_ct_keeps_its_air_and_its_padding_apart(data: Path) -> None:
    path = data / ("series/ct_ge_head_28/05.dcm" if REAL else "variety/padded.dcm")
    source = pydicom.dcmread(path)
    payload, instance = spooled(path)
    found = read(applied(step(lossy=True), payload, instance, Notebook()))
    after = decoded(found)[0]
    padded = (after >= found.PixelPaddingValue) & (after <= found.PixelPaddingRangeLimit)
    assert np.array_equal(padded, source.pixel_array == source.PixelPaddingValue)
    inside = ~padded
    assert np.abs(after[inside].astype(int) - source.pixel_array[inside]).max() <= 16


@pytest.mark.peer("dciodvfy")
@pytest.mark.usefixtures("decoders")
@pytest.mark.parametrize("lossy", [False, True])
@pytest.mark.parametrize("name", [name for name in FILES if "image_dfl" not in name])
def test_the_validator_finds_no_new_error(data: Path, tmp_path: Path, name: str, lossy: bool) -> None:
    payload, instance = spooled(data / name)
    result = applied(step(lossy), payload, instance, Notebook())
    assert result.treatment is Treatment.TRANSCODED
    new = complaints(save(result, tmp_path / "result.dcm")) - complaints(data / name)
    assert not new


@pytest.mark.peer("gdcmconv")
@pytest.mark.usefixtures("decoders")
@pytest.mark.parametrize("name", DECODED)
@pytest.mark.parametrize("lossy", [False, True])
def test_gdcm_decodes_what_we_decode(data: Path, tmp_path: Path, name: str, lossy: bool) -> None:
    payload, instance = spooled(data / name)
    result = applied(step(lossy), payload, instance, Notebook())
    theirs = decompressed_by_gdcm(save(result, tmp_path / "result.dcm"))
    assert np.array_equal(pixels(theirs), decoded(read(result)))


@pytest.mark.peer("gdcmconv")
@pytest.mark.parametrize(("stored", "signed"), [(8, False), (10, False), (12, True), (16, False), (16, True)])
@pytest.mark.parametrize("lossy", [False, True])
def test_gdcm_agrees_on_every_depth(tmp_path: Path, stored: int, signed: bool, lossy: bool) -> None:
    low, high = (-(1 << stored - 1), (1 << stored - 1) - 1) if signed else (0, (1 << stored) - 1)
    values = picture(96, 80, low, high)
    result = applied(step(lossy), *payload_of(image(values, stored=stored, signed=signed)), Notebook())
    theirs = decompressed_by_gdcm(save(result, tmp_path / "result.dcm"))
    ours = decoded(read(result))
    assert np.array_equal(pixels(theirs), ours)
    if not lossy:
        assert np.array_equal(ours[0], values)


@pytest.mark.peer("gdcmconv")
def test_gdcm_agrees_on_colour(tmp_path: Path) -> None:
    values = np.stack([picture(64, 50, 0, 255, seed) for seed in range(3)], -1)
    data = image(values, allocated=8, stored=8, photometric="RGB", planar=1, sop_class=US)
    result = applied(step(lossy=False), *payload_of(data), Notebook())
    theirs = decompressed_by_gdcm(save(result, tmp_path / "result.dcm"))
    assert theirs.PlanarConfiguration == 0
    assert theirs.PixelData == values.astype(np.uint8).tobytes()
