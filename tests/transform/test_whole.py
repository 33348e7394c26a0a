"""Codestreams that were cut and closed with their end marker are never called whole, in any syntax."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.encaps import generate_frames

from mapdr.kernel.codec import Mismatch
from mapdr.transform.codecs.whole import whole_jpeg
from mapdr.transform.codecs.worker import decode

from .helpers import picture
from .test_foreign import job

EOI = b"\xff\xd9"
BYTES = picture(40, 52, 0, 255).astype(np.uint8)
WORDS = picture(40, 52, 0, 60000).astype(np.uint16)
COLOUR = np.stack([BYTES, BYTES[::-1], BYTES[:, ::-1]], -1).copy()
TWELVE = WORDS >> 4


def _lossless(bits: int) -> Callable[[np.ndarray], bytes]:
    space = {"colorspace": "RGB", "outcolorspace": "RGB"}

    def encode(frame: np.ndarray) -> bytes:
        return bytes(
            imagecodecs.jpeg_encode(
                frame, lossless=True, predictor=1, bitspersample=bits, **(space if frame.ndim == 3 else {})
            )
        )

    return encode


MADE = {
    "baseline": ("4.50", BYTES, lambda x: imagecodecs.jpeg_encode(x, level=90)),
    "baseline, colour": ("4.50", COLOUR, lambda x: imagecodecs.jpeg_encode(x, level=90, subsampling="444")),
    "baseline, 4:2:0": ("4.50", COLOUR, lambda x: imagecodecs.jpeg_encode(x, level=90, subsampling="420")),
    "extended": ("4.51", TWELVE, lambda x: imagecodecs.jpeg_encode(x, level=90, bitspersample=12)),
    "lossless": ("4.70", WORDS, _lossless(16)),
    "lossless, 8 bits": ("4.57", BYTES, _lossless(8)),
    "lossless, colour": ("4.70", COLOUR, _lossless(8)),
    "JPEG-LS": ("4.80", WORDS, imagecodecs.jpegls_encode),
    "JPEG-LS, near": ("4.81", BYTES, lambda x: imagecodecs.jpegls_encode(x, level=3)),
    "JPEG-LS, colour": ("4.80", COLOUR, imagecodecs.jpegls_encode),
    "JPEG 2000": ("4.90", WORDS, lambda x: imagecodecs.jpeg2k_encode(x, codecformat="j2k", reversible=True)),
    "JPEG 2000, lossy": ("4.91", COLOUR, lambda x: imagecodecs.jpeg2k_encode(x, codecformat="j2k", level=45)),
    "HTJ2K": ("4.201", WORDS, imagecodecs.htj2k_encode),
    "JPEG XL": ("4.110", BYTES, lambda x: imagecodecs.jpegxl_encode(x, lossless=True)),
}
JPEGS = ("4.50", "4.51", "4.57", "4.70")
STREAMS = {name: bytes(encode(frame)) for name, (_, frame, encode) in MADE.items()}


@pytest.mark.parametrize("name", MADE)
@settings(max_examples=40, deadline=None)
@given(
    part=st.floats(0, 1, exclude_max=True),
    end=st.sampled_from([EOI, b"\xff" + EOI]),
)
def test_a_stream_that_was_cut_and_closed_gives_no_other_pixels(name: str, part: float, end: bytes) -> None:
    syntax, frame, _ = MADE[name]
    stream = STREAMS[name]
    whole = decode(job(syntax, frame), stream)
    cut = stream[: int(part * (len(stream) - 2))]
    if syntax not in JPEGS:
        end = EOI  # elsewhere FF would stand for the byte that is missing
    try:
        found = decode(job(syntax, frame), cut + end)
    except Exception:  # each library has its own
        return
    assert np.array_equal(found, whole)


@pytest.mark.parametrize("name", [name for name in MADE if MADE[name][0] in JPEGS])
def test_a_jpeg_is_whole_with_all_its_codes_and_cut_with_a_byte_less(name: str) -> None:
    stream = STREAMS[name]
    assert whole_jpeg(stream) is stream
    more = stream[:-2] + b"\0\0" + EOI  # what stands behind the last code is no part of it
    assert whole_jpeg(more) is more
    last = stream[:-3].rstrip(b"\xff")
    for end in (EOI, b"", b"\xff", b"\xff" + EOI):
        with pytest.raises(Mismatch, match="cut off"):
            whole_jpeg(last + end)


@pytest.mark.parametrize("name", [name for name in MADE if MADE[name][0] in JPEGS])
@pytest.mark.parametrize("end", [b"", b"\xff", b"\0"])
def test_a_jpeg_that_lacks_its_end_marker_alone_is_decoded(name: str, end: bytes) -> None:
    syntax, frame, _ = MADE[name]
    stream = STREAMS[name]
    assert whole_jpeg(stream[:-2] + end) == stream[:-2] + end + EOI
    found = decode(job(syntax, frame), stream[:-2] + end)
    assert np.array_equal(found, decode(job(syntax, frame), stream))


def test_a_component_without_a_scan_is_missing() -> None:
    """A JPEG with a scan for each component, cut between two of them."""
    grey = STREAMS["baseline"]
    frame, scan = grey.index(b"\xff\xc0"), grey.index(b"\xff\xda")
    length = int.from_bytes(grey[frame + 2 : frame + 4], "big")
    body = grey[frame + 4 : frame + 9] + b"\2" + b"\1\x11\0" + b"\2\x11\0"
    head = (
        grey[:frame]
        + b"\xff\xc0"
        + (len(body) + 2).to_bytes(2, "big")
        + body
        + grey[frame + 2 + length : scan]
    )
    one = grey[scan:-2]
    two = one[:5] + b"\2" + one[6:]
    whole_jpeg(head + one + two + EOI)
    for cut in (head + one, head + one + EOI, head + one + two[:-40] + EOI, head + EOI):
        with pytest.raises(Mismatch, match="cut off"):
            whole_jpeg(cut)


def test_a_jpeg_with_a_thumbnail_or_another_process_is_not_refused() -> None:
    stream = STREAMS["baseline"]
    thumbnail = STREAMS["lossless, 8 bits"][:-300]
    whole_jpeg(stream[:2] + b"\xff\xe1" + (2 + len(thumbnail)).to_bytes(2, "big") + thumbnail + stream[2:])
    whole_jpeg(stream.replace(b"\xff\xc0", b"\xff\xc2")[:-200])  # progressive: not looked at
    whole_jpeg(stream.replace(b"\xff\xc4", b"\xff\xe4"))  # without tables: for libjpeg to judge


@settings(max_examples=200)
@given(st.binary(max_size=300), st.sampled_from(["baseline, 4:2:0", "lossless"]), st.integers(0, 700))
def test_any_bytes_are_refused_or_not_and_nothing_else_happens(data: bytes, name: str, at: int) -> None:
    stream = STREAMS[name]
    for each in (data, stream[:at] + data + stream[at + len(data) :]):
        with contextlib.suppress(Mismatch):
            whole_jpeg(each)


def test_real_jpegs_are_whole(data: Path) -> None:
    found = 0
    for path in sorted(data.rglob("*")):
        try:
            read = pydicom.dcmread(path)
            syntax, pixels = str(read.file_meta.TransferSyntaxUID), read.PixelData
        except Exception:  # not all of them are DICOM files, or images
            continue
        if syntax[20:] in {"50", "51", "57", "70"}:
            count = int(read.get("NumberOfFrames") or 1)
            whole_jpeg(next(generate_frames(pixels, number_of_frames=count)))
            found += 1
    assert found > 0


def segments(stream: bytes) -> list[bytes]:
    """The segments before the first scan's data, without SOI."""
    found, at = [], 2
    while stream[at + 1] != 0xDA:
        length = 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
        found.append(stream[at : at + length])
        at += length
    return [*found, stream[at:]]


