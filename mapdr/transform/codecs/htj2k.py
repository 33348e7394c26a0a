"""The codec for High-Throughput JPEG 2000 (ISO/IEC 15444-15): it writes nine times as fast as JPEG 2000.

Written by OpenJPH, read by OpenJPEG: imagecodecs' OpenJPH wraps where it should clamp; so what was written is
compared with what another library reads. imagecodecs for Python 3.11 has OpenJPH write 8 or 16 bits only, so
the precision of SIZ is written over with the real one. That is right by the standard for samples without DC
level shift, which signed ones are (ISO/IEC 15444-1, G.1): unsigned frames are shifted here. And since the
quantisation steps of QCD are relative to the precision (E.1.1), frames that go with loss fill all bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mapdr.dicom import uids as uid
from mapdr.kernel.codec import OWN_WAY, Ability, Decoder, Dial, FrameFormat, PixelRange, Pixels, Way
from mapdr.kernel.errors import Permanent
from mapdr.kernel.stage import Factory, Settings
from mapdr.transform.codecs import decode, headers
from mapdr.transform.codecs.calls import Calling
from mapdr.transform.codecs.reading import Abilities, NothingToSay, missing, read_only

DECODER = Decoder(decode.jpeg2000, headers.jpeg2000, is_signed=True)
TAKES = PixelRange(allocated=(8, 16), stored=range(2, 17), samples=(1, 3))
DB_OF_STEP = 10.8
"""20 log sqrt 12: PSNR in dB against the full range if every coefficient is off by up to half a step of 1."""
DB_PER_BIT = 6.02
LEAST_DB = 12.0
"""OpenJPH takes steps below 1 alone."""
MOST_DB = 107.0
"""OpenJPH quantises no finer than 2 ** -16 of the range."""
BASE = 64
"""Rows or columns that the lowest resolution may have for RPCL (PS3.5 section 10.18)."""
_PRECISIONS = 42
"""Where SIZ holds Ssiz, XRsiz, YRsiz of each component (ISO/IEC 15444-1, A.5.1), right after SOC."""
_SIGNED = 0x80
_HT = 0x4000
"""Rsiz of a codestream with high-throughput code blocks (ISO/IEC 15444-15, A.2)."""
_RPCL = 2


def _decompositions(form: FrameFormat) -> int:
    """Five, or as many more as make the lowest resolution no larger than BASE; of small frames no more than
    take its longer side to one pixel.

    More are allowed, but make nothing smaller, and OpenJPH before 0.10 decodes them to other pixels.
    """
    bits = (max(form.rows, form.columns, 1) - 1).bit_length()
    return max(1, min(bits, max(5, bits - (BASE.bit_length() - 1))))


class _OpenJph:
    """Codestreams with the precision and sign of the frame's format."""

    def __init__(self) -> None:
        import imagecodecs

        self._codec: Any = imagecodecs

    def encode(self, pixels: Pixels, form: FrameFormat, **options: Any) -> bytes:
        """The codestream of a frame; `options` as imagecodecs has them. Raises Permanent(reason="codec")."""
        size = 1 if form.stored <= 8 else 2
        # In unsigned cells, which wrap: their bits are those of the signed result.
        cells = np.ascontiguousarray(pixels, f"{'ui'[form.signed]}{size}").view(f"u{size}")
        if not form.signed:
            cells = cells - cells.dtype.type(1 << form.stored - 1)
        if not options["reversible"] and form.stored < 8 * size:
            cells = cells << cells.dtype.type(8 * size - form.stored)
        with Calling("HTJ2K cannot encode"):
            stream = bytearray(self._codec.htj2k_encode(cells.view(f"i{size}"), tlm=True, **options))
        places = slice(_PRECISIONS, _PRECISIONS + 3 * form.samples, 3)
        if stream[places] != bytes([_SIGNED | 8 * size - 1]) * form.samples or not _is_rpcl(stream):
            raise Permanent("HTJ2K was encoded otherwise than asked for", reason="codec")
        stream[places] = bytes([form.stored - 1 | (_SIGNED if form.signed else 0)]) * form.samples
        return bytes(stream)

    def decode(self, stream: bytes, form: FrameFormat) -> Pixels:
        """The frame of a codestream that came from here. Raises Permanent(reason="codec")."""
        with Calling("HTJ2K cannot be decoded"):
            return decode.jpeg2000(form, stream)


