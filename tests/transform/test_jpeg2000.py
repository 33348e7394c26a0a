"""The codec by itself: what it writes is raw, in the asked precision, and comes back equal."""

from __future__ import annotations

import numpy as np
import pytest

from mapdr.dicom.uids import JPEG2000, JPEG2000_LOSSLESS
from mapdr.kernel.errors import Permanent
from mapdr.kernel.registry import Registry
from mapdr.transform.codecs.jpeg2000 import STAGE, Jpeg2000, Lossless, Lossy
from mapdr.transform.image import same

from .helpers import picture, settings

DEPTHS = [(bits, signed) for bits in (2, 7, 8, 9, 10, 12, 15, 16) for signed in (False, True)]


@pytest.fixture(scope="module")
def codec() -> Jpeg2000:
    return Jpeg2000()


def frame_of(bits: int, signed: bool, samples: int = 1):
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    frame = np.stack([picture(37, 50, low, high, seed) for seed in range(samples)], -1)
    return frame.astype(np.int16 if signed else np.uint16)[..., 0 if samples == 1 else slice(None)]


@pytest.mark.parametrize(("bits", "signed"), DEPTHS)
def test_lossless_comes_back_in_the_asked_precision(codec: Jpeg2000, bits: int, signed: bool) -> None:
    frame = frame_of(bits, signed)
    stream = codec.encode(frame, bits, mct=False)
    assert stream.startswith(b"\xff\x4f\xff\x51")
    assert stream[42] == bits - 1 + 0x80 * signed
    decoded = codec.decode(stream)
    assert decoded.dtype.kind == ("i" if signed else "u")
    assert same(decoded, frame)


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_the_level_is_decibel_against_the_precision(codec: Jpeg2000, bits: int) -> None:
    # Were the precision not heeded, the error would be 16 or 256 times what the level allows.
    frame = frame_of(bits, False)
    decoded = codec.decode(codec.encode(frame, bits, mct=False, level=6.02 * bits - 24))
    error = np.sqrt(np.mean((decoded.astype(float) - frame) ** 2))
    assert 4 < error < 32


@pytest.mark.parametrize("mct", [False, True])
def test_colour_comes_back(codec: Jpeg2000, mct: bool) -> None:
    frame = frame_of(8, False, 3)
    stream = codec.encode(frame, 8, mct=mct)
    assert stream[stream.index(b"\xff\x52") + 8] == mct  # SGcod, the multiple component transform
    assert same(codec.decode(stream), frame)


def test_a_reversible_lossy_stream_is_between_the_best_of_9_7_and_lossless(codec: Jpeg2000) -> None:
    frame = frame_of(12, False) // 64 * 64
    sizes = [
        len(codec.encode(frame, 12, mct=False, level=level, reversible=reversible))
        for level, reversible in ((60, True), (110, True))
    ]
    assert sizes[0] < sizes[1] <= len(codec.encode(frame, 12, mct=False))


@pytest.mark.parametrize("level", [0, 0.5, 1001])
def test_levels_that_would_mean_lossless_are_refused(codec: Jpeg2000, level: float) -> None:
    with pytest.raises(ValueError, match="lossless"):
        codec.encode(frame_of(8, False), 8, mct=False, level=level)


def test_garbage_is_a_permanent_codec_error(codec: Jpeg2000) -> None:
    with pytest.raises(Permanent) as caught:
        codec.decode(b"\xff\x4f\xff\x51 and no more")
    assert caught.value.reason == "codec"


def test_a_codec_that_ignores_the_precision_is_found_out(
    codec: Jpeg2000, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = codec.encode(frame_of(12, False), 16, mct=False)

    class Careless:
        @staticmethod
        def jpeg2k_encode(*_: object, **__: object) -> bytes:
            return wide

    monkeypatch.setattr(codec, "_codec", Careless)
    with pytest.raises(Permanent, match="precision"):
        codec.encode(frame_of(12, False), 12, mct=False)


def test_it_comes_through_the_registry() -> None:
    assert Registry().factory("codec", "jpeg2000") is STAGE
    written = {
        each.transfer_syntax_uid: each.encode
        for each in STAGE.build(settings(), STAGE.config(), None).abilities
    }
    assert isinstance(written[JPEG2000_LOSSLESS], Lossless)
    assert isinstance(written[JPEG2000], Lossy)
