"""The frames of an image through a codec that does what the test says: order, checks, limits, counts."""

from __future__ import annotations

import math
import threading
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from mapdr.kernel.budget import Budget, Share, Short
from mapdr.kernel.codec import Way
from mapdr.kernel.errors import Permanent
from mapdr.kernel.stage import Settings
from mapdr.kernel.watch import Watch
from mapdr.transform.encode import frames as module
from mapdr.transform.encode.forecast import Forecast
from mapdr.transform.encode.frames import (
    Objection,
    Setting,
    each_of,
    frame_room,
    frames_at_once,
    streams_room,
)
from mapdr.transform.encode.quality import Guard, Padding, Reached
from mapdr.transform.scratch import Scratch

from .toy import NEAR, FramesAt, Lossless, Lossy, described, encoder_of, ramp


def at(level: float = 60.0) -> Setting:
    return Setting(level)


def test_all_of_a_setting_is_kept() -> None:
    setting = Setting(60.0, reversible=True, resolutions=3, size=900)
    assert setting.told() == asdict(setting)
    by_level = Setting(60.0)
    assert by_level.told() == {"level": 60.0, "reversible": False, "resolutions": 0}
    assert (Setting.of(setting.told()), Setting.of(by_level.told())) == (setting, by_level)


def share_of(amount: int) -> Share:
    shares: list[Share] = []
    Budget(10 * amount).ask(amount, shares.append)
    return shares[0]


@pytest.mark.parametrize(
    ("count", "sample"), [(1, [0]), (4, [0, 1, 2, 3]), (5, [0, 1, 3, 4]), (8, [1, 3, 5, 7])]
)
def test_a_level_is_searched_on_frames_from_all_of_a_long_image(count: int, sample: list[int]) -> None:
    assert list(encoder_of(ramp(count)).sample) == sample


def test_each_frame_is_encoded_once_without_loss_and_compared() -> None:
    values = [frame + np.uint16(number) for number, frame in enumerate(ramp(6))]
    codec = Lossless(size=101)
    encoder = encoder_of(values, codec)
    made = encoder.lossless()
    assert [codec.decode(stream, encoder.image.format)[0, 0] for stream in made.frames] == [
        100 + number for number in range(6)
    ]
    assert (made.size, made.photometric, made.setting, encoder.encodes) == (606, "MONOCHROME2", None, 1)
    with pytest.raises(Permanent) as caught:
        encoder_of(values, Lossless(error=1)).lossless()
    assert caught.value.reason == "codec"


@pytest.mark.parametrize("count", [1, 6])
def test_a_lossy_image_says_what_the_worst_of_its_frames_has_kept(count: int) -> None:
    values = ramp(count)
    made = encoder_of(values, None, Lossy(error=lambda level: 3)).lossy(at(50))
    assert made.setting == at(50)
    assert made.photometric == "MONOCHROME2"
    assert made.reached == Reached(3, pytest.approx(10 * math.log10(1000**2 / 9)))


@pytest.mark.parametrize(
    ("method", "level", "most"),
    [
        ("TOY", 10 * math.log10(4.0**12 / 100), 20),  # four times the mean square error of the level
        ("ISO_15444_15", 10 * math.log10(4.0**12 / 100), 40),
        ("TOY", 110.0, 2),  # by rounding alone a value is off by up to 1
    ],
)
def test_an_error_that_the_level_does_not_explain_is_the_codec_s(
    method: str, level: float, most: int
) -> None:
    encoder_of(ramp(), None, Lossy(error=lambda level: most, method=method)).lossy(at(level))
    with pytest.raises(Objection) as caught:
        encoder_of(ramp(), None, Lossy(error=lambda level: most + 1, method=method)).lossy(at(level))
    assert caught.value.reason == "corrupted"


def test_a_dial_of_another_unit_promises_no_error() -> None:
    encoder_of(ramp(), None, Lossy(error=lambda level: 400, dial=NEAR)).lossy(at(-1))
    with pytest.raises(Objection):
        encoder_of(ramp(), None, Lossy(error=lambda level: 501, dial=NEAR)).lossy(at(-1))


def test_the_guard_looks_at_each_frame() -> None:
    values = ramp(3)
    values[1] = values[1] // 100  # a range of 10, in which 4 is much
    encoder = encoder_of(values, None, Lossy(error=lambda level: 4), guard=Guard(min_psnr=20.0))
    with pytest.raises(Objection) as caught:
        encoder.lossy(at(40))
    assert caught.value.reason == "min-psnr"


def test_similarity_is_measured_where_a_guard_asks_for_it() -> None:
    assert encoder_of(ramp(), None, Lossy()).lossy(at(40)).reached.ssim is None
    asked = encoder_of(ramp(), None, Lossy(), guard=Guard(min_ssim=0.1)).lossy(at(40))
    assert 0.9 < asked.reached.ssim < 1


