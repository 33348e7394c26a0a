"""What a decoder process does: one compressed frame in, native cells out.

Runs apart because the streams came from outside and the codecs are C: a crash here parks one image. This
module imports no more than numpy, imagecodecs and the readers of headers. Answers to the parent are JSON,
never pickles.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapdr.transform.codecs import headers

Pixels = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Job:
    """One frame to decode: its transfer syntax and what the data set says of it."""

    syntax: str
    rows: int
    columns: int
    samples: int
    allocated: int
    stored: int
    signed: bool
    photometric: str

    @property
    def size(self) -> int:
        """Bytes of the frame as allocated."""
        return self.rows * self.columns * self.samples * self.allocated // 8

    @property
    def work(self) -> int:
        """Bytes of address space that decoding may take: three times what the hungriest codec does, and
        what libraries and the arenas of malloc map without using it."""
        return (1 << 28) + 64 * self.rows * self.columns * self.samples


class Mismatch(ValueError):
    """The codestream contradicts the data set: another size, sign or depth."""


class UnreadableHeader(ValueError):
    """Nothing tells how large the codestream's frame is."""


def decode(job: Job, stream: bytes) -> Pixels:
    """The frame as unsigned little endian cells, samples interleaved.

    Colour comes as it is stored, but for the lossy JPEGs (to RGB, by the stream's own markers) and
    JPEG 2000's component transform (undone). Raises Mismatch, UnreadableHeader, or whatever the codec raises.
    """
    _check_header(job, stream)
    pixels = _DECODERS[job.syntax](job, stream)
    shape = (job.rows, job.columns) if job.samples == 1 else (job.rows, job.columns, job.samples)
    if pixels.ndim == len(shape) + 1 and pixels.shape[-1] == 1:
        pixels = pixels[..., 0]
    if pixels.shape != shape or pixels.dtype.kind not in "iu":
        raise Mismatch("shape")
    return _cells(job, pixels)


def _check_header(job: Job, stream: bytes) -> None:
    """Refuse a stream that says another size than the data set, before a codec takes memory for it."""
    reader = _HEADERS.get(_DECODERS[job.syntax])
    if reader is None:
        return  # RLE has no size; its table of segments is looked at by its decoder
    found = reader(stream)
    if found is None:
        raise UnreadableHeader
    size, wanted = (found.rows, found.columns, found.samples), (job.rows, job.columns, job.samples)
    if size != wanted:
        said, expected = (" x ".join(map(str, each)) for each in (size, wanted))
        raise Mismatch(f"shape: it is {said}, where the data set says {expected}")
    if found.precision > job.allocated:
        raise Mismatch(f"depth: it has {found.precision} bits, where {job.allocated} are allocated")


def _cells(job: Job, pixels: Pixels) -> Pixels:
    cell = np.dtype(f"<u{job.allocated // 8}")
    if pixels.dtype.kind == "i":
        if not job.signed and pixels.min() < 0:
            raise Mismatch("sign")
        low, high = -(1 << job.stored - 1) if job.signed else 0, (1 << job.stored - job.signed) - 1
        if pixels.min() < low or pixels.max() > high:
            raise Mismatch("depth")
        return np.ascontiguousarray(pixels.astype(f"<i{cell.itemsize}")).view(cell)
    if job.signed and job.syntax in _SIGNED_STREAMS and pixels.max() >= 1 << job.stored - 1:
        raise Mismatch("sign")
    if pixels.dtype.itemsize > cell.itemsize and pixels.max() >= 1 << job.allocated:
        raise Mismatch("depth")
    return np.ascontiguousarray(pixels.astype(cell))


def _jpeg2000(job: Job, stream: bytes) -> Pixels:
    # OpenJPEG also for HTJ2K: imagecodecs' OpenJPH wraps where it should clamp.
    import imagecodecs

    pixels: Pixels = imagecodecs.jpeg2k_decode(stream, numthreads=1)
    return pixels


def _jpegls(job: Job, stream: bytes) -> Pixels:
    import imagecodecs

    pixels: Pixels = imagecodecs.jpegls_decode(stream)
    return pixels


def _jpeg(job: Job, stream: bytes) -> Pixels:
    import imagecodecs

    if job.photometric == "RGB" and _names_no_colours(stream):
        pixels: Pixels = imagecodecs.jpeg_decode(stream, colorspace="RGB", outcolorspace="RGB")
    else:
        pixels = imagecodecs.jpeg_decode(stream)
    return pixels


def _names_no_colours(stream: bytes) -> bool:
    """Whether nothing in the stream says what its components are, so that the data set must be believed.

    An Adobe or JFIF segment says it, and component numbers 1, 2, 3 or R, G, B do: libjpeg heeds those.
    """
    at = 2
    while at + 4 <= len(stream) and stream[at] == 0xFF:
        marker, length = stream[at + 1], int.from_bytes(stream[at + 2 : at + 4], "big")
        body = stream[at + 4 : at + 2 + length]
        if (marker == 0xEE and body[:5] == b"Adobe") or (marker == 0xE0 and body[:4] == b"JFIF"):
            return False
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return body[6::3][:3] not in (b"\1\2\3", b"RGB")
        at += 2 + length
    return False


def _jpeg_lossless(job: Job, stream: bytes) -> Pixels:
    import imagecodecs

    space = None if job.samples == 1 else "RGB"
    pixels: Pixels = imagecodecs.jpeg_decode(stream, colorspace=space, outcolorspace=space)
    return pixels


def _jpegxl(job: Job, stream: bytes) -> Pixels:
    import imagecodecs

    pixels: Pixels = imagecodecs.jpegxl_decode(stream, numthreads=1)
    return pixels


