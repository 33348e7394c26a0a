"""The data set in a file is found whatever stands before it."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import pytest

from mapdr.kernel.errors import Permanent
from mapdr.operate import part10
from mapdr.testing import generator


def _image(syntax: str = generator.EXPLICIT) -> generator.GeneratedImage:
    return next(generator.study("CT", images=1, size=(8, 8), transfer_syntax_uid=syntax))


def _dataset(found: part10.File) -> bytes:
    return found.path.read_bytes()[found.offset : found.offset + found.length]


def test_a_file_with_meta_information(tmp_path: Path) -> None:
    image = _image()
    path = tmp_path / "a.dcm"
    path.write_bytes(image.part10())
    found = part10.locate(path)
    assert _dataset(found) == image.dataset
    assert found.transfer_syntax_uid == generator.EXPLICIT
    assert found.sop_class_uid == image.sop_class_uid
    assert found.sop_instance_uid == image.sop_instance_uid


@pytest.mark.parametrize("length", [0, 1, 30_000])
def test_a_wrong_group_length_does_not_matter(tmp_path: Path, length: int) -> None:
    image = _image()
    whole = bytearray(image.part10())
    whole[140:144] = struct.pack("<I", length)
    path = tmp_path / "a.dcm"
    path.write_bytes(whole)
    assert _dataset(part10.locate(path)) == image.dataset


def test_meta_information_without_a_preamble(tmp_path: Path) -> None:
    image = _image()
    path = tmp_path / "a.dcm"
    path.write_bytes(image.part10()[132:])
    assert _dataset(part10.locate(path)) == image.dataset


def implicit_meta(image: generator.GeneratedImage) -> bytes:
    """A File Meta group in implicit VR, without a group length, as some toolkits have written it."""
    values = (
        (0x0001, b"\0\1"),
        (0x0002, image.sop_class_uid.encode()),
        (0x0003, image.sop_instance_uid.encode()),
        (0x0010, image.transfer_syntax_uid.encode()),
    )
    padded = ((number, value + b"\0" * (len(value) % 2)) for number, value in values)
    return b"".join(struct.pack("<HHL", 2, number, len(value)) + value for number, value in padded)


@pytest.mark.parametrize("preamble", [bytes(128) + b"DICM", b""])
@pytest.mark.parametrize("syntax", [generator.EXPLICIT, generator.IMPLICIT])
def test_meta_information_in_implicit_vr(tmp_path: Path, syntax: str, preamble: bytes) -> None:
    image = _image(syntax)
    path = tmp_path / "a.dcm"
    path.write_bytes(preamble + implicit_meta(image) + image.dataset)
    found = part10.locate(path)
    assert _dataset(found) == image.dataset
    assert found.transfer_syntax_uid == syntax
    assert (found.sop_class_uid, found.sop_instance_uid) == (image.sop_class_uid, image.sop_instance_uid)


@pytest.mark.parametrize("syntax", [generator.EXPLICIT, generator.IMPLICIT])
def test_a_bare_data_set(tmp_path: Path, syntax: str) -> None:
    image = _image(syntax)
    path = tmp_path / "a"
    path.write_bytes(image.dataset)
    found = part10.locate(path)
    assert (found.offset, found.transfer_syntax_uid) == (0, syntax)
    assert _dataset(found) == image.dataset


@pytest.mark.parametrize("content", [b"", b"short", b"%PDF-1.7 something else", bytes(200)])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(content)
    with pytest.raises(Permanent, match=r"a\.pdf is not a DICOM file"):
        part10.locate(path)


def test_truncated_meta_information_is_no_crash(tmp_path: Path) -> None:
    whole = _image().part10()
    path = tmp_path / "a.dcm"
    for length in range(132, 400, 7):
        path.write_bytes(whole[:length])
        with contextlib.suppress(Permanent):
            assert part10.locate(path).length <= length


def test_a_deflated_data_set_that_begins_like_the_group_is_none_of_it(tmp_path: Path) -> None:
    """The group's length says where it ends."""
    image = _image()
    whole = image.part10()
    meta = whole[: -len(image.dataset)]
    path = tmp_path / "a.dcm"
    path.write_bytes(meta + b"\x02\x00\x10\x00UI\x02\x00xx" + bytes(20))
    assert part10.locate(path).offset == len(meta)


@pytest.mark.parametrize("cut", [1, 9, 20])
def test_meta_information_that_does_not_end_is_no_image(tmp_path: Path, cut: int) -> None:
    image = _image()
    path = tmp_path / "a.dcm"
    path.write_bytes(image.part10()[: -len(image.dataset) - cut])
    with pytest.raises(Permanent, match="does not end"):
        part10.locate(path)


def test_folders_are_searched_in_order(tmp_path: Path) -> None:
    for name in ("b/2", "b/1", "a"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = list(part10.files([tmp_path / "b", tmp_path / "a"]))
    assert [path.relative_to(tmp_path).as_posix() for path in found] == ["b/1", "b/2", "a"]
