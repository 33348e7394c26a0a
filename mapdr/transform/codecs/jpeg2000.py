"""JPEG 2000 by OpenJPEG (imagecodecs): raw codestreams, one tile, one layer (PS3.5 section A.4.4). To a size
it is encoded by OpenJPEG through glymur, where that is to be had (`mapdr.transform.codecs.openjpeg`).

imagecodecs takes no ratio: its `level` is a PSNR in dB against 2**bitspersample, so the precision is always
given. Without it, 12-bit pixels in 16-bit arrays come out as garbage, and without an error; and it is not
heeded for 8 bits and less in a 16-bit array, so those go in 8-bit ones. What the stream says is checked. The
GIL is released while it works.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from mapdr.dicom.uids import JPEG2000, JPEG2000_LOSSLESS
from mapdr.kernel.codec import OWN_WAY, Ability, Decoder, Dial, FrameFormat, PixelRange, Pixels, Way
from mapdr.kernel.errors import OwnFault, Permanent, Unavailable, is_own_fault
from mapdr.kernel.privacy import in_words
from mapdr.kernel.stage import Factory, Settings
from mapdr.transform.codecs import decode, headers
from mapdr.transform.codecs.calls import Calling
from mapdr.transform.codecs.openjpeg import OpenJpeg
from mapdr.transform.codecs.reading import Abilities, NothingToSay, missing

LEAST_DB, MOST_DB, DB_PER_BIT = 2.0, 50.0, 6.02
"""Of the dial: how far up it goes beyond the precision, and what a bit of precision is worth."""
_PRECISION = 42
"""Where SIZ holds Ssiz of the first component (ISO/IEC 15444-1, A.5.1), right after SOC."""
_TRANSFORMED = ("YBR_RCT", "YBR_ICT")
LARGE_FRAME = 1 << 23
"""Bytes from which one frame is worth more than one thread: below, the pool of images is as fast."""


class Jpeg2000:
    """Encodes and decodes single frames of 8 or 16-bit integers, signed or not, of one or three samples.

    Frames are (rows, columns) or (rows, columns, 3). Every error is Permanent(reason="codec").
    """

    def __init__(self, threads: int = 1) -> None:
        import imagecodecs

        if not imagecodecs.JPEG2K.available:
            raise Unavailable("JPEG 2000 is not compiled into the installed imagecodecs")
        self._codec: Any = imagecodecs  # its stubs say that a level is an int; it takes dB as a float
        self._threads = threads
        self._lock = threading.Lock()
        self._openjpeg: OpenJpeg | str | None = None

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
        cells = _cells(frame, bits)
        with Calling("JPEG 2000 cannot encode"):
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
        _refuse_other_precision(stream, bits, cells)
        return stream

    def no_rate_control(self) -> str:
        """Why nothing encodes to a size; empty if it can be done."""
        try:
            self._rate_control()
        except (Unavailable, OwnFault) as error:
            return in_words(error)
        return ""

    def _rate_control(self) -> OpenJpeg:
        """What encodes to a size. Raises Unavailable, and OwnFault where it may be there a moment later."""
        with self._lock:
            if self._openjpeg is None:
                try:
                    self._openjpeg = OpenJpeg()
                except Unavailable as error:
                    self._openjpeg = str(error)
                except (OSError, MemoryError) as error:
                    if isinstance(error, MemoryError) or is_own_fault(error):
                        raise OwnFault(in_words(error)) from error
                    self._openjpeg = in_words(error)
            if isinstance(self._openjpeg, str):
                raise Unavailable(self._openjpeg)
            return self._openjpeg

    def encode_to_size(self, frame: Pixels, bits: int, size: int, *, mct: bool, way: Way = OWN_WAY) -> bytes:
        """The codestream of `frame` with `bits` precision, with loss, of about `size` bytes: see
        `OpenJpeg.encode`.

        Raises Unavailable, Permanent(reason="codec"), and OwnFault for what the machine lacks now.
        """
        cells, encoder = _cells(frame, bits), self._rate_control()
        with Calling("JPEG 2000 cannot encode to a size"):
            threads = self._threads_for(frame.nbytes)
            stream = encoder.encode(cells, bits, size, mct=mct, way=way, threads=threads)
        _refuse_other_precision(stream, bits, cells)
        return stream

    def decode(self, stream: bytes, size: int = 0) -> Pixels:
        """The frame of a codestream that came from here; `size` is a hint, the frame's bytes."""
        with Calling("JPEG 2000 cannot decode"):
            pixels: Pixels = self._codec.jpeg2k_decode(stream, numthreads=self._threads_for(size))
        return pixels

    def _threads_for(self, size: int) -> int:
        return self._threads if size >= LARGE_FRAME else 1


