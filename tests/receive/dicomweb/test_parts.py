"""Parts, however the body is cut, and whatever stands in it."""

from __future__ import annotations

from random import Random

from hypothesis import example, given
from hypothesis import strategies as st

from mapdr.kernel.errors import RemoteProtocolError
from mapdr.kernel.item import Source
from mapdr.receive.dicomweb.parts import PartResult, PartStore
from mapdr.testing.generator import study
from peers.stow_client import BOUNDARY, END, body, part
from receive.fakes import FakeIntake

SOURCE = Source("web", "", "", "127.0.0.1", "dicomweb")
IMAGES = list(study("CT", images=3, size=(8, 8)))
FILES = [image.part10() for image in IMAGES]


def taken(chunks: list[bytes]) -> tuple[list[PartResult], FakeIntake, str]:
    intake, trouble = FakeIntake(), ""
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
