"""Native data sets between encodings, against pydicom."""

from __future__ import annotations

import struct
from io import BytesIO

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.sequence import Sequence

from mapdr.dicom.recode import recode, swap
from mapdr.dicom.write import EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE, Encoding, element, number
from mapdr.kernel.errors import Permanent

ENCODINGS = [IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG]


def rich() -> Dataset:
    data = Dataset()
    data.SpecificCharacterSet = "ISO_IR 192"
    data.ImageType = ["ORIGINAL", "PRIMARY"]
    data.PatientName = "Käse^Jürgen"
    data.add_new(0x00080000, "UL", 0)
    inner = Dataset()
    inner.ReferencedSOPClassUID, inner.ReferencedSOPInstanceUID = "1.2", "1.2.3"
    inner.PixelSpacing = [0.5, 0.25]
    nested = Dataset()
    nested.CodeValue = "113040"
    inner.PurposeOfReferenceCodeSequence = Sequence([nested, Dataset()])
    data.SourceImageSequence = Sequence([inner, Dataset(), inner])
    data.ReferencedImageSequence = Sequence([])
    data.FrameOfReferenceUID = ""
    data.DimensionIndexPointer = 0x00200013
    data.Rows, data.Columns, data.PixelRepresentation = 512, 1000, 1
    data.SmallestImagePixelValue = -7
    data["SmallestImagePixelValue"].VR = "SS"
    data.RealWorldValueSlope = 1.25
    data.TableTopVerticalPosition = -3.5
    data.SelectorSLValue = [-70000, 70000]
    data.SelectorUVValue, data.SelectorSVValue = 1 << 60, -(1 << 60)
    data.VectorGridData = struct.pack("<3f", 1.5, -2.5, 3.5)
    data.add_new(0x00091001, "LO", "what")
    data.add_new(0x00090010, "LO", "NOBODY KNOWS")
    data.add_new(0x60003000, "OW", struct.pack("<4H", 1, 2, 3, 0xFF00))
    data.PixelData = struct.pack("<4h", 1, -2, 3, -4)
    data["PixelData"].VR = "OW"
    return data


def wire(data: Dataset, encoding: Encoding, undefined: bool) -> bytes:
    for each in data.iterall():
        if each.VR == "SQ":
            each.is_undefined_length = undefined
            for item in each.value:
                item.is_undefined_length_sequence_item = undefined
    out = BytesIO()
    if encoding.big:
        data = pydicom.Dataset(data)
        data.VectorGridData = swap(data.VectorGridData, 4)
        data[0x60003000].value = swap(data[0x60003000].value, 2)
        data.PixelData = swap(data.PixelData, 2)
    pydicom.dcmwrite(
        out, data, implicit_vr=encoding.implicit, little_endian=not encoding.big, force_encoding=True
    )
    return out.getvalue()


def content(blob: bytes, encoding: Encoding) -> dict[str, object]:
    data = pydicom.filereader.read_dataset(
        BytesIO(blob), is_implicit_VR=encoding.implicit, is_little_endian=not encoding.big
    )
    return {k: v for k, v in flat(data).items() if not k.endswith("0000)")}


def flat(data: Dataset) -> dict[str, object]:
    out: dict[str, object] = {}
    for each in data:
        out[str(each.tag)] = [flat(item) for item in each.value] if each.VR == "SQ" else each.value
    return out


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("source", ENCODINGS)
@pytest.mark.parametrize("target", ENCODINGS)
def test_every_way_and_back_says_the_same(source: Encoding, target: Encoding, undefined: bool) -> None:
    before = wire(rich(), source, undefined)
    there = recode(before, source, target)
    back = recode(there, target, source)
    # Implicit does not name VRs: of a private value nobody knows, they are lost.
    lost = {"(0009,1001)"} if source.implicit or target.implicit else set()
    assert without(content(back, source), lost) == without(content(before, source), lost)
    assert without(content(there, target), lost) == without(
        content(wire(rich(), target, undefined), target), lost
    )


def without(values: dict[str, object], lost: set[str]) -> dict[str, object]:
    return {tag: value for tag, value in values.items() if tag not in lost}