def test_a_frame_of_another_shape_is_the_codec_s_fault() -> None:
    codec = Lossy()
    decode = codec.decode
    codec.decode = lambda stream, form: decode(stream, form)[:-1]
    with pytest.raises(Permanent) as caught:
        encoder_of(ramp(), None, codec).lossy(at())
    assert caught.value.reason == "codec"


def test_padding_is_told_as_the_range_that_it_has_become() -> None:
    values = ramp()
    values[0][:, :50] = 0
    made = encoder_of(values, None, Lossy(error=lambda level: 3), padding=Padding(0, 0)).lossy(at(50))
    assert made.padding == Padding(0, 3)
    values[0][0, 99] = 0
    values[0][1, 0] = 5
    close = Lossy(error=lambda level: 0)
    # A value of the image comes to lie where padding does.
    close.decode = lambda stream, form: np.where(values[0] == 5, 0, values[0])
    with pytest.raises(Objection) as caught:
        encoder_of(values, None, close, padding=Padding(0, 0)).lossy(at(50))
    assert caught.value.reason == "padding"


def test_what_a_search_has_checked_is_not_decoded_again() -> None:
    codec = Lossy()
    encoder = encoder_of(ramp(6), None, codec)
    streams = encoder.streams(encoder.all, at(50))
    assert encoder.reached(encoder.all, at(50), streams) == encoder.lossy(at(50), streams).reached
    assert (len(codec.encoded), len(codec.decoded)) == (6, 6)
    encoder.lossy(at(51))
    assert (len(codec.encoded), len(codec.decoded)) == (12, 12)
    # A sample says nothing of the other frames.
    some = encoder.streams(encoder.sample, at(52))
    encoder.reached(encoder.sample, at(52), some)
    encoder.lossy(at(52))
    assert (len(codec.encoded), len(codec.decoded)) == (22, 22)
    assert encoder.encodes == pytest.approx(22 / 6)


def test_a_lossless_try_looks_at_a_sample_first() -> None:
    assert encoder_of(ramp(), None, Lossy()).try_lossless(2) is None
    small = encoder_of(ramp(8), Lossless(size=250))
    assert small.try_lossless(8).size == 2000
    assert small.encodes == 1.5
    assert small.lossless_bits == 2
    # 6.4 of 8 is what a sample must reach: its frames may be the less simple ones.
    near = encoder_of(ramp(8), Lossless(size=312))
    assert near.try_lossless(8) is None
    assert near.encodes == 1.5
    far = encoder_of(ramp(8), Lossless(size=313))
    assert far.try_lossless(8) is None
    assert (far.encodes, far.lossless_bits) == (0.5, pytest.approx(2.504))
    short = encoder_of(ramp(), Lossless(size=250))
    assert short.try_lossless(8).size == 250
    assert (short.encodes, short.lossless_bits) == (1, 2)
    assert short.try_lossless(8.01) is None
    # What all frames say counts, once they were all encoded.
    assert near.lossless_bits == pytest.approx(2.496)


@pytest.mark.parametrize(("count", "size", "decodes"), [(1, 251, 0), (4, 251, 4), (8, 251, 8), (8, 313, 0)])
def test_a_lossless_image_is_verified_where_it_leaves(count: int, size: int, decodes: int) -> None:
    codec = Lossless(size=size)
    assert encoder_of(ramp(count), codec).try_lossless(8) is None
    assert len(codec.decoded) == decodes
    codec = Lossless(size=250)
    assert encoder_of(ramp(count), codec).try_lossless(8) is not None
    assert len(codec.decoded) == count
    with pytest.raises(Permanent) as caught:
        encoder_of(ramp(count), Lossless(size=250, error=1)).try_lossless(8)
    assert caught.value.reason == "codec"


def test_a_forecast_is_that_of_the_sampled_frames_in_their_depth() -> None:
    random = np.random.default_rng(1)
    values = [random.integers(0, 4096 >> number, (40, 64)).astype(np.uint16) for number in range(8)]
    found = encoder_of(values).forecast()
    expected = Forecast.of((values[number] for number in (1, 3, 5, 7)), 12)
    assert found.precision == 12
    assert np.array_equal(found.counts, expected.counts)


@pytest.mark.parametrize(("count", "reads"), [(1, 1), (2, 6)])
def test_the_frame_of_a_single_frame_image_is_read_once(count: int, reads: int) -> None:
    frames = FramesAt(described(ramp(count)), ramp(count))
    encoder = encoder_of((), Lossless(), Lossy(), frames=frames)
    encoder.lossless()
    encoder.lossy(at())
    assert len(frames.was_read) == reads


def test_memory_is_asked_for_what_codestreams_take_more_than_was_told() -> None:
    values = ramp(4)  # 8,000 bytes, of which 4,000 were told
    assert streams_room(8000, Scratch(1 << 20)) == 4000
    assert streams_room(8000, Scratch(3000)) == 3000
    for size, needed in ((1000, 0), (1500, 2000)):
        share = share_of(4000)
        with share.held():
            encoder = encoder_of(values, Lossless(size=size))
            encoder.lossless()
            encoder.lossless()  # told already
        assert share._used == needed
    share = share_of(100)
    with share.held(), pytest.raises(Short):
        encoder_of(ramp(90), Lossless(size=1900)).lossless()


