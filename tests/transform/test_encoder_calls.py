"""What encoders ask of their libraries, and what becomes of what these do wrong, or lack."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import imagecodecs
import numpy as np
import pytest

from mapdr.dicom import uids as uid
from mapdr.kernel.codec import OWN_WAY, Encoder, FrameFormat, LossyEncoder, Pixels
from mapdr.kernel.errors import Permanent
from mapdr.transform.codecs import htj2k, jpeg, jpeg2000, jpegls, jpegxl, rle
from mapdr.transform.codecs.table import Codecs

from .helpers import CODECS, settings
from .test_encoder_forms import SIDE, by_charls, forms, frame_of, grey


class Library:
    """imagecodecs, but for what a test replaces."""

    def __init__(self, **replaced: Any) -> None:
        self._replaced = replaced

    def __getattr__(self, name: str) -> Any:
        return self._replaced.get(name) or getattr(imagecodecs, name)


def encoded(encoder: Encoder | LossyEncoder, form: FrameFormat) -> bytes:
    if isinstance(encoder, LossyEncoder):
        return encoder.encode_at(frame_of(form), form, encoder.dial(form).start)
    return encoder.encode(frame_of(form), form)


def refused(encoder: Encoder | LossyEncoder, form: FrameFormat, words: str) -> None:
    """The encoder raises a Permanent of the codec."""
    with pytest.raises(Permanent, match=words) as caught:
        encoded(encoder, form)
    assert caught.value.reason == "codec"
    assert "Marked" not in str(caught.value)


def raising(*_: Any, **__: Any) -> bytes:
    raise RuntimeError("Marked^Value")


NAMES = {
    uid.JPEG_LOSSLESS: "jpeg_encode",
    uid.JPEG_BASELINE: "jpeg_encode",
    uid.JPEG2000_LOSSLESS: "jpeg2k_encode",
    uid.JPEG2000: "jpeg2k_encode",
    uid.HTJ2K_LOSSLESS: "htj2k_encode",
    uid.HTJ2K: "htj2k_encode",
    uid.JPEG_XL_LOSSLESS: "jpegxl_encode",
    uid.JPEG_XL: "jpegxl_encode",
}


def encoder_with(syntax: str, monkeypatch: pytest.MonkeyPatch, **replaced: Any) -> Encoder | LossyEncoder:
    """What writes a syntax where imagecodecs does as replaced."""
    codecs = Codecs(CODECS._registry, settings())
    row = codecs.rows[syntax]
    found: Any = row.encoder or row.lossy_encoder
    monkeypatch.setattr(
        found if isinstance(found._codec, type(imagecodecs)) else found._codec, "_codec", Library(**replaced)
    )
    return found  # type: ignore[no-any-return]


def exhausted(*_: Any, **__: Any) -> bytes:
    raise MemoryError


def test_want_of_memory_blames_no_image(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MemoryError):
        encoded(encoder_with(uid.JPEG2000_LOSSLESS, monkeypatch, jpeg2k_encode=exhausted), grey(12))


@pytest.mark.parametrize("syntax", NAMES)
def test_what_a_library_raises_parks_and_quotes_nothing(syntax: str, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = encoder_with(syntax, monkeypatch, **{NAMES[syntax]: raising})
    for form in list(forms(encoder.takes))[-2:]:
        if (syntax, form.samples) != (uid.JPEG_LOSSLESS, 1):  # which MAPDR writes by itself
            refused(encoder, form, "cannot encode: RuntimeError")


@pytest.mark.parametrize(
    ("syntax", "name", "change"),
    [
        (uid.JPEG2000_LOSSLESS, "jpeg2k_encode", {"bitspersample": 11}),
        (uid.JPEG2000, "jpeg2k_encode", {"bitspersample": 11}),
        (uid.JPEG_XL_LOSSLESS, "jpegxl_encode", {"bitspersample": 11}),
        (uid.JPEG_XL, "jpegxl_encode", {"bitspersample": 11}),
        (uid.HTJ2K_LOSSLESS, "htj2k_encode", {"tlm": False}),
        (uid.HTJ2K, "htj2k_encode", {"tlm": False}),
    ],
)
def test_a_codestream_that_is_not_what_was_asked_for_is_refused(
    syntax: str, name: str, change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = getattr(imagecodecs, name)
    encoder = encoder_with(syntax, monkeypatch, **{name: lambda *some, **more: write(*some, **more | change)})
    refused(encoder, grey(12), "than asked for")


def test_a_frame_that_is_not_as_its_form_says_is_no_rle() -> None:
    with pytest.raises(Permanent, match="RLE cannot encode") as caught:
        rle.Lossless().encode(frame_of(grey(12)), replace(grey(12), rows=17))
    assert caught.value.reason == "codec"


def test_an_htj2k_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not high-throughput, of another sign in one component, or of no sense."""
    form = FrameFormat(SIDE, SIDE, 3, 8, 8, False, "RGB")
    whole = bytearray(imagecodecs.htj2k_encode(frame_of(form).view("i1"), reversible=True, tlm=True))
    style = whole.index(b"\xff\x52") + 5  # of its values the second is the order of progression
    for at, value in ((6, 0), (style, 0), (42, 7), (45, 0x86), (48, 7), (None, 0)):
        stream = bytearray(whole) if at is not None else bytearray(b"\xff\x4f\xff\x51")
        if at is not None:
            stream[at] = value
        made = bytes(stream)
        refused(
            encoder_with(uid.HTJ2K_LOSSLESS, monkeypatch, htj2k_encode=lambda *_, made=made, **__: made),
            form,
            "otherwise",
        )
    made = bytes(whole)
    encoder = encoder_with(uid.HTJ2K_LOSSLESS, monkeypatch, htj2k_encode=lambda *_, **__: made)
    assert encoded(encoder, form)[:42] == made[:42]


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + (2 + len(body)).to_bytes(2, "big") + body


