"""What tries the codecs, over codecs that are right or wrong by so much; and the frames that it reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest

from mapdr.dicom import uids as uid
from mapdr.kernel.codec import Ability, Decoder, Dial, FrameFormat, PixelRange, Pixels, Recompressor
from mapdr.kernel.registry import Registry
from mapdr.transform.codecs import exercise
from mapdr.transform.codecs.exercise import exercise_row, rows_to_try
from mapdr.transform.codecs.foreign import Decoders
from mapdr.transform.codecs.samples import SIDE, STREAMS, form, frame
from mapdr.transform.codecs.table import Row
from mapdr.transform.codecs.worker import Job, decode

from .helpers import CODECS
from .test_codec_table import Shelf, built
from .toy import Lossless, Lossy

NONE = Row(uid.RLE_LOSSLESS, "RLE Lossless", None, None, None)
PLAIN = Decoder(lambda form, stream: frame())
FAR = "the values are others than those that were encoded"


def test_the_frame_uses_all_twelve_bits() -> None:
    values = frame()
    assert (values.shape, values.dtype, SIDE) == ((16, 16), np.dtype("<u2"), 16)
    assert values[0, :4].tolist() == [0, 13, 26, 39]
    assert values[3, :4].tolist() == [624, 640, 656, 665]
    assert (values[15, 15], values[2, 6]) == ((255 * 13 + 225 % 7) % 4096, 38 * 13 + 12 % 7)
    assert int(np.bitwise_or.reduce(values.ravel())) == 4095
    assert form(16) == FrameFormat(16, 16, 1, 16, 12, False, "MONOCHROME2")
    assert form(8) == FrameFormat(16, 16, 1, 8, 8, False, "MONOCHROME2")


@pytest.mark.parametrize("syntax", STREAMS)
def test_each_kept_codestream_is_that_frame(syntax: str) -> None:
    stream, allocated, near = STREAMS[syntax]
    found = decode(Job(CODECS.decoder(syntax), form(allocated)), stream).astype(int)
    wanted = frame().astype(int) >> (4 if allocated == 8 else 0)
    assert np.abs(found - wanted).max() <= near


class Pool:
    """In the place of decoder processes: it gives `cells`, and notes what it was asked."""

    def __init__(self, cells: Pixels | None = None, error: Exception | None = None) -> None:
        self.cells, self.error = cells, error
        self.asked: list[Any] = []

    def decode(self, job: Job, stream: bytes) -> bytes:
        self.asked.append((job, stream))
        if self.error:
            raise self.error
        assert self.cells is not None
        return self.cells.tobytes()

    def recompress(self, *what: Any) -> bytes:
        self.asked.append(what)
        if self.error:
            raise self.error
        return b"packed"


def tried(row: Row, pool: Pool | None = None) -> tuple[tuple[str, ...], dict[str, str]]:
    found = exercise_row(row, cast(Decoders, pool or Pool()))
    assert found.name == row.name
    assert found.failed == tuple(found.faults.values())
    return found.done, dict(found.faults)


def test_what_nobody_does_is_not_tried() -> None:
    assert tried(NONE) == ((), {})
    assert tried(replace(NONE, no_decode="it is old")) == ((), {"read": "cannot be read: it is old"})
    assert tried(replace(NONE, uid="1.2.3.4", decoder=PLAIN)) == ((), {}), "there is no codestream of it"


@pytest.mark.parametrize(
    ("syntax", "allocated", "near"),
    [(uid.RLE_LOSSLESS, 16, 0), (uid.JPEG_BASELINE, 8, 2), (uid.JPEG_EXTENDED, 16, 8)],
)
def test_what_is_read_may_be_off_by_so_much(syntax: str, allocated: int, near: int) -> None:
    row = replace(NONE, uid=syntax, decoder=PLAIN)
    wanted = (frame() >> 4).astype("u1") if allocated == 8 else frame()
    for off, is_right in ((0, True), (near, True), (near + 1, False), (-near - 1, False)):
        cells = wanted.copy()
        cells[7, 7] += np.array(off).astype(cells.dtype)
        pool = Pool(cells)
        assert tried(row, pool) == ((("read",), {}) if is_right else ((), {"read": f"cannot be read: {FAR}"}))
        assert pool.asked == [(Job(PLAIN, form(allocated)), STREAMS[syntax][0])]
    assert tried(row, Pool(error=OSError("Marked^Value")))[1]["read"].startswith("cannot be read: ")


def test_both_widths_that_an_encoder_takes_are_tried() -> None:
    for takes, stored in (
        (PixelRange(), [8, 12]),
        (PixelRange(allocated=(8,)), [8]),
        (PixelRange(allocated=(16,)), [12]),
        (PixelRange(allocated=(32,)), []),
    ):
        encoder, lossy = Lossless(), Lossy(error=lambda level: 0)
        encoder.takes = lossy.takes = takes  # type: ignore[misc]
        done = ("written", "written with loss") if stored else ()
        assert tried(replace(NONE, encoder=encoder, lossy_encoder=lossy)) == (done, {})
        assert [each[0].stored for each in encoder.encoded] == stored
        assert [(each[0].stored, each[1]) for each in lossy.encoded] == [(each, 120.0) for each in stored]


def test_a_value_that_does_not_come_back_is_a_fault() -> None:
    assert tried(replace(NONE, encoder=Lossless(error=1))) == ((), {"written": f"cannot be written: {FAR}"})


class Coarse(Lossy):
    """Off by `wide` in 12 bits and by `narrow` in 8."""

    def __init__(self, wide: int, narrow: int) -> None:
        super().__init__(dial=Dial(1.0, 9.0, "", 0.1, 5.0))
        self.off = {12: wide, 8: narrow}

    def encode_at(self, pixels: Pixels, form: FrameFormat, level: float, *way: Any) -> bytes:
        off = np.minimum(pixels.astype(int) + self.off[form.stored], (1 << form.stored) - 1)
        return self.keep(off.astype(pixels.dtype), 50, form, level, *way)


@pytest.mark.parametrize(
    ("wide", "narrow", "is_right"), [(48, 3, True), (49, 3, False), (48, 4, False), (0, 0, True)]
)
def test_how_far_a_frame_with_little_loss_may_be_off(wide: int, narrow: int, is_right: bool) -> None:
    found = tried(replace(NONE, lossy_encoder=Coarse(wide, narrow)))
    words = f"cannot be written with loss: {FAR}"
    assert found == ((("written with loss",), {}) if is_right else ((), {"written with loss": words}))


def test_what_there_are_codestreams_of_is_recompressed() -> None:
    def made(*sources: str) -> Recompressor:
        return Recompressor(sources, bytes, bytes, lambda stream: None)

    pool, both = Pool(), made(uid.JPEG_BASELINE, "1.2.3.4", uid.JPEG_EXTENDED)
    assert tried(replace(NONE, recompressor=both), pool) == (("recompressed",), {})
    assert pool.asked == [
        (both, form(8), STREAMS[uid.JPEG_BASELINE][0]),
        (both, form(16), STREAMS[uid.JPEG_EXTENDED][0]),
    ]
    assert tried(replace(NONE, recompressor=made("1.2.3.4"))) == ((), {})
    failed = tried(replace(NONE, recompressor=both), Pool(error=OSError(5, "Input/output error")))
    assert failed == ((), {"recompressed": "cannot be recompressed: Input/output error"})


def test_a_plug_in_is_tried_where_another_before_it_writes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[float] = []

    class Processes:
        def __init__(self, count: int, *, seconds: float) -> None:
            assert count == 1
            self.seconds = seconds

        def close(self) -> None:
            ended.append(self.seconds)

    monkeypatch.setattr(exercise, "Decoders", Processes)
    writes: Callable[[str], Ability] = lambda syntax: Ability(syntax, PLAIN, Lossless())  # noqa: E731
    shelf = Shelf(
        A=built(writes(uid.RLE_LOSSLESS)),
        b=built(writes(uid.RLE_LOSSLESS), writes("1.2.3.4"), Ability(uid.JPEG2000, PLAIN)),
        c=built(writes("1.2.3.4"), Ability(uid.JPEG_BASELINE, PLAIN)),
    )
    rows = rows_to_try(cast(Registry, shelf), "trial")
    found = []
    for row, pool in rows:
        assert cast(Any, pool).seconds == exercise.SECONDS
        assert not ended
        found.append((row.uid, row.codec))
    shown = [(uid.RLE_LOSSLESS, ""), (uid.JPEG_BASELINE, ""), (uid.JPEG2000, ""), ("1.2.3.4", "b")]
    assert found == [*shown, (uid.RLE_LOSSLESS, "b"), ("1.2.3.4", "c")]
    assert ended == [exercise.SECONDS]
