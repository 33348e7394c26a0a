"""Multipart bodies, however they are cut: against the standard library's parser, and against their limits."""

from __future__ import annotations

import email
import re
import tracemalloc
from collections.abc import Iterable
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapdr.kernel.errors import RemoteProtocolError
from mapdr.net.media_type import MediaType, media_type
from mapdr.net.multipart import Limits, MultipartReader, PartData, PartEnds, boundary
from net.bodies import B, Part, body_of, draw, parts

SMALL = Limits(header=64, fields=4, parts=5, around=32, padding=4)


def outcome(chunks: Iterable[bytes], limits: Limits = SMALL) -> list[Part] | str:
    """The parts, or the error's words."""
    try:
        return parts(chunks, limits)
    except RemoteProtocolError as error:
        return str(error)


def cut(body: bytes, at: Iterable[int]) -> list[bytes]:
    edges = [0, *sorted(at), len(body)]
    return [body[one:two] for one, two in pairwise(edges)]


DICOM = {"content-type": "application/dicom; transfer-syntax=1.2.840.10008.1.2.1"}


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"--b0undary--", []),
        (b"--b0undary--\r\nepilogue", []),
        (b"preamble\r\n--b0undary\r\n\r\nx\r\n--b0undary--", [({}, b"x")]),
        (b"\r\n--b0undary\r\n\r\n\r\n--b0undary--", [({}, b"")]),
        (b"--b0undary\r\nA: b\r\n\r\n--b0undary--", [({"a": "b"}, b"")]),
        (b"--b0undary\r\n\r\n--b0undary--", [({}, b"")]),
        (b"--b0undary \t\r\nA:b\r\n\r\n\r\n\r\n\r\n--b0undary--", [({"a": "b"}, b"\r\n\r\n")]),
        (b"--b0undary\r\nA: b\r\n c\r\n\tD\r\n\r\nx\r\n--b0undary--", [({"a": "b c\tD"}, b"x")]),
        (
            b"--b0undary\r\n\r\n\r\n--b0undar\r\n--b0undaryX\r\n--b0undary-\r\n--b0undary--",
            [
                ({}, b"\r\n--b0undar\r\n--b0undaryX\r\n--b0undary-"),
            ],
        ),
        (
            b"--b0undary\r\n\r\n--b0undary not\n--b0undary--\r\r\n--b0undary--",
            [
                ({}, b"--b0undary not\n--b0undary--\r"),
            ],
        ),
        (
            b"--b0undary\r\n\r\nx\r\n--b0undary     \r\ny\r\n--b0undary--",
            [({}, b"x\r\n--b0undary     \r\ny")],
        ),
    ],
)
def test_a_body_is_its_parts_however_it_is_cut(body: bytes, found: list[Part]) -> None:
    assert parts([body], SMALL) == found
    assert parts([body[at : at + 1] for at in range(len(body))], SMALL) == found
    for at in range(len(body) + 1):
        assert parts(cut(body, [at]), SMALL) == found


PIECES = st.sampled_from(
    [
        b"\r\n--b0undary",
        b"\r\n",
        b"\r",
        b"\n",
        b"--",
        b"-",
        b" ",
        b"--b0undary",
        b"b0un",
        b"x",
        b"A: b\r\n",
        b":",
    ]
)


@given(st.lists(PIECES, max_size=30).map(b"".join), st.data())
def test_any_body_says_the_same_however_it_is_cut(body: bytes, data: st.DataObject) -> None:
    whole = outcome([body])
    assert outcome([body[at : at + 1] for at in range(len(body))]) == whole
    assert outcome(cut(body, data.draw(st.lists(st.integers(0, len(body)))))) == whole


