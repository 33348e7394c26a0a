"""JPEG 2000 by OpenJPEG (imagecodecs): raw codestreams, one tile, one layer (PS3.5 section A.4.4).

imagecodecs takes no ratio: its `level` is a PSNR in dB against 2**bitspersample, so the precision is always
given. Without it, 12-bit pixels in 16-bit arrays come out as garbage, and without an error; and it is not
heeded for 8 bits and less in a 16-bit array, so those go in 8-bit ones. What the stream says is checked. The
GIL is released while it works.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapdr.kernel.errors import Permanent, Unavailable
from mapdr.kernel.stage import Factory, Settings, StageConfig

Pixels = NDArray[Any]

LOSSLESS_UID = "1.2.840.10008.1.2.4.90"
LOSSY_UID = "1.2.840.10008.1.2.4.91"
METHOD = "ISO_15444_1"
"""What (0028,2114) calls the irreversible process (PS3.3 section C.7.6.1.1.5.1)."""
_PRECISION = 42
"""Where SIZ holds Ssiz of the first component (ISO/IEC 15444-1, A.5.1), right after SOC."""
LARGE_FRAME = 1 << 23
"""Bytes from which one frame is worth more than one thread: below, the pool of images is as fast."""


class Jpeg2000:
    """Encodes and decodes single frames of 8 or 16-bit integers, signed or not, of one or three samples.

    Frames are (rows, columns) or (rows, columns, 3). Every error is Permanent(reason="codec").
    """

    lossless_uid = LOSSLESS_UID
    lossy_uid = LOSSY_UID
    method = METHOD

    def __init__(self, threads: int = 1) -> None:
        import imagecodecs

        if not imagecodecs.JPEG2K.available:
            raise Unavailable("JPEG 2000 is not compiled into the installed imagecodecs")
        self._codec: Any = imagecodecs  # its stubs say that a level is an int; it takes dB as a float
        self._threads = threads

    def encode(
        self,
        frame: Pixels,
        bits: int,
        *,
        mct: bool,
        level: float | None = None,
        reversible: bool = False,
        resolutions: int | None = None,
    ) -> bytes:
        """The codestream of `frame` with `bits` precision: lossless, or lossy at `level` dB.

        A lossy stream uses the 9-7 wavelet, or with `reversible` the 5-3 one, cut off: worse at high ratios,
        but it reaches up to lossless, where 9-7 ends before. `mct` applies the wavelet's colour transform.
        `resolutions` is the most that there may be (6 by default).
        """
        if level is not None and not 1 <= level <= 1000:
            raise ValueError("imagecodecs takes a level outside 1 to 1000 for lossless")
        cells = np.ascontiguousarray(frame, f"{frame.dtype.kind}{1 if bits <= 8 else 2}")
        try:
            stream = bytes(
                self._codec.jpeg2k_encode(
                    cells,
                    level=0 if level is None else level,
                    codecformat="j2k",
                    bitspersample=bits,
                    reversible=reversible or level is None,
                    mct=mct,
                    resolutions=resolutions,
                    numthreads=self._threads_for(frame.nbytes),
                )
            )
        except Exception as error:
            raise Permanent(f"JPEG 2000 cannot encode: {type(error).__name__}", reason="codec") from error
        if stream[_PRECISION] != bits - 1 | (0x80 if cells.dtype.kind == "i" else 0):
            raise Permanent("JPEG 2000 was encoded with another precision than asked for", reason="codec")
        return stream

    def decode(self, stream: bytes, size: int = 0) -> Pixels:
        """The frame of a codestream that came from here; `size` is a hint, the frame's bytes."""
        try:
            pixels: Pixels = self._codec.jpeg2k_decode(stream, numthreads=self._threads_for(size))
        except Exception as error:
            raise Permanent(f"JPEG 2000 cannot decode: {type(error).__name__}", reason="codec") from error
        return pixels

    def _threads_for(self, size: int) -> int:
        return self._threads if size >= LARGE_FRAME else 1


class Jpeg2000Config(StageConfig):
    """Nothing to configure."""


def build(settings: Settings, config: Jpeg2000Config, next: None) -> Jpeg2000:
    """The codec for a node."""
    return Jpeg2000(settings.workers)


STAGE = Factory("codec", "jpeg2000", Jpeg2000Config, build)
