"""WADO-RS answers, whole, broken and hostile: what is stored was safe, and nothing else is said to be."""

from __future__ import annotations

from typing import Any

import pytest

from mapdr.egress.dicomweb.fetch import _Parts
from mapdr.kernel.errors import Refused, RemoteProtocolError
from mapdr.kernel.item import Source
from mapdr.testing import generator

IMAGES = list(generator.study("CT", seed=3, images=3, size=(8, 8)))
HEADERS = {"content-type": 'multipart/related; type="application/dicom"; boundary=xyz'}


class Kept:
    """An intake that keeps objects in memory; `refuse` is the number of the one that it refuses."""

    def __init__(self, refuse: int = -1) -> None:
        self.refuse, self.begun = refuse, 0
        self.whole: list[bytes] = []
        self.open = 0

    def begin(self, source: Source, sop_class: str, sop_instance: str, syntax: str) -> Any:
        self.begun += 1
        self.open += 1
        return _Object(self, self.begun - 1)


class _Object:
    def __init__(self, kept: Kept, number: int) -> None:
        self._kept, self._number, self._data = kept, number, bytearray()

    def write(self, data: bytes) -> None:
        self._data += data

    def commit(self) -> None:
        if self._number == self._kept.refuse:
            raise Refused(0xA700, "no room")
        self._kept.open -= 1
        self._kept.whole.append(bytes(self._data))

    def abort(self) -> None:
        self._kept.open -= 1


def body(*parts: bytes) -> bytes:
    head = b"\r\n--xyz\r\nContent-Type: application/dicom\r\n\r\n"
    return b"".join(head + part for part in parts) + b"\r\n--xyz--"


def fed(kept: Kept, data: bytes, size: int) -> _Parts:
    parts = _Parts(kept, Source("fetch", "", "", "pacs", protocol="dicomweb"), lambda: None)
    for at in range(0, len(data), size):
        parts.feed(HEADERS, data[at : at + size])
    return parts


FILES = [one.part10() for one in IMAGES]


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_every_part_is_an_image_however_it_comes(size: int) -> None:
    kept = Kept()
    parts = fed(kept, body(*FILES), size)
    assert kept.whole == [one.dataset for one in IMAGES]
    assert parts.stored == {one.sop_instance_uid for one in IMAGES}
    assert (parts.failed, parts.comment, kept.open) == (set(), "", 0)


def test_a_part_that_is_refused_costs_itself_alone() -> None:
    kept = Kept(refuse=1)
    parts = fed(kept, body(*FILES), 100)
    assert len(kept.whole) == 2
    assert parts.failed == {IMAGES[1].sop_instance_uid}
    assert "no room" in parts.comment
    assert kept.open == 0


@pytest.mark.parametrize("junk", [b"", b"no DICOM file", b"\x00" * 132, FILES[0][:140]])
def test_what_is_no_file_is_no_image(junk: bytes) -> None:
    kept = Kept()
    parts = fed(kept, body(FILES[0], junk, FILES[2]), 50)
    assert len(parts.stored) == 2
    assert len(parts.failed) == 1
    assert kept.open == 0


def test_a_body_that_breaks_off_leaves_nothing_open() -> None:
    kept = Kept()
    parts = fed(kept, body(*FILES)[: -len(FILES[2]) // 2], 100)
    parts.close()
    assert len(kept.whole) == 2
    assert kept.open == 0


@pytest.mark.parametrize("kind", ["", "application/dicom", "multipart/related"])
def test_an_answer_that_is_no_multipart_is_refused(kind: str) -> None:
    parts = _Parts(Kept(), Source("fetch", "", "", "pacs"), lambda: None)
    with pytest.raises(RemoteProtocolError):
        parts.feed({"content-type": kind}, b"x")
