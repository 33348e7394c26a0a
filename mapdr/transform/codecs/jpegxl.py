"""The codec for JPEG XL (ISO/IEC 18181-1; PS3.5 section A.4.12), by libjxl: unsigned values alone.

With loss it is for grey: by what term of (0028,0004) its colour space goes no other reader has confirmed, and
its error in colours of more than 8 bits is large.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mapdr.dicom import uids as uid
from mapdr.kernel.codec import (
    OWN_WAY,
    Ability,
    Decoder,
    Dial,
    FrameFormat,
    PixelRange,
    Pixels,
    Recompressor,
    Way,
)
from mapdr.kernel.errors import Permanent
from mapdr.kernel.stage import Factory, Settings
from mapdr.transform.codecs import decode, headers
from mapdr.transform.codecs.calls import Calling
from mapdr.transform.codecs.reading import Abilities, NothingToSay, missing

EFFORT = 3
"""Of 1 to 9: CT slices get 5.3:1 without loss at JPEG 2000's speed; 1 is nine times as fast, for 4.1:1."""
LEAST_DISTANCE, MOST_DISTANCE = 0.01, 15.0
"""Of libjxl's distance, in steps that an eye just notices; it goes no lower with loss."""


class _LibJxl:
    """Codestreams of the format's precision, and back."""

    def __init__(self) -> None:
        import imagecodecs

        self._codec: Any = imagecodecs

    def encode(self, pixels: Pixels, form: FrameFormat, **options: Any) -> bytes:
        """The codestream of a frame. Raises Permanent(reason="codec")."""
        cells = np.ascontiguousarray(pixels, "u1" if form.stored <= 8 else "u2")
        with Calling("JPEG XL cannot encode"):
            stream = bytes(
                self._codec.jpegxl_encode(
                    cells, effort=EFFORT, bitspersample=form.stored, numthreads=1, **options
                )
            )
        found = headers.jpegxl(stream)
        if found is None or found.precision != form.stored:
            raise Permanent("JPEG XL was encoded with another precision than asked for", reason="codec")
        return stream

    def decode(self, stream: bytes, form: FrameFormat) -> Pixels:
        """The frame of a codestream that came from here. Raises Permanent(reason="codec")."""
        with Calling("JPEG XL cannot decode"):
            return decode.jpegxl(form, stream)


class Lossless:
    """JPEG XL as an encoder without loss: see `mapdr.kernel.codec.Encoder`."""

    takes = PixelRange(stored=range(2, 17), signed=False)
    colour_transform = ""

    def __init__(self, codec: _LibJxl) -> None:
        self._codec = codec

    def encode(self, pixels: Pixels, form: FrameFormat) -> bytes:
        """The lossless codestream."""
        return self._codec.encode(pixels, form, lossless=True)

    def decode(self, stream: bytes, form: FrameFormat) -> Pixels:
        """The frame of a codestream that came from here."""
        return self._codec.decode(stream, form)


class Lossy:
    """JPEG XL as an encoder with loss: see `mapdr.kernel.codec.LossyEncoder`.

    Its dial is -20 log10 of libjxl's distance: half the distance is 6 more, as for a PSNR.
    """

    takes = PixelRange(stored=range(8, 17), samples=(1,), signed=False)
    method = "ISO_18181_1"
    ways = (OWN_WAY,)

    def __init__(self, codec: _LibJxl) -> None:
        self._codec = codec

    def dial(self, form: FrameFormat) -> Dial:
        """In dB of the distance."""
        lowest, highest = (-20 * math.log10(each) for each in (MOST_DISTANCE, LEAST_DISTANCE))
        return Dial(lowest, highest, "dB of distance", 0.07, 12)

    def rgb_as(self, way: Way) -> tuple[str, ...]:
        """RGB frames are not taken."""
        return ()

    def encode_at(self, pixels: Pixels, form: FrameFormat, level: float, way: Way = OWN_WAY) -> bytes:
        """The codestream at a level. Raises ValueError for a level that is not on the dial."""
        dial = self.dial(form)
        if not dial.lowest <= level <= dial.highest:
            raise ValueError("the level is not on the dial of JPEG XL")
        return self._codec.encode(pixels, form, lossless=False, distance=10 ** (-level / 20))

    def decode(self, stream: bytes, form: FrameFormat) -> Pixels:
        """The frame of a codestream that came from here."""
        return self._codec.decode(stream, form)


RECOMPRESSOR = Recompressor((uid.JPEG_BASELINE,), decode.jpegxl_of_jpeg, decode.jpeg_of_jpegxl, headers.jpeg)


def build(settings: Settings, config: NothingToSay, next: None) -> Abilities:
    """The codec for a node."""
    syntaxes = (uid.JPEG_XL_LOSSLESS, uid.JPEG_XL_JPEG_RECOMPRESSION, uid.JPEG_XL)
    if lacking := missing("JPEGXL"):
        return Abilities(tuple(Ability(each, lacking, lacking) for each in syntaxes))
    codec = _LibJxl()
    # libjxl gives RGB of what was coded with loss: of a packed JPEG in YBR_FULL_422 too.
    lossy = Decoder(decode.jpegxl, headers.jpegxl, gives_rgb=True)
    return Abilities(
        (
            Ability(uid.JPEG_XL_LOSSLESS, Decoder(decode.jpegxl, headers.jpegxl), Lossless(codec)),
            Ability(uid.JPEG_XL_JPEG_RECOMPRESSION, lossy, RECOMPRESSOR),
            Ability(uid.JPEG_XL, lossy, Lossy(codec)),
        )
    )


STAGE = Factory("codec", "jpegxl", NothingToSay, build)