def _is_rpcl(stream: bytearray) -> bool:
    """Whether the main header has HT code blocks, TLM, and the progression that .202 asks for."""
    found: dict[int, bytes] = {}
    at = 2
    while at + 4 <= len(stream) and stream[at + 1] != 0x90:
        length = int.from_bytes(stream[at + 2 : at + 4], "big")
        found[stream[at + 1]] = bytes(stream[at + 4 : at + 2 + length])
        at += 2 + length
    size, style = found.get(0x51, b""), found.get(0x52, b"")
    return int.from_bytes(size[:2], "big") & _HT != 0 and style[1:2] == bytes([_RPCL]) and 0x55 in found


class Lossless:
    """HTJ2K as an encoder without loss: see `mapdr.kernel.codec.Encoder`.

    What it writes is progressive by resolution, with tile-part lengths: so it fits both lossless syntaxes.
    """

    takes = TAKES
    colour_transform = "YBR_RCT"

    def __init__(self, codec: _OpenJph) -> None:
        self._codec = codec

    def encode(self, pixels: Pixels, form: FrameFormat) -> bytes:
        """The lossless codestream."""
        return self._codec.encode(
            pixels,
            form,
            reversible=True,
            rgb=form.photometric == self.colour_transform,
            resolutions=_decompositions(form),
        )

    def decode(self, stream: bytes, form: FrameFormat) -> Pixels:
        """The frame of a codestream that came from here."""
        return self._codec.decode(stream, form)


class Lossy:
    """HTJ2K as an encoder with loss: see `mapdr.kernel.codec.LossyEncoder`. Its dial is a PSNR."""

    takes = TAKES
    method = "ISO_15444_15"
    ways = (OWN_WAY, Way(resolutions=3))

    def __init__(self, codec: _OpenJph) -> None:
        self._codec = codec

    def dial(self, form: FrameFormat) -> Dial:
        """dB against 2 ** bits stored by the quantisation step alone: about what comes out if it is fine."""
        highest = min(MOST_DB, DB_PER_BIT * form.stored + 24)
        return Dial(LEAST_DB, highest, "dB", 0.07, min(highest, max(LEAST_DB, DB_PER_BIT * form.stored - 2)))

    def rgb_as(self, way: Way) -> tuple[str, ...]:
        """By the irreversible component transform, or as they are."""
        return ("YBR_ICT", "RGB")

    def encode_at(self, pixels: Pixels, form: FrameFormat, level: float, way: Way = OWN_WAY) -> bytes:
        """The codestream at `level` dB. Raises ValueError for a level that is not on the dial."""
        if way.reversible or not LEAST_DB <= level <= self.dial(form).highest:
            raise ValueError("the level is not on the dial of HTJ2K")
        return self._codec.encode(
            pixels,
            form,
            reversible=False,
            level=10 ** ((DB_OF_STEP - level) / 20),
            rgb=form.photometric == "YBR_ICT",
            resolutions=way.resolutions - 1 if way.resolutions else _decompositions(form),
        )

    def decode(self, stream: bytes, form: FrameFormat) -> Pixels:
        """The frame of a codestream that came from here."""
        return self._codec.decode(stream, form)


def build(settings: Settings, config: NothingToSay, next: None) -> Abilities:
    """The codec for a node."""
    syntaxes = (uid.HTJ2K_LOSSLESS, uid.HTJ2K_LOSSLESS_RPCL, uid.HTJ2K)
    if lacking := missing("HTJ2K"):
        return Abilities(read_only("JPEG2K", DECODER, dict.fromkeys(syntaxes, lacking)))
    codec = _OpenJph()
    lossless = Lossless(codec)
    unread = missing("JPEG2K")
    return Abilities(
        tuple(
            Ability(each, unread or DECODER, unread or (lossless if each != uid.HTJ2K else Lossy(codec)))
            for each in syntaxes
        )
    )


STAGE = Factory("codec", "htj2k", NothingToSay, build)
