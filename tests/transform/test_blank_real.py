"""Blanked real images, as other programs decode them: what came and what leaves, outside and inside."""

from __future__ import annotations

import subprocess
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.pixels import pixel_array

from mapdr.dicom.uids import JPEG2000_LOSSLESS
from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import Payload
from mapdr.kernel.registry import Registry
from mapdr.transform.image import Attributes
from mapdr.transform.pipeline import Pipeline, build_pipeline
from mapdr.transform.pixels.entries import RegionEntry, shipped
from mapdr.transform.pixels.regions import RegionSet

from .helpers import CODECS, EXPLICIT, Notebook, encoded, read, save, settings, spooled, to_syntax

pytestmark = pytest.mark.usefixtures("decoders")

CORNER = {"when": {}, "blank": [{"x": 3, "y": 2, "width": 7, "height": 5}]}
BY_DCMTK = {
    "1.2.840.10008.1.2.4.70": "dcmdjpeg",
    "1.2.840.10008.1.2.4.57": "dcmdjpeg",
    "1.2.840.10008.1.2.5": "dcmdrle",
    "1.2.840.10008.1.2.4.80": "dcmdjpls",
}
"""Lossless transfer syntaxes, and what of DCMTK decodes them."""
NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99")


def pipeline(regions: Any) -> Pipeline:
    step = {"type": "blank", "config": {"regions": regions}}
    return build_pipeline({"steps": [step]}, Registry(), settings(), CODECS)


def cells(data: Dataset) -> np.ndarray[Any, Any]:
    """(frames, rows, columns, samples) as they are stored, not as colours are shown."""
    frames, samples = int(data.get("NumberOfFrames", 1) or 1), data.SamplesPerPixel
    return pixel_array(data, raw=True).reshape(frames, data.Rows, data.Columns, samples)


def assert_blanked(before: Dataset, after: Dataset, mask: np.ndarray[Any, Any]) -> None:
    """Outside of `mask` all is as it was; inside is one value a sample."""
    came, left = cells(before), cells(after)
    assert np.array_equal(came[:, ~mask], left[:, ~mask])
    inside = left[:, mask].reshape(-1, left.shape[-1])
    assert (inside == inside[0]).all()


def mask_of(data: Dataset, entry: dict[str, Any] | None = None) -> np.ndarray[Any, Any] | None:
    copy = Dataset({each.tag: each for each in data if each.tag < 0x7FE00000})
    entries = shipped("ultrasound") if entry is None else (RegionEntry.model_validate(entry),)
    found = RegionSet(entries).regions_for(Attributes(encoded(copy)))
    return None if found is None else found.mask()


def source(path: Path) -> Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(path)


def images(catalogue: list[Path], syntaxes: Any) -> list[Path]:
    """Files with pixels of whole bytes in one of `syntaxes`, one of each series."""
    found: list[Path] = []
    for path in catalogue:
        if "series" in path.parts and path.parent in {each.parent for each in found}:
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                head = pydicom.dcmread(path, stop_before_pixels=True)
            if (
                head.file_meta.TransferSyntaxUID in syntaxes
                and head.BitsAllocated in (8, 16)
                and head.Rows > 10
            ):
                found.append(path)
        except Exception:
            continue
    return found


def prepared(path: Path, regions: Any) -> Payload | None:
    """The blanked image; None for one that is parked."""
    try:
        return pipeline(regions).prepare(spooled(path)[1], Notebook())
    except Permanent:
        return None


def reason(path: Path, regions: Any) -> str:
    """Why an image is parked; empty if it is not. An exception that is kept would keep threads, too."""
    try:
        pipeline(regions).prepare(spooled(path)[1], Notebook())
    except Permanent as error:
        return error.reason
    return ""


def test_native_images_keep_all_but_the_regions(catalogue: list[Path]) -> None:
    done = 0
    mask = np.zeros((0, 0), bool)
    for path in images(catalogue, NATIVE):
        made = prepared(path, [CORNER])
        before = source(path)
        if made is None or "PixelData" not in before:
            continue
        found = mask_of(before, CORNER)
        assert found is not None
        mask = found
        assert made.transfer_syntax_uid == before.file_meta.TransferSyntaxUID
        after = read(made)
        if before.PhotometricInterpretation == "YBR_FULL_422":
            before.convert_pixel_data()
        assert_blanked(before, after, mask)
        done += 1
    assert done


@pytest.mark.peer("dcmdjpeg", "dcmdrle", "dcmdjpls")
def test_frames_that_dcmtk_decodes_keep_all_but_the_regions(catalogue: list[Path], tmp_path: Path) -> None:
    done: set[str] = set()
    for path in images(catalogue, BY_DCMTK):
        before = source(path)
        syntax, decoded = before.file_meta.TransferSyntaxUID, tmp_path / "decoded.dcm"
        command = [BY_DCMTK[syntax], str(path), str(decoded)]
        if subprocess.run(command, check=False, capture_output=True, timeout=60).returncode:
            continue
        if (made := prepared(path, [CORNER])) is None:
            continue
        left = tmp_path / "left.dcm"
        if made.transfer_syntax_uid == syntax:
            command = [BY_DCMTK[syntax], str(save(made, tmp_path / "blanked.dcm")), str(left)]
            subprocess.run(command, check=True, capture_output=True, timeout=60)
        else:
            save(made, left)
        mask = mask_of(before, CORNER)
        assert mask is not None
        assert_blanked(source(decoded), source(left), mask)
        done.add(syntax)
    assert done


@pytest.mark.peer("gdcmconv")
def test_jpeg_2000_stays_that_and_gdcm_decodes_what_is_left(catalogue: list[Path], tmp_path: Path) -> None:
    for path in images(catalogue, [JPEG2000_LOSSLESS])[::2]:
        before, blanked, out = (tmp_path / name for name in ("before.dcm", "blanked.dcm", "out.dcm"))
        convert = ["gdcmconv", "--raw", str(path), str(before)]
        if subprocess.run(convert, check=False, capture_output=True, timeout=60).returncode:
            continue
        if (made := prepared(path, [CORNER])) is None:
            continue
        if made.transfer_syntax_uid != JPEG2000_LOSSLESS:
            assert source(path).BitsAllocated == 1 or source(path).HighBit != source(path).BitsStored - 1
            continue
        convert = ["gdcmconv", "--raw", str(save(made, blanked)), str(out)]
        subprocess.run(convert, check=True, capture_output=True, timeout=60)
        mask = mask_of(source(path), CORNER)
        assert mask is not None
        assert_blanked(source(before), source(out), mask)


def test_ultrasound_shows_nothing_outside_of_what_is_imaged(catalogue: list[Path]) -> None:
    """Real images with burned-in text: all of it that lies outside of their regions is gone."""
    for path in catalogue:
        try:
            before = source(path)
        except InvalidDicomError:
            continue
        if "PixelData" not in before:
            continue
        mask = mask_of(before) if "SequenceOfUltrasoundRegions" in before else None
        if before.get("Modality") == "US" and mask is None:
            assert reason(path, "ultrasound") == "uncovered"
        if mask is None or (made := prepared(path, "ultrasound")) is None:
            continue
        after = cells(read(to_syntax(made, EXPLICIT)))
        outside = after[:, mask].reshape(-1, after.shape[-1])
        assert (outside == outside[0]).all()
        assert read(made).SOPInstanceUID != before.SOPInstanceUID
