"""Parts, however the body is cut, and whatever stands in it."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mapdr.kernel.errors import Refused, RemoteProtocolError
from mapdr.kernel.item import Arrival, Source
from mapdr.receive.dicomweb.parts import PartResult, PartStore
from mapdr.store.spool.files import Spool
from mapdr.store.spool.headers import PREFIX
from mapdr.testing.generator import study
from peers.stow_client import BOUNDARY, END, body, part
from receive.fakes import FakeIntake

SOURCE = Source("web", "", "", "127.0.0.1", "dicomweb")
IMAGES = list(study("CT", images=3, size=(8, 8)))
FILES = [image.part10() for image in IMAGES]


def taken(chunks: list[bytes], intake: FakeIntake | None = None) -> tuple[list[PartResult], FakeIntake, str]:
    intake, trouble = intake or FakeIntake(), ""
    store = PartStore(intake, SOURCE, BOUNDARY.encode())
    try:
        for chunk in chunks:
            store.feed(chunk)
        store.end()
    except RemoteProtocolError as error:
        trouble = str(error)
    store.close(trouble)
    store.close(trouble)
    return store.results, intake, trouble


def pieces(data: bytes, seed: int) -> list[bytes]:
    chance, out = Random(seed), []
    while data:
        size = chance.choice((1, 2, 5, 100, 1000, 10_000))
        out.append(data[:size])
        data = data[size:]
    return out


@given(st.integers())
def test_a_body_is_the_same_however_it_is_cut(seed: int) -> None:
    data = body([FILES[0], b"no file" * 40, FILES[1][:300], FILES[2]])
    whole, whole_intake, _ = taken([data])
    cut, cut_intake, _ = taken(pieces(data, seed))
    assert cut == whole
    assert [each.reason for each in whole] == [None, 0xC000, 0xC000, None]
    assert [kept.data for kept in cut_intake.kept] == [IMAGES[0].dataset, IMAGES[2].dataset]
    assert cut_intake.begun == whole_intake.begun


@given(st.integers(), st.integers(min_value=0))
def test_what_is_called_stored_is_what_was_kept_wherever_the_body_ends(seed: int, end: int) -> None:
    data = body(FILES)
    data = data[: end % (len(data) + 1)]
    results, intake, trouble = taken(pieces(data, seed))
    stored = [each.sop_instance_uid for each in results if each.reason is None]
    assert stored == [kept.sop_instance_uid for kept in intake.kept]
    assert stored == [image.sop_instance_uid for image in IMAGES][: len(stored)]
    assert intake.begun == len(intake.kept) + intake.aborted
    assert trouble or len(stored) == 3


@given(st.integers(), st.integers(min_value=0), st.binary(max_size=60))
@example(0, 0, b"\r\n--b0undary\r\nno header\r\n\r\n")
def test_garbage_anywhere_costs_no_other_object(seed: int, at: int, garbage: bytes) -> None:
    data = part(FILES[0])
    rest = b"".join(map(part, FILES[1:])) + END
    first = len(f"--{BOUNDARY}\r\n")  # with it the first part has ended
    at = first + at % (len(rest) + 1 - first)
    results, intake, _ = taken(pieces(data + rest[:at] + garbage + rest[at:], seed))
    image = IMAGES[0]
    size = len(image.dataset)
    assert results[0] == PartResult(image.sop_class_uid, image.sop_instance_uid, None, "", size)
    assert len([each for each in results if each.reason is None]) == len(intake.kept)
    assert intake.begun == len(intake.kept) + intake.aborted


def with_headers(*lines: str) -> bytes:
    head = "".join(f"{line}\r\n" for line in lines)
    return f"--{BOUNDARY}\r\n{head}\r\n".encode() + FILES[0] + b"\r\n" + END


@pytest.mark.parametrize(
    ("lines", "refused"),
    [
        ([], ""),
        (["Content-Type: application/octet-stream"], ""),
        (["Content-Type: application/dicom; transfer-syntax=1.2.840.10008.1.2.1"], ""),
        (["Content-Type: application/dicom", "Content-Transfer-Encoding: BINARY"], ""),
        (["Content-Type: application/dicom", "Content-Transfer-Encoding: base64"], "encoding is not binary"),
        (["Content-Transfer-Encoding: quoted-printable"], "encoding is not binary"),
        (["Content-Type: image/jpeg"], "content type is not application/dicom"),
        (["Content-Type: nonsense"], "content type"),
    ],
)
def test_what_the_headers_of_a_part_may_say(lines: list[str], refused: str) -> None:
    ((result,), intake, trouble) = taken([with_headers(*lines)])
    assert trouble == ""
    assert refused in result.words
    if refused:
        assert (result.reason, result.sop_instance_uid, intake.begun) == (0xC000, "", 0)
    else:
        assert result.reason is None
        assert [kept.data for kept in intake.kept] == [IMAGES[0].dataset]


def test_a_part_that_names_no_transfer_syntax_is_not_begun() -> None:
    syntax = IMAGES[0].transfer_syntax_uid.encode()
    nameless = FILES[0].replace(syntax, b"x" * len(syntax))
    ((result,), intake, _) = taken([body([nameless])])
    assert (result.reason, result.sop_instance_uid, intake.begun) == (
        0xC000,
        IMAGES[0].sop_instance_uid,
        0,
    )
    assert "no transfer syntax" in result.words


@pytest.mark.parametrize("size", [0, 100, 131, 140, 300])
def test_a_part_that_ends_before_its_data_set_is_no_fault_of_ours(size: int) -> None:
    ((result,), intake, _) = taken([body([FILES[0][:size]])])
    assert (result.reason, intake.begun) == (0xC000, 0)


@pytest.mark.parametrize("phase", ["begin_error", "write_error", "commit_error"])
@pytest.mark.parametrize(
    ("error", "reason", "words"),
    [
        (Refused(0xA700, "no room"), 0xA700, "no room"),
        (RuntimeError("MUELLER^ANNA"), 0x0110, "internal error"),
    ],
)
def test_a_part_that_the_store_does_not_take_says_why(
    phase: str, error: Exception, reason: int, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    intake = FakeIntake()
    setattr(intake, phase, error)
    large = next(iter(study("CT", images=1, size=(64, 64))))
    ((result,), _, _) = taken(pieces(body([large]), 1), intake)
    assert (result.reason, result.words, result.sop_instance_uid) == (reason, words, large.sop_instance_uid)
    assert intake.aborted == intake.begun
    assert ("RuntimeError" in caplog.text) == (reason == 0x0110)
    assert "MUELLER" not in caplog.text


def test_a_part_that_failed_before_the_body_broke_keeps_its_own_reason() -> None:
    head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\n\r\n".encode()
    (result,), intake, trouble = taken([head + b"half of it"])
    assert trouble
    assert "content type" in result.words
    cut = part(FILES[0])[:-200]
    (result,), intake, trouble = taken([cut])
    assert (result.reason, result.words) == (0xC000, trouble)
    assert (result.sop_instance_uid, intake.aborted) == (IMAGES[0].sop_instance_uid, 1)


@pytest.mark.parametrize("length", [0, PREFIX - 2000, PREFIX + 10, 3 * PREFIX])
@pytest.mark.parametrize("own", [True, False])
def test_the_study_is_known_wherever_it_stands_in_the_header(tmp_path: Path, length: int, own: bool) -> None:
    """Also behind what is kept of a data set in memory: then it is read from the file in the spool."""
    image, arrivals = IMAGES[0], list[Arrival]()
    data = image.dataset
    at = data.index(struct.pack("<HH", 0x0010, 0x0010))
    private = struct.pack("<HH2sHL", 0x0009, 0x1001, b"OB", 0, length) + bytes(length)
    creator = struct.pack("<HH2sH", 0x0009, 0x0010, b"LO", 4) + b"MINE"
    stretched = replace(image, dataset=data[:at] + creator + private + data[at:], sop_instance_uid="1.2.3")
    spool = Spool(tmp_path, "node", "process-crash", submit=arrivals.append)
    named = image.study_instance_uid if own else "1.2.3.4"
    store = PartStore(spool, SOURCE, BOUNDARY.encode(), named)
    for piece in pieces(body([stretched]), 7):
        store.feed(piece)
    store.end()
    store.close()
    (result,) = store.results
    assert result.sop_instance_uid == image.sop_instance_uid, "the data set's, not the File Meta group's"
    assert result.reason == (None if own else 0xA900)
    assert [arrival.size for arrival in arrivals] == ([len(stretched.dataset)] if own else [])
    assert result.size == len(stretched.dataset)
