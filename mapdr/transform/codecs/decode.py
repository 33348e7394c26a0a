"""Codestreams to arrays by imagecodecs: a function a family, as `mapdr.kernel.codec.Decoder` asks for.

They run in decoder processes, which are to start soon: this module imports numpy, and imagecodecs when the
first frame comes.
"""

from __future__ import annotations

import struct

import numpy as np

from mapdr.kernel.codec import FrameFormat, Mismatch, Pixels
from mapdr.transform.codecs import headers
from mapdr.transform.codecs.whole import whole_jpeg


def jpeg2000(form: FrameFormat, stream: bytes) -> Pixels:
    """A frame of JPEG 2000 or HTJ2K, its component transform undone."""
    # OpenJPEG also for HTJ2K: imagecodecs' OpenJPH wraps where it should clamp.
    import imagecodecs

    pixels: Pixels = imagecodecs.jpeg2k_decode(stream, numthreads=1)
    return pixels


def jpegls(form: FrameFormat, stream: bytes) -> Pixels:
    """A frame of JPEG-LS, in the bits that the data set's cells hold. Raises Mismatch where it is cut off:
    CharLS 2.4 refuses that too, but may look for the missing bits for ten seconds."""
    import imagecodecs

    _ends(stream)
    pixels: Pixels = imagecodecs.jpegls_decode(stream)
    return pixels


def jpeg(form: FrameFormat, stream: bytes) -> Pixels:
    """A frame of lossy JPEG: grey, or RGB by the stream's own markers, by the data set where there are
    none. Raises Mismatch where it is cut off."""
    import imagecodecs

    _ends(stream)
    if form.photometric == "RGB" and _names_no_colours(stream):
        pixels: Pixels = imagecodecs.jpeg_decode(stream, colorspace="RGB", outcolorspace="RGB")
    else:
        pixels = imagecodecs.jpeg_decode(stream)
    return pixels


def foreign_jpeg(form: FrameFormat, stream: bytes) -> Pixels:
    """As `jpeg`, for what came from outside: it may lack its end marker if it has all else. Raises Mismatch
    also where an end marker was put behind a cut."""
    return jpeg(form, whole_jpeg(stream))


def foreign_jpeg_lossless(form: FrameFormat, stream: bytes) -> Pixels:
    """As `jpeg_lossless`, likewise."""
    return jpeg_lossless(form, whole_jpeg(stream))


def _ends(stream: bytes) -> None:
    """Raises Mismatch for a JPEG or JPEG-LS without EOI behind its last scan (ISO/IEC 10918-1, B.1.1.3;
    14495-1, C.1.1).

    libjpeg warns of a cut stream, and makes up what is missing.
    """
    # In entropy-coded data no FF is followed by D9 or DA; a thumbnail's EOI stands before the image's scans.
    if stream.rfind(b"\xff\xd9") < stream.rfind(b"\xff\xda"):
        raise Mismatch("end: the stream is cut off")


_ADOBE, _JFIF = 12, 14
"""Bytes of these segments: libjpeg passes shorter ones over, and so says nothing of colours by them."""


def _names_no_colours(stream: bytes) -> bool:
    """Whether nothing in the stream says what its components are, so that the data set must be believed.

    An Adobe or JFIF segment says it, and component numbers 1, 2, 3 or R, G, B do: libjpeg heeds those.
    """
    for marker, start, stop in headers.segments(stream):
        body = stream[start:stop]
        if (marker == 0xEE and body[:5] == b"Adobe" and len(body) >= _ADOBE) or (
            marker == 0xE0 and body[:5] == b"JFIF\0" and len(body) >= _JFIF
        ):
            return False
        if marker in headers.FRAMES:
            return body[6::3][:3] not in (b"\1\2\3", b"RGB")
    return False


def jpeg_lossless(form: FrameFormat, stream: bytes) -> Pixels:
    """A frame of lossless JPEG (process 14), its components as they are.

    Raises Mismatch where it is cut off.
    """
    import imagecodecs

    _ends(stream)
    space = None if form.samples == 1 else "RGB"
    pixels: Pixels = imagecodecs.jpeg_decode(stream, colorspace=space, outcolorspace=space)
    return pixels


def jpegxl(form: FrameFormat, stream: bytes) -> Pixels:
    """A frame of JPEG XL."""
    import imagecodecs

    pixels: Pixels = imagecodecs.jpegxl_decode(stream, numthreads=1)
    return pixels


def jpegxl_of_jpeg(stream: bytes) -> bytes:
    """A JPEG in JPEG XL, its coefficients as they are: about a fifth smaller, and it comes back."""
    import imagecodecs

    return bytes(imagecodecs.jpegxl_encode_jpeg(stream, numthreads=1))


def jpeg_of_jpegxl(stream: bytes) -> bytes:
    """The JPEG that `jpegxl_of_jpeg` was given."""
    import imagecodecs

    return bytes(imagecodecs.jpegxl_decode_jpeg(stream, numthreads=1))


def rle(form: FrameFormat, stream: bytes) -> Pixels:
    """A frame of RLE Lossless (PS3.5 annex G). Raises Mismatch where its segments do not fit the data set."""
    import imagecodecs

    if int.from_bytes(stream[:4], "little") != form.samples * form.allocated // 8:
        raise Mismatch("shape")
    cell = np.dtype(f"<u{form.allocated // 8}")
    try:
        planes = np.frombuffer(imagecodecs.dicomrle_decode(stream, cell), cell)
    except imagecodecs.DicomrleError:
        planes = np.empty(0, cell)
    if planes.size != form.rows * form.columns * form.samples:
        planes = _rle_planes(form, stream)
    planes = planes.reshape(form.samples, form.rows, form.columns)
    return planes[0] if form.samples == 1 else np.moveaxis(planes, 0, -1)


def _rle_planes(form: FrameFormat, stream: bytes) -> Pixels:
    """The planes of an RLE frame, each read until it is full (PS3.5, annex G).

    For what imagecodecs refuses: other padding behind a segment than a zero. Slow, and rare.
    """
    size = form.rows * form.columns
    count, *offsets = struct.unpack_from("<16L", stream)
    if count != form.samples * form.allocated // 8 or sorted(offsets[:count]) != offsets[:count]:
        raise Mismatch("shape")
    ends = [*offsets[1:count], len(stream)]
    planes = [_plane(stream[start:end], size) for start, end in zip(offsets[:count], ends, strict=True)]
    # Of each sample, the most significant byte comes first.
    cells = np.stack(planes).reshape(form.samples, form.allocated // 8, size)[:, ::-1]
    return np.ascontiguousarray(np.moveaxis(cells, 1, -1)).reshape(-1).view(f"<u{form.allocated // 8}")


def _plane(segment: bytes, size: int) -> Pixels:
    """One plane of `size` bytes (PS3.5, G.3.2). Raises Mismatch when the segment ends before it is full."""
    out = bytearray()
    at = 0
    while len(out) < size:
        if at + 1 >= len(segment):
            raise Mismatch("shape")
        count = segment[at]
        if count < 128:
            out += segment[at + 1 : at + 2 + count]
            at += 2 + count
        elif count > 128:
            out += segment[at + 1 : at + 2] * (257 - count)
            at += 2
        else:
            at += 1
    return np.frombuffer(bytes(out[:size]), "u1")
