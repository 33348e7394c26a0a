"""What compression writes around the pixels: objects before and after, element by element."""

from __future__ import annotations

import subprocess
from copy import deepcopy
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from mapdr.dicom import uids
from mapdr.kernel.item import Treatment
from peers.dciodvfy import is_of_an_original

from .helpers import EXPLICIT, image, payload_of, picture, read, save, spooled, to_syntax
from .test_classes import ONLY_REAL, by_gdcm, by_rule
from .test_golden import complaints

ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"


def noisy(seed: int = 0) -> np.ndarray:
    """Needs loss to be ten times smaller."""
    values = picture(64, 64, 0, 4000, seed)
    return np.clip(values + np.random.default_rng(seed).integers(-20, 21, values.shape), 0, 4000)


def values(**elements: object) -> Dataset:
    found = Dataset()
    for keyword, value in elements.items():
        setattr(found, keyword, value)
    return found


def enhanced(*, shared_type: bool, derived_before: str = "", undefined: bool = False) -> Dataset:
    """An enhanced MR of three frames, whose Frame Type is shared or not, perhaps with earlier derivations."""
    data = image(np.stack([noisy(seed) for seed in range(3)]), sop_class=ENHANCED_MR, frames=3)
    shared, frames = Dataset(), [Dataset() for _ in range(3)]
    kinds = [
        ["ORIGINAL", "PRIMARY", "M", "NONE"],
        ["MIXED", "SECONDARY", "P", "NONE"],
        ["DERIVED", "PRIMARY"],
    ]
    if shared_type:
        shared.MRImageFrameTypeSequence = [values(FrameType=kinds[0])]
    else:
        for group, kind in zip(frames, kinds, strict=True):
            group.MRImageFrameTypeSequence = [values(FrameType=kind, PixelPresentation="MONOCHROME")]
    earlier = values(DerivationDescription="Averaged")
    if derived_before == "shared":
        shared.DerivationImageSequence = [earlier]
    elif derived_before:
        frames[1].DerivationImageSequence = [earlier]
    data.SharedFunctionalGroupsSequence = [shared]
    data.PerFrameFunctionalGroupsSequence = frames
    for tag in (0x52009229, 0x52009230):
        data[tag].is_undefined_length = undefined
        for item in data[tag].value:
            item.is_undefined_length_sequence_item = undefined
    return data


def frame_types(data: Dataset) -> list[list[str]]:
    groups = [*data.SharedFunctionalGroupsSequence, *data.PerFrameFunctionalGroupsSequence]
    return [
        list(group.MRImageFrameTypeSequence[0].FrameType)
        for group in groups
        if "MRImageFrameTypeSequence" in group
    ]


def derivations(data: Dataset) -> list[list[Dataset]]:
    """The items of Derivation Image Sequence: of the shared group, then of each frame."""
    groups = [*data.SharedFunctionalGroupsSequence, *data.PerFrameFunctionalGroupsSequence]
    return [list(group.get("DerivationImageSequence", [])) for group in groups]


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("derived_before", ["", "shared", "one frame"])
@pytest.mark.parametrize("shared_type", [False, True])
def test_every_frame_of_a_lossy_enhanced_image_says_so(
    shared_type: bool, derived_before: str, undefined: bool
) -> None:
    data = enhanced(shared_type=shared_type, derived_before=derived_before, undefined=undefined)
    result = by_rule(*payload_of(data), to="jpeg2000", ratio=10)
    found = read(result)
    assert (result.note, found.LossyImageCompression) == ("", "01")
    assert list(found.ImageType) == ["DERIVED", "PRIMARY", "AXIAL"]
    assert all(each[0] == "DERIVED" for each in frame_types(found))
    assert [each[1:] for each in frame_types(found)] == [each[1:] for each in frame_types(data)]
    made = derivations(found)
    counts = {"": [1, 0, 0, 0], "shared": [2, 0, 0, 0], "one frame": [0, 1, 2, 1]}[derived_before]
    assert [len(each) for each in made] == counts
    for number, items in enumerate(made):
        for item in items[-1:]:
            assert item.DerivationDescription.startswith("Lossy compression ISO_15444_1 ")
            assert item.DerivationCodeSequence[0].CodeValue == "113040"
            (source,) = item.SourceImageSequence
            assert source.ReferencedSOPClassUID == data.SOPClassUID
            assert source.ReferencedSOPInstanceUID == data.SOPInstanceUID
            assert source.PurposeOfReferenceCodeSequence[0].CodeValue == "121320"
            assert source.get("ReferencedFrameNumber") == (number or None)
    (study,) = found.SourceImageEvidenceSequence
    assert study.StudyInstanceUID == data.StudyInstanceUID
    (series,) = study.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == data.SeriesInstanceUID
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == data.SOPInstanceUID
    assert "SourceImageSequence" not in found
    assert found.SOPInstanceUID == result.sop_instance_uid != data.SOPInstanceUID


