"""A payload as transforms see it: any bytes of its parts, its fragments, its data set, its native frames."""

from __future__ import annotations

import os
import struct
from dataclasses import replace
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mapdr.dicom import uids
from mapdr.dicom.scan import deflate_pieces
from mapdr.dicom.write import EXPLICIT_LITTLE, Element, walk
from mapdr.kernel import files
from mapdr.kernel.errors import Permanent
from mapdr.kernel.files import SHARED_READS
from mapdr.kernel.item import FileSlice, Part, Treatment
from mapdr.kernel.proof import Proof
from mapdr.transform import dataset, view
from mapdr.transform.bits import BitFrames
from mapdr.transform.chroma import HalfChroma
from mapdr.transform.dataset import DataSet, inflated
from mapdr.transform.document import OpenImage
from mapdr.transform.even import evened
from mapdr.transform.fragments import around, begins_frame, encapsulated, fragments, frame_spans
from mapdr.transform.image import Attributes, Image, LeaveAsIs
from mapdr.transform.view import Held, PartsView, beginning

from .helpers import CODECS, encoded, image, payload_of, picture
from .test_fragments import END, HEAD, item, pixel_of
from .test_needs import PADDING, Noted, of

EXPLICIT, DEFLATED = uids.EXPLICIT_VR_LITTLE_ENDIAN, "1.2.840.10008.1.2.1.99"

# --- Any bytes of several parts


@pytest.fixture
def parts(tmp_path: Path) -> tuple[tuple[Part, ...], bytes]:
    """Bytes and slices of two files, and what they hold together."""
    (tmp_path / "one").write_bytes(b"..0123456789..")
    (tmp_path / "two").write_bytes(b"abcdef")
    one, two = FileSlice(tmp_path / "one", 2, 10), FileSlice(tmp_path / "two", 0, 6)
    return (b"HEAD", one, b"", b"MID", two), b"HEAD0123456789MIDabcdef"


