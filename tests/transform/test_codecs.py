"""The table of codecs says what the code does, whoever wrote a codec."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mapdr.dicom import uids as uid
from mapdr.kernel.codec import Ability, Decoder, FrameFormat, PixelRange, Pixels
from mapdr.kernel.errors import Permanent
from mapdr.kernel.registry import Registry
from mapdr.kernel.stage import Factory, StageConfig
from mapdr.transform.codecs.table import Codecs, installed

from .helpers import CODECS, settings

READ = {
    *(uid.JPEG_BASELINE, uid.JPEG_EXTENDED, uid.JPEG_SPECTRAL_SELECTION, uid.JPEG_FULL_PROGRESSION),
    *(uid.JPEG_LOSSLESS, uid.JPEG_LOSSLESS_SV1, uid.JPEG_LS_LOSSLESS, uid.JPEG_LS_NEAR_LOSSLESS),
    *(uid.JPEG2000_LOSSLESS, uid.JPEG2000, uid.HTJ2K_LOSSLESS, uid.HTJ2K_LOSSLESS_RPCL, uid.HTJ2K),
    *(uid.JPEG_XL_LOSSLESS, uid.JPEG_XL_JPEG_RECOMPRESSION, uid.JPEG_XL, uid.RLE_LOSSLESS),
}


RETIRED = {uid.JPEG_SPECTRAL_SELECTION, uid.JPEG_FULL_PROGRESSION}


def test_what_the_table_decodes_has_a_decoder() -> None:
    assert {row.uid for row in installed(Registry()) if not row.no_decode} == READ
    assert {row.uid for row in CODECS.rows.values() if row.decoder} == READ


def test_what_the_table_encodes_has_an_encoder() -> None:
    rows = installed(Registry())
    assert {row.uid for row in rows if not row.no_encode} == READ - RETIRED
    assert CODECS.encoder(uid.JPEG2000_LOSSLESS)
    assert CODECS.lossy_encoder(uid.JPEG2000)


def test_everything_else_has_a_reason() -> None:
    rows = installed(Registry())
    written = {row.uid for row in rows if row.encoder or row.lossy_encoder or row.recompressor}
    assert all(row.no_encode for row in rows if row.uid not in written)
    for other in (uid.DEFLATED_IMAGE_FRAME, uid.JPEG2000, uid.EXPLICIT_VR_LITTLE_ENDIAN, "1.2.3"):
        with pytest.raises(Permanent) as caught:
            CODECS.encoder(other)
        assert caught.value.reason == "syntax"


class Stub:
    """A codec of somebody else: it has the abilities that a test gives it."""

    def __init__(self, *abilities: Ability) -> None:
        self.abilities = abilities


class Writer:
    takes = PixelRange()
    colour_transform = ""

    def encode(self, pixels: Pixels, form: FrameFormat) -> bytes:
        return pixels.tobytes()

    def decode(self, stream: bytes, form: FrameFormat) -> Pixels:
        return np.frombuffer(stream, np.uint8)


def read(form: FrameFormat, stream: bytes) -> Pixels:
    return np.frombuffer(stream, np.uint8)


def codecs_with(monkeypatch: pytest.MonkeyPatch, **others: Callable[..., Any]) -> Codecs:
    registry = Registry()
    for name, build in others.items():
        factory = Factory("codec", name, StageConfig, build)
        monkeypatch.setitem(registry._modules, ("codec", name), f"codec_{name}")
        found = registry.plugin("codec", name)
        monkeypatch.setitem(
            registry._loaded, ("codec", name), replace(found, origin="elsewhere", factory=factory, reason="")
        )
    return Codecs(registry, settings())


def test_codecs_are_built_once_though_two_threads_ask_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, goes_on = (threading.Event() for _ in range(3))

    def build(*_: Any) -> Stub:
        (second if first.is_set() else first).set()
        assert goes_on.wait(10)
        return Stub(Ability("1.2.3.4", Decoder(read)))

    codecs = codecs_with(monkeypatch, aaa=build)
    with ThreadPoolExecutor(2) as threads:
        asked = [threads.submit(lambda: codecs.rows["1.2.3.4"]) for _ in range(2)]
        assert first.wait(10)
        assert not second.wait(0.5)
        goes_on.set()
        one, other = (each.result(10) for each in asked)
    assert one.decoder is other.decoder


def test_another_codec_adds_what_is_missing_and_replaces_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    writer, decoder = Writer(), Decoder(read)
    codecs = codecs_with(
        monkeypatch,
        aaa=lambda *_: Stub(
            Ability(uid.RLE_LOSSLESS, decoder, writer),
            Ability(uid.DEFLATED_IMAGE_FRAME, decoder, writer),
            Ability("1.2.3.4", decoder),
        ),
    )
    assert isinstance(codecs.encoder(uid.RLE_LOSSLESS), type(CODECS.encoder(uid.RLE_LOSSLESS)))
    assert codecs.encoder(uid.DEFLATED_IMAGE_FRAME).takes is writer.takes
    assert codecs.rows[uid.DEFLATED_IMAGE_FRAME].codec == "aaa"
    assert codecs.decoder(uid.RLE_LOSSLESS) == CODECS.decoder(uid.RLE_LOSSLESS)
    assert codecs.decoder(uid.DEFLATED_IMAGE_FRAME) is decoder
    assert codecs.rows[uid.DEFLATED_IMAGE_FRAME].name == "Deflated Image Frame Compression"
    assert codecs.rows["1.2.3.4"].no_encode == "it is not offered"
    assert list(codecs.rows)[-1] == "1.2.3.4"


def test_a_codec_that_cannot_be_built_takes_no_other_with_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise OSError("no such library")

    codecs = codecs_with(monkeypatch, broken=broken)
    assert codecs.rows.keys() == CODECS.rows.keys()
    assert 'codec "broken" cannot be used' in caplog.text
