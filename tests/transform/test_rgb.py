"""`ybr_to_rgb`: luminance and chrominance as RGB, and what other programs make of the same pixels."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydantic import ValidationError
from pydicom.dataset import Dataset
from pydicom.pixels import convert_color_space

from mapdr._fast import ybr_to_rgb
from mapdr.kernel.item import Treatment
from mapdr.operate.compression import compression_of
from mapdr.transform.encode.methods import METHODS
from mapdr.transform.encode.wish import CompressConfig
from peers.data import REAL

from .helpers import Notebook, image, payload_of, read, save, spooled
from .test_classes import (
    REAL_YBR,
    US,
    YBR,
    by_gdcm,
    by_rule,
    frames,
    needs,
    ybr,
)
from .test_golden import complaints
from .test_pipeline import pipeline

pytestmark = pytest.mark.usefixtures("decoders")
ONLY_REAL = pytest.mark.skipif(not REAL, reason="MAPDR_TEST_DATA has none of these files")
RLE, J2K = METHODS["rle"].lossless, METHODS["jpeg2000"].lossless
ALLOW = ["already-lossy", "secondary-capture"]


def compress(to: str | list[str], **more: object) -> dict[str, Any]:
    """A step that converts."""
    return {"type": "compress", "config": {"to": to, "ybr_to_rgb": True, **more}}


def by_pydicom(pixels: np.ndarray) -> np.ndarray:
    """YBR_FULL as RGB, as pydicom has it."""
    return np.stack([convert_color_space(frame.astype("u1"), "YBR_FULL", "RGB") for frame in pixels])


def ybr_of(pixels: np.ndarray) -> np.ndarray:
    """RGB as YBR_FULL by PS3.3 section C.7.6.3.1.2, rounded."""
    weights = np.array([[0.2990, 0.5870, 0.1140], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]])
    exact = pixels.astype(float) @ weights.T + [0, 128, 128]
    return np.clip(np.floor(exact + 0.5), 0, 255).astype("u1")


def test_every_colour_that_rgb_has_comes_back() -> None:
    low = np.stack(np.meshgrid(np.arange(256), np.arange(256), indexing="ij"), -1).reshape(-1, 2)
    for luminance in range(0, 256, 15):
        pixels = np.insert(low, 0, luminance, axis=1).astype("u1")
        made, lost = ybr_to_rgb(pixels.tobytes())
        rgb = np.frombuffer(made, "u1").reshape(-1, 3)
        off = np.abs(rgb.astype(int) - by_pydicom(pixels[None, None])[0, 0])
        # pydicom's floats are a little off, which shows where a value is nearly a half.
        assert off.max() <= 1
        assert np.count_nonzero(off) <= 1e-4 * off.size
        back = (ybr_of(rgb) == pixels).all(axis=1)
        # A few that were cut off come back too: the nearest colour that there is has their values, rounded.
        assert np.count_nonzero(~back) <= lost <= np.count_nonzero(~back) + 0.005 * len(pixels)


def test_the_ends_of_the_studio_range_are_those_of_rgb() -> None:
    pixels = bytes((16, 128, 128, 235, 128, 128, 81, 90, 240, 145, 54, 34, 41, 240, 110, 15, 128, 128))
    made, lost = ybr_to_rgb(pixels, full=False)
    rgb = np.frombuffer(made, "u1").reshape(-1, 3).astype(int)
    # Black, white and the full colours (ITU-R BT.601), a black below black.
    wanted = [(0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0)]
    assert np.abs(rgb - wanted).max() <= 1
    assert 1 <= lost <= 4


def mild(photometric: str, count: int = 1) -> tuple[Dataset, np.ndarray]:
    """As `ybr`, with little chrominance: each colour is one that RGB has."""
    data, pixels = ybr(photometric, count)
    cells = np.frombuffer(data.PixelData, "u1")
    data.PixelData = (cells // 8 + 112).astype("u1").tobytes()
    return data, (pixels // 8 + 112).astype("u1")


@pytest.mark.parametrize("photometric", YBR)
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(
    "method", ["native", "deflated", "rle", "jpegls", "jpeg-lossless", "jpegxl-lossless"]
)
def test_what_comes_back_is_the_same_image(method: str, photometric: str, count: int) -> None:
    if method not in ("native", "deflated"):
        needs(method)
    data, pixels = mild(photometric, count)
    data.SmallestImagePixelValue = 1
    result = by_rule(*payload_of(data), to=method, ybr_to_rgb=True)
    assert (result.treatment, result.note) == (Treatment.TRANSCODED, "")
    found = read(result)
    assert (found.PhotometricInterpretation, found.PlanarConfiguration) == ("RGB", 0)
    assert found.SOPInstanceUID == data.SOPInstanceUID
    assert found.get("ImageType") == data.get("ImageType")
    assert "SmallestImagePixelValue" not in found
    assert "LossyImageCompression" not in found
    assert np.array_equal(frames(result), by_pydicom(pixels))
    assert np.array_equal(ybr_of(frames(result)), pixels)


@pytest.mark.parametrize("method", ["native", "rle", "jpeg2000-lossless"])
def test_what_does_not_come_back_is_another_image(method: str) -> None:
    data, pixels = ybr("YBR_FULL_422")
    result = by_rule(*payload_of(data), to=method, ybr_to_rgb=True, color="ybr")
    found = read(result)
    off = np.count_nonzero((ybr_of(by_pydicom(pixels)) != pixels).any(axis=-1))
    assert off
    lost = int(result.note.removeprefix("to RGB: ").removesuffix(" pixels cut off"))
    assert off <= lost <= 1.1 * off
    assert found.SOPInstanceUID != data.SOPInstanceUID
    assert found.ImageType[0] == "DERIVED"
    assert found.DerivationDescription == f"YBR_FULL_422 to RGB, {lost} pixels out of its range cut off"
    assert found.SourceImageSequence[0].ReferencedSOPInstanceUID == data.SOPInstanceUID
    assert "LossyImageCompression" not in found
    # A retry makes the same bytes, and so the same UID.
    memory, rule = Notebook(), pipeline(compress(method, color="ybr"))
    for _ in range(2):
        again = rule.apply(*payload_of(data), memory, "")
        assert b"".join(again.chunks()) == b"".join(result.chunks())
    told = compression_of(memory.recall())
    assert told is not None
    assert f"{lost} pixels cut off in RGB" in told.words


@pytest.mark.parametrize(
    ("method", "config", "photometric"),
    [
        ("jpeg2000", {"color": "ybr"}, ("YBR_ICT", "YBR_RCT")),
        ("htj2k", {"color": "ybr"}, ("YBR_ICT", "YBR_RCT")),
        ("jpeg", {}, ("YBR_FULL_422",)),
        ("jpegls-near", {}, ("RGB",)),
    ],
)
def test_both_losses_are_told(method: str, config: dict[str, str], photometric: tuple[str, ...]) -> None:
    needs(method)
    data, pixels = ybr("YBR_FULL")
    noise = np.random.default_rng(5).integers(-6, 7, pixels.shape)
    pixels = np.clip(pixels + noise, 0, 255).astype("u1")
    data.PixelData = pixels.tobytes()
    result = by_rule(*payload_of(data), to=method, ratio=4, ybr_to_rgb=True, **config)
    found = read(result)
    assert found.PhotometricInterpretation in photometric
    assert found.LossyImageCompression == "01"
    first, second = found.DerivationDescription.split("; ")
    assert first.startswith("YBR_FULL to RGB")
    assert second.startswith("Lossy compression ISO_")
    off = frames(result).astype(int) - by_pydicom(pixels)
    assert np.sqrt(np.square(off).mean()) < 12


def test_without_the_key_nothing_is_converted() -> None:
    data, pixels = ybr("YBR_FULL")
    result = by_rule(*payload_of(data), to="rle")
    assert read(result).PhotometricInterpretation == "YBR_FULL"
    assert np.array_equal(frames(result), pixels)


def test_colours_that_are_rgb_already_leave_as_they_came() -> None:
    data = image(ybr("YBR_FULL")[1][0], allocated=8, stored=8, photometric="RGB", sop_class=US)
    payload, instance = payload_of(data)
    assert by_rule(payload, instance, to="native", ybr_to_rgb=True).parts is payload.parts


@pytest.mark.parametrize("method", ["native", "rle"])
def test_deep_colours_stay_what_they_are_and_say_so(method: str) -> None:
    pixels = ybr("YBR_FULL")[1][0].astype("<u2") * 16
    data = image(pixels, allocated=16, stored=12, photometric="YBR_FULL", sop_class=US)
    payload, instance = payload_of(data)
    result = by_rule(payload, instance, to=method, ybr_to_rgb=True)
    assert result.note == "not compressed: no-rgb"
    assert result.parts is payload.parts


def test_a_receiver_without_the_rules_methods_gets_the_colours_that_came() -> None:
    data, pixels = ybr("YBR_FULL")
    payload, instance = payload_of(data)
    rule = pipeline(compress("rle"))
    result = rule.apply(payload, instance, Notebook(), J2K)
    assert (result.transfer_syntax_uid, result.unmet) == (J2K, "compression-refused")
    assert np.array_equal(frames(result), pixels)


@pytest.mark.parametrize("syntax", [RLE, J2K])
def test_a_receiver_that_asks_for_one_of_them_gets_rgb_as_well(syntax: str) -> None:
    data, pixels = ybr("YBR_FULL")
    payload, instance = payload_of(data)
    rule = pipeline(compress(["rle", "jpeg2000-lossless"], color="ybr"))
    first = rule.apply(payload, instance, Notebook(), "")
    result = rule.apply(payload, instance, Notebook(), syntax)
    assert (first.transfer_syntax_uid, result.transfer_syntax_uid) == (RLE, syntax)
    assert np.array_equal(frames(result), by_pydicom(pixels))
    assert np.array_equal(frames(first), by_pydicom(pixels))


@pytest.mark.parametrize("to", ["native", "rle"])
def test_blanked_regions_are_black_in_rgb_too(to: str) -> None:
    data, pixels = mild("YBR_FULL_422")
    banner = {"when": {}, "blank": [{"x": 0, "y": 0, "width": 10, "height": 40}]}
    rule = pipeline({"type": "blank", "config": {"regions": [banner]}}, compress(to))
    found = rule.apply(*payload_of(data), Notebook(), "")
    made = frames(found)
    assert read(found).PhotometricInterpretation == "RGB"
    assert not made[:, :, :10].any()
    assert np.array_equal(made[:, :, 10:], by_pydicom(pixels)[:, :, 10:])
    assert found.sop_instance_uid != data.SOPInstanceUID


def by_dcmtk(path: Path, folder: Path) -> np.ndarray:
    """What DCMTK shows of one frame of luminance and chrominance."""
    if pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID == RLE:
        subprocess.run(["dcmdrle", str(path), str(folder / "native.dcm")], check=True, capture_output=True)
        path = folder / "native.dcm"
    out = folder / "shown.ppm"
    subprocess.run(["dcmj2pnm", "+op", str(path), str(out)], check=True, capture_output=True)
    magic, size, _, cells = out.read_bytes().split(b"\n", 3)
    assert magic == b"P6"
    columns, rows = map(int, size.split())
    return np.frombuffer(cells, "u1").reshape(rows, columns, 3)


@pytest.mark.peer("dcmj2pnm")
@pytest.mark.parametrize("photometric", ["YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422"])
def test_dcmtk_shows_the_same_colours(tmp_path: Path, photometric: str) -> None:
    data, _ = ybr(photometric.replace("PARTIAL", "FULL"))
    data.PhotometricInterpretation = photometric
    payload, instance = payload_of(data)
    theirs = by_dcmtk(save(payload, tmp_path / "came.dcm"), tmp_path)
    result = by_rule(payload, instance, to="native", ybr_to_rgb=True)
    assert read(result).PhotometricInterpretation == "RGB"
    # DCMTK cuts off fractions, of up to three terms each, where MAPDR rounds their sum.
    assert np.abs(frames(result)[0].astype(int) - theirs).max() <= 2


@ONLY_REAL
@pytest.mark.peer("dcmj2pnm", "dcmdrle", "dciodvfy", "gdcmconv")
@pytest.mark.parametrize("name", REAL_YBR)
def test_real_images_are_shown_alike_and_valid(data: Path, tmp_path: Path, name: str) -> None:
    came = frames(spooled(data / name)[0])
    theirs = by_dcmtk(data / name, tmp_path)
    for to in ("native", "rle", "jpeg2000-lossless", "jpegls", "jpeg-lossless"):
        result = by_rule(*spooled(data / name), to=to, ybr_to_rgb=True, color="ybr")
        made = by_gdcm(result, tmp_path)[1] if to == "jpegls" else frames(result)
        assert np.array_equal(made, by_pydicom(came)), to
        assert np.abs(made[0].astype(int) - theirs).max() <= 2
        said = complaints(save(result, tmp_path / "rgb.dcm")) - complaints(data / name)
        # The reference to an original whose UID is malformed is as malformed.
        assert not [line for line in said if "Referenced SOP Instance UID" not in line], to


@ONLY_REAL
@pytest.mark.peer("dciodvfy")
@pytest.mark.parametrize("to", ["jpeg2000", "jpeg"])
def test_a_real_ultrasound_with_loss_is_valid(data: Path, tmp_path: Path, to: str) -> None:
    for name in ("dcm4che/YBR_422.dcm", "dcm4che/YBR_FULL-RLE.dcm"):
        result = by_rule(*spooled(data / name), to=to, ratio=25, ybr_to_rgb=True, color="ybr", allow=ALLOW)
        assert read(result).LossyImageCompression == "01"
        said = complaints(save(result, tmp_path / "lossy.dcm")) - complaints(data / name)
        assert not [line for line in said if "Referenced SOP Instance UID" not in line]


def test_values_that_make_no_sense_are_refused() -> None:
    for wrong in (
        {"to": "rle", "ybr_to_rgb": "yes, please"},
        {"to": "jpegxl-recompress", "ybr_to_rgb": True},
    ):
        with pytest.raises(ValidationError, match="ybr_to_rgb"):
            CompressConfig(**wrong)  # type: ignore[arg-type]