@pytest.mark.parametrize("large", [1, 4, 1 << 16])
@pytest.mark.parametrize("most", [1, 3, 1 << 30])
def test_any_span_is_what_the_parts_hold(
    parts: tuple[tuple[Part, ...], bytes], large: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it is mapped or read, in as many reads as the system needs."""
    monkeypatch.setattr(view, "_LARGE", large)
    monkeypatch.setattr(files, "_MOST", most)
    given, whole = parts
    opened: list[int] = []
    open_now = os.open

    def noting(*some: Any) -> int:
        opened.append(open_now(*some))
        return opened[-1]

    monkeypatch.setattr(os, "open", noting)
    with PartsView(given) as found:
        assert len(found) == len(whole)
        assert len(found.parts) == 4
        for start, stop in combinations_with_replacement(range(len(whole) + 1), 2):
            assert found[start:stop] == whole[start:stop]
        assert found[-3:] == whole[-3:]
        assert len(opened) <= 6, "each file is opened once to be mapped, to be read, and for its beginning"
        assert found.buffer() == whole
    for each in opened:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(each)


def test_what_is_held_is_not_read_again(parts: tuple[tuple[Part, ...], bytes]) -> None:
    given, whole = parts
    one = given[1]
    assert isinstance(one, FileSlice)
    proof = Proof(one.path, one.offset, one.length, b"")
    held = Held(proof, b"0123456789")
    here = replace(one, proof=proof)
    one.path.unlink()
    with PartsView((given[0], here, *given[3:]), held) as found:
        for start, stop in combinations_with_replacement(range(len(whole) - 6), 2):
            assert found[start:stop] == whole[start:stop]
        assert found.at_hand is None
    for cut, expected in ((here, b"0123456789"), (here.cut(2, 5), b"234")):
        with PartsView((cut,), held) as found, found.buffer() as buffer:
            assert buffer == expected == found[:]
            assert buffer.obj is held.data
    with PartsView((replace(here, proof=Proof(one.path, 0, 1, b"")),), held) as found:
        assert found.at_hand is None
        with pytest.raises(FileNotFoundError):
            found[:]


def test_spans_of_files_stay_slices_of_them(parts: tuple[tuple[Part, ...], bytes]) -> None:
    given, whole = parts
    with PartsView(given) as found:
        for start, stop in combinations_with_replacement(range(len(whole) + 5), 2):
            cut = found.slice(start, stop)
            joined = b"".join(part if isinstance(part, bytes) else b"".join(part.chunks(99)) for part in cut)
            assert joined == whole[start:stop]
            assert all(part if isinstance(part, bytes) else part.length for part in cut)
        assert [type(part) for part in found.slice(3, 6)] == [bytes, FileSlice]
        assert found.slice(5, 7) == (replace(given[1], offset=3, length=2),)  # type: ignore[arg-type]


def test_one_part_is_no_copy_and_a_file_that_lost_its_end_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    data = b"in memory"
    with PartsView((data,)) as found, found.buffer() as buffer:
        assert buffer.obj is data
    with PartsView((FileSlice(path, 3, 7),)) as found, found.buffer() as buffer:
        assert bytes(buffer) == b"3456789"
    assert beginning(FileSlice(path, 3, 7), 4) == b"3456"
    assert beginning(FileSlice(path, 3, 4), 99) == b"3456"
    assert beginning(FileSlice(path, 3, 7), 99) == b"3456789"
    cut = FileSlice(path, 3, 8)
    with PartsView((cut,)) as found:
        for ask in (found.buffer, lambda: found[0:1], lambda: beginning(cut, 4)):
            with pytest.raises(Permanent) as caught:
                ask()
            assert caught.value.reason == "damaged"


def test_a_file_that_ends_while_it_is_read_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view, "_LARGE", 1)
    if not SHARED_READS:
        pytest.skip("the system does not read at a place")
    path = tmp_path / "file"
    path.write_bytes(b"0123456789a")
    with PartsView((b"head", FileSlice(path, 3, 8))) as found:
        assert found[4:11] == b"3456789"
        os.truncate(path, 10)
        with pytest.raises(Permanent) as caught:
            found[4:12]
    assert caught.value.reason == "damaged"


# --- Fragments


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (item(b"") + item(b"ab") + b"\xfe\xff\x01\xe0\2\0\0\0ab", "item was expected at byte 30"),
        (item(b"") + item(b"ab")[:-1], "item was expected at byte 20"),
        (item(b"") + b"\xfe\xff\x00\xe0\xff\xff\xff\xff", "item was expected at byte 20"),
        (b"", "no offset table"),
    ],
)
def test_what_is_no_sequence_of_items_is_refused_with_its_place(body: bytes, words: str) -> None:
    end = b"" if body and not body.endswith(b"ab") else END
    blob = HEAD + body + end
    pixel = Element(0x7FE00010, "OB", 0, 12, len(blob), undefined=True)
    with pytest.raises(Permanent, match=words) as caught:
        fragments(blob, pixel)
    assert caught.value.reason == "fragments"


def test_an_item_may_end_where_the_pixel_data_does_and_tables_hold_whole_offsets() -> None:
    blob = HEAD + item(struct.pack("<2I", 0, 10) + b"xy") + item(b"ab") + item(b"") + END
    offsets, spans = fragments(blob, pixel_of(blob))
    assert (offsets, list(spans)) == ((0, 10), [(38, 40), (48, 48)])
    assert [spans[1], len(spans)] == [(48, 48), 2]
    for beyond in (2, -1):
        with pytest.raises(IndexError):
            spans[beyond]
    cut = Element(0x7FE00010, "OB", 0, 12, 40, undefined=True)
    with pytest.raises(Permanent):
        fragments(blob[:40], cut)  # nothing follows


def grouped(table: bytes, items: list[bytes], frames: int, extended: bytes = b"") -> list[list[bytes]]:
    blob = HEAD + item(table) + b"".join(map(item, items)) + END
    spans = frame_spans(blob, pixel_of(blob), frames, extended)
    return [[blob[start:stop] for start, stop in frame] for frame in spans]


def test_a_table_groups_fragments_and_the_extended_one_comes_first() -> None:
    items = [b"ab", b"cd", b"ef"]
    assert grouped(struct.pack("<2I", 0, 20), items, 2) == [[b"ab", b"cd"], [b"ef"]]
    other = struct.pack("<2Q", 0, 10)
    assert grouped(struct.pack("<2I", 0, 20), items, 2, other) == [[b"ab"], [b"cd", b"ef"]]
    assert grouped(b"", items, 2, other) == [[b"ab"], [b"cd", b"ef"]]
    assert grouped(struct.pack("<2I", 0, 20), items, 2, other[:8]) == [[b"ab", b"cd"], [b"ef"]]
    assert grouped(b"", items, 3) == [[b"ab"], [b"cd"], [b"ef"]]
    assert grouped(b"", items, 1) == [items]
    for table in (struct.pack("<2I", 0, 11), struct.pack("<2I", 10, 20), struct.pack("<3I", 0, 10, 20)):
        with pytest.raises(Permanent, match="broken"):
            grouped(table, items, 2)
    with pytest.raises(Permanent):
        grouped(b"", [], 1)


STARTS = (
    b"\xff\xd8\xff",
    b"\xff\x4f\xff\x51",
    b"\xff\x0a",
    b"\0\0\0\x0cjP  ",
    b"\0\0\0\x0cJXL ",
)


@pytest.mark.parametrize("start", STARTS)
def test_a_codestream_is_told_by_its_first_bytes_alone(start: bytes) -> None:
    assert begins_frame(start)
    assert not begins_frame(start[:-1])
    rest = b"more" + STARTS[0] + b"!"
    assert grouped(b"", [start + b"more" * 4, rest, start], 2) == [[start + b"more" * 4, rest], [start]]
    with pytest.raises(Permanent, match="begins no frame"):
        grouped(b"", [rest, start, start], 2)


@pytest.mark.parametrize(("limit", "is_extended"), [(24, True), (25, False)])
def test_the_extended_table_begins_where_an_offset_does_not_fit(limit: int, is_extended: bool) -> None:
    before, parts = around([4, 4, 2], [b"", b""], limit=limit)
    assert bool(before) is is_extended
    (head, *_) = parts
    assert isinstance(head, bytes)
    assert head[12:] == (item(b"") if is_extended else item(struct.pack("<3I", 0, 12, 24)))


def test_odd_fragments_are_padded_and_even_ones_are_not() -> None:
    made = encapsulated((0, 12), [((b"ab", b"c"), 3), ((b"de",), 2)])
    assert b"".join(made) == HEAD + item(struct.pack("<2I", 0, 12)) + item(b"abc\0") + item(b"de") + END  # type: ignore[arg-type]


# --- A data set


def whole() -> bytes:
    return encoded(image(picture(16, 16, 0, 4000))) + PADDING


def test_a_data_set_that_ends_within_an_element_is_refused_and_pixel_data_may_be_cut() -> None:
    blob = whole()
    pixels = len(blob) - len(PADDING)
    for size in (50, pixels - 512 - 11, pixels - 512 - 1):
        with pytest.raises(Permanent), DataSet(of(blob[:size])[0]):
            pass
    for size in (pixels - 1, pixels - 512):
        with DataSet(of(blob[:size])[0]) as opened:
            assert opened.pixel is not None
            assert opened.pixel.end == size + 1, "one byte beyond what is there"
            assert opened.header() == blob[: pixels - 524]
    with pytest.raises(Permanent) as caught, DataSet(of(blob[:-1])[0]):
        pass
    assert "within an element" in str(caught.value)
    with DataSet(of(blob)[0]) as opened:
        assert (opened.pixel and opened.pixel.end, opened.end) == (pixels, len(blob))
        assert opened.tail(b"") == PADDING
        assert opened.is_regular


def test_what_was_not_opened_is_not_read() -> None:
    closed = DataSet(of(whole())[0])
    for ask in (lambda: closed.view, lambda: closed.is_regular):
        with pytest.raises(RuntimeError, match="not open"):
            ask()


@pytest.mark.parametrize("cut", [4, 100])
def test_of_a_native_image_in_parts_only_the_beginning_is_read(cut: int) -> None:
    """Encapsulated ones are walked to their end, in one buffer, and that is said before."""
    noted = Noted()
    with noted.held(), DataSet(of(whole(), cut=cut)[0]) as opened:
        assert opened.pixel is not None
    assert noted.said == []
    head = encoded(image(picture(16, 16, 0, 4000)))[:-524]
    encapsulated_ = head + HEAD + item(b"") + item(b"ab") + END + PADDING
    noted = Noted()
    with noted.held(), DataSet(of(encapsulated_, uids.JPEG_BASELINE, cut=cut)[0]) as opened:
        assert opened.tail(b"") == PADDING
    assert noted.said[0] == len(encapsulated_)


def test_a_deflated_data_set_grows_up_to_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    blob = whole()
    packed = of(deflate_pieces([blob]), DEFLATED)[0]
    assert inflated(packed) == blob
    monkeypatch.setattr(dataset, "INFLATE_LIMIT", len(blob))
    assert inflated(packed) == blob
    with DataSet(packed) as opened:
        assert opened.view[:] == blob
    monkeypatch.setattr(dataset, "INFLATE_LIMIT", len(blob) - 1)
    noted = Noted()
    for held in (noted.held(), Noted().held()):
        with held, pytest.raises(Permanent) as caught:
            inflated(packed)
        assert caught.value.reason == "too-long"
    with pytest.raises(Permanent):
        inflated(packed)


def test_a_data_set_is_closed_whatever_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blob, mapped = whole(), []
    map_now = view.mmap.mmap

    def noting(*some: Any, **more: Any) -> Any:
        mapped.append(map_now(*some, **more))
        return mapped[-1]

    monkeypatch.setattr(view.mmap, "mmap", noting)
    for size, is_broken in ((len(blob), False), (60, True)):
        path = tmp_path / str(size)
        path.write_bytes(blob[:size])
        payload = replace(of(blob[:size])[0], parts=(FileSlice(path, 0, size),))
        with OpenImage(payload, CODECS) as opened:
            if is_broken:
                with pytest.raises(Permanent):
                    _ = opened.data
            else:
                assert opened.data.header()
        assert mapped.pop().closed
        assert not mapped


def test_what_is_of_another_encoding_than_was_declared_is_read_as_it_is() -> None:
    data = image(picture(16, 16, 0, 4000))
    plain = encoded(data)
    with DataSet(of(plain, uids.IMPLICIT_VR_LITTLE_ENDIAN)[0]) as opened:
        assert opened.encoding == EXPLICIT_LITTLE
        assert opened.header() == plain[:-524]
    implicit = encoded(data, uids.IMPLICIT_VR_LITTLE_ENDIAN)
    noted = Noted()
    with noted.held(), DataSet(of(implicit, uids.IMPLICIT_VR_LITTLE_ENDIAN)[0]) as opened:
        assert opened.header() == plain[:-524]
    assert noted.said == [4 * (len(implicit) - 8 - 512)], "though nobody asked whether it is regular"


def sequence(tag: bytes, text: bytes) -> bytes:
    """A sequence of two items, each with a text."""
    inner = b"\x40\0\x07\0LO" + len(text).to_bytes(2, "little") + text
    return tag + b"SQ\0\0" + struct.pack("<I", 2 * (8 + len(inner))) + 2 * item(inner)


@pytest.mark.parametrize("place", ["header", "tail"])
def test_what_is_odd_within_an_item_is_written_anew(place: str) -> None:
    plain = encoded(image(picture(16, 16, 0, 4000)))
    for text, is_even in ((b"abc", False), (b"abc ", True)):
        header, tail = plain[:-524], b""
        if place == "header":
            header += sequence(b"\x40\0\x75\2", text)
        else:
            tail = sequence(b"\xe1\x7f\x01\x10", text)
        with DataSet(of(header + plain[-524:] + tail)[0]) as opened:
            assert opened.is_regular is is_even
            assert (opened.header() == header) is (is_even or place == "tail")
            assert (opened.tail(header) == tail) is (is_even or place == "header")
            assert b"abc " in opened.header() + opened.tail(header)
    implicit = payload_of(image(picture(16, 16, 0, 4000)), uids.IMPLICIT_VR_LITTLE_ENDIAN)[0]
    with DataSet(implicit) as opened:
        assert opened.is_regular
        assert opened.header() == plain[:-524]


def test_what_was_edited_before_it_is_made_even_keeps_its_treatment() -> None:
    odd, _ = of(whole()[: -len(PADDING)][:-524] + b"\x10\x00\x30\x40OB\0\0\3\0\0\0abc")
    for before, after in (
        (Treatment.RELAYED, Treatment.EDITED),
        (Treatment.EDITED, Treatment.EDITED),
        (Treatment.TRANSCODED, Treatment.TRANSCODED),
    ):
        noted = Noted()
        with noted.held():
            made = evened(replace(odd, treatment=before))
        assert (made.treatment, made.length) == (after, odd.length + 1)
        assert noted.said == [4 * odd.length]


# --- Native frames of bits, and of half the chrominance


def opened(data: Any) -> tuple[Image, bytes, Element]:
    blob = encoded(data)
    pixel = next(each for each in walk(blob, EXPLICIT_LITTLE) if each.tag == 0x7FE00010)
    return Image.of(Attributes(blob[: pixel.start])), blob, pixel


def bit_image(frames: int = 3, columns: int = 5, rows: int = 3) -> Any:
    data = image(np.zeros((rows, columns), int), allocated=8, stored=1)
    data.BitsAllocated, data.NumberOfFrames = 1, frames
    bits = np.random.default_rng(1).integers(0, 2, frames * rows * columns)
    packed = np.packbits(bits.astype("u1"), bitorder="little").tobytes()
    data.PixelData = packed + b"\0" * (len(packed) % 2)
    data["PixelData"].VR = "OB"
    return data


def chroma_image(frames: int = 2) -> Any:
    data = image(np.zeros((4, 6, 3), int), allocated=8, stored=8, photometric="YBR_FULL_422")
    data.NumberOfFrames = frames
    data.PixelData = bytes(index % 256 for index in range(4 * 6 * 2 * frames))
    data["PixelData"].VR = "OB"
    return data


@pytest.mark.parametrize(("rows", "columns"), [(3, 5), (11, 17), (4, 4)])
def test_bits_are_read_one_behind_the_other(rows: int, columns: int) -> None:
    data = bit_image(3, columns, rows)
    found, blob, pixel = opened(data)
    size = rows * columns
    bits = np.unpackbits(np.frombuffer(data.PixelData, "u1"), bitorder="little")
    frames = BitFrames(found, blob, pixel, big_endian=False)
    for index in range(3):
        assert frames.cells(index) == bits[size * index : size * (index + 1)].tobytes()
        assert frames.frame(index).shape == (rows, columns)
    BitFrames(found, blob, pixel, big_endian=True)  # bytes have no order


@pytest.mark.parametrize(
    ("read", "data", "size"),
    [
        (lambda *some: BitFrames(*some, big_endian=False), bit_image(3), 6),
        (lambda *some: BitFrames(*some, big_endian=False), bit_image(2, columns=7), 6),
        (lambda *some: BitFrames(*some, big_endian=False), bit_image(1, columns=7), 3),
        (HalfChroma, chroma_image(1), 48),
        (HalfChroma, chroma_image(3), 144),
    ],
)
def test_native_pixel_data_has_the_length_that_its_module_says(read: Any, data: Any, size: int) -> None:
    found, blob, pixel = opened(data)
    blob = blob[: pixel.value] + bytes(size + 9)
    for length in range(size + 9):
        each = pixel._replace(end=pixel.value + length)
        if length in (size, size + size % 2):
            read(found, blob, each)
            read(found, blob[: each.end], each)
            for refused in ((blob[: each.end - 1], each), (blob, each._replace(undefined=True))):
                with pytest.raises(LeaveAsIs, match="pixel-length"):
                    read(found, *refused)
            continue
        with pytest.raises(LeaveAsIs, match="pixel-length"):
            read(found, blob, each)


def test_bits_and_half_chrominance_of_another_form_are_left_as_they_are() -> None:
    found, blob, pixel = opened(bit_image())
    for change in ({"stored": 2}, {"samples": 3, "rows": 1}):
        with pytest.raises(LeaveAsIs, match="pixel-module"):
            BitFrames(replace(found, **change), blob, pixel, big_endian=False)
    words = pixel._replace(vr="OW")
    BitFrames(found, blob, words, big_endian=False)
    with pytest.raises(LeaveAsIs, match="byte-order"):
        BitFrames(found, blob, words, big_endian=True)
    found, blob, pixel = opened(chroma_image())
    for columns, rows in ((8, 3), (2, 12)):
        HalfChroma(replace(found, columns=columns, rows=rows), blob, pixel)
    for other in ({"samples": 1}, {"allocated": 16}, {"planar": 1}, {"columns": 5}):
        with pytest.raises(LeaveAsIs, match="half-chrominance"):
            HalfChroma(replace(found, **other), blob, pixel)


def test_frames_of_half_chrominance_are_read_one_behind_the_other() -> None:
    found, blob, pixel = opened(chroma_image())
    frames = HalfChroma(found, blob, pixel)
    for index in range(2):
        cells = np.frombuffer(frames.cells(index), "u1").reshape(4, 3, 2, 3)
        raw = np.arange(48 * index, 48 * index + 48).reshape(4, 3, 4) % 256
        assert np.array_equal(cells[..., 0], raw[..., :2])
        assert np.array_equal(cells[..., 0, 1:], raw[..., 2:])
        assert np.array_equal(cells[..., 1, 1:], raw[..., 2:])
        assert frames.frame(index).shape == (4, 6, 3)