@given(
    st.lists(
        st.tuples(st.just(DICOM), st.binary(max_size=60) | st.lists(PIECES, max_size=9).map(b"".join)),
        max_size=5,
    )
)
def test_a_cut_body_is_never_whole_and_gives_no_part_that_was_not_sent(sent: list[Part]) -> None:
    delimiter = re.compile(rb"\A--b0undary|\r\n--b0undary")
    sent = [(headers, data) for headers, data in sent if not delimiter.search(data)]
    body = body_of(sent)
    assert parts([body]) == sent
    for at in range(len(body) - 2):
        reader = MultipartReader(B)
        ended = sum(isinstance(event, PartEnds) for event in reader.feed(body[:at]))
        assert ended <= len(sent)
        with pytest.raises(RemoteProtocolError, match="ended"):
            reader.close()


@given(
    st.lists(
        st.tuples(
            st.dictionaries(
                st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True),
                st.from_regex(r"([!-~]([ -~]{0,20}[!-~])?)?", fullmatch=True),
                max_size=3,
            ),
            st.binary(max_size=60) | st.lists(PIECES, max_size=9).map(b"".join),
        ),
        min_size=1,
        max_size=5,
    ),
    st.binary(max_size=20),
    st.data(),
)
def test_the_standard_library_finds_the_same(sent: list[Part], around: bytes, data: st.DataObject) -> None:
    # `email` takes every kind of line's end before a boundary, and obeys some headers.
    strange = re.compile(rb"(\A|[\r\n])--b0undary")
    kept = [
        ({name: value for name, value in headers.items() if not name.startswith("content-")}, body)
        for headers, body in sent
        if not strange.search(body)
    ]
    if strange.search(around) or not kept:
        return
    body = around + b"\r\n" + body_of(kept) + around
    message = email.message_from_bytes(b'Content-Type: multipart/related; boundary="b0undary"\r\n\r\n' + body)
    listed = message.get_payload()
    assert isinstance(listed, list)
    theirs = [
        ({name.lower(): value for name, value in part.items()}, part.get_payload(decode=True))
        for part in listed
    ]
    assert parts(cut(body, data.draw(st.lists(st.integers(0, len(body)), max_size=6)))) == theirs


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "ended before its first part"),
        (b"no part at all", "ended before its first part"),
        (b"--b0undary", "ended before its first part"),
        (b"--b0undary\r\n", "ended early"),
        (b"--b0undary\r\nA: b\r\n\r\nx", "ended early"),
        (b"--b0undary\r\nA: b\r\n\r\nx\r\n--b0undary", "ended early"),
        (b"--b0undary\r\nA: b\r\n\r\nx\r\n--b0undary-", "ended early"),
        (b"p" * 33, "more than 32 bytes stand outside"),
        (b"--b0undary--" + b"e" * 33, "more than 32 bytes stand outside"),
        (b"--b0undary\r\nA: " + b"x" * 100 + b"\r\n\r\n", "longer than 64 bytes"),
        (b"--b0undary\r\n" + b"A" * 1000, "longer than 64 bytes"),
        (b"--b0undary\r\na:1\r\nb:2\r\nc:3\r\nd:4\r\ne:5\r\n\r\n", "more than 4 headers"),
        (b"\r\n--b0undary\r\n\r\nx" * 6, "more than 5 parts"),
        (b"--b0undary\r\nno header\r\n\r\n", "a header that is none"),
        (b"--b0undary\r\nA\x00: b\r\n\r\n", "a header that is none"),
        (b"--b0undary\r\nA: b\nC: d\r\n\r\n", "a header that is none"),
        (b"--b0undary\r\n: b\r\n\r\n", "a header that is none"),
        (b"--b0undary\r\n folded: b\r\n\r\n", "a header that is none"),
        (b"--b0undary\r\nA: b\r\na: c\r\n\r\n", "a header twice"),
    ],
)
def test_what_is_broken_is_told_however_it_is_cut(body: bytes, words: str) -> None:
    said = outcome([body])
    assert words in said
    assert outcome([body[at : at + 1] for at in range(len(body))]) == said


def test_a_reader_that_broke_stays_broken() -> None:
    reader = MultipartReader(B, SMALL)
    with pytest.raises(RemoteProtocolError):
        reader.feed(b"p" * 100)
    with pytest.raises(RemoteProtocolError):
        reader.feed(b"\r\n--b0undary--")
    with pytest.raises(RemoteProtocolError):
        reader.close()


