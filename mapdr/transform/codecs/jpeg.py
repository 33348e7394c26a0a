"""The codec for JPEG (ISO/IEC 10918-1; PS3.5 section A.4.1): it reads, and writes what is lossless.

Both lossless syntaxes are written with first-order prediction (selection value 1): JPEG Lossless SV1 asks for
it, and JPEG Lossless allows it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mapdr.dicom import uids as uid
from mapdr.kernel.codec import Ability, Decoder, FrameFormat, PixelRange, Pixels
from mapdr.kernel.errors import Permanent
from mapdr.kernel.stage import Factory, Settings
from mapdr.transform.codecs import decode, headers
from mapdr.transform.codecs.reading import UNWANTED, Abilities, NothingToSay, missing, read_only

_LOSSY = (uid.JPEG_BASELINE, uid.JPEG_EXTENDED, uid.JPEG_SPECTRAL_SELECTION, uid.JPEG_FULL_PROGRESSION)
_LOSSLESS = (uid.JPEG_LOSSLESS, uid.JPEG_LOSSLESS_SV1)


class Lossless:
    """Lossless JPEG (process 14) by libjpeg-turbo: see `mapdr.kernel.codec.Encoder`.

    Unsigned values alone: its codestreams know no sign, and readers differ over the bits above it.
    """

    takes = PixelRange(allocated=(8, 16), stored=range(2, 17), samples=(1, 3), signed=False)
    colour_transform = ""

    def __init__(self) -> None:
        import imagecodecs

        self._codec: Any = imagecodecs

    def encode(self, pixels: Pixels, form: FrameFormat) -> bytes:
        """The codestream of a frame, its components as they are."""
        cells = np.ascontiguousarray(pixels, "u1" if form.stored <= 8 else "<u2")
        colour = {} if form.samples == 1 else {"colorspace": "RGB", "outcolorspace": "RGB"}
        try:
            return bytes(
                self._codec.jpeg_encode(
                    cells, lossless=True, predictor=1, bitspersample=form.stored, **colour
                )
            )
        except Exception as error:
            raise Permanent(f"JPEG cannot encode: {type(error).__name__}", reason="codec") from error

    def decode(self, stream: bytes, form: FrameFormat) -> Pixels:
        """The frame of a codestream that came from here."""
        try:
            return decode.jpeg_lossless(form, stream)
        except Exception as error:
            raise Permanent(f"JPEG cannot decode: {type(error).__name__}", reason="codec") from error


def build(settings: Settings, config: NothingToSay, next: None) -> Abilities:
    """The codec for a node."""
    lossy = read_only(
        "JPEG8", Decoder(decode.jpeg, headers.jpeg, gives_rgb=True), dict.fromkeys(_LOSSY, UNWANTED)
    )
    if lacking := missing("JPEG8"):
        return Abilities((*lossy, *(Ability(each, lacking, lacking) for each in _LOSSLESS)))
    decoder, encoder = Decoder(decode.jpeg_lossless, headers.jpeg), Lossless()
    return Abilities((*lossy, *(Ability(each, decoder, encoder) for each in _LOSSLESS)))


STAGE = Factory("codec", "jpeg", NothingToSay, build)
