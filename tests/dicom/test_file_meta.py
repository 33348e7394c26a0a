"""The beginning of a DICOM file, read as it comes."""

from __future__ import annotations

import struct
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import FileMetaDataset
from pydicom.filewriter import write_file_meta_info

from mapdr.dicom.file_meta import LONGEST, FileMeta, read_file_meta
from mapdr.kernel.errors import RemoteProtocolError

CLASS, INSTANCE, SYNTAX = "1.2.840.10008.5.1.4.1.1.2", "1.2.3.4.5", "1.2.840.10008.1.2.4.90"
PREAMBLE = bytes(128) + b"DICM"
DATA_SET = b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100"


def written(**more: object) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CLASS, INSTANCE
    meta.TransferSyntaxUID = SYNTAX
    for keyword, value in more.items():
        setattr(meta, keyword, value)
    out = BytesIO()
    write_file_meta_info(out, meta)
    return PREAMBLE + out.getvalue()


def element(number: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", 2, number, vr, len(value)) + value


def test_it_is_known_as_soon_as_it_is_there_and_not_before() -> None:
    head = written()
    whole = FileMeta(len(head), CLASS, INSTANCE, SYNTAX)
    assert [read_file_meta(head[:at]) for at in range(len(head))] == [None] * len(head)
    assert read_file_meta(head) == whole
    assert read_file_meta(head + DATA_SET) == whole
    assert read_file_meta(bytearray(head + DATA_SET)) == whole
    assert read_file_meta(head, ended=True) == whole


def test_long_elements_and_private_ones_are_read_over() -> None:
    head = written(
        PrivateInformationCreatorUID="1.2.3",
        PrivateInformation=bytes(70_000),
        SendingApplicationEntityTitle="A",
    )
    found = read_file_meta(head + DATA_SET)
    assert found is not None
    assert (found.length, found.transfer_syntax_uid) == (len(head), SYNTAX)


@pytest.mark.parametrize("length", [None, 0, 4, 30_000, 1 << 31])
def test_a_wrong_group_length_and_none_are_no_obstacle(length: int | None) -> None:
    head = written()
    body = head[132 + 12 :]
    prefix = b"" if length is None else struct.pack("<HH2sHI", 2, 0, b"UL", 4, length)
    found = read_file_meta(PREAMBLE + prefix + body + DATA_SET)
    assert found == FileMeta(132 + len(prefix) + len(body), CLASS, INSTANCE, SYNTAX)


def test_a_data_set_that_looks_like_the_group_is_none_of_it() -> None:
    """A deflated one may begin with any bytes: the group's length says where it ends."""
    head = written()
    assert read_file_meta(head + b"\x02\x00\x10\x00UI\x02\x00xx" + bytes(20)) == FileMeta(
        len(head), CLASS, INSTANCE, SYNTAX
    )


def test_implicit_vr_is_read() -> None:
    uid = SYNTAX.encode()
    body = struct.pack("<HHI", 2, 0x10, len(uid)) + uid
    found = read_file_meta(PREAMBLE + body + DATA_SET)
    assert found == FileMeta(132 + len(body), "", "", SYNTAX)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"x" * 131,
        b"x" * 200,
        written()[132:],
        bytes(128) + b"DICX",
        bytes(128) + b"dicm",
        written()[:-1],
        PREAMBLE + b"\x02",
        PREAMBLE + element(0x10, b"UI", b"1.2")[:-1],
    ],
)
def test_what_is_no_file_or_cut(head: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        read_file_meta(head, ended=True)


@pytest.mark.parametrize("head", [b"", b"not DICOM", bytes(131)])
def test_what_ends_before_a_file_could_begin_is_no_file(head: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="not a DICOM file"):
        read_file_meta(head, ended=True)


def test_no_more_is_waited_for_than_a_group_may_have() -> None:
    long = struct.pack("<HH2sHI", 2, 0x102, b"OB", 0, LONGEST)
    with pytest.raises(RemoteProtocolError, match="longer"):
        read_file_meta(PREAMBLE + long)
    many = element(0x102, b"UN", b"") * 12
    with pytest.raises(RemoteProtocolError, match="longer"):
        read_file_meta(PREAMBLE + element(0x16, b"AE", b"x" * 60_000) * 18 + many)


@given(st.binary(max_size=400), st.booleans(), st.booleans())
def test_any_bytes(data: bytes, begun: bool, ended: bool) -> None:
    head = (PREAMBLE if begun else b"") + data
    try:
        found = read_file_meta(head, ended=ended)
    except RemoteProtocolError:
        return
    assert found is None or found.length <= len(head)
    assert not (ended and found is None)