@pytest.mark.parametrize("block", [bytes(1 << 20), b"\r\n--b0undar" * 100_000, b"\r" * (1 << 20)])
def test_a_part_of_two_gigabytes_takes_no_memory(block: bytes) -> None:
    reader = MultipartReader(B)
    reader.feed(b"--b0undary\r\n\r\n")
    times = (2 << 30) // len(block) if block[:1] == b"\0" else 64
    seen = 0
    tracemalloc.start()
    try:
        for _ in range(times):
            seen += sum(len(event.data) for event in reader.feed(block) if isinstance(event, PartData))
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    rest = reader.feed(b"\r\n--b0undary--")
    seen += sum(len(event.data) for event in rest if isinstance(event, PartData))
    assert seen == times * len(block)
    reader.close()


# --- content types ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "essence", "parameters"),
    [
        ("application/dicom", "application/dicom", {}),
        (
            ' Multipart/Related; TYPE="application/dicom"; boundary=B ',
            "multipart/related",
            {"type": "application/dicom", "boundary": "B"},
        ),
        (
            "multipart/related;type=application/dicom;boundary=a;",
            "multipart/related",
            {"type": "application/dicom", "boundary": "a"},
        ),
        (r'a/b; c="d\"e\\f;g" ; h = i', "a/b", {"c": r'd"e\f;g', "h": "i"}),
        ("a/b;;c=", "a/b", {"c": ""}),
    ],
)
def test_a_content_type_is_read(text: str, essence: str, parameters: dict[str, str]) -> None:
    assert media_type(text) == MediaType(essence, parameters)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "a/",
        "/b",
        "a/b c",
        "a/b; c",
        'a/b; c="d',
        "a/b; c=d e",
        "a/b; c=1; C=2",
        "a/b\r\n",
        "a/" + "b" * 5000,
    ],
)
def test_what_is_no_content_type_is_the_peer_s_fault(text: str) -> None:
    with pytest.raises(RemoteProtocolError):
        media_type(text)


@given(
    st.text(max_size=60)
    | st.lists(st.sampled_from(["a/b", ";", "=", '"', "\\", " ", "c", "d/e"])).map("".join)
)
def test_any_content_type_is_read_or_the_peer_s_fault(text: str) -> None:
    try:
        media_type(text)
    except RemoteProtocolError:
        return


@pytest.mark.parametrize("mark", ["a", "b0undary", "----=_Part:1/2?(x)", "a b", "x" * 70])
def test_a_boundary_is_named(mark: str) -> None:
    assert boundary(media_type(f'multipart/related; boundary="{mark}"')) == mark.encode()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("multipart/related", "no boundary"),
        ('multipart/related; boundary=""', "no boundary"),
        ('multipart/related; boundary="a "', "no boundary"),
        ('multipart/related; boundary="a\r\nb"', "no boundary"),
        ("multipart/related; boundary=\u00e4", "no boundary"),
        ("multipart/related; boundary=" + "x" * 71, "longer than 70"),
        ("application/dicom; boundary=a", "not multipart"),
    ],
)
def test_what_is_no_boundary_is_refused(value: str, words: str) -> None:
    with pytest.raises(RemoteProtocolError, match=words):
        boundary(media_type(value))


def test_a_boundary_of_ten_kilobytes_is_refused() -> None:
    with pytest.raises(RemoteProtocolError):
        media_type("multipart/related; boundary=" + "x" * 10_000)
    with pytest.raises(RemoteProtocolError):
        boundary(MediaType("multipart/related", {"boundary": "x" * 10_000}))


def test_the_generator_draws_what_is_whole_and_what_is_not() -> None:
    said = [outcome([draw(Random(number))], Limits()) for number in range(300)]
    whole = [each for each in said if isinstance(each, list)]
    assert len(whole) > 100
    assert any(len(each) > 1 for each in whole)
    assert len({each for each in said if isinstance(each, str)}) > 2
