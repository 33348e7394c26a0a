"""Every encoder by itself, over every format that it takes: right precision, equal or near pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from mapdr.dicom import uids as uid
from mapdr.kernel.codec import FrameFormat, Pixels
from mapdr.kernel.errors import Permanent
from mapdr.transform.codecs import headers
from mapdr.transform.codecs.worker import Job, decode
from mapdr.transform.image import same

from .helpers import CODECS, EXPLICIT, image, payload_of, picture, read, to_syntax

LOSSLESS = [row.uid for row in CODECS.rows.values() if row.encoder]
LOSSY = [row.uid for row in CODECS.rows.values() if row.lossy_encoder]
DEPTHS = (2, 5, 8, 9, 10, 12, 15, 16)
HEADERS = {
    uid.JPEG2000_LOSSLESS: headers.jpeg2000,
    uid.JPEG2000: headers.jpeg2000,
    uid.HTJ2K_LOSSLESS: headers.jpeg2000,
    uid.HTJ2K_LOSSLESS_RPCL: headers.jpeg2000,
    uid.HTJ2K: headers.jpeg2000,
    uid.JPEG_BASELINE: headers.jpeg,
    uid.JPEG_EXTENDED: headers.jpeg,
    uid.JPEG_LOSSLESS: headers.jpeg,
    uid.JPEG_LOSSLESS_SV1: headers.jpeg,
    uid.JPEG_LS_LOSSLESS: headers.jpegls,
    uid.JPEG_LS_NEAR_LOSSLESS: headers.jpegls,
    uid.JPEG_XL_LOSSLESS: headers.jpegxl,
    uid.JPEG_XL: headers.jpegxl,
}


def formats() -> Iterator[FrameFormat]:
    """Every format that an image may have whose samples are integers of 8 or 16 bits."""
    for stored in DEPTHS:
        for allocated in (8, 16):
            for signed in (False, True):
                for samples in (1, 3):
                    if stored <= allocated:
                        colour = "MONOCHROME2" if samples == 1 else "RGB"
                        yield FrameFormat(37, 50, samples, allocated, stored, signed, colour)


def frame_of(form: FrameFormat) -> Pixels:
    """Values from the least to the greatest that there are, mostly smooth."""
    low, high = (
        (-(1 << form.stored - 1), (1 << form.stored - 1) - 1) if form.signed else (0, (1 << form.stored) - 1)
    )
    planes = [picture(form.rows, form.columns, low, high, seed) for seed in range(form.samples)]
    frame = np.stack(planes, -1).astype(f"<{'ui'[form.signed]}{form.allocated // 8}")
    frame[0, 0], frame[-1, -1] = low, high
    return frame[..., 0] if form.samples == 1 else frame


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_lossless_frames_come_back_equal(syntax: str) -> None:
    encoder, decoder = CODECS.encoder(syntax), CODECS.decoder(syntax)
    taken = list(filter(encoder.takes.holds, formats()))
    assert len(taken) >= len(DEPTHS)
    for plain in taken:
        frame = frame_of(plain)
        colours = {plain.photometric, encoder.colour_transform} if plain.samples == 3 else {plain.photometric}
        for form in (replace(plain, photometric=colour) for colour in colours if colour):
            stream = encoder.encode(frame, form)
            assert same(encoder.decode(stream, form), frame), form
            # What comes from outside goes through the header's reader, and gives the cells.
            cells = decode(Job(decoder, form), stream)
            mask = (1 << form.stored) - 1
            assert np.array_equal(cells & mask, frame.view(cells.dtype) & mask), form
            if syntax in HEADERS:
                found = HEADERS[syntax](stream)
                assert found is not None
                assert (found.rows, found.columns, found.samples) == (form.rows, form.columns, form.samples)
                assert found.precision == form.stored, form


@pytest.mark.parametrize("syntax", LOSSY)
def test_the_dial_goes_from_small_to_near(syntax: str) -> None:
    encoder = CODECS.lossy_encoder(syntax)
    taken = list(filter(encoder.takes.holds, formats()))
    assert taken
    for plain in taken:
        frame = frame_of(plain)
        dial = encoder.dial(plain)
        levels = (dial.lowest, dial.start, dial.highest)
        for way in encoder.ways:
            colours = encoder.rgb_as(way) if plain.samples == 3 else (plain.photometric,)
            for form in (replace(plain, photometric=colour) for colour in colours):
                streams = [encoder.encode_at(frame, form, level, way) for level in levels]
                assert len(streams[0]) <= len(streams[1]) <= len(streams[2]), (form, way)
                errors = []
                for stream in streams:
                    back = encoder.decode(stream, form)
                    assert back.shape == frame.shape
                    assert back.dtype.kind == ("i" if form.signed else "u")
                    errors.append(float(np.sqrt(np.mean((back.astype(float) - frame) ** 2))))
                assert errors[2] <= errors[0], (form, way)
                assert errors[2] <= max(0.01 * 2**form.stored, 1), (form, way)
                if syntax in HEADERS:
                    found = HEADERS[syntax](streams[2])
                    assert found is not None
                    assert found.precision == form.stored, form


@pytest.mark.parametrize("syntax", LOSSY)
def test_a_level_off_the_dial_is_refused(syntax: str) -> None:
    encoder = CODECS.lossy_encoder(syntax)
    form = next(filter(encoder.takes.holds, formats()))
    for level in (-2000.0, 2000.0):
        with pytest.raises(ValueError, match=r"dial|level"):
            encoder.encode_at(frame_of(form), form, level)


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (300, 1), (65, 64), (4097, 3), (4100, 2060)])
def test_htj2k_has_a_small_lowest_resolution_whatever_the_size(size: tuple[int, int]) -> None:
    """PS3.5 section 10.18: .202 has a resolution of 64 rows or columns at most, goes by RPCL, and has TLM."""
    encoder = CODECS.encoder(uid.HTJ2K_LOSSLESS_RPCL)
    form = FrameFormat(*size, 1, 16, 12, False, "MONOCHROME2")
    frame = np.arange(size[0] * size[1], dtype="<u2").reshape(size) % 4096
    stream = encoder.encode(frame, form)
    assert same(encoder.decode(stream, form), frame)
    main = stream[: stream.index(b"\xff\x90")]
    style = main[main.index(b"\xff\x52") + 4 :]
    assert style[1] == 2
    assert min(size) <= 64 << style[5]  # newer imagecodecs halve no further than the shorter side allows
    assert b"\xff\x55" in main


@pytest.mark.usefixtures("decoders")
def test_a_receiver_gets_the_syntax_that_it_insists_on() -> None:
    for syntax in LOSSLESS:
        for allocated in (8, 16, 32):
            values = picture(24, 37, 0, 255).astype(f"<u{allocated // 8}") // 64 * (1 << allocated - 3)
            source = payload_of(image(values, allocated=allocated, stored=allocated))[0]
            if allocated not in CODECS.encoder(syntax).takes.allocated:
                with pytest.raises(Permanent, match="bits-allocated"):
                    to_syntax(source, syntax)
                continue
            made = to_syntax(source, syntax)
            assert made.transfer_syntax_uid == syntax
            assert made.length < source.length
            assert np.array_equal(read(to_syntax(made, EXPLICIT)).pixel_array, values)


@pytest.mark.usefixtures("decoders")
@pytest.mark.parametrize("syntax", LOSSLESS)
def test_a_receiver_gets_it_where_that_is_larger(syntax: str) -> None:
    noise = np.random.default_rng(7).integers(0, 256, (61, 67))
    source = payload_of(image(noise, allocated=8, stored=8))[0]
    made = to_syntax(source, syntax)
    assert made.transfer_syntax_uid == syntax
    assert made.length > source.length
    assert np.array_equal(read(to_syntax(made, EXPLICIT)).pixel_array, noise)


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize(("side", "stored"), [(1, 8), (3, 8), (3, 16), (64, 8), (64, 16)])
def test_what_jpeg_ls_makes_larger_is_encoded_too(side: int, stored: int, samples: int) -> None:
    """Noise and tiny frames: that they are not smaller is for who compares sizes."""
    colour = "RGB" if samples == 3 else "MONOCHROME2"
    form = FrameFormat(side, side, samples, stored, stored, False, colour)
    shape = (side, side, 3) if samples == 3 else (side, side)
    frame = np.random.default_rng(side).integers(0, 1 << stored, shape).astype(f"u{stored // 8}")
    encoder = CODECS.encoder(uid.JPEG_LS_LOSSLESS)
    assert np.array_equal(encoder.decode(encoder.encode(frame, form), form), frame)


def test_jpeg_ls_takes_no_8_bits_in_cells_of_16() -> None:
    """dcmdjpls refuses such codestreams, and GDCM 3.0 ends itself."""
    form = FrameFormat(8, 8, 1, 16, 8, False, "MONOCHROME2")
    for encoder in (CODECS.encoder(uid.JPEG_LS_LOSSLESS), CODECS.lossy_encoder(uid.JPEG_LS_NEAR_LOSSLESS)):
        assert encoder.takes.lacks(form) == "it takes no 8 bits stored in 16 bits allocated"
        assert encoder.takes.holds(replace(form, stored=9))
        assert encoder.takes.holds(replace(form, allocated=8))