def test_a_jpeg_without_tables_is_counted_by_those_of_the_standard() -> None:
    """libjpeg takes these (tables K.3 to K.6), as for Motion JPEG."""
    for frame in (BYTES, COLOUR):
        stream = imagecodecs.jpeg_encode(frame)
        bare = b"\xff\xd8" + b"".join(each for each in segments(stream) if each[1] != 0xC4)
        assert np.array_equal(imagecodecs.jpeg_decode(bare), imagecodecs.jpeg_decode(stream))
        assert whole_jpeg(bare) is bare
        with pytest.raises(Mismatch, match="cut off"):
            whole_jpeg(bare[: len(bare) * 2 // 3] + EOI)


def test_a_jpeg_whose_components_have_one_number_is_left_to_libjpeg() -> None:
    stream = bytearray(imagecodecs.jpeg_encode(COLOUR, subsampling="420"))
    frame, scan = stream.index(b"\xff\xc0"), stream.index(b"\xff\xda")
    for number in range(3):
        stream[frame + 10 + 3 * number] = stream[scan + 5 + 2 * number] = 1
    assert whole_jpeg(bytes(stream)) == stream


@pytest.mark.parametrize("name", [name for name in MADE if MADE[name][0] in JPEGS])
def test_what_stands_behind_the_last_scan_is_no_cut(name: str) -> None:
    syntax, frame, _ = MADE[name]
    stream = STREAMS[name]
    for behind in (
        b"\xff\xe7\xff\xff\x01\x02" + EOI,
        b"\xff\xd3\xff\x01" + EOI,
        bytes(9) + b"\xff" * 9 + EOI,
    ):
        found = decode(job(syntax, frame), stream[:-2] + behind)
        assert np.array_equal(found, decode(job(syntax, frame), stream))


def test_a_component_has_one_scan() -> None:
    """Each would be gone through, as often as there is room for its few bytes."""
    *before, scan = segments(imagecodecs.jpeg_encode(BYTES))
    twice = b"\xff\xd8" + b"".join(before) + scan[:-2] + scan
    with pytest.raises(Mismatch, match="damaged"):
        whole_jpeg(twice)
