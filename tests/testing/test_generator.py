"""The generated studies are what tests take them for: valid, distinct, the same every time."""

from __future__ import annotations

import io
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import numpy as np
import pydicom
import pytest

from mapdr.testing import generator


def _read(image: generator.GeneratedImage) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(image.part10()))


@pytest.mark.parametrize("modality", ["CT", "MR", "US"])
@pytest.mark.parametrize("syntax", [generator.EXPLICIT, generator.IMPLICIT])
def test_pydicom_reads_what_was_generated(modality: str, syntax: str) -> None:
    image = next(generator.study(modality, seed=3, images=2, size=(64, 96), transfer_syntax_uid=syntax))
    ds = _read(image)
    assert ds.file_meta.TransferSyntaxUID == syntax
    assert (ds.SOPClassUID, ds.SOPInstanceUID) == (image.sop_class_uid, image.sop_instance_uid)
    assert ds.AccessionNumber == image.accession_number
    assert ds.pixel_array.shape[:2] == (64, 96)
    assert int(ds.pixel_array.max()) < 1 << ds.BitsStored


def test_the_same_seed_makes_the_same_bytes_and_another_seed_other_ones() -> None:
    first, again, other = (
        [image.dataset for image in generator.study("CT", seed=seed, images=2, size=(32, 32))]
        for seed in (7, 7, 8)
    )
    assert first == again
    assert set(first).isdisjoint(other)


def test_uids_are_unique_over_studies_and_valid() -> None:
    images = [
        image
        for modality in ("CT", "MR", "US")
        for seed in range(5)
        for image in generator.study(modality, seed=seed, images=3, size=(16, 32))
    ]
    assert len({image.sop_instance_uid for image in images}) == len(images) == 45
    assert len({image.study_instance_uid for image in images}) == 15
    assert all(len(image.sop_instance_uid) <= 64 for image in images)


def test_names_are_written_in_the_character_set_that_is_declared() -> None:
    for seed, (_, name) in enumerate(generator.PATIENTS):
        image = next(generator.study("CT", seed=seed, images=1, size=(8, 8)))
        assert _read(image).PatientName == name


def test_slices_of_a_series_differ_and_lie_in_order() -> None:
    slices = [_read(image) for image in generator.study("CT", seed=1, images=4, size=(64, 64))]
    assert all(not np.array_equal(a.pixel_array, b.pixel_array) for a, b in pairwise(slices))
    assert [float(s.SliceLocation) for s in slices] == sorted(float(s.SliceLocation) for s in slices)


def test_an_unknown_modality_is_named() -> None:
    with pytest.raises(ValueError, match="no generator for modality XX; known: CT, MR, US"):
        next(generator.study("XX"))


@pytest.mark.peer("dciodvfy")
@pytest.mark.parametrize("modality", ["CT", "MR", "US"])
def test_dciodvfy_finds_no_error(modality: str, tmp_path: Path) -> None:
    if not shutil.which("dciodvfy"):
        pytest.skip("dciodvfy (dicom3tools) is not installed")
    for seed in range(4):
        path = tmp_path / f"{seed}.dcm"
        path.write_bytes(list(generator.study(modality, seed=seed, images=2, size=(64, 64)))[1].part10())
        report = subprocess.run(["dciodvfy", path], check=False, capture_output=True)
        assert b"Error" not in report.stderr