def test_the_peak_is_the_range_without_padding() -> None:
    values = ramp()
    assert encoder_of(values).peak == 1000
    values[0][0, :3] = 0
    assert encoder_of(values).peak == 1100
    assert encoder_of(values, padding=Padding(0, 0)).peak == int(values[0].max()) - int(values[0][0, 3])
    assert encoder_of([np.zeros((4, 4), np.uint16)], padding=Padding(0, 0)).peak == 0


@pytest.mark.parametrize(
    ("transform", "transform_colour", "photometric"),
    [("", False, "RGB"), ("", True, "RGB"), ("YBR_RCT", False, "RGB"), ("YBR_RCT", True, "YBR_RCT")],
)
def test_colours_are_written_by_a_transform_where_that_is_wanted(
    transform: str, transform_colour: bool, photometric: str
) -> None:
    values = [np.dstack([frame] * 3) for frame in ramp()]
    codec = Lossless(colour_transform=transform)
    made = encoder_of(values, codec, transform_colour=transform_colour).lossless()
    assert made.photometric == codec.encoded[0][0].photometric == codec.decoded[0].photometric == photometric
    colours = ("YBR_ICT", "RGB") if transform else ("RGB",)
    lossy = Lossy(colours=colours)
    made = encoder_of(values, None, lossy, transform_colour=transform_colour).lossy(at())
    expected = "YBR_ICT" if photometric == "YBR_RCT" else "RGB"
    assert made.photometric == lossy.encoded[0][0].photometric == lossy.decoded[0].photometric == expected


def test_colours_that_a_codec_writes_by_its_transform_alone_are() -> None:
    values = [np.dstack([frame] * 3) for frame in ramp()]
    assert (
        encoder_of(values, None, Lossy(colours=("YBR_FULL_422",))).lossy(at()).photometric == "YBR_FULL_422"
    )


def test_a_setting_is_what_the_codec_gets() -> None:
    codec = Lossy()
    encoder_of(ramp(), None, codec).lossy(Setting(41.5, reversible=True, resolutions=3))
    assert codec.encoded[0][1:] == (41.5, Way(True, 3))


def test_as_many_frames_are_worked_on_as_fit_a_quarter_of_the_memory() -> None:
    image = described(ramp(8))
    assert image.work_bytes == 14_000

    def at_once(memory: int, workers: int = 6, count: int = 8) -> int:
        settings = Settings("test", "node", Path(), b"k" * 32, Watch(), workers, memory)
        return frames_at_once(replace(image, frames=count), settings)

    assert at_once(4 * 3 * 14_000) == 3
    assert at_once(4 * 3 * 14_000 - 1) == 2
    assert at_once(0) == 1
    assert at_once(1 << 30) == 6
    assert at_once(1 << 30, count=2) == 2


def test_recipes_of_a_node_share_their_room() -> None:
    assert frame_room(77) is frame_room(77)
    assert frame_room(77) is not frame_room(78)
    room = frame_room(2)
    assert [room.acquire(blocking=False) for _ in range(3)] == [True, True, False]
    room.release(2)


@pytest.mark.parametrize(("at_once", "room", "threads"), [(1, 4, 1), (3, 4, 3), (4, 2, 2), (9, 9, 5)])
def test_work_is_shared_by_so_many_threads(at_once: int, room: int, threads: int) -> None:
    seen: set[int] = set()
    together = threading.Barrier(threads)

    def work(index: int) -> int:
        if index < threads:
            together.wait(10)  # nobody goes on before all are there
        seen.add(threading.get_ident())
        return index * index

    semaphore = threading.BoundedSemaphore(room)
    assert each_of(range(3, 8), lambda index: work(index - 3), semaphore, at_once) == [0, 1, 4, 9, 16]
    assert len(seen) == threads
    for _ in range(room):  # all of it was given back
        assert semaphore.acquire(blocking=False)


def test_the_first_that_fails_is_raised_and_nothing_begun_after_it() -> None:
    begun: list[int] = []

    def work(index: int) -> None:
        begun.append(index)
        if index >= 2:
            raise ValueError(str(index))

    with pytest.raises(ValueError, match="2"):
        each_of(range(9), work, threading.BoundedSemaphore(1), 1)
    assert begun == [0, 1, 2]


def test_threads_that_cannot_begin_give_their_room_back(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refused(module.GuardedThread):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(module, "GuardedThread", Refused)
    room = threading.BoundedSemaphore(3)
    assert each_of(range(4), lambda index: index, room, 3) == [0, 1, 2, 3]
    assert [room.acquire(blocking=False) for _ in range(4)] == [True, True, True, False]
