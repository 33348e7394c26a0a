"""What a decoder process does: one compressed frame in; native cells, or another codestream, out.

Runs apart because the streams came from outside and the codecs are C: a crash here parks one image. This
module imports no more than numpy; a job brings its decoder by reference, whose module is imported then.
Answers to the parent are JSON, never pickles.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection

import numpy as np

from mapdr.kernel.codec import Decoder, Figures, FrameFormat, Mismatch, Pixels, Recompressor

REPACKED = 1 << 12
"""Bytes by which a codestream may grow that is recompressed."""


@dataclass(frozen=True, slots=True)
class Job:
    """One frame to decode: how, and what the data set says of it."""

    decoder: Decoder
    form: FrameFormat

    @property
    def size(self) -> int:
        """Bytes of the frame as allocated."""
        return self.form.size

    @property
    def work(self) -> int:
        """Bytes of address space that decoding may take: three times what the hungriest codec does, and
        what libraries and the arenas of malloc map without using it."""
        return (1 << 28) + 64 * self.form.rows * self.form.columns * self.form.samples

    def done(self, stream: bytes) -> bytes:
        """The cells of the frame. Raises as `decode`."""
        return decode(self, stream).tobytes()


@dataclass(frozen=True, slots=True)
class Repacking:
    """One codestream to recompress, of `length` bytes; `form` is what the data set says of its frame."""

    recompressor: Recompressor
    form: FrameFormat
    length: int

    @property
    def size(self) -> int:
        """The most bytes that may come of it: what takes more is not worth it."""
        return self.length + REPACKED

    @property
    def work(self) -> int:
        """As for decoding: the coefficients of a frame take more than its pixels."""
        return (1 << 28) + 64 * self.form.rows * self.form.columns * self.form.samples

    def done(self, stream: bytes) -> bytes:
        """The codestream in the other syntax. Raises Mismatch when it would not come back byte by byte."""
        _check_header(self.recompressor.header, self.form, stream)
        packed = self.recompressor.recompress(stream)
        if len(packed) > self.size:
            raise Mismatch("size: it grows")
        if self.recompressor.restore(packed) != stream:
            raise Mismatch("it does not come back from what was made of it")
        return packed


class UnreadableHeader(ValueError):
    """Nothing tells how large the codestream's frame is."""


def decode(job: Job, stream: bytes) -> Pixels:
    """The frame as unsigned little endian cells, samples interleaved.

    Raises Mismatch, UnreadableHeader, or whatever the codec raises.
    """
    form = job.form
    if job.decoder.header is not None:  # else its streams have no size, such as RLE: the codec looks itself
        _check_header(job.decoder.header, form, stream)
    pixels = job.decoder.decode(form, stream)
    shape = (form.rows, form.columns) if form.samples == 1 else (form.rows, form.columns, form.samples)
    if pixels.ndim == len(shape) + 1 and pixels.shape[-1] == 1:
        pixels = pixels[..., 0]
    if pixels.shape != shape or pixels.dtype.kind not in "iu":
        raise Mismatch("shape")
    return _cells(job, pixels)


def _check_header(read: Callable[[bytes], Figures | None], form: FrameFormat, stream: bytes) -> None:
    """Refuse a stream that says another size than the data set, before a codec takes memory for it."""
    found = read(stream)
    if found is None:
        raise UnreadableHeader
    size = (found.rows, found.columns, found.samples)
    wanted = (form.rows, form.columns, form.samples)
    if size != wanted:
        said, expected = (" x ".join(map(str, each)) for each in (size, wanted))
        raise Mismatch(f"shape: it is {said}, where the data set says {expected}")
    if found.precision > form.allocated:
        raise Mismatch(f"depth: it has {found.precision} bits, where {form.allocated} are allocated")


def _cells(job: Job, pixels: Pixels) -> Pixels:
    form = job.form
    cell = np.dtype(f"<u{form.allocated // 8}")
    if pixels.dtype.kind == "i":
        if not form.signed and pixels.min() < 0:
            raise Mismatch("sign")
        low, high = -(1 << form.stored - 1) if form.signed else 0, (1 << form.stored - form.signed) - 1
        if pixels.min() < low or pixels.max() > high:
            raise Mismatch("depth")
        return np.ascontiguousarray(pixels.astype(f"<i{cell.itemsize}")).view(cell)
    if form.signed and job.decoder.is_signed and pixels.max() >= 1 << form.stored - 1:
        raise Mismatch("sign")
    if pixels.dtype.itemsize > cell.itemsize and pixels.max() >= 1 << form.allocated:
        raise Mismatch("depth")
    return np.ascontiguousarray(pixels.astype(cell))


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
            job: Job | Repacking = connection.recv()
            signals.busy = True
            stream = connection.recv_bytes()
            answer, cells = _answer(job, stream)
            connection.send_bytes(json.dumps(answer).encode("ascii"))
            if cells is not None:
                connection.send_bytes(cells)
        except (EOFError, OSError):
            return
        signals.busy = False


def _answer(job: Job | Repacking, stream: bytes) -> tuple[dict[str, str], bytes | None]:
    room, is_limited = job.work + 4 * len(stream), False
    try:
        with _limited(room) as is_limited:
            return {"ok": ""}, job.done(stream)
    except Mismatch as error:
        return {"mismatch": str(error)}, None
    except MemoryError as error:
        if is_limited and _can_map(room):  # the limit: it asks for more than a frame needs
            return {"error": type(error).__name__}, None
        return {"memory": ""}, None
    except Exception as error:  # noqa: BLE001  any codec error: its kind goes to the parent, the image parks
        return {"error": type(error).__name__}, None


def _can_map(amount: int) -> bool:
    """Whether the system would give `amount` bytes of memory now."""
    try:
        mmap.mmap(-1, amount).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _limited(more: int) -> Iterator[bool]:
    """Within the block this process can map `more` bytes beside what it has; gives whether that is so.

    The second line of defence, for what headers do not show (frames within a JPEG XL, runs in an RLE).
    Windows and macOS have none: there the check of the header stands alone.
    """
    if sys.platform == "win32":
        yield False
        return
    try:
        import resource

        with open("/proc/self/statm", "rb") as file:
            pages = int(file.read().split()[0])
    except OSError:
        yield False
        return
    before, most = resource.getrlimit(resource.RLIMIT_AS)
    limit = pages * resource.getpagesize() + more
    if before != resource.RLIM_INFINITY:
        limit = min(limit, before)
    resource.setrlimit(resource.RLIMIT_AS, (limit, most))
    try:
        yield True
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (before, most))


def _be_silent() -> None:
    """Codecs warn on stderr, which belongs to the parent's dashboard."""
    sys.stdout.flush()
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
