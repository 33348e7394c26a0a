"""What each codec does with which frames, found out by doing it: the table of `mapdr doctor --codecs`.

A small frame of each kind is written, and read again in a decoder process, as a node reads what comes in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mapdr.kernel.codec import Encoder, FrameFormat, LossyEncoder, Pixels, RateControlEncoder
from mapdr.kernel.errors import Permanent
from mapdr.kernel.privacy import in_words
from mapdr.kernel.registry import Registry
from mapdr.transform.codecs.exercise import exercise_row, rows_to_try
from mapdr.transform.codecs.foreign import Decoders
from mapdr.transform.codecs.samples import frame
from mapdr.transform.codecs.table import Row
from mapdr.transform.codecs.worker import Job

BITS = (8, 10, 12, 16)
LEAST_LOSS = 0.02
"""Share of the range by which a value may differ that was written at the best that the dial has."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Frames of a kind: bits stored, whether they are signed, samples per pixel."""

    bits: int
    signed: bool
    samples: int


KINDS = tuple(Kind(bits, signed, samples) for samples in (1, 3) for signed in (False, True) for bits in BITS)


@dataclass(frozen=True, slots=True)
class Tried:
    """What became of frames of a kind: written and read, or why not. `is_fault`: it should have been."""

    kind: Kind
    works: bool
    because: str = ""
    is_fault: bool = False


@dataclass(frozen=True, slots=True)
class Abilities:
    """A transfer syntax: whether its frames are read, and what is written in it.

    `way` is lossless, lossy, recompressed (from another codestream; then nothing is tried by kinds), or empty
    where nothing is written, and `because` says why. `no_rate_control` says why a ratio takes several encodes
    with a codec that could meet it in one.
    """

    uid: str
    name: str
    reads: bool
    unread: str
    way: str
    because: str
    written: tuple[Tried, ...]
    no_rate_control: str = ""

    @property
    def is_sound(self) -> bool:
        """Whether everything works that a codec says it does."""
        return not (self.unread and self.reads) and not any(each.is_fault for each in self.written)


def codecs() -> Iterator[Abilities]:
    """Every transfer syntax that a codec of this installation has, tried. Nothing is raised."""
    for row, pool in rows_to_try(Registry(), "doctor"):
        yield from _abilities(row, pool)


def _abilities(row: Row, pool: Decoders) -> Iterator[Abilities]:
    read = exercise_row(row, pool)
    name = f'{row.name}, by "{row.codec}"' if row.codec else row.name
    unread = row.no_decode or read.faults.get("read", "")
    reads = row.decoder is not None
    writers: list[tuple[str, Encoder | LossyEncoder]] = []
    if row.encoder is not None:
        writers.append(("lossless", row.encoder))
    if row.lossy_encoder is not None:
        writers.append(("lossy", row.lossy_encoder))
    for way, encoder in writers:
        tried = tuple(_tried(row, encoder, kind, pool) for kind in KINDS)
        why = encoder.no_rate_control() if isinstance(encoder, RateControlEncoder) else ""
        yield Abilities(row.uid, name, reads, unread, way, "", tried, why)
    if row.recompressor is not None:
        failed = read.faults.get("recompressed", "")
        yield Abilities(row.uid, name, reads, unread, "recompressed", failed, ())
    elif not writers:
        yield Abilities(row.uid, name, reads, unread, "", row.no_encode, ())


def form_of(kind: Kind) -> FrameFormat:
    """The format of the frame that is tried."""
    rows, columns = frame().shape
    allocated = 8 if kind.bits <= 8 else 16
    photometric = "MONOCHROME2" if kind.samples == 1 else "RGB"
    return FrameFormat(rows, columns, kind.samples, allocated, kind.bits, kind.signed, photometric)


def pixels_of(kind: Kind) -> Pixels:
    """A frame of the kind, with about all values that there are. Samples are alike: a codec may halve the
    resolution of colours."""
    form = form_of(kind)
    values = frame().astype("i4")
    values = (
        values << kind.bits - 12 | values >> 24 - kind.bits if kind.bits > 12 else values >> 12 - kind.bits
    )
    if kind.signed:
        values -= 1 << kind.bits - 1
    cells = values.astype(f"{'ui'[kind.signed]}{form.allocated // 8}")
    return cells if kind.samples == 1 else np.stack([cells] * kind.samples, -1)


def _tried(row: Row, encoder: Encoder | LossyEncoder, kind: Kind, pool: Decoders) -> Tried:
    form = form_of(kind)
    if lacking := encoder.takes.lacks(form):
        return Tried(kind, False, lacking)
    pixels, allowed = pixels_of(kind), 0.0
    try:
        if isinstance(encoder, Encoder):
            stream = encoder.encode(pixels, form)
        else:
            allowed = max(1, LEAST_LOSS * (1 << kind.bits))
            stream = encoder.encode_at(pixels, form, encoder.dial(form).highest)
            if isinstance(encoder, RateControlEncoder) and not encoder.no_rate_control():
                of_size = encoder.encode_to_size(pixels, form, form.size)
                _compare(encoder.decode(of_size, form), pixels, allowed)
        _compare(encoder.decode(stream, form), pixels, allowed)
        if row.decoder is not None:
            cells = np.frombuffer(pool.decode(Job(row.decoder, form), stream), f"<u{form.allocated // 8}")
            _compare(cells.view(pixels.dtype.newbyteorder("<")).reshape(pixels.shape), pixels, allowed)
    except Exception as error:  # noqa: BLE001  whatever a codec raises is what is looked for
        return Tried(kind, False, in_words(error), is_fault=True)
    return Tried(kind, True)


def _compare(found: Pixels, wanted: Pixels, allowed: float) -> None:
    if found.shape != wanted.shape or np.abs(found.astype("i8") - wanted).max() > allowed:
        raise Permanent("the frame comes back with other pixels", reason="codec")
