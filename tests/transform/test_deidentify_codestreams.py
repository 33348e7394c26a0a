"""What codestreams say beside their pixels is gone after de-identification, and their pixels are the same."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydicom.encaps import encapsulate

from mapdr.dicom import uids
from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import FileSlice, Instance, Payload
from mapdr.kernel.registry import Registry
from mapdr.transform.codecs.remarks import READERS, Broken, remarks
from mapdr.transform.pipeline import build_pipeline

from .helpers import CODECS, Notebook, image, payload_of, picture, read, save, settings, spooled

MARK = b"ZQ^MARKED"
PIXELS = picture(24, 32, 0, 250).astype(np.uint8)
LINE = build_pipeline(
    {"steps": [{"type": "deidentify", "config": {"profile": "basic"}}]}, Registry(), settings(), CODECS
)


def segment(marker: int, content: bytes) -> bytes:
    return b"\xff" + bytes([marker]) + (len(content) + 2).to_bytes(2, "big") + content


def box(kind: bytes, content: bytes, *, long: bool = False) -> bytes:
    if long:
        return b"\0\0\0\x01" + kind + (len(content) + 16).to_bytes(8, "big") + content
    return (len(content) + 8).to_bytes(4, "big") + kind + content


def by_pillow(**options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(PIXELS).save(out, "JPEG", **options)
    return out.getvalue()


JPEG = by_pillow(quality=90)
PROGRESSIVE = by_pillow(quality=90, progressive=True)
J2K = imagecodecs.jpeg2k_encode(PIXELS, level=0, codecformat="j2k", reversible=True)
JP2 = imagecodecs.jpeg2k_encode(PIXELS, level=0, codecformat="jp2", reversible=True)
LS = imagecodecs.jpegls_encode(PIXELS)
JXL = imagecodecs.jpegxl_encode(PIXELS, lossless=True, usecontainer=False)
EXIF = b"Exif\0\0" + MARK
JFIF = b"JFIF\0\1\1\0\0\1\0\1\3\1" + MARK
"""With a thumbnail of three pixels."""


def behind_soi(stream: bytes, *segments: bytes) -> bytes:
    return stream[:2] + b"".join(segments) + stream[2:]


def before_last_scan(stream: bytes, content: bytes) -> bytes:
    at = stream.rindex(b"\xff\xda")
    return stream[:at] + content + stream[at:]


def in_tile_part(stream: bytes, content: bytes) -> bytes:
    """With a segment in the header of the one tile-part, whose length says so."""
    at = stream.index(b"\xff\x90")
    length = int.from_bytes(stream[at + 6 : at + 10], "big")
    head = (
        stream[at : at + 6]
        + (length + len(content) if length else 0).to_bytes(4, "big")
        + stream[at + 10 : at + 12]
    )
    return stream[:at] + head + content + stream[at + 12 :]


def in_container(*boxes: bytes) -> bytes:
    start = b"\0\0\0\x0cJXL \r\n\x87\n" + box(b"ftyp", b"jxl \0\0\0\0jxl ")
    return start + b"".join(boxes) + box(b"jxlc", JXL)


COMMENT = segment(0xFE, MARK)
J2K_COMMENT = segment(0x64, b"\0\1" + MARK)
CASES = {
    "comment": (uids.JPEG_BASELINE, behind_soi(JPEG, COMMENT)),
    "Exif": (uids.JPEG_BASELINE, behind_soi(JPEG, segment(0xE1, EXIF))),
    "thumbnail": (uids.JPEG_BASELINE, behind_soi(JPEG, segment(0xE0, JFIF))),
    "JFXX": (uids.JPEG_BASELINE, behind_soi(JPEG, segment(0xE0, b"JFXX\0\x10" + MARK))),
    "ICC profile": (uids.JPEG_BASELINE, behind_soi(JPEG, segment(0xE2, b"ICC_PROFILE\0\1\1" + MARK))),
    "behind Adobe": (uids.JPEG_BASELINE, behind_soi(JPEG, segment(0xEE, b"Adobe\0\x64\0\0\0\0\0" + MARK))),
    "no segment": (uids.JPEG_BASELINE, behind_soi(JPEG, MARK)),
    "reserved": (uids.JPEG_BASELINE, behind_soi(JPEG, segment(0xF2, MARK))),
    "between scans": (uids.JPEG_FULL_PROGRESSION, before_last_scan(PROGRESSIVE, COMMENT)),
    "behind its end": (uids.JPEG_BASELINE, JPEG + MARK),
    "padded, behind": (uids.JPEG_BASELINE, JPEG + b"\0\xff\xff" + MARK),
    "second comment": (uids.JPEG_BASELINE, JPEG + behind_soi(JPEG, COMMENT)),
    "JPEG-LS": (uids.JPEG_LS_LOSSLESS, behind_soi(LS, COMMENT, segment(0xE8, b"mrfx\0" + MARK))),
    "main header": (
        uids.JPEG2000_LOSSLESS,
        in_tile_part(J2K, b"").replace(b"\xff\x90", J2K_COMMENT + b"\xff\x90", 1),
    ),
    "tile-part": (uids.JPEG2000_LOSSLESS, in_tile_part(J2K, J2K_COMMENT)),
    "unknown segment": (uids.JPEG2000, J2K.replace(b"\xff\x90", segment(0x6F, MARK) + b"\xff\x90", 1)),
    "behind EOC": (uids.JPEG2000, J2K + MARK),
    "XML in JP2": (uids.JPEG2000, JP2 + box(b"xml ", MARK)),
    "long box": (uids.JPEG2000, JP2 + box(b"uuid", MARK, long=True)),
    "comment in JP2": (uids.JPEG2000, JP2 + box(b"free", MARK)),
    "JXL Exif": (uids.JPEG_XL_LOSSLESS, in_container(box(b"Exif", MARK))),
    "JXL brob": (uids.JPEG_XL, in_container(box(b"brob", b"xml " + MARK), box(b"jbrd", MARK))),
}
UNREADABLE = frozenset(("second comment", "reserved", "unknown segment"))
"""What the decoders here do not take, with or without what it says."""
DECODE: dict[str, Callable[[bytes], np.ndarray[Any, Any]]] = {
    **dict.fromkeys((uids.JPEG_BASELINE, uids.JPEG_FULL_PROGRESSION), imagecodecs.jpeg8_decode),
    uids.JPEG_LS_LOSSLESS: imagecodecs.jpegls_decode,
    **dict.fromkeys((uids.JPEG2000_LOSSLESS, uids.JPEG2000), imagecodecs.jpeg2k_decode),
    **dict.fromkeys((uids.JPEG_XL_LOSSLESS, uids.JPEG_XL), imagecodecs.jpegxl_decode),
}  # fmt: skip


def received(frames: list[bytes], syntax: str, fragments: int = 1) -> tuple[Payload, Instance]:
    data = image(np.stack([PIXELS] * len(frames)) if len(frames) > 1 else PIXELS, frames=len(frames))
    data.BitsAllocated, data.BitsStored, data.HighBit = 8, 8, 7
    data.PixelData = encapsulate(frames, fragments_per_frame=fragments)
    data["PixelData"].VR, data["PixelData"].is_undefined_length = "OB", True
    payload, instance = payload_of(data)
    payload = Payload(payload.sop_class_uid, payload.sop_instance_uid, syntax, payload.parts, payload.length)
    return payload, instance


def deidentified(frames: list[bytes], syntax: str, fragments: int = 1) -> tuple[bytes, list[bytes]]:
    """All that leaves, and its frames."""
    made = LINE.apply(*received(frames, syntax, fragments), Notebook())
    whole = b"".join(made.chunks())
    assert len(whole) == made.length
    found = pydicom.dcmread(io.BytesIO(whole), force=True)
    generator = pydicom.encaps.generate_frames(found.PixelData, number_of_frames=len(frames))
    return whole, list(generator)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("fragments", [1, 7])
def test_nothing_is_said_beside_the_pixels(case: str, fragments: int) -> None:
    syntax, stream = CASES[case]
    whole, (frame,) = deidentified([stream], syntax, fragments)
    assert MARK in stream
    assert MARK not in whole
    assert len(frame) == len(stream) + len(stream) % 2
    if case not in UNREADABLE:
        assert np.array_equal(DECODE[syntax](frame), DECODE[syntax](stream))


def test_of_many_frames_each_is_looked_at_and_keeps_its_place() -> None:
    frames = [JPEG, behind_soi(JPEG, COMMENT), JPEG, behind_soi(JPEG, segment(0xE1, EXIF))]
    whole, found = deidentified(frames, uids.JPEG_BASELINE)
    assert MARK not in whole
    assert [len(each) // 2 for each in found] == [(len(each) + 1) // 2 for each in frames]
    assert found[0].startswith(JPEG)
    for each in found:
        assert np.array_equal(DECODE[uids.JPEG_BASELINE](each), DECODE[uids.JPEG_BASELINE](JPEG))


def test_containers_of_several_frames_are_told_apart() -> None:
    frames = [in_container(box(b"jbrd", MARK + bytes(count))) for count in (3, 4, 5)]
    for fragments in (1, 2):
        whole, found = deidentified(frames, uids.JPEG_XL_JPEG_RECOMPRESSION, fragments)
        assert MARK not in whole
        for each in found:
            assert np.array_equal(imagecodecs.jpegxl_decode(each), PIXELS)


@pytest.mark.parametrize("syntax", [uids.EXPLICIT_VR_LITTLE_ENDIAN, "1.2.826.0.1.3680043.99.1"])
@pytest.mark.parametrize("case", ["comment", "XML in JP2", "JXL Exif"])
def test_a_codestream_is_known_by_its_bytes_under_another_syntax(case: str, syntax: str) -> None:
    whole, _ = deidentified([CASES[case][1]], syntax)
    assert MARK not in whole


@pytest.mark.parametrize("syntax", [uids.IMPLICIT_VR_LITTLE_ENDIAN, uids.EXPLICIT_VR_BIG_ENDIAN])
@pytest.mark.parametrize("frames", [1, 3])
def test_behind_the_last_native_frame_is_nothing(syntax: str, frames: int, tmp_path: Path) -> None:
    data = image(np.stack([PIXELS] * frames) if frames > 1 else PIXELS, frames=frames)
    native = len(data.PixelData)
    data.PixelData += MARK + b"\1"
    payload, instance = spooled(save(payload_of(data, syntax)[0], tmp_path / "a.dcm"))
    made = LINE.apply(payload, instance, Notebook())
    assert any(isinstance(part, FileSlice) for part in made.parts)
    assert read(made).PixelData == read(payload).PixelData[:native] + bytes(len(MARK) + 1)
    data.PixelData = data.PixelData[:native] + b"ab"
    assert read(LINE.apply(*payload_of(data, syntax), Notebook())).PixelData[native:] == b"\0\0"
    data.PixelData = data.PixelData[:native]
    same = LINE.apply(*payload_of(data, syntax), Notebook())
    assert read(same).PixelData == read(payload_of(data, syntax)[0]).PixelData


def test_behind_the_last_frame_is_nothing_where_the_pixel_data_is_cut_off() -> None:
    data = image(PIXELS)
    native = len(data.PixelData)
    data.PixelData += MARK + b"\1"
    payload, instance = payload_of(data)
    blob = b"".join(payload.parts)  # type: ignore[arg-type]
    at = len(blob) - len(data.PixelData) - 4
    cut = blob[:at] + (native + 1000).to_bytes(4, "little") + blob[at + 4 :]
    made = LINE.apply(replace(payload, parts=(cut,)), instance, Notebook())
    assert made.length == len(b"".join(made.chunks()))
    assert b"".join(made.chunks()).endswith(data.PixelData[:native] + bytes(len(MARK) + 1))


@pytest.mark.parametrize("missing", ["Rows", "BitsAllocated", "SamplesPerPixel"])
def test_pixels_whose_size_no_header_tells_stay_as_they_are(missing: str) -> None:
    data = image(PIXELS)
    del data[missing]
    data.PixelData = bytes(range(1, 101))
    made = LINE.apply(*payload_of(data), Notebook())
    assert read(made).PixelData == bytes(range(1, 101))


@pytest.mark.parametrize("interpretation", ["YBR_FULL_422", "YBR_FULL"])
def test_behind_pixels_that_share_their_colour_is_nothing(interpretation: str) -> None:
    data = image(PIXELS)
    data.Rows = data.Columns = 4
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PlanarConfiguration = 3, interpretation, 0
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit, data.PixelRepresentation = 7, 0
    frame = bytes(range(16 * (2 if interpretation.endswith("422") else 3)))
    data.PixelData = frame + MARK + MARK
    made = LINE.apply(*payload_of(data), Notebook())
    assert read(made).PixelData == frame + bytes(2 * len(MARK))


def test_what_says_nothing_is_not_touched() -> None:
    for syntax, stream in (
        (uids.JPEG_XL, JXL),
        (uids.JPEG_LS_LOSSLESS, LS),
        (uids.RLE_LOSSLESS, b"\1\0\0\0" * 30),
    ):
        _, (frame,) = deidentified([stream], syntax)
        assert frame.rstrip(b"\0") == stream.rstrip(b"\0")


@pytest.mark.parametrize(
    ("syntax", "stream"),
    [
        (uids.JPEG_BASELINE, MARK),
        (uids.EXPLICIT_VR_LITTLE_ENDIAN, MARK),
        (uids.JPEG_BASELINE, b"\xff\xd8" + MARK),
        (uids.JPEG_BASELINE, b"\xff\xd8\xff\xfe\xff\xff" + MARK),
        (uids.JPEG2000, JPEG),
        (uids.JPEG2000, b"\xff\x4f\xff\x64\xff\xff" + MARK),
        (uids.JPEG2000, J2K.replace(b"\xff\x90", MARK + b"\xff\x90", 1)),
        (uids.JPEG_XL, MARK),
        (uids.JPEG_XL, in_container(box(b"Exif", MARK)) + b"\0\0\0\5" + MARK),
    ],
)
def test_what_cannot_be_walked_is_parked(syntax: str, stream: bytes) -> None:
    with pytest.raises(Permanent) as caught:
        LINE.apply(*received([stream], syntax), Notebook())
    assert caught.value.reason == "codestream"
    assert MARK.decode() not in str(caught.value)


def test_encapsulated_images_wait_for_a_codec_thread_and_native_ones_do_not() -> None:
    _, instance = received([JPEG], uids.JPEG_BASELINE)
    native = replace(instance, transfer_syntax_uid=uids.EXPLICIT_VR_LITTLE_ENDIAN, size=instance.size & ~1)
    assert LINE.quick(native)
    assert not LINE.quick(replace(native, transfer_syntax_uid=uids.JPEG_BASELINE))


@pytest.mark.parametrize("syntax", [uids.JPEG_BASELINE, uids.JPEG_LS_LOSSLESS, uids.JPEG2000, uids.JPEG_XL])
@given(data=st.data())
def test_any_bytes_are_walked_to_their_end_or_refused(syntax: str, data: st.DataObject) -> None:
    streams = [stream for uid, stream in CASES.values() if READERS[uid] is READERS[syntax]]
    stream = data.draw(st.binary(max_size=80) | st.sampled_from(streams))
    cut, put = data.draw(st.integers(0, len(stream))), data.draw(st.binary(max_size=9))
    stream = stream[:cut] + put + stream[cut + data.draw(st.integers(0, 9)) :]
    try:
        found = list(remarks(stream, READERS[syntax]))
    except Broken:
        return
    silent = bytearray(stream)
    for each in found:
        assert 0 <= each.start < each.stop <= len(stream)
        size = each.stop - each.start
        silent[each.start : each.stop] = (each.filling * size)[:size]
    assert len(silent) == len(stream)
    assert not list(remarks(bytes(silent), READERS[syntax]))
