"""Which codec reads and writes which transfer syntax, and what there is of it where a library lacks."""

from __future__ import annotations

import imagecodecs
import pytest

from mapdr.dicom import uids as uid
from mapdr.kernel.errors import Unavailable
from mapdr.transform.codecs import htj2k, jpeg, jpeg2000, jpegls, jpegxl, rle
from mapdr.transform.codecs.table import Codecs

from .helpers import CODECS, settings

READERS = {
    uid.JPEG_BASELINE: (jpeg.Lossy, False, True),
    uid.JPEG_EXTENDED: (jpeg.Lossy, False, True),
    uid.JPEG_SPECTRAL_SELECTION: (type(None), False, True),
    uid.JPEG_FULL_PROGRESSION: (type(None), False, True),
    uid.JPEG_LOSSLESS: (jpeg.Lossless, False, False),
    uid.JPEG_LOSSLESS_SV1: (jpeg.Lossless, False, False),
    uid.JPEG_LS_LOSSLESS: (jpegls.Lossless, False, False),
    uid.JPEG_LS_NEAR_LOSSLESS: (jpegls.NearLossless, False, False),
    uid.JPEG2000_LOSSLESS: (jpeg2000.Lossless, True, False),
    uid.JPEG2000: (jpeg2000.Lossy, True, False),
    uid.HTJ2K_LOSSLESS: (htj2k.Lossless, True, False),
    uid.HTJ2K_LOSSLESS_RPCL: (htj2k.Lossless, True, False),
    uid.HTJ2K: (htj2k.Lossy, True, False),
    uid.JPEG_XL_LOSSLESS: (jpegxl.Lossless, False, False),
    uid.JPEG_XL_JPEG_RECOMPRESSION: (type(None), False, True),
    uid.JPEG_XL: (jpegxl.Lossy, False, True),
    uid.RLE_LOSSLESS: (rle.Lossless, False, False),
}
"""Syntax -> what writes it, whether its streams tell a sign, and whether they are read as RGB."""


def test_who_writes_which_syntax_and_how_it_is_read() -> None:
    rows = Codecs(CODECS._registry, settings()).rows
    assert rows.keys() == READERS.keys()
    for syntax, row in rows.items():
        assert row.decoder is not None
        found = (type(row.encoder or row.lossy_encoder), row.decoder.is_signed, row.decoder.gives_rgb)
        assert found == READERS[syntax], row.name
        assert (row.recompressor is not None) == (syntax == uid.JPEG_XL_JPEG_RECOMPRESSION)


def test_openjpeg_that_is_not_compiled_in_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imagecodecs.JPEG2K, "available", False)
    with pytest.raises(Unavailable):
        jpeg2000.Jpeg2000()


@pytest.mark.parametrize(
    ("syntaxes", "library"),
    [
        ((uid.JPEG2000_LOSSLESS, uid.JPEG2000), "JPEG2K"),
        ((uid.JPEG_LS_LOSSLESS, uid.JPEG_LS_NEAR_LOSSLESS), "JPEGLS"),
        ((uid.JPEG_XL_LOSSLESS, uid.JPEG_XL_JPEG_RECOMPRESSION, uid.JPEG_XL), "JPEGXL"),
        ((uid.JPEG_BASELINE, uid.JPEG_EXTENDED, uid.JPEG_LOSSLESS, uid.JPEG_LOSSLESS_SV1), "JPEG8"),
        ((uid.RLE_LOSSLESS,), "DICOMRLE"),
        ((uid.HTJ2K_LOSSLESS, uid.HTJ2K_LOSSLESS_RPCL, uid.HTJ2K), "JPEG2K"),
        ((uid.HTJ2K_LOSSLESS, uid.HTJ2K_LOSSLESS_RPCL, uid.HTJ2K), "HTJ2K"),
    ],
)
def test_a_library_that_is_not_compiled_in_is_the_reason(
    syntaxes: tuple[str, ...], library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Without:
        available = False

    monkeypatch.setattr(imagecodecs, library, Without)
    rows = Codecs(CODECS._registry, settings()).rows
    for syntax in syntaxes:
        row = rows[syntax]
        assert row.encoder is row.lossy_encoder is row.recompressor is None
        assert row.no_encode == "imagecodecs was built without it"
        assert (row.decoder is not None) == (library == "HTJ2K"), "OpenJPEG reads HTJ2K"
        assert row.no_decode == ("" if library == "HTJ2K" else "imagecodecs was built without it")


def test_without_pyjpegls_jpeg_ls_is_read_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jpegls, "writer", lambda: "nothing writes it")
    rows = Codecs(CODECS._registry, settings()).rows
    for syntax in (uid.JPEG_LS_LOSSLESS, uid.JPEG_LS_NEAR_LOSSLESS):
        assert rows[syntax].decoder is not None
        assert rows[syntax].encoder is rows[syntax].lossy_encoder is None
        assert rows[syntax].no_encode == "nothing writes it"
