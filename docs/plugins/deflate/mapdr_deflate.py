"""A codec for Deflated Image Frame Compression: each frame is one deflate stream (RFC 1951), and lossless."""

import zlib

import numpy as np

from mapdr.kernel.codec import Ability, Decoder, FrameFormat, Mismatch, PixelRange, Pixels
from mapdr.kernel.errors import Permanent
from mapdr.kernel.stage import Factory, Settings, StageConfig

UID = "1.2.840.10008.1.2.8.1"
RAW = -zlib.MAX_WBITS  # no header and no check sum around the stream


def read(form: FrameFormat, stream: bytes) -> Pixels:
    """The frame of a stream from outside, in a decoder process: of no more bytes than the data set says."""
    inflater = zlib.decompressobj(RAW)
    data = inflater.decompress(stream, form.size + 1)
    if len(data) != form.size:
        raise Mismatch("another size than the data set says")
    shape = (form.rows, form.columns) if form.samples == 1 else (form.rows, form.columns, form.samples)
    return np.frombuffer(data, f"<u{form.allocated // 8}").reshape(shape)


class Writer:
    takes = PixelRange()
    colour_transform = ""

    def encode(self, pixels: Pixels, form: FrameFormat) -> bytes:
        deflater = zlib.compressobj(level=6, wbits=RAW)
        return deflater.compress(pixels.tobytes()) + deflater.flush()

    def decode(self, stream: bytes, form: FrameFormat) -> Pixels:
        try:
            cells = read(form, stream)
        except (zlib.error, Mismatch) as error:
            raise Permanent("the deflated frame is not what was encoded", reason="codec") from error
        return cells.view(f"<i{form.allocated // 8}") if form.signed else cells


class Deflate:
    abilities = (Ability(UID, Decoder(read), Writer()),)


class DeflateConfig(StageConfig):
    """Nothing to configure."""


def build(settings: Settings, config: DeflateConfig, next: None) -> Deflate:
    return Deflate()


STAGE = Factory("codec", "deflate", DeflateConfig, build)