SIZ, COD, TLM, SOT = (
    segment(0x51, b"\x40\0"),
    segment(0x52, b"\0\2"),
    segment(0x55, b""),
    segment(0x90, bytes(8)),
)


@pytest.mark.parametrize(
    ("segments", "fits"),
    [
        ((SIZ, COD, TLM, SOT), True),
        ((SIZ, COD, TLM), True),
        ((segment(0x64, bytes(300)), SIZ, segment(0x64, bytes(300)), TLM, COD, SOT), True),
        ((SIZ, COD, SOT, TLM), False),  # of a tile-part: the main header has none
        ((SIZ, TLM, SOT, COD), False),
        ((COD, TLM, SOT, SIZ), False),
        ((SIZ, segment(0x52, b"\2\0"), TLM, SOT), False),
        ((segment(0x51, b"\0\x40"), COD, TLM, SOT), False),
        ((), False),
    ],
)
def test_which_main_header_high_throughput_by_resolution_has(segments: tuple[bytes, ...], fits: bool) -> None:
    assert htj2k._is_rpcl(bytearray(b"\xff\x4f" + b"".join(segments))) is fits


def test_a_psnr_is_told_openjph_as_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[float] = []

    def noted(cells: Pixels, *, level: float, **options: Any) -> bytes:
        steps.append(level)
        return bytes(imagecodecs.htj2k_encode(cells, level=level, **options))

    encoder: Any = encoder_with(uid.HTJ2K, monkeypatch, htj2k_encode=noted)
    for level in (30.8, 50.8):
        encoder.encode_at(frame_of(grey(12)), grey(12), level)
    assert steps == pytest.approx([0.1, 0.01])


