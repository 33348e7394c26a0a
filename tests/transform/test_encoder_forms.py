"""Every encoder over every form of frame that it declares, 16 x 16 pixels each: what its codestream says,
what MAPDR reads from it, and what another library than the one that wrote it does."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from typing import Any

import imagecodecs
import numpy as np
import pytest
from pydicom.pixels.decoders.rle import _rle_decode_frame

from mapdr.dicom import uids as uid
from mapdr.kernel.codec import OWN_WAY, Dial, Encoder, FrameFormat, PixelRange, Pixels, Way
from mapdr.kernel.errors import Permanent
from mapdr.transform.codecs import headers
from mapdr.transform.image import same

from .helpers import CODECS

try:
    import jpeg_ls
except ImportError:  # it writes JPEG-LS where imagecodecs does not, which is on Python 3.11
    jpeg_ls = None

SIDE = 16


def forms(takes: PixelRange) -> Iterator[FrameFormat]:
    """Every form that is taken, whatever bits are allocated and stored."""
    for allocated in (1, 8, 16, 32):
        for stored in range(1, allocated + 1):
            for signed in (False, True):
                for samples in (1, 3):
                    colour = "MONOCHROME2" if samples == 1 else "RGB"
                    form = FrameFormat(SIDE, SIDE, samples, allocated, stored, signed, colour)
                    if takes.holds(form):
                        yield form


def ends(form: FrameFormat) -> tuple[int, int]:
    """The least and the greatest value that a form has."""
    half = 1 << form.stored - 1
    return (-half, half - 1) if form.signed else (0, 2 * half - 1)


def frame_of(form: FrameFormat) -> Pixels:
    """A gradient with some noise, from the least value to the greatest; samples of a pixel differ."""
    low, high = ends(form)
    rows, columns, sample = np.mgrid[0:SIDE, 0:SIDE, 0 : form.samples]
    share = (rows * (sample + 1) * 3 + columns * 5 + rows * columns % 7) % 128 / 127
    values = np.round(low + share * (high - low)).astype(np.int64)
    values[0, 0], values[-1, -1] = low, high
    cells = values.astype(f"<{'ui'[form.signed]}{max(form.allocated // 8, 1)}")
    return cells if form.samples > 1 else cells[..., 0]


def colours(encoder: Encoder, form: FrameFormat) -> Iterator[FrameFormat]:
    """The form in each photometric interpretation that it may be written in."""
    yield form
    if form.samples == 3 and encoder.colour_transform:
        yield replace(form, photometric=encoder.colour_transform)


def by_pydicom(stream: bytes, form: FrameFormat) -> Pixels:
    """pydicom gives planes of little endian cells."""
    raw = _rle_decode_frame(stream, SIDE, SIDE, form.samples, form.allocated, ">")
    planes = np.frombuffer(bytes(raw), f"<u{form.allocated // 8}").reshape(form.samples, SIDE, SIDE)
    return planes[0] if form.samples == 1 else np.moveaxis(planes, 0, -1)


def by_pillow(stream: bytes) -> Pixels:
    pillow = pytest.importorskip("PIL.Image")
    with pillow.open(io.BytesIO(stream)) as found:
        return np.asarray(found)


def by_charls(stream: bytes, form: FrameFormat) -> Pixels:
    """pyjpegls gives the planes of a colour one by one."""
    found = np.frombuffer(jpeg_ls.decode_buffer(stream)[0], f"<u{1 if form.stored <= 8 else 2}")
    return found.reshape((SIDE, SIDE, form.samples)[: 2 + (form.samples > 1)])


def unsigned(pixels: Pixels, form: FrameFormat) -> Pixels:
    """The bits of stored values."""
    return pixels.astype(np.int64) & (1 << form.stored) - 1


ANOTHER: dict[str, Callable[[bytes, FrameFormat], Pixels]] = {
    uid.RLE_LOSSLESS: by_pydicom,
    uid.JPEG_LOSSLESS: lambda stream, _: imagecodecs.jpegsof3_decode(stream),
    uid.JPEG_LOSSLESS_SV1: lambda stream, _: imagecodecs.ljpeg_decode(stream),
    **({uid.JPEG_LS_LOSSLESS: by_charls} if jpeg_ls else {}),
    uid.HTJ2K_LOSSLESS: lambda stream, _: imagecodecs.jpeg2k_decode(stream),
    uid.HTJ2K_LOSSLESS_RPCL: lambda stream, _: imagecodecs.jpeg2k_decode(stream),
}
"""Syntax -> the codestream of a frame as another library than the one that wrote it reads it."""
HEADERS = {
    uid.JPEG_LOSSLESS: headers.jpeg,
    uid.JPEG_LOSSLESS_SV1: headers.jpeg,
    uid.JPEG_BASELINE: headers.jpeg,
    uid.JPEG_EXTENDED: headers.jpeg,
    uid.JPEG_LS_LOSSLESS: headers.jpegls,
    uid.JPEG_LS_NEAR_LOSSLESS: headers.jpegls,
    uid.JPEG_XL_LOSSLESS: headers.jpegxl,
    uid.JPEG_XL: headers.jpegxl,
}
"""Those of the others are JPEG 2000's, but for RLE, which has none."""
COUNT = {
    uid.RLE_LOSSLESS: 224,
    uid.JPEG_LOSSLESS: 48,
    uid.JPEG_LOSSLESS_SV1: 48,
    uid.JPEG_LS_LOSSLESS: 22,
    uid.JPEG2000_LOSSLESS: 100,
    uid.HTJ2K_LOSSLESS: 88,
    uid.HTJ2K_LOSSLESS_RPCL: 88,
    uid.JPEG_XL_LOSSLESS: 44,
}
"""How many forms each takes: docs/transfer-syntaxes has them in words."""