def test_evidence_is_added_where_its_study_and_series_stand() -> None:
    data = enhanced(shared_type=True)
    other = values(ReferencedSOPClassUID="1.2", ReferencedSOPInstanceUID="1.2.9")
    series = values(SeriesInstanceUID=data.SeriesInstanceUID, ReferencedSOPSequence=[other])
    study = values(StudyInstanceUID=data.StudyInstanceUID, ReferencedSeriesSequence=[series])
    data.SourceImageEvidenceSequence = [study]
    found = read(by_rule(*payload_of(data), to="jpeg2000", ratio=10))
    (study,) = found.SourceImageEvidenceSequence
    (series,) = study.ReferencedSeriesSequence
    listed = [item.ReferencedSOPInstanceUID for item in series.ReferencedSOPSequence]
    assert listed == ["1.2.9", data.SOPInstanceUID]


def test_what_is_compressed_without_loss_keeps_its_functional_groups() -> None:
    data = enhanced(shared_type=False, derived_before="one frame", undefined=True)
    found = read(by_rule(*payload_of(data), to="jpeg2000-lossless"))
    assert found.SharedFunctionalGroupsSequence == data.SharedFunctionalGroupsSequence
    assert found.PerFrameFunctionalGroupsSequence == data.PerFrameFunctionalGroupsSequence
    assert found.SOPInstanceUID == data.SOPInstanceUID


def test_a_second_loss_is_appended_to_the_first() -> None:
    data = image(noisy())
    data.LossyImageCompressionRatio, data.LossyImageCompressionMethod = 3.5, "ISO_10918_1"
    found = read(by_rule(*payload_of(data), to="jpeg2000", ratio=10))
    assert list(found.LossyImageCompressionMethod) == ["ISO_10918_1", "ISO_15444_1"]
    first, second = found.LossyImageCompressionRatio
    assert (first, abs(float(second) / 10 - 1) <= 0.06) == (3.5, True)


REAL_GROUPS = (
    "enh/6_1.dcm",
    "enhanced/xa30_0001_1.3.12.2.1107.5.2.43.67093.2022071112112064607905327.dcm",
)


@ONLY_REAL
@pytest.mark.peer("dciodvfy", "gdcmconv")
@pytest.mark.parametrize("name", REAL_GROUPS)
def test_the_validator_finds_no_new_error_in_lossy_functional_groups(
    data: Path, tmp_path: Path, name: str
) -> None:
    result = by_rule(*spooled(data / name), to="jpeg2000", ratio=10)
    assert (result.treatment, result.note) == (Treatment.TRANSCODED, "")
    new = complaints(save(result, tmp_path / "lossy.dcm")) - complaints(data / name)
    assert not [line for line in new if not is_of_an_original(line)]
    assert read(result).LossyImageCompression == "01"
    theirs, cells = by_gdcm(result, tmp_path)
    before = pydicom.dcmread(data / name).pixel_array
    allowed = max((int(before.max()) - int(before.min())) / 4, 8)  # 8 is the guard's own
    assert np.abs(cells.astype(int) - before).max() <= allowed
    assert theirs.NumberOfFrames == len(before)


@ONLY_REAL
def test_zeros_and_ones_lose_nothing(data: Path) -> None:
    result = by_rule(*spooled(data / "dcmqi/mf.dcm"), to="jpeg2000", ratio=10)
    assert result.note == "compressed without loss: corrupted"
    assert result.transfer_syntax_uid == uids.JPEG2000_LOSSLESS
    assert "LossyImageCompression" not in read(result)


@ONLY_REAL
@pytest.mark.peer("dcmdjpeg", "dciodvfy")
@pytest.mark.usefixtures("decoders")
@pytest.mark.parametrize("native", [False, True])
def test_a_compressed_icon_is_native_where_the_syntax_changes(
    data: Path, tmp_path: Path, native: bool
) -> None:
    path, by_dcmtk = data / "fo-dicom/GH133.dcm", tmp_path / "dcmtk.dcm"
    payload, instance = spooled(path)
    result = to_syntax(payload, EXPLICIT) if native else by_rule(payload, instance, to="jpeg2000-lossless")
    assert result.treatment is Treatment.TRANSCODED
    icon = read(result).IconImageSequence[0]
    # DCMTK decompresses what is at the top: the icon is given to it there.
    source = pydicom.dcmread(path)
    alone = deepcopy(source)
    alone.update(source.IconImageSequence[0])
    del alone.IconImageSequence
    alone.save_as(tmp_path / "icon.dcm")
    subprocess.run(["dcmdjpeg", str(tmp_path / "icon.dcm"), str(by_dcmtk)], check=True, capture_output=True)
    assert icon.PixelData == pydicom.dcmread(by_dcmtk).PixelData
    assert not complaints(save(result, tmp_path / "result.dcm")) - complaints(path)
