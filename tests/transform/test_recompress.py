"""JPEG baseline in JPEG XL and back, byte by byte; what cannot come back, or lies, is refused."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.encaps import generate_frames

from mapdr.dicom import uids as uid
from mapdr.kernel.codec import FrameFormat, Recompressor
from mapdr.kernel.errors import Permanent
from mapdr.transform.codecs.foreign import Decoders
from peers.data import DATA, REAL

from .helpers import CODECS, picture


@pytest.fixture
def pool(no_leaks: None) -> Iterator[Decoders]:
    pool = Decoders(1, seconds=60)
    yield pool
    pool.close()


def recompressor() -> Recompressor:
    return CODECS.recompressor(uid.JPEG_XL_JPEG_RECOMPRESSION)


def jpegs() -> Iterator[tuple[FrameFormat, bytes]]:
    """Generated JPEGs, grey and in colours, and real ones where there are."""
    grey = FrameFormat(40, 56, 1, 8, 8, False, "MONOCHROME2")
    frame = picture(40, 56, 0, 255).astype("u1")
    yield grey, bytes(imagecodecs.jpeg_encode(frame, 85))
    large = picture(512, 512, 0, 255).astype("u1")
    yield replace(grey, rows=512, columns=512), bytes(imagecodecs.jpeg_encode(large, 85))
    colour = np.stack([frame, frame[::-1], frame.T[:40, :40].repeat(2, 1)[:, :56]], -1)
    for subsampling in ("444", "422", "420"):
        form = replace(grey, samples=3, photometric="YBR_FULL_422")
        yield form, bytes(imagecodecs.jpeg_encode(np.ascontiguousarray(colour), 85, subsampling=subsampling))
    for path in sorted(DATA.rglob("*")) if REAL else ():
        if not path.is_file() or path.suffix == ".csv" or path.stat().st_size > 1 << 19:
            continue
        try:
            source = pydicom.dcmread(path)
        except Exception:
            continue  # broken files are part of the data
        if source.file_meta.get("TransferSyntaxUID") != uid.JPEG_BASELINE or "PixelData" not in source:
            continue
        stream = next(
            generate_frames(source.PixelData, number_of_frames=int(source.get("NumberOfFrames", 1) or 1))
        )
        form = FrameFormat(
            source.Rows, source.Columns, source.SamplesPerPixel, 8, 8, False, source.PhotometricInterpretation
        )
        yield form, stream


@pytest.mark.peer("djxl")
def test_a_jpeg_comes_back_byte_by_byte(pool: Decoders, tmp_path: Path) -> None:
    """By libjxl's own program too, which is another version of the library."""
    packed_bytes = jpeg_bytes = 0
    for form, stream in jpegs():
        packed = pool.recompress(recompressor(), form, stream)
        source, out = tmp_path / "in.jxl", tmp_path / "out.jpg"
        source.write_bytes(packed)
        subprocess.run(["djxl", str(source), str(out)], check=True, capture_output=True)
        assert out.read_bytes() == stream
        packed_bytes, jpeg_bytes = packed_bytes + len(packed), jpeg_bytes + len(stream)
    assert packed_bytes < 0.9 * jpeg_bytes


def test_a_size_that_the_data_set_does_not_say_is_a_mismatch(pool: Decoders) -> None:
    form, stream = next(jpegs())
    with pytest.raises(Permanent) as caught:
        pool.recompress(recompressor(), replace(form, rows=form.rows + 1), stream)
    assert caught.value.reason == "codec-mismatch"


def test_a_frame_of_60000_by_60000_is_refused_by_its_header(pool: Decoders) -> None:
    form, stream = next(jpegs())
    at = stream.index(b"\xff\xc0") + 5
    huge = stream[:at] + (60000).to_bytes(2, "big") * 2 + stream[at + 4 :]
    for rows, columns in ((form.rows, form.columns), (60000, 60000)):
        with pytest.raises(Permanent) as caught:
            pool.recompress(recompressor(), replace(form, rows=rows, columns=columns), huge)
        assert caught.value.reason in ("codec", "codec-mismatch")


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_what_is_damaged_comes_back_too_or_is_refused(pool: Decoders, data: st.DataObject) -> None:
    form, stream = next(jpegs())
    damaged = bytearray(stream[: data.draw(st.integers(0, len(stream)))])
    for _ in range(data.draw(st.integers(0, 4))):
        if damaged:
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        packed = pool.recompress(recompressor(), form, bytes(damaged))
    except Permanent as refused:
        reason = refused.reason
    else:
        reason = "" if recompressor().restore(packed) == damaged else "other bytes"
    assert reason in ("", "codec", "codec-mismatch", "codec-crash")
