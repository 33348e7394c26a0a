"""Compressed frames that came from outside: decoded in worker processes, so that a crash parks one image.

The processes are spawned when first needed, serve one frame at a time, and are replaced when they die or
do not answer.
"""

from __future__ import annotations

import atexit
import io
import json
import multiprocessing
import queue
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from mapdr.dicom.write import Data, Element
from mapdr.kernel.codec import Decoder, FrameFormat, Pixels, Recompressor
from mapdr.kernel.errors import Permanent, Temporary
from mapdr.transform.codecs.worker import Job, Repacking, serve
from mapdr.transform.fragments import EXTENDED_OFFSETS, frame_spans
from mapdr.transform.image import Image, LeaveAsIs

SECONDS_PER_FRAME = 300.0
"""A decoder that takes longer hangs: the slowest codec does 10 MB/s and the largest X-ray is 80 MB."""
MAX_FRAME = 1 << 30
"""Bytes of one decoded frame; more is an attack on the memory."""
KEEP = 1 << 26
"""Decoded bytes that an image keeps at hand while its level is searched."""
_KILLED = -9
"""The exit code of a process that SIGKILL has ended: a system without memory does that, and no codec."""


class _Worker:
    """One decoder process and the pipe to it."""

    def __init__(self, target: Callable[[Connection], None]) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=target, args=(theirs,), name="mapdr-decoder", daemon=True)
        self.process.start()
        theirs.close()

    def ask(self, job: Job | Repacking, stream: bytes, seconds: float) -> tuple[dict[str, Any], bytes]:
        """The answer to one job and the cells. Raises EOFError, OSError, TimeoutError when there is none."""
        self.connection.send(job)
        self.connection.send_bytes(stream)
        if not self.connection.poll(seconds):
            raise TimeoutError
        answer: dict[str, Any] = json.loads(self.connection.recv_bytes(1 << 12))
        return answer, self.connection.recv_bytes(job.size) if "ok" in answer else b""

    def exit_code(self) -> int | None:
        """0 where the process has ended in good order, as it does when it is told to stop; None while it
        runs."""
        self.process.join(0.2)
        return self.process.exitcode

    def end(self) -> None:
        """Kill the process and wait for its end."""
        self.connection.close()
        self.process.kill()
        self.process.join()
        self.process.close()


class Decoders:
    """A pool of decoder processes; `decode` may be called from many threads."""

    def __init__(
        self,
        size: int,
        *,
        seconds: float = SECONDS_PER_FRAME,
        target: Callable[[Connection], None] = serve,
    ) -> None:
        self._idle: queue.LifoQueue[_Worker | None] = queue.LifoQueue()
        for _ in range(max(size, 1)):
            self._idle.put(None)
        self._seconds = seconds
        self._target = target

    def decode(self, job: Job, stream: bytes) -> bytes:
        """The frame's cells: little endian, samples interleaved.

        Raises Permanent: "codec-crash" when the process died or hung over this frame, "codec-mismatch" when
        the codestream contradicts the data set, "codec" when the codec refuses it. Raises MemoryError where
        this machine had no memory for it.
        """
        answer, cells = self._ask(job, job.size, stream, "contradicts the data set")
        if len(cells) != job.size:
            raise Permanent(f"the codec cannot decode a frame: {answer.get('error')}", reason="codec")
        return cells

    def recompress(self, recompressor: Recompressor, form: FrameFormat, stream: bytes) -> bytes:
        """The codestream of a frame of `form` in another syntax, from which `stream` has come back.

        Raises Permanent: "codec-crash" when the process died or hung over this frame, "codec-mismatch" when
        it contradicts the data set or does not come back, "codec" when the codec refuses it. Raises
        MemoryError where this machine had no memory for it.
        """
        job = Repacking(recompressor, form, len(stream))
        answer, packed = self._ask(job, form.size, stream, "cannot be recompressed")
        if "ok" not in answer or not packed:
            raise Permanent(f"the codec cannot recompress a frame: {answer.get('error')}", reason="codec")
        return packed

    def close(self) -> None:
        """End the idle processes; those at work are daemons and end with us. Safe twice."""
        while True:
            try:
                worker = self._idle.get_nowait()
            except queue.Empty:
                return
            if worker is not None:
                worker.end()

    def _ask(
        self, job: Job | Repacking, size: int, stream: bytes, mismatch: str
    ) -> tuple[dict[str, Any], bytes]:
        """The answer about a frame of `size` bytes; `mismatch` says what a codestream does that does not fit
        the data set."""
        if not 0 < size <= MAX_FRAME:
            raise Permanent("a frame is larger than 1 GiB", reason="codec")
        found = self._attempt(job, stream) or self._attempt(job, stream)
        if found is None:
            raise _crash()
        if "mismatch" in found[0]:
            what = found[0]["mismatch"]
            raise Permanent(f"the codestream {mismatch} ({what})", reason="codec-mismatch")
        if "memory" in found[0]:
            raise MemoryError
        return found

    def _attempt(self, job: Job | Repacking, stream: bytes) -> tuple[dict[str, Any], bytes] | None:
        """The answer; None when the process was told to stop just then, which is not the image's doing."""
        kept: _Worker | None = None
        idle = self._idle.get()
        try:
            worker = self._alive(idle)
            try:
                answer = worker.ask(job, stream, self._seconds)
            except (EOFError, OSError, ValueError) as error:
                exit_code = worker.exit_code()
                worker.end()
                if exit_code == 0:
                    return None
                if exit_code == _KILLED:
                    raise MemoryError from error
                raise _crash() from error
            kept = worker
            return answer
        finally:
            self._idle.put(kept)

    def _alive(self, worker: _Worker | None) -> _Worker:
        if worker is not None and worker.process.is_alive():
            return worker
        if worker is not None:
            worker.end()
        try:
            return _Worker(self._target)
        except OSError as error:
            raise Temporary("a decoder process cannot be started") from error


