"""The codec for RLE Lossless (PS3.5 annex G): written by MAPDR's own encoder, read by imagecodecs."""

from __future__ import annotations

import numpy as np

from mapdr import _fast
from mapdr.dicom import uids as uid
from mapdr.kernel.codec import Ability, Decoder, FrameFormat, PixelRange, Pixels
from mapdr.kernel.errors import Permanent
from mapdr.kernel.stage import Factory, Settings
from mapdr.transform.codecs import decode
from mapdr.transform.codecs.calls import Calling, with_sign
from mapdr.transform.codecs.reading import Abilities, NothingToSay, missing


class Lossless:
    """RLE as an encoder without loss: see `mapdr.kernel.codec.Encoder`.

    It knows nothing but bytes: so negative values have their sign in the unused bits of their cells too.
    """

    takes = PixelRange(allocated=(8, 16, 32), stored=range(1, 33), samples=(1, 3))
    colour_transform = ""

    def encode(self, pixels: Pixels, form: FrameFormat) -> bytes:
        """The codestream of a frame."""
        cells = np.ascontiguousarray(pixels, f"<{'ui'[form.signed]}{form.allocated // 8}")
        try:
            return _fast.rle_encode(
                cells.data.cast("B"), form.rows, form.columns, form.samples, form.allocated // 8
            )
        except ValueError as error:
            raise Permanent(f"RLE cannot encode: {error}", reason="codec") from error

    def decode(self, stream: bytes, form: FrameFormat) -> Pixels:
        """The frame of a codestream that came from here."""
        with Calling("RLE cannot decode"):
            return with_sign(decode.rle(form, stream), form)


def build(settings: Settings, config: NothingToSay, next: None) -> Abilities:
    """The codec for a node."""
    lacking = missing("DICOMRLE")
    return Abilities((Ability(uid.RLE_LOSSLESS, lacking or Decoder(decode.rle), lacking or Lossless()),))


STAGE = Factory("codec", "rle", NothingToSay, build)
