"""Payloads as DICOM files."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapdr.egress.part10 import PIECE, Part10, file_meta, pieces
from mapdr.kernel.item import FileSlice, Payload
from mapdr.kernel.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from mapdr.testing.generator import EXPLICIT, study

CT = "1.2.840.10008.5.1.4.1.1.2"


def payload(data: bytes, uid: str = "1.2.3", **more: object) -> Payload:
    return Payload(CT, uid, EXPLICIT, (data,), len(data), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("uid", ["1.2.3", "1.2.34", "1." * 31 + "1", "1." * 31 + "12"])
def test_a_payload_s_file_is_one_for_others_too(uid: str) -> None:
    image = next(iter(study("CT", images=1, size=(16, 16))))
    data = image.dataset
    file = Part10(Payload(image.sop_class_uid, uid, image.transfer_syntax_uid, (data,), len(data)))
    written = b"".join(file)
    assert len(written) == file.length
    read = pydicom.dcmread(BytesIO(written))
    assert read.file_meta.MediaStorageSOPClassUID == image.sop_class_uid
    assert read.file_meta.MediaStorageSOPInstanceUID == uid
    assert read.file_meta.TransferSyntaxUID == image.transfer_syntax_uid
    assert read.file_meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert read.file_meta.ImplementationVersionName == IMPLEMENTATION_VERSION_NAME
    assert read.file_meta.FileMetaInformationGroupLength == len(written) - len(data) - 144
    assert written.endswith(data)
    assert written == b"".join(file)  # as often as it is sent


def test_a_large_object_is_read_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as out:
        out.truncate(1 << 30)
    slice_ = FileSlice(path, 0, 1 << 30)
    file = Part10(Payload(CT, "1.2.3", EXPLICIT, (b"head", slice_), (1 << 30) + 4))
    first = iter(file)
    assert all(len(next(first)) <= PIECE for _ in range(100))
    assert file.length == len(file_meta(payload(b""))) + (1 << 30) + 4


@given(st.lists(st.integers(0, 3 * PIECE) | st.integers(0, 100) | st.just(PIECE), max_size=12))
def test_pieces_are_the_same_bytes_and_none_is_large_or_empty(sizes: list[int]) -> None:
    chunks = [bytes([number % 251]) * size for number, size in enumerate(sizes)]
    found = list(pieces(chunks))
    assert b"".join(found) == b"".join(chunks)
    assert all(0 < len(piece) <= PIECE for piece in found)
    assert len(found) <= 2 * sum(sizes) / PIECE + len(sizes) + 1


def test_small_chunks_are_put_together() -> None:
    chunk = b"x" * (PIECE // 10)
    assert [len(piece) for piece in pieces([chunk] * 12)] == [10 * len(chunk), 2 * len(chunk)]