def figures(stream: bytes, syntax: str, form: FrameFormat) -> None:
    """The codestream says what the form says."""
    if syntax != uid.RLE_LOSSLESS:
        found = HEADERS.get(syntax, headers.jpeg2000)(stream)
        assert found is not None
        said = (found.rows, found.columns, found.samples, found.precision)
        assert said == (SIDE, SIDE, form.samples, form.stored), form


@pytest.mark.parametrize("syntax", COUNT)
def test_every_form_comes_back_without_loss(syntax: str) -> None:
    encoder, count = CODECS.encoder(syntax), 0
    for plain in forms(encoder.takes):
        count += 1
        pixels = frame_of(plain)
        for form in colours(encoder, plain):
            stream = encoder.encode(pixels, form)
            assert type(stream) is bytes
            back = encoder.decode(stream, form)
            assert same(back, pixels), form
            assert back.dtype.kind == "ui"[form.signed] or form.allocated == 1
            figures(stream, syntax, form)
            if syntax in ANOTHER:
                assert np.array_equal(
                    unsigned(ANOTHER[syntax](stream, form), form), unsigned(pixels, form)
                ), form
            with pytest.raises(Permanent) as caught:
                encoder.decode(stream[: len(stream) // 2], form)
            assert caught.value.reason == "codec"
    assert count == COUNT[syntax]


@pytest.mark.parametrize("samples", [1, 3])
def test_pillow_reads_the_same_from_jpeg_2000(samples: int) -> None:
    form = FrameFormat(SIDE, SIDE, samples, 8, 8, False, "RGB" if samples == 3 else "MONOCHROME2")
    for syntax in (uid.JPEG2000_LOSSLESS, uid.HTJ2K_LOSSLESS):
        encoder = CODECS.encoder(syntax)
        for each in colours(encoder, form):
            stream = encoder.encode(frame_of(form), each)
            assert np.array_equal(by_pillow(stream), frame_of(form))
            component = stream[stream.index(b"\xff\x52") + 8]  # SGcod (ISO/IEC 15444-1, A.6.1)
            assert component == (each.photometric == "YBR_RCT")


def error(found: Pixels, pixels: Pixels) -> float:
    return float(np.sqrt(np.mean((found.astype(float) - pixels) ** 2)))


LOSSY = (
    uid.JPEG_BASELINE,
    uid.JPEG_EXTENDED,
    uid.JPEG_LS_NEAR_LOSSLESS,
    uid.JPEG2000,
    uid.HTJ2K,
    uid.JPEG_XL,
)


@pytest.mark.parametrize("syntax", LOSSY)
def test_every_form_goes_with_loss_in_its_own_precision(syntax: str) -> None:
    encoder = CODECS.lossy_encoder(syntax)
    for plain in forms(encoder.takes):
        pixels, dial = frame_of(plain), encoder.dial(plain)
        for way in encoder.ways:
            for photometric in encoder.rgb_as(way) if plain.samples == 3 else (plain.photometric,):
                form = replace(plain, photometric=photometric)
                stream = encoder.encode_at(pixels, form, dial.highest, way)
                back = encoder.decode(stream, form)
                assert back.shape == pixels.shape
                assert back.dtype.kind == "ui"[form.signed]
                figures(stream, syntax, form)
                # Half of the colour's columns are left out of a gradient that has no smooth colours.
                share = 0.5 if photometric == "YBR_FULL_422" else 0.02
                assert error(back, pixels) <= max(share * 2**form.stored, 1), (form, way)
                with pytest.raises(Permanent) as caught:
                    encoder.decode(stream[: len(stream) // 2], form)
                assert caught.value.reason == "codec"


@pytest.mark.parametrize("syntax", LOSSY)
def test_a_level_is_on_the_dial_or_refused(syntax: str) -> None:
    encoder = CODECS.lossy_encoder(syntax)
    for form in forms(encoder.takes):
        dial = encoder.dial(form)
        assert dial.lowest <= dial.start <= dial.highest
    form = next(forms(encoder.takes))
    dial = encoder.dial(form)
    for level in (dial.lowest, dial.start, dial.highest):
        encoder.encode_at(frame_of(form), form, level)
    for level in (dial.lowest - 1.5, *((dial.start + 0.5,) if dial.whole else ())):
        with pytest.raises(ValueError, match=r"dial|level"):
            encoder.encode_at(frame_of(form), form, level)
    if syntax != uid.JPEG2000:  # whose levels reach up to a thousand
        with pytest.raises(ValueError, match="dial"):
            encoder.encode_at(frame_of(form), form, dial.highest + 1)


# --- Dials and levels, by value


def grey(stored: int, allocated: int = 16, **more: Any) -> FrameFormat:
    return FrameFormat(SIDE, SIDE, 1, allocated, stored, False, "MONOCHROME2", **more)


@pytest.mark.parametrize(
    ("syntax", "stored", "dial"),
    [
        (uid.JPEG2000, 12, Dial(2.0, 122.24, "dB", 0.07, 72.24)),
        (uid.HTJ2K, 2, Dial(12.0, 36.04, "dB", 0.07, 12.0)),
        (uid.HTJ2K, 12, Dial(12.0, 96.24, "dB", 0.07, 70.24)),
        (uid.HTJ2K, 16, Dial(12.0, 107.0, "dB", 0.07, 94.32)),
        (uid.JPEG_LS_NEAR_LOSSLESS, 8, Dial(-127, -1, "NEAR below zero", 0.1, -4, whole=True)),
        (uid.JPEG_LS_NEAR_LOSSLESS, 9, Dial(-255, -1, "NEAR below zero", 0.1, -4, whole=True)),
        (uid.JPEG_XL, 8, Dial(-23.5218, 40.0, "dB of distance", 0.07, 12)),
        (uid.JPEG_BASELINE, 8, Dial(1, 100, "quality", 0.06, 87, whole=True)),
    ],
)
def test_what_each_dial_is(syntax: str, stored: int, dial: Dial) -> None:
    found, wanted = asdict(CODECS.lossy_encoder(syntax).dial(grey(stored))), asdict(dial)
    for name, value in wanted.items():
        assert found[name] == (value if type(value) in (str, bool) else pytest.approx(value, abs=1e-4)), name


@pytest.mark.parametrize("stored", [8, 9, 12, 16])
def test_no_value_of_jpeg_ls_is_off_by_more_than_near(stored: int) -> None:
    encoder, form = CODECS.lossy_encoder(uid.JPEG_LS_NEAR_LOSSLESS), grey(stored, 8 if stored == 8 else 16)
    pixels = frame_of(form)
    for near in (1, 2, 5, 127):
        stream = encoder.encode_at(pixels, form, -near)
        for read in (encoder.decode, *((by_charls,) if jpeg_ls else ())):
            found = read(stream, form)
            assert 0 < np.abs(found.astype(int) - pixels).max() <= near


@pytest.mark.parametrize("syntax", [uid.JPEG2000, uid.HTJ2K])
@pytest.mark.parametrize("stored", [4, 8, 10, 12, 16])
def test_a_level_is_a_psnr_against_the_bits_stored(syntax: str, stored: int) -> None:
    """Were another precision coded, the error would be off by a power of two."""
    encoder, form = CODECS.lossy_encoder(syntax), grey(stored)
    random = np.random.default_rng(2).integers(0, 1 << stored, (64, 64))
    pixels = (np.cumsum(random, 1) // 8 % (1 << stored)).astype("<u2")
    form = replace(form, rows=64, columns=64)
    for level in (20.0, 26.0):
        off = error(encoder.decode(encoder.encode_at(pixels, form, level), form), pixels)
        psnr = 20 * math.log10(2**stored / off)
        assert abs(psnr - level) < 3, psnr


def test_each_way_of_jpeg_2000_is_what_it_says() -> None:
    encoder = CODECS.lossy_encoder(uid.JPEG2000)
    form = replace(grey(12), rows=64, columns=64, samples=3, photometric="RGB")
    pixels = np.tile(frame_of(form), (4, 4, 1))
    found = set()
    for way in encoder.ways:
        for photometric in encoder.rgb_as(way):
            stream = encoder.encode_at(pixels, replace(form, photometric=photometric), 40, way)
            style = stream[stream.index(b"\xff\x52") + 4 :][1:10]  # SGcod, then SPcod
            assert style[3] == (photometric != "RGB"), "the component transform"
            assert style[8] == way.reversible, "1 is the 5-3 wavelet"
            assert style[4] == (way.resolutions or 4) - 1
            found.add((photometric, way))
    ways = [Way(reversible=reversible, resolutions=most) for reversible in (False, True) for most in (0, 3)]
    assert found == {
        (colour, way) for way in ways for colour in ("RGB", "YBR_RCT" if way.reversible else "YBR_ICT")
    }


def test_each_way_of_htj2k_is_what_it_says() -> None:
    encoder, form = CODECS.lossy_encoder(uid.HTJ2K), replace(grey(12), samples=3, photometric="RGB")
    for way, decompositions in ((OWN_WAY, 4), (Way(resolutions=3), 2)):
        for photometric in encoder.rgb_as(way):
            stream = encoder.encode_at(frame_of(form), replace(form, photometric=photometric), 40, way)
            style = stream[stream.index(b"\xff\x52") + 4 :][1:10]
            assert (style[3], style[4], style[8]) == (photometric != "RGB", decompositions, 0)
    with pytest.raises(ValueError, match="dial"):
        encoder.encode_at(frame_of(form), form, 40, Way(reversible=True))


@pytest.mark.parametrize(("photometric", "marker"), [("RGB", b"\xff\xee"), ("YBR_FULL_422", b"\xff\xe0")])
def test_a_jpeg_says_which_colours_it_has(photometric: str, marker: bytes) -> None:
    encoder = CODECS.lossy_encoder(uid.JPEG_BASELINE)
    form = FrameFormat(SIDE, SIDE, 3, 8, 8, False, photometric)
    pixels = np.repeat(np.repeat(frame_of(form)[::4, ::4], 4, 0), 4, 1)  # colours that last for four columns
    stream = encoder.encode_at(pixels, form, 100)
    assert stream[2:4] == marker
    factors = stream[stream.index(b"\xff\xc0") + 11 :][0]
    assert factors == (0x11 if photometric == "RGB" else 0x21)
    for found in (encoder.decode(stream, form), by_pillow(stream)):
        # Pillow smooths between the colours of two columns.
        assert error(found, pixels) < (2 if photometric == "RGB" else 40)
    assert error(encoder.decode(stream, form), pixels) < 3 or photometric != "RGB"


def test_grey_with_loss_is_what_pillow_reads() -> None:
    encoder = CODECS.lossy_encoder(uid.JPEG_BASELINE)
    for form in (grey(8, 8), grey(8, 16)):
        stream = encoder.encode_at(frame_of(form), form, 95)
        assert np.array_equal(by_pillow(stream), encoder.decode(stream, form))
