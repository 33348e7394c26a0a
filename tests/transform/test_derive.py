"""What a header says of an image that was compressed, element by element, without a codec."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from mapdr.dicom import tags, uids
from mapdr.dicom.uids import derived_uid
from mapdr.dicom.write import EXPLICIT_LITTLE, element, splice, walk
from mapdr.transform.encode.derive import (
    DESCRIPTION_LIMIT,
    Loss,
    blanked_changes,
    lossy_changes,
    new_uid,
    overlay_changes,
    pixel_changes,
    uid_changes,
)
from mapdr.transform.encode.groups import derived_groups, derived_type, with_evidence
from mapdr.transform.encode.quality import Padding
from mapdr.transform.image import Attributes, Image

from .helpers import CT, encoded
from .toy import FramesAt, described

LOSS = Loss(10.126, "ISO_15444_1")


def values(**elements: object) -> Dataset:
    found = Dataset()
    for keyword, value in elements.items():
        setattr(found, keyword, value)
    return found


def opened(data: Dataset, **changes: Any) -> Image:
    """An image whose header is `data`."""
    return described([np.zeros((2, 3), np.uint16)], attributes=Attributes(encoded(data)), **changes)


def changed(image: Image, changes: Mapping[int, bytes | None]) -> Dataset:
    """The header with its changes, as pydicom reads it."""
    made = splice(image.attributes.header, changes)
    return pydicom.dcmread(BytesIO(made), force=True)


def lossy(data: Dataset, loss: Loss = LOSS, **more: Any) -> Dataset:
    image = opened(data, **more)
    return changed(image, lossy_changes(image, loss, CT, "1.2.9"))


# The image pixel module


@pytest.mark.parametrize(
    ("facts", "photometric", "syntax", "told"),
    [
        ({}, "MONOCHROME2", uids.JPEG2000, {}),
        ({"photometric": "RGB", "samples": 3}, "RGB", uids.JPEG2000, {"PlanarConfiguration": 0}),
        (
            {"photometric": "RGB", "samples": 3},
            "YBR_RCT",
            uids.JPEG2000,
            {"PlanarConfiguration": 0, "PhotometricInterpretation": "YBR_RCT"},
        ),
        (
            {"photometric": "YBR_FULL", "samples": 3},
            "YBR_FULL",
            uids.RLE_LOSSLESS,
            {"PlanarConfiguration": 1},
        ),
        ({"photometric": "RGB", "samples": 3}, "RGB", uids.RLE_LOSSLESS, {"PlanarConfiguration": 0}),
        ({"photometric": "YBR_FULL", "samples": 3}, "YBR_FULL", uids.JPEG2000, {"PlanarConfiguration": 0}),
        ({"high": 15}, "MONOCHROME2", uids.JPEG2000, {"HighBit": 11}),
        ({"high": 15, "whole": True}, "MONOCHROME2", uids.JPEG2000, {}),
    ],
)
def test_the_pixel_module_is_that_of_the_codestream(
    facts: dict[str, Any], photometric: str, syntax: str, told: dict[str, object]
) -> None:
    image = opened(Dataset(), **facts)
    found = changed(image, pixel_changes(image, photometric, syntax))
    assert {each.keyword: each.value for each in found} == told


@pytest.mark.parametrize("count", [1, 2, 9])
def test_overlays_are_packed_from_frame_to_frame(count: int) -> None:
    random = np.random.default_rng(count)
    cells = [random.integers(0, 1 << 16, (3, 5)).astype(np.uint16) for _ in range(count)]
    data = values(SOPClassUID=CT)
    for group, bit in ((0x6000, 12), (0x6004, 15)):
        for number, vr, value in ((0x10, "US", 3), (0x11, "US", 5), (0x100, "US", 16), (0x102, "US", bit)):
            data.add_new(group << 16 | number, vr, value)
    image = described(cells, attributes=Attributes(encoded(data)))
    changes = overlay_changes(FramesAt(image, cells))
    assert all(
        element is not None and walk(element, EXPLICIT_LITTLE)[0].tag == tag
        for tag, element in changes.items()
    )
    found = changed(image, changes)
    for group, bit in ((0x6000, 12), (0x6004, 15)):
        bits = np.concatenate([frame.ravel() >> bit & 1 for frame in cells])
        packed = np.packbits(bits, bitorder="little").tobytes()
        assert found[group, 0x3000].value == packed + b"\0" * (len(packed) % 2)
        assert found[group, 0x3000].VR == "OW"
        assert (found[group, 0x0100].value, found[group, 0x0102].value) == (1, 0)
        several = [found.get((group, element)) for element in (0x0015, 0x0051)]
        assert [each and each.value for each in several] == ([None, None] if count == 1 else [count, 1])


# The UID


def test_the_uid_is_told_by_the_frames_and_where_they_end() -> None:
    digest = hashlib.blake2b(digest_size=32)
    for frame in (b"ab", b"c" * 300):
        digest.update(len(frame).to_bytes(8, "little") + frame)
    expected = derived_uid(b"key", "1.2.9", digest.digest())
    assert new_uid(b"key", "1.2.9", [b"ab", b"c" * 300]) == expected, (
        "a retry in a later version makes it again"
    )
    assert new_uid(b"key", "1.2.9", [b"a", b"bc"]) != new_uid(b"key", "1.2.9", [b"ab", b"c"])
    image = opened(values(SOPInstanceUID="1.2.9"))
    assert changed(image, uid_changes(expected)).SOPInstanceUID == expected


# Loss


def test_a_lossy_image_says_so() -> None:
    data = values(
        ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
        SmallestImagePixelValue=1,
        LargestImagePixelValue=9,
        RescaleSlope=1,
    )
    data["SmallestImagePixelValue"].VR = data["LargestImagePixelValue"].VR = "US"
    found = lossy(data)
    assert list(found.ImageType) == ["DERIVED", "PRIMARY", "AXIAL"]
    assert (found.LossyImageCompression, found.LossyImageCompressionMethod) == ("01", "ISO_15444_1")
    assert str(found.LossyImageCompressionRatio) == "10.13"
    assert found.DerivationDescription == "Lossy compression ISO_15444_1 10.13:1"
    (code,) = found.DerivationCodeSequence
    assert (code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning) == (
        "113040",
        "DCM",
        "Lossy Compression",
    )
    (source,) = found.SourceImageSequence
    assert (source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID) == (CT, "1.2.9")
    (purpose,) = source.PurposeOfReferenceCodeSequence
    assert (purpose.CodeValue, purpose.CodeMeaning) == ("121320", "Uncompressed predecessor")
    assert "SmallestImagePixelValue" not in found
    assert "LargestImagePixelValue" not in found
    assert "PixelPaddingValue" not in found
    assert found.RescaleSlope == 1


def test_what_was_told_of_an_earlier_loss_stays_before_the_new_one() -> None:
    data = values(
        LossyImageCompressionRatio="3.5",
        LossyImageCompressionMethod="ISO_10918_1",
        DerivationDescription="Averaged",
        DerivationCodeSequence=[values(CodeValue="1")],
        SourceImageSequence=[values(ReferencedSOPInstanceUID="1.2.8")],
    )
    found = lossy(data)
    assert list(found.LossyImageCompressionMethod) == ["ISO_10918_1", "ISO_15444_1"]
    assert [str(each) for each in found.LossyImageCompressionRatio] == ["3.5", "10.13"]
    assert found.DerivationDescription == "Averaged; Lossy compression ISO_15444_1 10.13:1"
    assert [each.CodeValue for each in found.DerivationCodeSequence] == ["1", "113040"]
    assert [each.ReferencedSOPInstanceUID for each in found.SourceImageSequence] == ["1.2.8", "1.2.9"]


def test_a_description_is_no_longer_than_its_representation_allows() -> None:
    added = len("; Lossy compression ISO_15444_1 10.13:1")
    room = DESCRIPTION_LIMIT - added
    found = lossy(values(DerivationDescription="x" * room))
    assert len(found.DerivationDescription) == DESCRIPTION_LIMIT == 1024
    found = lossy(values(DerivationDescription="x" * (room + 1)))
    assert found.DerivationDescription == "x" * (room + 1)


@pytest.mark.parametrize(
    ("photometric", "signed", "padding", "told"),
    [
        ("MONOCHROME2", True, Padding(-2003, -1997), (-2003, -1997)),
        ("MONOCHROME1", False, Padding(4000, 4095), (4095, 4000)),
    ],
)
def test_padding_is_a_range_whose_limit_is_the_end_towards_the_image(
    photometric: str, signed: bool, padding: Padding, told: tuple[int, int]
) -> None:
    found = lossy(Dataset(), replace(LOSS, padding=padding), photometric=photometric, signed=signed)
    assert (found.PixelPaddingValue, found.PixelPaddingRangeLimit) == told
    assert {found[tag].VR for tag in (tags.PIXEL_PADDING_VALUE, tags.PIXEL_PADDING_RANGE_LIMIT)} == {
        "SS" if signed else "US"
    }


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"ORIGINAL\\PRIMARY\\AXIAL ", b"DERIVED\\PRIMARY\\AXIAL"),
        (b"ORIGINAL\\SECONDARY", b"DERIVED\\SECONDARY "),
        (b"ORIGINAL", b"DERIVED\\PRIMARY "),
        (b"", b"DERIVED\\PRIMARY "),
        (b"DERIVED\\PRIMARY\\\\X\0", b"DERIVED\\PRIMARY\\\\X"),
    ],
)
def test_the_type_of_a_derived_image(before: bytes, after: bytes) -> None:
    assert derived_type(before) == after + b" " * (len(after) % 2)


# Functional groups


def grouped(shared: Dataset | None = None, frames: list[Dataset] | None = None, **more: object) -> Dataset:
    data = values(StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.3.4", **more)
    if shared is not None:
        data.SharedFunctionalGroupsSequence = [shared] if len(shared) else []
    if frames is not None:
        data.PerFrameFunctionalGroupsSequence = frames
    return data


def described_in(groups: Any) -> list[list[tuple[str, str, object]]]:
    """Of each group its derivations: what was done, of which instance, of which frame."""
    return [
        [
            (
                each.get("DerivationDescription", ""),
                each.SourceImageSequence[0].ReferencedSOPInstanceUID if "SourceImageSequence" in each else "",
                each.SourceImageSequence[0].get("ReferencedFrameNumber")
                if "SourceImageSequence" in each
                else None,
            )
            for each in group.get("DerivationImageSequence", [])
        ]
        for group in groups
    ]


DONE = "Lossy compression ISO_15444_1 10.13:1"


def test_frames_that_were_derived_before_say_it_one_by_one() -> None:
    earlier = values(DerivationImageSequence=[values(DerivationDescription="Averaged")])
    found = lossy(grouped(Dataset(), [Dataset(), earlier, Dataset()]))
    assert described_in(found.PerFrameFunctionalGroupsSequence) == [
        [(DONE, "1.2.9", 1)],
        [("Averaged", "", None), (DONE, "1.2.9", 2)],
        [(DONE, "1.2.9", 3)],
    ]
    assert not found.SharedFunctionalGroupsSequence
    assert "DerivationDescription" not in found
    assert "DerivationCodeSequence" not in found
    assert "SourceImageSequence" not in found


def test_what_is_added_to_groups_is_in_order_and_of_even_length() -> None:
    image = opened(grouped(None, [Dataset()]))
    made = lossy_changes(image, LOSS, CT, "1.2.9")[tags.PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE]
    assert made is not None
    added = [
        element(tags.REFERENCED_SOP_CLASS_UID, "UI", CT.encode()),
        element(tags.REFERENCED_SOP_INSTANCE_UID, "UI", b"1.2.9\0"),
        element(tags.REFERENCED_FRAME_NUMBER, "IS", b"1 "),
    ]
    assert b"".join(added) in made
    assert made.index(b"".join(added)) < made.index(element(tags.CODE_VALUE, "SH", b"121320"))
    assert element(tags.CODING_SCHEME_DESIGNATOR, "SH", b"DCM ") in made


@pytest.mark.parametrize("shared", [Dataset(), values(PixelMeasuresSequence=[values(SliceThickness=1)])])
def test_all_frames_together_say_it_where_none_did_alone(shared: Dataset) -> None:
    found = lossy(grouped(shared, [Dataset(), Dataset()]))
    assert described_in(found.SharedFunctionalGroupsSequence) == [[(DONE, "1.2.9", None)]]
    assert described_in(found.PerFrameFunctionalGroupsSequence) == [[], []]
    assert ("PixelMeasuresSequence" in found.SharedFunctionalGroupsSequence[0]) == bool(len(shared))


def test_frames_say_it_where_there_is_no_group_of_all() -> None:
    found = lossy(grouped(None, [Dataset(), Dataset()]))
    assert described_in(found.PerFrameFunctionalGroupsSequence) == [
        [(DONE, "1.2.9", 1)],
        [(DONE, "1.2.9", 2)],
    ]
    assert "SharedFunctionalGroupsSequence" not in found


def test_a_shared_group_alone_says_it() -> None:
    found = lossy(grouped(values(PixelMeasuresSequence=[values(SliceThickness=1)])))
    assert described_in(found.SharedFunctionalGroupsSequence) == [[(DONE, "1.2.9", None)]]


def test_each_frame_type_becomes_derived_and_nothing_else_changes() -> None:
    kind = values(FrameType=["ORIGINAL", "PRIMARY", "M", "NONE"], PixelPresentation="MONOCHROME")
    plain = [values(SliceThickness=1)]
    groups = values(MRImageFrameTypeSequence=[kind, kind], PixelMeasuresSequence=plain)
    # A name that holds the bytes of its tag is no Frame Type.
    groups.FrameContentSequence = [values(FrameComments="\x08\x00\x07\x90")]
    groups.ImageComments = "\x08\x00\x07\x90"
    groups.ReferencedImageSequence = [values(ReferencedSOPInstanceUID="1.2")]
    found = lossy(grouped(groups, [groups]))
    for group in (found.SharedFunctionalGroupsSequence[0], found.PerFrameFunctionalGroupsSequence[0]):
        types = [list(each.FrameType) for each in group.MRImageFrameTypeSequence]
        assert types == [["DERIVED", "PRIMARY", "M", "NONE"]] * 2
        assert group.MRImageFrameTypeSequence[0].PixelPresentation == "MONOCHROME"
        assert group.PixelMeasuresSequence == plain
        assert group.FrameContentSequence == groups.FrameContentSequence


def test_groups_are_given_back_by_their_tags_and_no_other_element() -> None:
    header = encoded(grouped(Dataset(), [Dataset()], Rows=3))
    assert sorted(derived_groups(header, [], [])) == [0x52009229, 0x52009230]


@pytest.mark.parametrize("uid", ["1.2.34", "1.2.345"])
def test_evidence_names_an_image_once_below_its_study_and_series(uid: str) -> None:
    def listed(header: bytes, study: bytes, series: bytes) -> list[tuple[str, str, list[str]]]:
        made = with_evidence(header, study, series, [(tags.REFERENCED_SOP_INSTANCE_UID, "UI", b"1.2.9")])
        found = pydicom.dcmread(
            BytesIO(splice(header, {tags.SOURCE_IMAGE_EVIDENCE_SEQUENCE: made})), force=True
        )
        return [
            (
                each.StudyInstanceUID,
                one.SeriesInstanceUID,
                [image.ReferencedSOPInstanceUID for image in one.ReferencedSOPSequence],
            )
            for each in found.SourceImageEvidenceSequence
            for one in each.ReferencedSeriesSequence
        ]

    padded = uid.encode() + b"\0" * (len(uid) % 2)
    assert listed(encoded(Dataset()), padded, padded) == [(uid, uid, ["1.2.9"])]
    one = values(SeriesInstanceUID=uid, ReferencedSOPSequence=[values(ReferencedSOPInstanceUID="1.2.8")])
    study = values(StudyInstanceUID=uid, ReferencedSeriesSequence=[one])
    header = encoded(values(SourceImageEvidenceSequence=[study]))
    assert listed(header, padded, padded) == [(uid, uid, ["1.2.8", "1.2.9"])]
    assert listed(header, padded, b"1.7\0") == [(uid, uid, ["1.2.8"]), (uid, "1.7", ["1.2.9"])]
    assert listed(header, b"1.7\0", padded) == [(uid, uid, ["1.2.8"]), ("1.7", uid, ["1.2.9"])]


def test_evidence_of_an_image_with_groups_is_that_of_its_study() -> None:
    found = lossy(grouped(Dataset(), [Dataset()]))
    (study,) = found.SourceImageEvidenceSequence
    (series,) = study.ReferencedSeriesSequence
    (image,) = series.ReferencedSOPSequence
    assert (study.StudyInstanceUID, series.SeriesInstanceUID) == ("1.2.3", "1.2.3.4")
    assert (image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID) == (CT, "1.2.9")


# Regions that were blanked


def test_an_image_with_blanked_regions_says_what_it_was_made_of() -> None:
    data = values(ImageType=["ORIGINAL", "PRIMARY"], SOPClassUID=CT, SOPInstanceUID="1.2.9")
    image = opened(data)
    found = changed(image, blanked_changes(image.attributes))
    assert list(found.ImageType) == ["DERIVED", "PRIMARY"]
    assert found.DerivationDescription == "Regions of pixels blanked"
    (source,) = found.SourceImageSequence
    assert source.ReferencedSOPInstanceUID == "1.2.9"
    assert source.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
    assert blanked_changes(image.attributes)[tags.SMALLEST_IMAGE_PIXEL_VALUE] is None
    assert blanked_changes(image.attributes)[tags.LARGEST_IMAGE_PIXEL_VALUE] is None


@pytest.mark.parametrize(("sop_class", "uid"), [("", "1.2.9"), (CT, ""), (CT, "1.2.x")])
def test_what_is_no_uid_is_not_referred_to(sop_class: str, uid: str) -> None:
    data = Dataset()
    with pydicom.config.disable_value_validation():
        data.SOPClassUID, data.SOPInstanceUID = sop_class, uid
    assert tags.SOURCE_IMAGE_SEQUENCE not in blanked_changes(opened(data).attributes)


def test_the_image_type_stays_where_frames_repeat_it() -> None:
    image = opened(grouped(Dataset(), [Dataset()], ImageType=["ORIGINAL", "PRIMARY"]))
    assert tags.IMAGE_TYPE not in blanked_changes(image.attributes)
