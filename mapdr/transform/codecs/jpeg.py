"""The codec for JPEG (ISO/IEC 10918-1; PS3.5 section A.4.1), by libjpeg-turbo; grey frames without loss are
written by MAPDR's own encoder, byte for byte the same, and read by libjpeg-turbo.

Both lossless syntaxes are written with first-order prediction (selection value 1): JPEG Lossless SV1 asks for
it, and JPEG Lossless allows it. With loss it writes the sequential processes alone; the progressive ones are
retired.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mapdr import _fast
from mapdr.dicom import uids as uid
from mapdr.kernel.codec import OWN_WAY, Ability, Decoder, Dial, FrameFormat, PixelRange, Pixels, Way
from mapdr.kernel.stage import Factory, Settings
from mapdr.transform.codecs import decode, headers
from mapdr.transform.codecs.calls import Calling, unsigned_cells, with_sign
from mapdr.transform.codecs.reading import Abilities, NothingToSay, missing

_RETIRED = (uid.JPEG_SPECTRAL_SELECTION, uid.JPEG_FULL_PROGRESSION)
_LOSSLESS = (uid.JPEG_LOSSLESS, uid.JPEG_LOSSLESS_SV1)


class Lossless:
    """Lossless JPEG (process 14) by libjpeg-turbo: see `mapdr.kernel.codec.Encoder`.

    Its codestreams know no sign: negative values go as the bits of their cells, where these have no unused
    ones, over which readers differ.
    """

    takes = PixelRange(stored=range(2, 17), signed_with_unused_bits=False)
    colour_transform = ""

    def __init__(self) -> None:
        import imagecodecs

        self._codec: Any = imagecodecs

    def encode(self, pixels: Pixels, form: FrameFormat) -> bytes:
        """The codestream of a frame, its components as they are."""
        cells = unsigned_cells(pixels, form)
        with Calling("JPEG cannot encode"):
            if form.samples == 1:
                return _fast.jpeg_lossless_encode(cells.data.cast("B"), form.rows, form.columns, form.stored)
            colour = {"colorspace": "RGB", "outcolorspace": "RGB"}
            return bytes(
                self._codec.jpeg_encode(
                    cells, lossless=True, predictor=1, bitspersample=form.stored, **colour
                )
            )

    def decode(self, stream: bytes, form: FrameFormat) -> Pixels:
        """The frame of a codestream that came from here."""
        with Calling("JPEG cannot decode"):
            return with_sign(decode.jpeg_lossless(form, stream), form)


class Lossy:
    """Sequential JPEG with loss: see `mapdr.kernel.codec.LossyEncoder`. Its dial is libjpeg's quality."""

    method = "ISO_10918_1"
    ways = (OWN_WAY,)

    def __init__(self, takes: PixelRange) -> None:
        """`takes`: 8 bits for the baseline process, 12 for the extended one, and no others."""
        import imagecodecs

        self.takes = takes
        self._codec: Any = imagecodecs

    def dial(self, form: FrameFormat) -> Dial:
        """The scale of libjpeg's quantisation tables."""
        return Dial(1, 100, "quality", 0.06, 87, whole=True)

    def rgb_as(self, way: Way) -> tuple[str, ...]:
        """With half of the colour's columns, or all components as they are, which takes twice the bytes."""
        return ("YBR_FULL_422", "RGB")

    def encode_at(self, pixels: Pixels, form: FrameFormat, level: float, way: Way = OWN_WAY) -> bytes:
        """The codestream at quality `level`. Raises ValueError for a level that is not on the dial."""
        if not 1 <= level <= 100 or level != int(level):
            raise ValueError("the level is not on the dial of JPEG")
        colour = {}
        if form.samples == 3:
            space = "RGB" if form.photometric == "RGB" else "YCBCR"
            # libjpeg's marker says which it is: JFIF for YCbCr, Adobe's for RGB.
            colour = {"colorspace": "RGB", "outcolorspace": space}
            colour["subsampling"] = "444" if form.photometric == "RGB" else "422"
        cells = np.ascontiguousarray(pixels, "u1" if form.stored <= 8 else "<u2")
        with Calling("JPEG cannot encode"):
            return bytes(
                self._codec.jpeg_encode(cells, level=int(level), bitspersample=form.stored, **colour)
            )

    def decode(self, stream: bytes, form: FrameFormat) -> Pixels:
        """The frame of a codestream that came from here."""
        with Calling("JPEG cannot decode"):
            return decode.jpeg(form, stream)


BASELINE = PixelRange(allocated=(8, 16), stored=(8,), signed=False)
EXTENDED = PixelRange(allocated=(16,), stored=(12,), samples=(1,), signed=False)
"""Process 4: 12 bits, grey (PS3.5 table 8.2.1-1)."""


def build(settings: Settings, config: NothingToSay, next: None) -> Abilities:
    """The codec for a node."""
    syntaxes = (uid.JPEG_BASELINE, uid.JPEG_EXTENDED, *_RETIRED, *_LOSSLESS)
    if lacking := missing("JPEG8"):
        return Abilities(tuple(Ability(each, lacking, lacking) for each in syntaxes))
    lossy = Decoder(decode.foreign_jpeg, headers.jpeg, gives_rgb=True)
    lossless = Decoder(decode.foreign_jpeg_lossless, headers.jpeg)
    encoder = Lossless()
    return Abilities(
        (
            Ability(uid.JPEG_BASELINE, lossy, Lossy(BASELINE)),
            Ability(uid.JPEG_EXTENDED, lossy, Lossy(EXTENDED)),
            *(Ability(each, lossy, "it is retired") for each in _RETIRED),
            *(Ability(each, lossless, encoder) for each in _LOSSLESS),
        )
    )


STAGE = Factory("codec", "jpeg", NothingToSay, build)