@pytest.mark.parametrize(
    ("rows", "columns", "decompositions"),
    [(1, 1, 1), (2, 1, 1), (1, 3, 2), (16, 16, 4), (32, 3, 5), (33, 33, 5), (3, 2048, 5), (2049, 3, 6)],
)
def test_how_often_htj2k_is_told_to_halve_a_frame(
    rows: int, columns: int, decompositions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Newer imagecodecs do so no more often than the shorter side allows."""
    told: list[int] = []

    def noted(cells: Pixels, *, resolutions: int, **options: Any) -> bytes:
        told.append(resolutions)
        return bytes(imagecodecs.htj2k_encode(cells, resolutions=resolutions, **options))

    form = replace(grey(8), rows=rows, columns=columns)
    for syntax, more in ((uid.HTJ2K_LOSSLESS, ()), (uid.HTJ2K, (40.0,))):
        encoder: Any = encoder_with(syntax, monkeypatch, htj2k_encode=noted)
        (encoder.encode_at if more else encoder.encode)(np.zeros((rows, columns), "u2"), form, *more)
    assert told == [decompositions] * 2


@pytest.mark.parametrize("level", [1, 1000])
def test_openjpeg_takes_levels_from_1_to_1000(level: float) -> None:
    codec = jpeg2000.Jpeg2000()
    lossless = codec.encode(frame_of(grey(12)), 12, mct=False)
    assert codec.encode(frame_of(grey(12)), 12, mct=False, level=level) != lossless


def test_large_frames_alone_get_more_than_one_thread() -> None:
    asked: list[int] = []

    def noted(*some: Any, numthreads: int, **more: Any) -> bytes:
        asked.append(numthreads)
        return b"\0" * 42 + b"\x0b"

    codec = jpeg2000.Jpeg2000(3)
    codec._codec = Library(
        jpeg2k_encode=noted, jpeg2k_decode=lambda stream, numthreads: asked.append(numthreads)
    )
    edge = 1 << 22
    for count in (edge, edge - 1):
        codec.encode(np.zeros((1, count), "u2"), 12, mct=False)
    for size in (2 * edge, 2 * edge - 1):
        codec.decode(b"", size)
    assert asked == [3, 1, 3, 1]
    wide = replace(grey(12), rows=1, columns=edge)
    for encoder in (jpeg2000.Lossless(codec), jpeg2000.Lossy(codec)):
        encoder.decode(b"", wide)
        encoder.decode(b"", grey(12))
    assert asked[4:] == [3, 1, 3, 1]


# --- JPEG-LS: who writes it


def writer_with(monkeypatch: pytest.MonkeyPatch, **replaced: Any) -> Any:
    monkeypatch.setitem(sys.modules, "imagecodecs", Library(**replaced))
    return jpegls.writer()


def test_an_imagecodecs_that_takes_a_precision_writes_jpeg_ls(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []

    def encode(cells: Pixels, **options: Any) -> bytes:
        calls.append({"size": cells.nbytes, **options})
        if cells.size > 1 and "out" not in options:
            raise imagecodecs.JpeglsError("charls_jpegls_encoder", "no room")
        return b"made"

    write = writer_with(monkeypatch, jpegls_encode=encode)
    assert calls == [{"size": 2, "level": 0, "bitspersample": 12}], "it was asked once"
    assert write(np.zeros((1, 1), "u2"), 10, 3) == b"made"
    assert calls[1:] == [{"size": 2, "level": 3, "bitspersample": 10}]
    assert write(np.zeros((2, 2), "u2"), 10, 3) == b"made"
    assert calls[3:] == [{"size": 8, "level": 3, "bitspersample": 10, "out": 2 * 8 + 1024}]


def test_pyjpegls_writes_where_imagecodecs_takes_no_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    def encode(cells: Pixels, level: int, out: int = 0) -> bytes:
        return b"%d of %d in %d" % (level, cells.nbytes, out)

    write = writer_with(monkeypatch, jpegls_encode=encode)
    jpeg_ls, form = pytest.importorskip("jpeg_ls"), grey(12)
    assert np.array_equal(by_charls(write(frame_of(form), 12, 0), form), frame_of(form))
    monkeypatch.setattr(jpeg_ls, "encode_buffer", raising)
    assert write(np.zeros((2, 2), "u2"), 16, 3) == b"3 of 8 in 1040"
    assert write(np.zeros((2, 2), "u1"), 8, 0) == b"0 of 4 in 1032"
    with pytest.raises(RuntimeError):
        write(np.zeros((2, 2), "u2"), 12, 0)
    monkeypatch.setitem(sys.modules, "jpeg_ls", None)
    assert "pyjpegls is not installed" in writer_with(monkeypatch, jpegls_encode=encode)


def test_a_jpeg_ls_of_another_precision_is_refused() -> None:
    whole = CODECS.encoder(uid.JPEG_LS_LOSSLESS).encode(frame_of(grey(12)), grey(12))
    for made, words in ((whole, "precision"), (b"no codestream", "precision")):
        encoder = jpegls.Lossless(jpegls._CharLs(lambda cells, bits, near, made=made: made))
        refused(encoder, grey(16), words)
        refused(jpegls.NearLossless(jpegls._CharLs(lambda *_, made=made: made)), grey(16), words)
    refused(jpegls.Lossless(jpegls._CharLs(raising)), grey(12), "cannot encode: RuntimeError")
    assert jpegls.Lossless(jpegls._CharLs(lambda *_: whole)).encode(frame_of(grey(12)), grey(12)) == whole


def test_jpeg_xl_is_told_what_a_rule_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []
    write = imagecodecs.jpegxl_encode

    def noted(cells: Pixels, **options: Any) -> bytes:
        calls.append({"cell": cells.dtype.itemsize, **options})
        return bytes(write(cells, **options))

    lossless = encoder_with(uid.JPEG_XL_LOSSLESS, monkeypatch, jpegxl_encode=noted)
    lossy = encoder_with(uid.JPEG_XL, monkeypatch, jpegxl_encode=noted)
    assert isinstance(lossless, jpegxl.Lossless)
    assert isinstance(lossy, jpegxl.Lossy)
    assert lossy.rgb_as(OWN_WAY) == ()
    for form in (grey(8), grey(9)):
        lossless.encode(frame_of(form), form)
    lossy.encode_at(frame_of(grey(12)), grey(12), 20)
    same_each = {"effort": 3, "numthreads": 1}
    assert calls[0] == {"cell": 1, "bitspersample": 8, "lossless": True, **same_each}
    assert calls[1] == {"cell": 2, "bitspersample": 9, "lossless": True, **same_each}
    assert calls[2].pop("distance") == pytest.approx(0.1)
    assert calls[2] == {"cell": 2, "bitspersample": 12, "lossless": False, **same_each}


def test_lossless_jpeg_of_colours_has_the_first_predictor() -> None:
    form = FrameFormat(SIDE, SIDE, 3, 8, 8, False, "RGB")
    for encoder in (jpeg.Lossless(), CODECS.encoder(uid.JPEG_LOSSLESS_SV1)):
        for each in (form, grey(8, 8)):
            stream = encoder.encode(frame_of(each), each)
            assert stream[stream.index(b"\xff\xda") + 5 + 2 * each.samples] == 1
