"""Whether the data set in a file is whole: every length at which it may have been cut, whatever it holds."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import pytest

from mapdr.dicom import tags
from mapdr.dicom.scan import Unreadable
from mapdr.kernel.errors import Permanent
from mapdr.store.spool import headers
from mapdr.store.spool.headers import INDEX_TAGS, MODALITY, STUDY_INSTANCE_UID, is_cut, read_header
from store.world import EXPLICIT, data_set, element

JPEG, DEFLATED = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.1.99"
BEFORE = 300
"""Bytes of the file before the data set."""
NATIVE = data_set("1.2.3.4", pixels=64)
HEAD = NATIVE[:-76]
TAIL = element(0x7FE10010, b"LO", b"behind") + element(0x7FE10020, b"LO", b"the pixels")
FRAGMENTS = (
    struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF)
    + struct.pack("<HHI", 0xFFFE, 0xE000, 0)
    + struct.pack("<HHI", 0xFFFE, 0xE000, 10)
    + bytes(10)
    + struct.pack("<HHI", 0xFFFE, 0xE000, 4)
    + bytes(4)
    + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
)


def deflated(data: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(data) + deflater.flush()


def cut(folder: Path, data: bytes, syntax: str, *, begun: int = 1 << 16) -> bool:
    """Whether the data set counts as cut; one that cannot be read does, for it is refused as well."""
    path = folder / "file"
    path.write_bytes(bytes(BEFORE) + data)
    file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        header = read_header(
            file, BEFORE, len(data), data[:begun], transfer_syntax_uid=syntax, wanted=INDEX_TAGS
        )
        return is_cut(file, BEFORE, len(data), header, syntax)
    except Unreadable:
        return True
    finally:
        os.close(file)


def boundaries(data: bytes) -> set[int]:
    """Lengths at which elements of short VRs end."""
    at, ends = 0, set()
    while at < len(data):
        at += 8 + int(struct.unpack_from("<H", data, at + 6)[0])
        ends.add(at)
    return ends


@pytest.mark.parametrize("behind", [b"", TAIL], ids=["", "more behind"])
@pytest.mark.parametrize(
    ("pixels", "syntax"),
    [(NATIVE[-76:], EXPLICIT), (FRAGMENTS, JPEG), (b"", EXPLICIT)],
    ids=["native", "fragments", "none"],
)
@pytest.mark.parametrize("begun", [1 << 16, 50, len(HEAD) + 20])
def test_a_data_set_is_whole_where_an_element_ends_and_nowhere_else(
    tmp_path: Path, pixels: bytes, syntax: str, behind: bytes, begun: int
) -> None:
    """What ends before the pixel data could be whole: other checks ask for what must be there."""
    whole = HEAD + pixels + behind
    ends = boundaries(HEAD) | {len(HEAD + pixels) + at for at in (0, *boundaries(behind))}
    near = {end + by for end in ends for by in (-1, 0, 1)} | {*range(0, len(whole), 5)}
    lengths = {n for n in near if len(HEAD) - 20 <= n <= len(whole)}
    found = {n for n in lengths if not cut(tmp_path, whole[:n], syntax, begun=begun)}
    assert found == ends & lengths
    assert cut(tmp_path, b"", syntax)


def test_a_deflated_data_set_is_whole_if_its_stream_ends_behind_the_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for piece in (1 << 16, 7):
        monkeypatch.setattr(headers, "PREFIX", piece)
        for data in (NATIVE, NATIVE + TAIL, HEAD):
            whole = deflated(data)
            assert {n for n in range(len(whole) + 1) if not cut(tmp_path, whole[:n], DEFLATED)} == {
                len(whole)
            }
        for missing in (1, 63, 64):
            assert cut(tmp_path, deflated(NATIVE[:-missing]), DEFLATED)


def test_a_header_behind_the_beginning_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(BEFORE) + HEAD)
    header = headers.read_file_header(
        path,
        BEFORE,
        len(HEAD),
        transfer_syntax_uid=EXPLICIT,
        wanted=frozenset({MODALITY, STUDY_INSTANCE_UID}),
    )
    assert (header.text(MODALITY), header.text(STUDY_INSTANCE_UID)) == ("CT", "1.2.3")
    assert header.text((tags.PATIENT_ID,)) == "", "what is not wanted is not kept"
    with pytest.raises(Permanent):
        headers.read_file_header(path, BEFORE - 3, len(HEAD), transfer_syntax_uid=EXPLICIT, wanted=INDEX_TAGS)


@pytest.mark.parametrize("found", ["", "1.2.3", "not a uid"])
@pytest.mark.parametrize("said", ["", "1.2.3", "9.9"])
def test_an_object_goes_by_its_own_uid_unless_it_is_none(found: str, said: str) -> None:
    expected = found if found == "1.2.3" or not said else said
    assert headers.identity(found, said) == expected