def _cells(frame: Pixels, bits: int) -> Pixels:
    return np.ascontiguousarray(frame, f"{frame.dtype.kind}{1 if bits <= 8 else 2}")


def _refuse_other_precision(stream: bytes, bits: int, cells: Pixels) -> None:
    if stream[_PRECISION] != bits - 1 | (0x80 if cells.dtype.kind == "i" else 0):
        raise Permanent("JPEG 2000 was encoded with another precision than asked for", reason="codec")


class Lossless:
    """JPEG 2000 as an encoder without loss: see `mapdr.kernel.codec.Encoder`."""

    takes = PixelRange(allocated=(1, 8, 16), stored=range(1, 17), samples=(1, 3))
    colour_transform = "YBR_RCT"

    def __init__(self, codec: Jpeg2000) -> None:
        self._codec = codec

    def encode(self, pixels: Pixels, form: FrameFormat) -> bytes:
        """The lossless codestream."""
        return self._codec.encode(pixels, form.stored, mct=form.photometric == self.colour_transform)

    def decode(self, stream: bytes, form: FrameFormat) -> Pixels:
        """The frame of a codestream that came from here."""
        return self._codec.decode(stream, form.size)


class Lossy:
    """JPEG 2000 as an encoder with loss: see `mapdr.kernel.codec.RateControlEncoder`. Its dial is a PSNR."""

    takes = PixelRange(allocated=(8, 16), stored=range(2, 17), samples=(1, 3))
    method = "ISO_15444_1"
    ways = (
        OWN_WAY,
        Way(reversible=True),
        Way(resolutions=3),
        Way(reversible=True, resolutions=3),
    )
    """9-7 ends before lossless, where 5-3 reaches it; and a small frame has so few code blocks that its sizes
    lie far apart: other resolutions give others."""

    def __init__(self, codec: Jpeg2000) -> None:
        self._codec = codec

    def dial(self, form: FrameFormat) -> Dial:
        """dB against 2 ** bits stored."""
        return Dial(LEAST_DB, MOST_DB + DB_PER_BIT * form.stored, "dB", 0.07, DB_PER_BIT * form.stored)

    def rgb_as(self, way: Way) -> tuple[str, ...]:
        """By the component transform of the way's wavelet, or as they are."""
        return ("YBR_RCT" if way.reversible else "YBR_ICT", "RGB")

    def encode_at(self, pixels: Pixels, form: FrameFormat, level: float, way: Way = OWN_WAY) -> bytes:
        """The codestream at `level` dB."""
        return self._codec.encode(
            pixels,
            form.stored,
            mct=form.photometric in _TRANSFORMED,
            level=level,
            reversible=way.reversible,
            resolutions=way.resolutions or None,
        )

    def no_rate_control(self) -> str:
        """Why the machine has nothing that encodes to a size."""
        return self._codec.no_rate_control()

    def encode_to_size(self, pixels: Pixels, form: FrameFormat, size: int, way: Way = OWN_WAY) -> bytes:
        """The codestream of about `size` bytes."""
        mct = form.photometric in _TRANSFORMED
        return self._codec.encode_to_size(pixels, form.stored, size, mct=mct, way=way)

    def decode(self, stream: bytes, form: FrameFormat) -> Pixels:
        """The frame of a codestream that came from here."""
        return self._codec.decode(stream, form.size)


def build(settings: Settings, config: NothingToSay, next: None) -> Abilities:
    """The codec for a node."""
    if lacking := missing("JPEG2K"):
        return Abilities(tuple(Ability(uid, lacking, lacking) for uid in (JPEG2000_LOSSLESS, JPEG2000)))
    decoder = Decoder(decode.jpeg2000, headers.jpeg2000, is_signed=True)
    codec = Jpeg2000(settings.workers)
    return Abilities(
        (Ability(JPEG2000_LOSSLESS, decoder, Lossless(codec)), Ability(JPEG2000, decoder, Lossy(codec)))
    )


STAGE = Factory("codec", "jpeg2000", NothingToSay, build)
