"""What decoder processes do, done here: what a JPEG says of its colours and its end, RLE byte by byte, which
pixels are cells of the data set, and what comes of a frame that is recompressed."""

from __future__ import annotations

import mmap
import struct
import sys
from collections.abc import Callable
from dataclasses import replace

import imagecodecs
import numpy as np
import pytest

from mapdr.kernel.codec import Decoder, Figures, FrameFormat, Mismatch, Pixels, Recompressor
from mapdr.transform.codecs import worker
from mapdr.transform.codecs.decode import (
    _ends,
    _names_no_colours,
    _plane,
    _rle_planes,
    jpeg,
    jpeg_lossless,
    jpeg_of_jpegxl,
    jpegls,
    jpegxl_of_jpeg,
    rle,
)
from mapdr.transform.codecs.worker import REPACKED, Job, Repacking, UnreadableHeader, decode

from .test_header_fields import EOI, SOI, segment

# --- JPEG

ADOBE, JFIF = b"Adobe\0\x64\0\0\0\0\1", b"JFIF\0\1\2\0\0\1\0\1\0\0"
KINDS = [*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)]


def frame(components: bytes, kind: int = 0xC0) -> bytes:
    """A frame's header whose components have these numbers."""
    return segment(kind, b"\x08\0\1\0\1\3" + b"".join(bytes([each, 0x11, 0]) for each in components))


@pytest.mark.parametrize("components", [b"\0\1\2", b"\1\2\3", b"RGB", b"BGR", b"\1\2\4"])
def test_the_numbers_of_the_components_say_what_they_are(components: bytes) -> None:
    for kind in KINDS:
        said = components in (b"\1\2\3", b"RGB")
        assert _names_no_colours(SOI + frame(components, kind) + EOI) is (not said), hex(kind)


@pytest.mark.parametrize(
    ("marker", "body", "said"),
    [
        (0xEE, ADOBE, True),
        (0xEE, ADOBE + b"more", True),
        (0xEE, ADOBE[:-1], False),
        (0xEE, b"adobe" + ADOBE[5:], False),
        (0xED, ADOBE, False),
        (0xEE, JFIF, False),
        (0xE0, JFIF, True),
        (0xE0, JFIF[:-1], False),
        (0xE0, b"JFXX" + JFIF[4:], False),
        (0xE1, JFIF, False),
        (0xE0, ADOBE, False),
        # Tables, which are written as frames are, but for what is in them.
        *((marker, b"\x08\0\1\0\1\3R\x11\0G\x11\0B\x11\0", False) for marker in (0xC4, 0xC8, 0xCC, 0xDB)),
        (0xFE, b"", False),
    ],
)
def test_a_segment_says_of_colours_what_libjpeg_reads_there(marker: int, body: bytes, said: bool) -> None:
    for before in (b"", segment(0xDB, bytes(65))):
        for kind in (0xC0, 0xC1, 0xCF):
            stream = SOI + before + segment(marker, body) + frame(b"\0\1\2", kind) + EOI
            assert _names_no_colours(stream) is (not said)


def test_without_a_frame_the_stream_is_left_to_the_codec() -> None:
    for stream in (SOI, SOI + EOI, SOI + segment(0xFE, b"text"), SOI + EOI + frame(b"\0\1\2")):
        assert _names_no_colours(stream) is False


@pytest.mark.parametrize(
    "between", [b"\xff", b"\xff\xff\xff", b"between", b"\xff\0", b"\xff\x01", b"\xff\xd3"]
)
def test_what_stands_between_segments_is_passed_over_as_libjpeg_does(between: bytes) -> None:
    assert _names_no_colours(SOI + between + frame(b"\0\1\2") + EOI)
    assert not _names_no_colours(SOI + between + segment(0xEE, ADOBE) + between + frame(b"\0\1\2") + EOI)


def test_a_jpeg_ends_behind_its_last_scan() -> None:
    scan = b"\xff\xda\0\2data"
    for whole in (SOI + scan + EOI, SOI + scan + scan + EOI + b"\0", SOI + EOI + scan + EOI, b"none"):
        _ends(whole)
    for cut in (SOI + scan, SOI + EOI + scan, SOI + scan + EOI[:1], SOI + scan + EOI + scan):
        with pytest.raises(Mismatch, match="cut off"):
            _ends(cut)