def _rle(job: Job, stream: bytes) -> Pixels:
    import imagecodecs

    if int.from_bytes(stream[:4], "little") != job.samples * job.allocated // 8:
        raise Mismatch("shape")
    cell = np.dtype(f"<u{job.allocated // 8}")
    try:
        planes = np.frombuffer(imagecodecs.dicomrle_decode(stream, cell), cell)
    except imagecodecs.DicomrleError:
        planes = np.empty(0, cell)
    if planes.size != job.rows * job.columns * job.samples:
        planes = _rle_planes(job, stream)
    planes = planes.reshape(job.samples, job.rows, job.columns)
    return planes[0] if job.samples == 1 else np.moveaxis(planes, 0, -1)


def _rle_planes(job: Job, stream: bytes) -> Pixels:
    """The planes of an RLE frame, each read until it is full (PS3.5, annex G).

    For what imagecodecs refuses: other padding behind a segment than a zero. Slow, and rare.
    """
    size = job.rows * job.columns
    count, *offsets = struct.unpack_from("<16L", stream)
    if count != job.samples * job.allocated // 8 or sorted(offsets[:count]) != offsets[:count]:
        raise Mismatch("shape")
    ends = [*offsets[1:count], len(stream)]
    planes = [_plane(stream[start:end], size) for start, end in zip(offsets[:count], ends, strict=True)]
    # Of each sample, the most significant byte comes first.
    cells = np.stack(planes).reshape(job.samples, job.allocated // 8, size)[:, ::-1]
    return np.ascontiguousarray(np.moveaxis(cells, 1, -1)).reshape(-1).view(f"<u{job.allocated // 8}")


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


def _deflated(job: Job, stream: bytes) -> Pixels:
    raw = zlib.decompressobj(-zlib.MAX_WBITS).decompress(stream, job.size + 1)
    cell = np.dtype(f"<u{job.allocated // 8}")
    shape = (job.rows, job.columns) if job.samples == 1 else (job.rows, job.columns, job.samples)
    return np.frombuffer(raw[: job.size], cell).reshape(shape)


_PREFIX = "1.2.840.10008.1.2."
_SIGNED_STREAMS = frozenset(_PREFIX + number for number in ("4.90", "4.91", "4.201", "4.202", "4.203"))
"""Syntaxes whose codestreams carry the sign; all others hold two's complement as plain bits."""

_DECODERS: dict[str, Callable[[Job, bytes], Pixels]] = {
    _PREFIX + number: decoder
    for decoder, numbers in {
        _jpeg: ("4.50", "4.51", "4.53", "4.55"),
        _jpeg_lossless: ("4.57", "4.70"),
        _jpegls: ("4.80", "4.81"),
        _jpeg2000: ("4.90", "4.91", "4.201", "4.202", "4.203"),
        _jpegxl: ("4.110", "4.111", "4.112"),
        _rle: ("5",),
    }.items()
    for number in numbers
}
_HEADERS: dict[Callable[[Job, bytes], Pixels], Callable[[bytes], headers.Figures | None]] = {
    _jpeg: headers.jpeg,
    _jpeg_lossless: headers.jpeg,
    _jpegls: headers.jpegls,
    _jpeg2000: headers.jpeg2000,
    _jpegxl: headers.jpegxl,
}
SYNTAXES = frozenset(_DECODERS)
"""The encapsulated transfer syntaxes that can be decoded."""


class _Signals:
    """What ends the process: never in the middle of a frame, which would be blamed for it.

    Ctrl-C and a service manager's stop reach every process of the node; the parent decides.
    """

    def __init__(self) -> None:
        self.busy = self.leaving = False
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._leave)

    def _leave(self, *_: object) -> None:
        self.leaving = True
        if not self.busy:
            raise SystemExit


def serve(connection: Connection) -> None:
    """Answer jobs until the parent goes: a job and its stream come in, JSON and perhaps the cells go out.

    Cells go through the pipe, not through shared memory: the copy costs little beside the decoding, and a
    container's small /dev/shm would kill the process with SIGBUS, as if the image had done it.
    """
    _be_silent()
    signals = _Signals()
    while not signals.leaving:
        try:
            job: Job = connection.recv()
            signals.busy = True
            stream = connection.recv_bytes()
            answer, cells = _answer(job, stream)
            connection.send_bytes(json.dumps(answer).encode("ascii"))
            if cells is not None:
                connection.send_bytes(cells)
        except (EOFError, OSError):
            return
        signals.busy = False


def _answer(job: Job, stream: bytes) -> tuple[dict[str, str], bytes | None]:
    try:
        with _limited(job.work + 4 * len(stream)):
            return {"ok": ""}, decode(job, stream).tobytes()
    except Mismatch as error:
        return {"mismatch": str(error)}, None
    except Exception as error:  # noqa: BLE001  any codec error: its kind goes to the parent, the image parks
        return {"error": type(error).__name__}, None


@contextlib.contextmanager
def _limited(more: int) -> Iterator[None]:
    """Within the block this process can map `more` bytes beside what it has; where the system tells that.

    The second line of defence, for what headers do not show (frames within a JPEG XL, runs in an RLE).
    Windows and macOS have none: there the check of the header stands alone.
    """
    try:
        import resource

        with open("/proc/self/statm", "rb") as file:
            pages = int(file.read().split()[0])
    except (ImportError, OSError):
        yield
        return
    before, most = resource.getrlimit(resource.RLIMIT_AS)
    limit = pages * resource.getpagesize() + more
    if before != resource.RLIM_INFINITY:
        limit = min(limit, before)
    resource.setrlimit(resource.RLIMIT_AS, (limit, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (before, most))


def _be_silent() -> None:
    """Codecs warn on stderr, which belongs to the parent's dashboard."""
    sys.stdout.flush()
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
