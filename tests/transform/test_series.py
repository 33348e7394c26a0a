"""`to = "auto"`: the images of a series go without loss, or with it, together."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapdr.dicom import uids
from mapdr.kernel.codec import FrameFormat
from mapdr.transform.encode import series as module
from mapdr.transform.encode import wish as wishes
from mapdr.transform.encode.aim import Aim, hit
from mapdr.transform.encode.compress import STAGE, CompressStep
from mapdr.transform.encode.frames import FrameEncoder
from mapdr.transform.encode.search import Hints
from mapdr.transform.encode.series import LIGHTEST, SeriesCourses
from mapdr.transform.encode.wish import CompressConfig
from mapdr.transform.pipeline import _StepMemory

from .helpers import CODECS, Notebook, applied, image, payload_of, picture, settings
from .toy import Lossless, Lossy, encoder_of, ramp

NATIVE = 1000


def sent(courses: SeriesCourses, sizes: list[int], ratio: float, key: str = "a") -> list[bool]:
    """Whether images of NATIVE bytes, which take `sizes` without loss, go so, one after the other."""
    found = []
    for size in sizes:
        with courses.turn(key):
            needed = None if courses.is_lossy(key) else courses.least_ratio(key, NATIVE, ratio)
            is_lossless = needed is not None and size * needed <= NATIVE
            if not courses.is_lossy(key):
                courses.note(key, NATIVE, size if is_lossless else None, ratio)
        found.append(is_lossless)
    return found


def test_the_first_image_decides_for_others_like_it() -> None:
    assert sent(SeriesCourses(), [100, 99, 98], 10) == [True] * 3
    assert sent(SeriesCourses(), [101, 100, 98], 10) == [False] * 3


def test_a_series_as_a_whole_meets_the_ratio() -> None:
    assert sent(SeriesCourses(), [80, 110, 105, 100, 106], 10) == [True] * 4 + [False]
    # Air counts as half of what it may take, and makes up for little.
    assert sent(SeriesCourses(), [1, 1, 150, 150, 101, 1], 10) == [True] * 4 + [False] * 2


def test_each_series_has_a_course_of_its_own_and_the_oldest_are_forgotten() -> None:
    courses = SeriesCourses(keep=2)
    assert sent(courses, [300], 10, "a") == [False]
    assert sent(courses, [50], 10, "b") == [True]
    assert courses.is_lossy("a")
    assert sent(courses, [300], 10, "c") == [False]
    assert not courses.is_lossy("a")
    assert courses.is_lossy("c")


@given(st.lists(st.integers(1, 1100), max_size=40), st.floats(1.5, 30))
def test_a_series_changes_over_once_at_most_and_meets_its_ratio(sizes: list[int], ratio: float) -> None:
    found = sent(SeriesCourses(), sizes, ratio)
    assert found == sorted(found, reverse=True)
    counted = [
        max(size, LIGHTEST * NATIVE / ratio) for size, is_sent in zip(sizes, found, strict=True) if is_sent
    ]
    assert sum(counted) <= len(counted) * NATIVE / ratio * (1 + 1e-9)


def test_others_wait_until_the_first_has_told() -> None:
    courses, order = SeriesCourses(), []
    begun, go_on = threading.Event(), threading.Event()

    def first() -> None:
        with courses.turn("a"):
            begun.set()
            assert go_on.wait(20)
            order.append("first")
            courses.note("a", NATIVE, None, 10)

    def other(key: str) -> None:
        with courses.turn(key):
            order.append(f"{key}: {courses.is_lossy(key)}")

    with ThreadPoolExecutor(3) as pool:
        one = pool.submit(first)
        assert begun.wait(20)
        two = pool.submit(other, "a")
        pool.submit(other, "b").result(20)  # of another series: it waits for nobody
        go_on.set()
        one.result(20), two.result(20)
    assert order == ["b: False", "first", "a: True"]


def test_others_wait_for_what_the_first_tells_and_not_for_its_end() -> None:
    courses = SeriesCourses()
    with courses.turn("a"), ThreadPoolExecutor(1) as pool:
        courses.note("a", NATIVE, None, 10)

        def other() -> bool:
            with courses.turn("a"):
                return courses.is_lossy("a")

        assert pool.submit(other).result(20), "long before PATIENCE"


def test_one_that_fails_or_never_ends_holds_nobody_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    courses = SeriesCourses()
    with pytest.raises(ZeroDivisionError), courses.turn("a"):
        raise ZeroDivisionError
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    with courses.turn("a"), courses.turn("a"):
        assert not courses.is_lossy("a")


# With a codec


def auto(ratio: float) -> CompressStep:
    made = STAGE.build(settings(), CompressConfig(to="auto", ratio=ratio), None)
    assert isinstance(made, CompressStep)
    return made


def slices(count: int, grain: int = 40) -> list[np.ndarray]:
    """Slices of a series, with noise of the same kind."""
    made = []
    for seed in range(count):
        noise = np.random.default_rng(seed).integers(0, grain, (96, 96))
        made.append(picture(96, 96, 200, 3000, seed) + noise)
    return made


def without_loss(values: np.ndarray) -> float:
    """The ratio of a slice without loss."""
    cells = values.astype("<u2")
    form = FrameFormat(*cells.shape, 1, 16, 12, False, "MONOCHROME2")
    return cells.nbytes / len(CODECS.encoder(uids.HTJ2K_LOSSLESS).encode(cells, form))


def courses_of(step: CompressStep, images: list[np.ndarray], workers: int = 1) -> list[str]:
    """The course of each image, as many at once as there are `workers`."""

    def one(values: np.ndarray) -> str:
        notebook = Notebook()
        applied(step, *payload_of(image(values, stored=12)), notebook)
        assert notebook.facts is not None
        return str(notebook.facts["course"])

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(one, images))


@pytest.mark.parametrize("workers", [1, 3])
def test_slices_around_the_ratio_go_alike(workers: int) -> None:
    images = slices(9)
    reached = [without_loss(each) for each in images]
    assert max(reached) > 1.002 * min(reached)
    # A tenth away from it none goes its own way; and where some are on either side, it changes over once.
    assert courses_of(auto(1.1 * max(reached) / 0.95), images, workers) == ["lossy"] * 9
    assert courses_of(auto(0.9 * min(reached) / 0.95), images, workers) == ["lossless"] * 9
    found = courses_of(auto(float(np.median(reached)) / 0.95), images)
    assert found == sorted(found)


def test_slices_that_are_simpler_at_first_do_not_go_their_own_way() -> None:
    images = [*slices(2, grain=4), *slices(6, grain=60)]
    reached = [without_loss(each) for each in images]
    ratio = min(reached[:2]) / 0.95
    assert all(each < 0.95 * ratio for each in reached[2:])
    assert courses_of(auto(ratio), images) == ["lossless"] * 2 + ["lossy"] * 6
    assert courses_of(auto(ratio), images[::-1]) == ["lossy"] * 8


def test_a_series_that_goes_with_loss_is_not_tried_without_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []
    real = FrameEncoder.try_lossless
    monkeypatch.setattr(
        FrameEncoder, "try_lossless", lambda self, ratio: tried.append(1) or real(self, ratio)
    )
    images = slices(6)
    ratio = 1.05 * max(without_loss(each) for each in images) / 0.95
    assert courses_of(auto(ratio), images, 3) == ["lossy"] * 6
    assert len(tried) == 1


def test_slices_of_air_go_without_loss_and_decide_nothing() -> None:
    air = np.zeros((96, 96), int)
    images = [air, air + 7, *slices(2), air]
    assert courses_of(auto(10), images) == ["lossless", "lossless", "lossy", "lossy", "lossless"]
    assert courses_of(auto(1.5), [air, *slices(2)]) == ["lossless"] * 3


class Series(Notebook):
    """A memory that knows other images of the series."""

    def __init__(self, *others: dict[str, Any]) -> None:
        super().__init__()
        self.others = others
        self.asked = 0

    def of_series(self) -> Sequence[Mapping[str, Any]]:
        self.asked += 1
        return self.others


CELLS = [96, 96, 1, 12]
LOSSY = {"course": "lossy", "method": "htj2k", "ratio": 10.0, "cells": CELLS}
LOSSLESS = {"course": "lossless", "method": "htj2k", "ratio": 2.5, "cells": CELLS}


@pytest.mark.parametrize(
    ("others", "ratio", "course"),
    [
        ((), 1.5, "lossless"),
        ((LOSSLESS,), 2.0, "lossless"),
        ((LOSSLESS, LOSSY), 2.0, "lossy"),
        ((LOSSY | {"method": "jpeg2000"},), 1.5, "lossless"),  # of another method: what it made tells nothing
        ((LOSSY | {"cells": [64, 96, 1, 12]},), 1.5, "lossless"),  # a scout: nor does its size
        (({"course": "original", "reason": "not-smaller", "method": "htj2k"},), 1.5, "lossless"),
        ((LOSSLESS | {"reason": "psnr"},), 2.2, "lossy"),  # a guard has failed: not by its size
        ((LOSSLESS | {"ratio": 900.0},), 2.2, "lossy"),  # air
        ((LOSSLESS,) * 20, 2.2, "lossless"),  # together they meet it
        ((), 2.2, "lossy"),
    ],
)
def test_a_node_that_restarts_goes_on_as_its_series_has_begun(
    others: tuple[dict[str, Any], ...], ratio: float, course: str
) -> None:
    made = auto(ratio)
    memories = [Series(*others) for _ in range(3)]
    for values, memory in zip(slices(3), memories, strict=True):
        applied(made, *payload_of(image(values, stored=12)), memory)
        assert memory.facts is not None
        assert memory.facts["course"] == course
        assert memory.facts["cells"] == CELLS
    assert [memory.asked for memory in memories] == [1, 0, 0]


def test_so_does_one_with_a_single_method_to_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it makes is known by its method, for more may be installed another day."""
    monkeypatch.setattr(wishes, "lacking", lambda name: "" if name == "htj2k" else "it is not here")
    values = slices(1)[0]
    before = Notebook()
    applied(auto(20.0), *payload_of(image(values, stored=12)), before)
    assert before.facts is not None
    assert (before.facts["course"], before.facts["method"]) == ("lossy", "htj2k")
    after = Series(before.facts)
    applied(auto(2.0), *payload_of(image(values, stored=12)), after)
    assert after.facts is not None
    assert after.facts["course"] == "lossy"


def test_a_step_is_told_its_own_share_of_what_was_kept() -> None:
    memory = Series({"compress": LOSSY, "other": {}}, {"other": {}}, {"compress": LOSSLESS})
    assert list(_StepMemory(memory, "compress").of_series()) == [LOSSY, LOSSLESS]
    assert list(_StepMemory(Notebook(), "compress").of_series()) == []


def test_a_receiver_that_takes_nothing_without_loss_tells_nothing_of_the_series() -> None:
    courses, codec = SeriesCourses(), Lossy(lambda level: 200)
    hit(encoder_of(ramp(), None, codec), Aim(ratio=10), Hints(), "key", courses)
    assert courses.is_open("key")
    hit(encoder_of(ramp(), Lossless(size=1000), codec), Aim(ratio=10), Hints(), "key", courses)
    assert courses.is_lossy("key")