@pytest.mark.parametrize("decoder", [jpeg, jpeg_lossless])
def test_a_jpeg_that_is_cut_off_is_not_given_to_libjpeg(
    decoder: Callable[[FrameFormat, bytes], Pixels], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imagecodecs, "jpeg_decode", lambda *_, **__: pytest.fail("it was decoded"))
    form = FrameFormat(16, 16, 1, 8, 8, False, "MONOCHROME2")
    with pytest.raises(Mismatch, match="cut off"):
        decoder(form, SOI + frame(b"\1") + b"\xff\xda\0\2data")


@pytest.mark.parametrize(
    ("photometric", "components", "told"),
    [
        ("RGB", b"\0\1\2", {"colorspace": "RGB", "outcolorspace": "RGB"}),
        ("RGB", b"\1\2\3", {}),
        ("YBR_FULL_422", b"\0\1\2", {}),
        ("YBR_FULL_422", b"\1\2\3", {}),
    ],
)
def test_the_data_set_says_the_colours_where_the_stream_does_not(
    photometric: str, components: bytes, told: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[dict[str, str]] = []
    monkeypatch.setattr(imagecodecs, "jpeg_decode", lambda _, **options: given.append(options))
    stream = SOI + frame(components) + EOI
    jpeg(FrameFormat(1, 1, 3, 8, 8, False, photometric), stream)
    assert given == [told]


def test_a_jpeg_ls_that_is_cut_off_is_not_given_to_charls(monkeypatch: pytest.MonkeyPatch) -> None:
    """For some it took ten seconds to refuse them."""
    form = FrameFormat(16, 16, 1, 8, 8, False, "MONOCHROME2")
    whole = imagecodecs.jpegls_encode(np.arange(256, dtype="u1").reshape(16, 16))
    for padded in (whole, whole + b"\0"):
        assert np.array_equal(jpegls(form, padded).ravel(), range(256))
    monkeypatch.setattr(imagecodecs, "jpegls_decode", lambda stream: pytest.fail("it was decoded"))
    for cut in range(whole.index(b"\xff\xda") + 2, len(whole)):
        with pytest.raises(Mismatch, match="cut off"):
            jpegls(form, whole[:cut])


def test_a_jpeg_that_jpeg_xl_holds_comes_back() -> None:
    if not imagecodecs.JPEGXL.available:
        pytest.skip("imagecodecs was built without JPEG XL")
    whole = imagecodecs.jpeg_encode(np.arange(256, dtype="u1").reshape(16, 16), level=90)
    assert jpeg_of_jpegxl(jpegxl_of_jpeg(whole)) == whole


# --- RLE (PS3.5, annex G)

RUNS = b"".join(
    (
        b"\x7f" + bytes(range(128)),  # 128 bytes as they are, the most
        b"\x81\x11",  # 128 times the same, the most
        b"\x80",  # nothing
        b"\xff\x22",  # twice, the fewest
        b"\x00\x33",  # one byte as it is, the fewest
    )
)
PLANE = bytes(range(128)) + b"\x11" * 128 + b"\x22\x22\x33"


def test_a_plane_is_read_run_by_run_until_it_is_full() -> None:
    for size in range(len(PLANE) + 1):
        assert _plane(RUNS, size).tobytes() == PLANE[:size]
        assert _plane(RUNS + b"\x20", size).tobytes() == PLANE[:size]
    with pytest.raises(Mismatch):
        _plane(RUNS, len(PLANE) + 1)
    for cut in range(len(RUNS)):
        with pytest.raises(Mismatch):
            _plane(RUNS[:cut], len(PLANE))


def rle_of(planes: list[bytes], padding: bytes = b"") -> bytes:
    """An RLE frame of planes of up to 128 bytes."""
    segments = [bytes([len(plane) - 1]) + plane + padding for plane in planes]
    starts = [64 + sum(map(len, segments[:step])) for step in range(len(segments))]
    return struct.pack("<16L", len(planes), *starts, *[0] * (15 - len(planes))) + b"".join(segments)


@pytest.mark.parametrize("padding", [b"", b"\0", b"\x20\x41"])  # the last is not read by imagecodecs
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("allocated", [8, 16, 32])
def test_planes_become_samples_the_most_significant_byte_first(
    allocated: int, samples: int, padding: bytes
) -> None:
    form = FrameFormat(2, 3, samples, allocated, allocated, False, "RGB" if samples == 3 else "MONOCHROME2")
    values = np.arange(6 * samples).reshape(2, 3, samples)
    cells = (values * 0x01030507 % (1 << allocated)).astype(f">u{allocated // 8}")
    raw = np.frombuffer(cells.tobytes(), "u1").reshape(6, samples, allocated // 8)
    planes = [raw[:, sample, byte].tobytes() for sample in range(samples) for byte in range(allocated // 8)]
    stream = rle_of(planes, padding)
    found = rle(form, stream)
    assert np.array_equal(found, cells[..., 0] if samples == 1 else cells)
    for wrong in (
        struct.pack("<L", len(planes) + 1) + stream[4:],
        struct.pack("<L", len(planes) - 1) + stream[4:],
        rle_of([plane[:-1] for plane in planes]),
    ):
        with pytest.raises(Mismatch):
            rle(form, wrong)
    for wrong in (
        stream[:4] + stream[8:12] + stream[4:8] + stream[12:],  # not one behind the other
        struct.pack("<L", len(planes) + 1) + stream[4:],
    ):
        with pytest.raises(Mismatch):
            _rle_planes(form, wrong if len(planes) > 1 else b"\2" + stream[1:])


# --- What is a cell of the data set

FORM = FrameFormat(2, 2, 1, 16, 12, False, "MONOCHROME2")


def cells(form: FrameFormat, pixels: Pixels, *, is_signed: bool = False) -> Pixels:
    return decode(Job(Decoder(lambda _, stream: pixels, is_signed=is_signed), form), b"")


def of(value: int, kind: str) -> Pixels:
    return np.array([[0, 0], [0, value]], kind)


@pytest.mark.parametrize(
    ("form", "kind", "fits", "beyond", "what"),
    [
        (FORM, "i4", (0, 4095), (4096,), "depth"),
        (FORM, "i4", (), (-1,), "sign"),
        (replace(FORM, signed=True), "i4", (-2048, 2047), (-2049, 2048), "depth"),
        (replace(FORM, stored=16), "i4", (0, 65535), (65536,), "depth"),
        (replace(FORM, stored=16, signed=True), "i2", (-32768, 32767), (), ""),
        (FORM, "u2", (0, 4095, 65535), (), ""),  # bits that are not stored are cells' own
        (FORM, "u4", (65535,), (65536,), "depth"),
        (replace(FORM, allocated=8, stored=8), "u2", (255,), (256,), "depth"),
        (replace(FORM, allocated=8, stored=8), "u1", (255,), (), ""),
    ],
)
def test_a_value_that_no_cell_holds_is_refused(
    form: FrameFormat, kind: str, fits: tuple[int, ...], beyond: tuple[int, ...], what: str
) -> None:
    for value in fits:
        found = cells(form, of(value, kind))
        assert found.dtype == f"<u{form.allocated // 8}"
        assert found[1, 1] == value % (1 << form.allocated)
        assert found.flags.c_contiguous
    for value in beyond:
        with pytest.raises(Mismatch, match=what):
            cells(form, of(value, kind))


def test_unsigned_values_of_a_codec_that_knows_signs_are_below_half_of_the_range() -> None:
    signed = replace(FORM, signed=True)
    assert cells(signed, of(2047, "u2"), is_signed=True)[1, 1] == 2047
    with pytest.raises(Mismatch, match="sign"):
        cells(signed, of(2048, "u2"), is_signed=True)
    assert cells(signed, of(2048, "u2"))[1, 1] == 2048
    assert cells(FORM, of(2048, "u2"), is_signed=True)[1, 1] == 2048


def test_a_frame_has_the_shape_that_the_data_set_says() -> None:
    flat = of(7, "u2")
    assert cells(FORM, flat[..., None]).shape == (2, 2)
    colour = replace(FORM, samples=3)
    assert cells(colour, np.zeros((2, 2, 3), "u2")).shape == (2, 2, 3)
    for form, pixels in (
        (FORM, flat[:1]),
        (FORM, flat.astype("f4")),
        (FORM, np.zeros((2, 2, 2), "u2")),
        (FORM, np.zeros((2, 2, 1, 1), "u2")),
        (colour, flat),
        (colour, np.zeros((2, 2, 4), "u2")),
        (colour, np.zeros((3, 2, 2), "u2")),
    ):
        with pytest.raises(Mismatch, match="shape"):
            cells(form, pixels)


def test_a_header_is_held_to_the_data_set_before_the_codec_runs() -> None:
    def never(form: FrameFormat, stream: bytes) -> Pixels:
        raise AssertionError("it was decoded")

    for found, error in (
        (None, UnreadableHeader),
        (Figures(3, 2, 1, 8), Mismatch),
        (Figures(2, 3, 1, 8), Mismatch),
        (Figures(2, 2, 3, 8), Mismatch),
        (Figures(2, 2, 1, 17), Mismatch),
    ):
        with pytest.raises(error):
            decode(Job(Decoder(never, header=lambda _, found=found: found), FORM), b"")  # type: ignore[misc]
    plain = Decoder(lambda _, stream: of(7, "u2"), header=lambda stream: Figures(2, 2, 1, 16))
    assert decode(Job(plain, FORM), b"")[1, 1] == 7


def test_how_much_a_decoder_may_take_and_give() -> None:
    form = FrameFormat(10, 20, 3, 16, 12, False, "RGB")
    job = Job(Decoder(lambda _, stream: np.zeros((10, 20, 3), "u2")), form)
    assert (job.size, job.work) == (1200, (1 << 28) + 64 * 600)
    assert job.done(b"") == bytes(1200)
    again = Repacking(Recompressor((), bytes, bytes, lambda stream: None), form, 700)
    assert (again.size, again.work) == (700 + REPACKED, (1 << 28) + 64 * 600)


# --- What is recompressed


def repacking(grows: int, *, back: bytes = b"stream", found: Figures | None = None) -> Repacking:
    made = Recompressor(
        sources=(),
        recompress=lambda stream: bytes(len(stream) + grows),
        restore=lambda packed: back,
        header=lambda stream: found or Figures(2, 2, 1, 8),
    )
    return Repacking(made, FORM, len(b"stream"))


def test_what_is_recompressed_comes_back_or_is_refused() -> None:
    assert repacking(REPACKED).done(b"stream") == bytes(len(b"stream") + REPACKED)
    with pytest.raises(Mismatch, match="it grows"):
        repacking(REPACKED + 1).done(b"stream")
    with pytest.raises(Mismatch, match="does not come back"):
        repacking(0, back=b"strean").done(b"stream")
    with pytest.raises(Mismatch, match="shape"):
        repacking(0, found=Figures(3, 2, 1, 8)).done(b"stream")


def test_an_answer_tells_the_kind_of_an_error_and_nothing_else() -> None:
    form = replace(FORM, rows=1, columns=1)
    for raised, said in (
        (Mismatch("depth"), {"mismatch": "depth"}),
        (ValueError("Doe^Jane"), {"error": "ValueError"}),
        (MemoryError(), {"error": "MemoryError"}),
    ):

        def fail(form: FrameFormat, stream: bytes, raised: Exception = raised) -> Pixels:
            raise raised

        assert worker._answer(Job(Decoder(fail), form), b"") == (said, None)
    plain = Job(Decoder(lambda _, stream: np.array([[7]], "u2")), form)
    assert worker._answer(plain, b"") == ({"ok": ""}, b"\7\0")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a process maps")
def test_a_frame_may_map_so_much_and_the_next_one_again() -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    for _ in range(2):
        with pytest.raises(OSError, match="Cannot allocate memory"), worker._limited(1 << 28):
            mmap.mmap(-1, 1 << 30)
        assert resource.getrlimit(resource.RLIMIT_AS) == before
    with worker._limited(1 << 30):
        mmap.mmap(-1, 1 << 29).close()
        inside, most = resource.getrlimit(resource.RLIMIT_AS)
        assert most == before[1]
        with worker._limited(1 << 40):
            assert resource.getrlimit(resource.RLIMIT_AS) == (inside, most), "never more than it had"
