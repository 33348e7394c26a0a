"""Each codec at work once: what an installation says that it reads and writes, read and written.

Frames are decoded in a decoder process, as in a node: so that is tried too, in a frozen program above all.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mapdr.kernel.codec import FrameFormat, Pixels
from mapdr.kernel.errors import Permanent
from mapdr.kernel.privacy import in_words
from mapdr.kernel.registry import Registry
from mapdr.kernel.stage import Settings
from mapdr.kernel.watch import Watch
from mapdr.transform.codecs.foreign import Decoders
from mapdr.transform.codecs.samples import STREAMS, form, frame
from mapdr.transform.codecs.table import Codecs, Row
from mapdr.transform.codecs.worker import Job

SECONDS = 60.0
"""For one frame of 16 by 16: most of it is for the start of the process on a busy machine."""
NEAR = 48
"""By how much of 4,096 a value may differ that was written with as little loss as the codec can."""


@dataclass(frozen=True, slots=True)
class Exercised:
    """What became of a transfer syntax: `done` names what was tried and succeeded, `faults` what did not,
    with a sentence on each."""

    name: str
    done: tuple[str, ...]
    faults: Mapping[str, str]

    @property
    def failed(self) -> tuple[str, ...]:
        """The sentences."""
        return tuple(self.faults.values())


def exercise(registry: Registry) -> Iterator[Exercised]:
    """Read and write a frame in every transfer syntax that a codec of `registry` has. Nothing is raised."""
    for row, pool in rows_to_try(registry, "selftest"):
        yield exercise_row(row, pool)


def rows_to_try(registry: Registry, name: str) -> Iterator[tuple[Row, Decoders]]:
    """The table of the codecs of `registry`, built to be tried, and what plug-ins write in transfer syntaxes
    that others before them write too; with decoder processes that last as long as this. `name` is that of the
    trial."""
    pool = Decoders(1, seconds=SECONDS)
    try:
        with tempfile.TemporaryDirectory() as folder:
            settings = Settings(name, "none", Path(folder), bytes(32), Watch())
            codecs = Codecs(registry, settings)
            for row in codecs.rows.values():
                yield row, pool
            for rows in codecs.own.values():
                for row in rows.values():
                    if row.codec and row.codec != codecs.rows[row.uid].codec:
                        yield row, pool
    finally:
        pool.close()


def exercise_row(row: Row, pool: Decoders) -> Exercised:
    """Read and write a frame in the transfer syntax of `row`. Nothing is raised."""
    done: list[str] = []
    faults: dict[str, str] = {}
    for what, work in (
        ("read", _decode),
        ("written", _encode),
        ("written with loss", _encode_with_loss),
        ("recompressed", _recompress),
    ):
        try:
            if work(row, pool):
                done.append(what)
        except Exception as error:  # noqa: BLE001  whatever a codec raises is what is looked for
            faults[what] = f"cannot be {what}: {in_words(error)}"
    if row.decoder is None and row.no_decode:
        faults["read"] = f"cannot be read: {row.no_decode}"
    return Exercised(row.name, tuple(done), faults)


def _decode(row: Row, pool: Decoders) -> bool:
    """Whether there was something to read."""
    if row.decoder is None or row.uid not in STREAMS:
        return False
    stream, allocated, near = STREAMS[row.uid]
    cells = pool.decode(Job(row.decoder, form(allocated)), stream)
    _compare(np.frombuffer(cells, f"<u{allocated // 8}").reshape(frame().shape), form(allocated), near)
    return True


def _encode(row: Row, pool: Decoders) -> bool:
    """Whether there was somebody to write it."""
    if row.encoder is None:
        return False
    tried = False
    for form_ in filter(row.encoder.takes.holds, (form(8), form(16))):
        _compare(row.encoder.decode(row.encoder.encode(_pixels(form_), form_), form_), form_, 0)
        tried = True
    return tried


def _encode_with_loss(row: Row, pool: Decoders) -> bool:
    if row.lossy_encoder is None:
        return False
    encoder, tried = row.lossy_encoder, False
    for form_ in filter(encoder.takes.holds, (form(8), form(16))):
        stream = encoder.encode_at(_pixels(form_), form_, encoder.dial(form_).highest)
        _compare(encoder.decode(stream, form_), form_, NEAR >> 12 - form_.stored)
        tried = True
    return tried


def _recompress(row: Row, pool: Decoders) -> bool:
    """Whether there was a codestream to recompress."""
    if row.recompressor is None:
        return False
    sources = [STREAMS[source] for source in row.recompressor.sources if source in STREAMS]
    for stream, allocated, _ in sources:
        pool.recompress(row.recompressor, form(allocated), stream)
    return bool(sources)


def _pixels(form_: FrameFormat) -> Pixels:
    """The frame in the bits that are allocated."""
    return frame() if form_.allocated == 16 else (frame() >> 4).astype("u1")


def _compare(found: Pixels, form_: FrameFormat, near: int) -> None:
    """Raise Permanent where a value differs by more than `near` from what was encoded."""
    far = int(np.abs(found.astype(int) - _pixels(form_).astype(int)).max())
    if far > near:
        raise Permanent("the values are others than those that were encoded", reason="codec")