def _crash() -> Permanent:
    what = "the decoder process died or hung over a frame; the image may be damaged"
    return Permanent(what, reason="codec-crash")


_lock = threading.Lock()
_shared: list[Decoders] = []


def decoders(size: int) -> Decoders:
    """The node's pool; the first caller decides its size."""
    with _lock:
        if not _shared:
            _shared.append(Decoders(size))
            atexit.register(_shared[0].close)
        return _shared[0]


def close_decoders() -> None:
    """End the node's decoder processes; the next image starts new ones."""
    with _lock:
        while _shared:
            pool = _shared.pop()
            atexit.unregister(pool.close)
            pool.close()


class ForeignFrames:
    """The frames of encapsulated pixel data; as many decoded ones are kept as fit `keep` bytes."""

    def __init__(
        self, image: Image, data: Data, pixel: Element, job: Job, pool: Decoders, *, keep: int = KEEP
    ) -> None:
        if not pixel.undefined or pixel.end > len(data):
            raise LeaveAsIs("pixel-length")
        self.image = image
        self._data = data
        self._pool = pool
        self._job = job
        table = image.attributes.value(EXTENDED_OFFSETS)
        self._spans = frame_spans(data, pixel, image.frames, table)
        self._keep = keep
        self._kept: dict[int, bytes] = {}

    def cells(self, index: int) -> bytes:
        """The cells of one frame, little endian, samples interleaved."""
        found = self._kept.get(index)
        if found is None:
            found = self._pool.decode(self._job, self.stream(index))
            if (len(self._kept) + 1) * len(found) <= self._keep:
                self._kept[index] = found
        return found

    def stream(self, index: int) -> bytes:
        """The codestream of one frame, as its fragments hold it."""
        spans = self._spans[index]
        if len(spans) == 1:
            ((start, stop),) = spans
            return bytes(self._data[start:stop])
        joined = io.BytesIO()  # of hundreds of thousands of pieces a list takes more memory than they do
        for start, stop in spans:
            joined.write(self._data[start:stop])
        return joined.getvalue()

    def frame(self, index: int) -> Pixels:
        """The stored values of one frame."""
        return self.image.stored_values(self.cells(index), interleaved=True)


def foreign_frames(
    image: Image, data: Data, pixel: Element, decoder: Decoder, *, workers: int, keep: int = KEEP
) -> ForeignFrames:
    """The frames of an encapsulated data set, decoded by the node's pool.

    Raises LeaveAsIs("pixel-length") for pixel data that is cut off, Permanent(reason="fragments").
    """
    return ForeignFrames(image, data, pixel, Job(decoder, image.format), decoders(workers), keep=keep)
