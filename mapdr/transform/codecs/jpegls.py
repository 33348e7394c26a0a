"""The codec for JPEG-LS (ISO/IEC 14495-1; PS3.5 section A.4.3), by CharLS.

The precision is part of the coding (its thresholds follow from the greatest value), so it cannot be written
over afterwards. imagecodecs for Python 3.12 and newer takes it; that for 3.11 writes 8 or 16 bits alone, and
pyjpegls does it there, which does not let go of the interpreter's lock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from mapdr.dicom import uids as uid
from mapdr.kernel.codec import OWN_WAY, Ability, Decoder, Dial, FrameFormat, PixelRange, Pixels, Way
from mapdr.kernel.errors import Permanent
from mapdr.kernel.stage import Factory, Settings
from mapdr.transform.codecs import decode, headers
from mapdr.transform.codecs.calls import Calling, unsigned_cells, with_sign
from mapdr.transform.codecs.reading import Abilities, NothingToSay, missing, read_only

Writer: TypeAlias = Callable[[Pixels, int, int], bytes]
"""The codestream of unsigned cells with so many bits of precision, each value within so much of the given."""

MOST_NEAR = 255
"""NEAR is a byte of the codestream (ISO/IEC 14495-1, C.2.3)."""


def writer() -> Writer | str:
    """What writes JPEG-LS in any precision here, or why nothing does."""
    import imagecodecs

    codec: Any = imagecodecs

    def with_room(cells: Pixels, near: int, **options: int) -> bytes:
        # Its own room is for what becomes smaller: noise and tiny frames may not.
        room = 2 * cells.nbytes + 1024
        return bytes(codec.jpegls_encode(cells, level=near, out=room, **options))

    def by_imagecodecs(cells: Pixels, bits: int, near: int) -> bytes:
        try:
            return bytes(codec.jpegls_encode(cells, level=near, bitspersample=bits))
        except codec.JpeglsError:
            return with_room(cells, near, bitspersample=bits)

    try:
        by_imagecodecs(np.zeros((1, 1), "u2"), 12, 0)
    except TypeError:
        pass  # it knows no such parameter
    else:
        return by_imagecodecs
    try:
        import jpeg_ls
    except ImportError:
        return "the imagecodecs of this Python writes a wrong precision, and pyjpegls is not installed"

    def by_pyjpegls(cells: Pixels, bits: int, near: int) -> bytes:
        rows, columns, *samples = cells.shape
        # Planes by sample, which is what grey is too, or all samples of a pixel together.
        mode = 2 if samples else 0
        try:
            return bytes(
                jpeg_ls.encode_buffer(cells.tobytes(), rows, columns, *(samples or [1]), bits, near, mode)
            )
        except RuntimeError:
            if bits != 8 * cells.itemsize:
                raise
            return with_room(cells, near)

    return by_pyjpegls


class _CharLs:
    """Codestreams of the format's precision, and back."""

    def __init__(self, write: Writer) -> None:
        self._write = write

    def encode(self, pixels: Pixels, form: FrameFormat, near: int) -> bytes:
        """The codestream of a frame. Raises Permanent(reason="codec")."""
        cells = unsigned_cells(pixels, form)
        with Calling("JPEG-LS cannot encode"):
            stream = self._write(cells, form.stored, near)
        found = headers.jpegls(stream)
        if found is None or found.precision != form.stored:
            raise Permanent("JPEG-LS was encoded with another precision than asked for", reason="codec")
        return stream

    def decode(self, stream: bytes, form: FrameFormat) -> Pixels:
        """The frame of a codestream that came from here. Raises Permanent(reason="codec")."""
        with Calling("JPEG-LS cannot decode"):
            return with_sign(decode.jpegls(form, stream), form)


class Lossless:
    """JPEG-LS as an encoder without loss: see `mapdr.kernel.codec.Encoder`.

    From 8 bits on, since DCMTK reads no fewer; not 8 in cells of 16, which neither DCMTK nor GDCM read. Its
    codestreams know no sign: negative values go as the bits of their cells, where these have no unused ones,
    over which readers differ.
    """

    takes = PixelRange(stored=range(8, 17), signed_with_unused_bits=False, bytes_in_words=False)
    colour_transform = ""

    def __init__(self, codec: _CharLs) -> None:
        self._codec = codec

    def encode(self, pixels: Pixels, form: FrameFormat) -> bytes:
        """The lossless codestream."""
        return self._codec.encode(pixels, form, 0)

    def decode(self, stream: bytes, form: FrameFormat) -> Pixels:
        """The frame of a codestream that came from here."""
        return self._codec.decode(stream, form)


class NearLossless:
    """JPEG-LS as an encoder with loss: see `mapdr.kernel.codec.LossyEncoder`. Its dial is NEAR below zero.

    No value of a frame differs by more than NEAR. Unsigned ones alone: in the bits of a cell, -1 and 0 are
    as far from each other as can be.
    """

    takes = PixelRange(stored=range(8, 17), signed=False, bytes_in_words=False)
    method = "ISO_14495_1"
    ways = (OWN_WAY,)

    def __init__(self, codec: _CharLs) -> None:
        self._codec = codec

    def dial(self, form: FrameFormat) -> Dial:
        """From the greatest NEAR of the precision (ISO/IEC 14495-1, C.2.3), below zero, to -1."""
        lowest = -min(MOST_NEAR, (1 << form.stored) - 1 >> 1)
        return Dial(lowest, -1, "NEAR below zero", 0.1, -4, whole=True)

    def rgb_as(self, way: Way) -> tuple[str, ...]:
        """As it is: it has no colour transform."""
        return ("RGB",)

    def encode_at(self, pixels: Pixels, form: FrameFormat, level: float, way: Way = OWN_WAY) -> bytes:
        """The codestream whose values are within `-level`. Raises ValueError for what is not on the dial."""
        dial = self.dial(form)
        if not dial.lowest <= level <= dial.highest or level != int(level):
            raise ValueError("the level is not on the dial of JPEG-LS")
        return self._codec.encode(pixels, form, -int(level))

    def decode(self, stream: bytes, form: FrameFormat) -> Pixels:
        """The frame of a codestream that came from here."""
        return self._codec.decode(stream, form)


def build(settings: Settings, config: NothingToSay, next: None) -> Abilities:
    """The codec for a node."""
    decoder = Decoder(decode.jpegls, headers.jpegls)
    syntaxes = (uid.JPEG_LS_LOSSLESS, uid.JPEG_LS_NEAR_LOSSLESS)
    write = missing("JPEGLS") or writer()
    if isinstance(write, str):
        return Abilities(read_only("JPEGLS", decoder, dict.fromkeys(syntaxes, write)))
    codec = _CharLs(write)
    return Abilities(
        (
            Ability(uid.JPEG_LS_LOSSLESS, decoder, Lossless(codec)),
            Ability(uid.JPEG_LS_NEAR_LOSSLESS, decoder, NearLossless(codec)),
        )
    )


STAGE = Factory("codec", "jpegls", NothingToSay, build)