def test_implicit_names_vrs_by_the_dictionary_and_the_creator() -> None:
    data = Dataset()
    data.add_new(0x00190010, "LO", "GEMS_ACQU_01")
    data.add_new(0x00191011, "SS", -5)
    data.add_new(0x00210010, "LO", "NOBODY KNOWS")
    data.add_new(0x00211011, "SS", -5)
    data.PixelRepresentation, data.PixelPaddingValue = 1, -2000
    data["PixelPaddingValue"].VR = "SS"
    blob = recode(wire(data, IMPLICIT_LITTLE, False), IMPLICIT_LITTLE, EXPLICIT_LITTLE)
    assert struct.pack("<HH2sHh", 0x0019, 0x1011, b"SS", 2, -5) in blob
    assert struct.pack("<HH2sHIh", 0x0021, 0x1011, b"UN", 0, 2, -5) in blob
    assert struct.pack("<HH2sHh", 0x0028, 0x0120, b"SS", 2, -2000) in blob


def test_private_sequences_that_nobody_knows_become_un_with_their_items() -> None:
    value = struct.pack("<HHIHHI2s", 0xFFFE, 0xE000, 10, 0x0028, 0x0010, 2, b"\1\0")
    end = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    blob = struct.pack("<HHI", 0x0009, 0x1001, 0xFFFFFFFF) + value + end
    there = recode(blob, IMPLICIT_LITTLE, EXPLICIT_LITTLE)
    assert there == struct.pack("<HH2sHI", 0x0009, 0x1001, b"UN", 0, 0xFFFFFFFF) + value + end
    assert recode(there, EXPLICIT_LITTLE, IMPLICIT_LITTLE) == blob


def test_the_context_decides_what_is_ambiguous() -> None:
    tail = struct.pack("<HHIh", 0x0028, 0x0120, 2, -1)
    context = number(0x00280103, 1)
    assert b"SS" in recode(tail, IMPLICIT_LITTLE, EXPLICIT_LITTLE, context=context)
    assert b"US" in recode(tail, IMPLICIT_LITTLE, EXPLICIT_LITTLE)


def test_a_value_too_long_for_its_vr_becomes_un() -> None:
    long = b"1" * 70_000
    there = recode(struct.pack("<HHI", 0x0018, 0x0050, len(long)) + long, IMPLICIT_LITTLE, EXPLICIT_LITTLE)
    assert there.startswith(struct.pack("<HH2sHI", 0x0018, 0x0050, b"UN", 0, len(long)))


def test_another_value_under_the_tag_of_a_sequence_becomes_un() -> None:
    blob = struct.pack("<HHI", 0x0040, 0xA170, 8) + b"NOTAN SQ"
    assert b"UN\0\0" in recode(blob, IMPLICIT_LITTLE, EXPLICIT_LITTLE)


def test_group_lengths_count_the_new_bytes() -> None:
    blob = struct.pack("<HHII", 8, 0, 4, 10) + struct.pack("<HHI2s", 8, 0x0060, 2, b"CT")
    there = recode(blob, IMPLICIT_LITTLE, EXPLICIT_BIG)
    assert there[:12] == struct.pack(">HH2sHI", 8, 0, b"UL", 4, 10)
    longer = recode(
        struct.pack("<HHII", 8, 0, 4, 99) + struct.pack("<HHI", 8, 0x1140, 0),
        IMPLICIT_LITTLE,
        EXPLICIT_LITTLE,
    )
    assert longer[:12] == struct.pack("<HH2sHI", 8, 0, b"UL", 4, 12)


def test_nesting_without_end_is_refused() -> None:
    blob = b""
    for _ in range(70):
        blob = element(0x00081140, "SQ", struct.pack("<HHI", 0xFFFE, 0xE000, len(blob)) + blob)
    with pytest.raises(Permanent) as caught:
        recode(blob, EXPLICIT_LITTLE, IMPLICIT_LITTLE)
    assert caught.value.reason == "too-deep"


