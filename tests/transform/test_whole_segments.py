"""What is counted of a JPEG's scans, by what its segments say: streams made segment by segment, whose codes
are counted by the test."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from mapdr._fast._jpeg_scan_py import CUT, DAMAGED, Table
from mapdr.kernel.codec import Mismatch
from mapdr.transform.codecs import whole
from mapdr.transform.codecs.whole import whole_jpeg

SOI, EOI = b"\xff\xd8", b"\xff\xd9"
DATA = b"\x12\x34\xff\0"
"""The codes of each scan here."""


def table(value: int) -> Table:
    """A Huffman table with two codes."""
    return bytes([1, 1, *[0] * 14]), bytes([value, value + 1])


DIRECT, OTHERS, DIRECT2, OTHERS2 = map(table, (0, 2, 4, 6))


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body


def frame(rows: int, columns: int, *components: tuple[int, int, int], marker: int = 0xC0) -> bytes:
    """SOFn of components (number, sampling across and down)."""
    body = b"\x08" + rows.to_bytes(2, "big") + columns.to_bytes(2, "big") + bytes([len(components)])
    return segment(marker, body + b"".join(bytes([n, x << 4 | y, 0]) for n, x, y in components))


def tables(**places: Table) -> bytes:
    """One DHT segment: `d0` is the DC table in place 0, `a1` the AC table in place 1."""
    parts = (
        bytes([(name[0] == "a") << 4 | int(name[1:])]) + lengths + values
        for name, (lengths, values) in places.items()
    )
    return segment(0xC4, b"".join(parts))


ALL = tables(d0=DIRECT, a0=OTHERS, d1=DIRECT2, a1=OTHERS2)


def scan(*parts: tuple[int, int]) -> bytes:
    """A scan of components (number, places of tables), and its codes."""
    body = bytes([len(parts)]) + b"".join(bytes(each) for each in parts) + b"\0\x3f\0"
    return segment(0xDA, body) + DATA


class Counted(NamedTuple):
    units: bytes
    tables: list[Table]
    count: int
    interval: int
    lossless: bool


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[Counted]:
    """What is asked of each scan; all are whole, unless the test says otherwise."""
    asked: list[Counted] = []

    def count(stream: bytes, at: int, *rest: Any) -> int:
        assert stream[at : at + len(DATA)] == DATA
        asked.append(Counted(*rest))
        return at + len(DATA)

    monkeypatch.setattr(whole, "jpeg_scan_end", count)
    return asked


def test_interleaved_components_are_counted_by_their_sampling_factors(counted: list[Counted]) -> None:
    parts = frame(17, 33, (1, 2, 2), (2, 1, 1), (3, 1, 1)) + ALL + scan((1, 0), (2, 0x11), (3, 0x11))
    stream = SOI + parts + EOI
    assert whole_jpeg(stream) is stream
    units = b"\0\1" * 4 + b"\2\3" * 2
    assert counted == [Counted(units, [DIRECT, OTHERS, DIRECT2, OTHERS2], 3 * 2, 0, False)]


@pytest.mark.parametrize(
    ("factors", "counts"),
    [
        (((2, 2), (1, 1), (1, 2)), (5 * 3, 3 * 2, 3 * 3)),
        (((4, 1), (1, 1), (3, 1)), (5 * 3, 2 * 3, 4 * 3)),
        (((1, 1), (1, 3), (1, 4)), (5 * 1, 5 * 2, 5 * 3)),
    ],
)
def test_a_component_of_its_own_is_counted_by_its_own_size(
    counted: list[Counted], factors: tuple[tuple[int, int], ...], counts: tuple[int, ...]
) -> None:
    made = SOI + frame(17, 33, *((n, x, y) for n, (x, y) in enumerate(factors, 1))) + ALL
    made += b"".join(scan((number, 0x10)) for number in (1, 2, 3))
    assert whole_jpeg(made + EOI) == whole_jpeg(made) == made + EOI
    assert [each.count for each in counted] == [*counts] * 2
    assert {each.units for each in counted} == {b"\0\1"}
    assert counted[0].tables == [DIRECT2, OTHERS], "DC and AC have places of their own"


def test_lossless_streams_have_a_difference_for_each_sample_and_one_table(counted: list[Counted]) -> None:
    parts = frame(273, 289, (1, 2, 1), (2, 1, 1), marker=0xC3) + tables(d1=DIRECT)
    assert whole_jpeg(SOI + parts + scan((1, 0x10), (2, 0x10)) + EOI)
    assert whole_jpeg(SOI + parts + scan((1, 0x10)) + scan((2, 0x10)) + EOI)
    assert counted == [
        Counted(b"\0\0" * 3, [DIRECT], 273 * 145, 0, True),
        Counted(b"\0\0", [DIRECT], 273 * 289, 0, True),
        Counted(b"\0\0", [DIRECT], 273 * 145, 0, True),
    ]


def test_each_scan_has_the_tables_and_the_interval_that_were_said_last(counted: list[Counted]) -> None:
    made = SOI + segment(0xDD, b"\1\2") + ALL + frame(8, 8, (1, 1, 1), (2, 1, 1), marker=0xC1)
    made += scan((1, 0)) + tables(d0=DIRECT2) + segment(0xDD, b"\0\0") + scan((2, 0)) + EOI
    assert whole_jpeg(made) is made
    assert [(each.tables, each.interval) for each in counted] == [
        ([DIRECT, OTHERS], 258),
        ([DIRECT2, OTHERS], 0),
    ]


ONE = frame(8, 8, (1, 1, 1))
GREY = SOI + ONE + ALL + scan((1, 0))


@pytest.mark.usefixtures("counted")
def test_what_stands_between_segments_is_passed_over() -> None:
    between = b"\0\x55\xff\0\xff\xff\x01\xff\xd8\xff\xd0\xff\xd7\xff\xff"
    comment = segment(0xFE, b"\xff\xd9\xff\xc2")  # no markers: they are in a segment
    app = b"\xff\xef\0\1"  # a length that does not cover itself
    for some in (between, b"\xff", comment, app, segment(0xC8, b""), segment(0xCC, b"")):
        stream = SOI + some + ONE + some + ALL + some + scan((1, 0)) + some + EOI
        assert whole_jpeg(stream + b"behind\xff\xc2") == stream + b"behind\xff\xc2"
        with pytest.raises(Mismatch, match="cut off"):
            whole_jpeg(SOI + some + ONE + some + ALL + some + EOI)
        with pytest.raises(Mismatch, match="cut off"):
            whole_jpeg(SOI + some + ONE + ALL + EOI)


@pytest.mark.usefixtures("counted")
def test_a_stream_that_ends_before_all_its_components_came_is_cut() -> None:
    assert whole_jpeg(GREY) == whole_jpeg(GREY + EOI) == GREY + EOI
    two = SOI + frame(8, 8, (1, 1, 1), (2, 1, 1)) + ALL + scan((1, 0))
    assert whole_jpeg(two + scan((2, 0))) == two + scan((2, 0)) + EOI
    for cut in (
        b"",
        SOI,
        SOI + EOI[:1],
        SOI + ALL,
        SOI + ONE,
        SOI + ONE + EOI,
        two,
        two + EOI,
        two + b"\xff",
    ):
        with pytest.raises(Mismatch, match="cut off"):
            whole_jpeg(cut)
    with pytest.raises(Mismatch, match="cut off"):
        whole_jpeg(two + EOI + scan((2, 0)) + EOI)  # no decoder looks behind the end
    for cut in range(len(SOI + ONE + ALL) + 2, len(GREY) - len(DATA)):
        with pytest.raises(Mismatch, match="cut off"):
            whole_jpeg(GREY[:cut])
    beyond = GREY + segment(0xFE, b"some")[:-1]  # behind the last scan, which is whole
    assert whole_jpeg(beyond) == beyond + EOI
    with pytest.raises(Mismatch, match="cut off"):
        whole_jpeg(two + segment(0xFE, b"some")[:-1])  # within a segment, whatever its bytes are


@pytest.mark.usefixtures("counted")
@pytest.mark.parametrize("marker", [0xC2, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF])
def test_other_processes_are_not_looked_at(marker: int) -> None:
    stream = SOI + frame(8, 8, (1, 1, 1), marker=marker)
    assert whole_jpeg(stream) is stream


@pytest.mark.parametrize(("end", "told"), [(CUT, "the stream is cut off"), (DAMAGED, "codes: the stream is")])
def test_it_is_told_what_is_not_whole(monkeypatch: pytest.MonkeyPatch, end: int, told: str) -> None:
    monkeypatch.setattr(whole, "jpeg_scan_end", lambda *_: end)
    with pytest.raises(Mismatch, match=told):
        whole_jpeg(GREY + EOI)


@pytest.mark.parametrize(
    "broken",
    [
        frame(8, 8) + ALL + scan((1, 0)),
        frame(8, 8, (1, 0, 1)) + ALL + scan((1, 0)),
        frame(8, 8, (1, 1, 0)) + ALL + scan((1, 0)),
        frame(8, 8, (1, 5, 1)) + ALL + scan((1, 0)),
        frame(8, 8, (1, 1, 5)) + ALL + scan((1, 0)),
        ONE + ALL + scan((2, 0)),
        ONE + ALL + scan((1, 0x20)),
        ONE + ALL + scan((1, 0x02)),
        ONE + ALL + segment(0xDA, b"\2\1"),
        ONE + ALL + segment(0xDA, b""),
        segment(0xC0, b"\x08\0\x08"),
    ],
)
def test_what_no_decoder_can_follow_is_left_to_the_decoder(counted: list[Counted], broken: bytes) -> None:
    """It says what is wrong better, and refuses it, or knows what it is."""
    stream = SOI + broken
    assert whole_jpeg(stream) is stream
    assert not counted