@pytest.mark.parametrize("uid", ["liver_1frame.dcm", "MR_small_bigendian.dcm", "rtplan.dcm", "image_dfl.dcm"])
def test_pydicoms_own_files_keep_their_content(uid: str) -> None:
    data = pydicom.dcmread(pydicom.data.get_testdata_file(uid))
    syntax = data.file_meta.TransferSyntaxUID
    source = Encoding(syntax.is_implicit_VR, not syntax.is_little_endian)
    blob = wire_of(data, source)
    for target in ENCODINGS[:2]:
        there = content(recode(blob, source, target), target)
        expected = content(blob, source)
        assert list(there) == list(expected)


def wire_of(data: Dataset, encoding: Encoding) -> bytes:
    out = BytesIO()
    pydicom.dcmwrite(
        out, Dataset(data), implicit_vr=encoding.implicit, little_endian=not encoding.big, force_encoding=True
    )
    return out.getvalue()


ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, 0)
NEXT = element(0x00880140, "UI", b"1.2.9")


def behind(data: bytes) -> str:
    """What pydicom finds in implicit VR behind the element in question."""
    return str(read_dataset(BytesIO(data), True, True)[0x00880140].value)


@pytest.mark.parametrize("vr", ["LO", "OB", "UN", "SQ"])
def test_a_value_that_implicit_vr_calls_a_sequence_is_parked_or_stays_readable(vr: str) -> None:
    garbage = element(0x00081140, vr, b"12345678") + NEXT
    with pytest.raises(Permanent, match=r"at byte (0|12)\b") as caught:
        recode(garbage, EXPLICIT_LITTLE, IMPLICIT_LITTLE)
    assert caught.value.reason in ("vr", "bad-item")
    assert "1234" not in str(caught.value)
    # The same bytes are taken where VRs are written, and an empty value says nothing wrong.
    if vr != "SQ":
        assert recode(garbage, EXPLICIT_LITTLE, EXPLICIT_LITTLE) == garbage
    empty = element(0x00081140, vr, b"") + NEXT
    assert behind(recode(empty, EXPLICIT_LITTLE, IMPLICIT_LITTLE)) == "1.2.9"
    inner = element(0x00080104, "LO", b"meaning!")
    content = ITEM[:4] + struct.pack("<I", len(inner)) + inner
    there = recode(element(0x00081140, vr, content) + NEXT, EXPLICIT_LITTLE, IMPLICIT_LITTLE)
    assert behind(there) == "1.2.9"
    assert read_dataset(BytesIO(there), True, True)[0x00081140].value[0].CodeMeaning == "meaning!"


@pytest.mark.parametrize("tag", [0x00080104, 0x00280010])
def test_a_sequence_under_another_tag_keeps_what_follows_readable(tag: int) -> None:
    inner = element(0x00080104, "LO", b"meaning!")
    head = struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, b"SQ", 0, 0xFFFFFFFF)
    content = ITEM[:4] + b"\xff" * 4 + inner + struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
    source = head + content + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0) + NEXT
    there = recode(source, EXPLICIT_LITTLE, IMPLICIT_LITTLE)
    # Its length is written: nobody has to look for a delimiter in what the dictionary calls a text.
    assert struct.unpack_from("<I", there, 4)[0] == len(there) - 8 - 8 - 6
    assert behind(there) == "1.2.9"


def test_fragments_of_an_icon_stay_where_vrs_are_written() -> None:
    end = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    head = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF)

    def icon(fragment: bytes) -> bytes:
        pixels = head + ITEM + ITEM[:4] + struct.pack("<I", len(fragment)) + fragment + end
        open_sequence = struct.pack("<HH2sHI", 0x0088, 0x0200, b"SQ", 0, 0xFFFFFFFF)
        inner = number(0x00280010, 4) + pixels
        return open_sequence + ITEM[:4] + b"\xff" * 4 + inner + struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + end

    assert recode(icon(b"abcd"), EXPLICIT_LITTLE, EXPLICIT_LITTLE) == icon(b"abcd")
    assert recode(icon(b"abc"), EXPLICIT_LITTLE, EXPLICIT_LITTLE) == icon(b"abc\0")
    with pytest.raises(Permanent) as caught:
        recode(icon(b"abcd"), EXPLICIT_LITTLE, IMPLICIT_LITTLE)
    assert caught.value.reason == "syntax"
