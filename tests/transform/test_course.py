"""The course of a series by its numbers, without a codec: what its images count for, and whose turn it is."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from mapdr.transform.encode import series
from mapdr.transform.encode.series import SeriesCourses, of_series

from .helpers import Notebook


def test_what_an_image_must_reach_follows_from_those_before() -> None:
    courses = SeriesCourses()
    assert courses.least_ratio("a", 1000, 10) == 10.0
    courses.note("a", 1000, 80, 10)
    assert courses.least_ratio("a", 1000, 10) == 1000 / 120
    courses.note("a", 3000, 330, 10)  # 4,000 so far, in 410 bytes
    assert courses.least_ratio("a", 500, 10) == 500 / 40
    assert courses.least_ratio("a", 100, 10) is None, "nothing is left for it"
    assert courses.least_ratio("a", 99, 10) is None
    assert courses.least_ratio("a", 101, 10) == pytest.approx(1010)
    assert courses.least_ratio("b", 100, 10) == 10.0


def test_air_counts_as_half_of_what_it_may_take() -> None:
    courses = SeriesCourses()
    courses.note("a", 1000, 49, 10)
    assert courses.least_ratio("a", 1000, 10) == 1000 / 150
    courses.note("b", 1000, 51, 10)
    assert courses.least_ratio("b", 1000, 10) == 1000 / 149


def test_a_series_that_goes_with_loss_goes_so_to_its_end() -> None:
    courses = SeriesCourses()
    assert courses.is_open("a")
    courses.note("a", 1000, 50, 10)
    assert not courses.is_open("a")
    assert not courses.is_lossy("a")
    courses.note("a", 1000, None, 10)
    courses.note("a", 1000, 50, 10)
    assert courses.is_lossy("a")
    assert courses.least_ratio("a", 1000, 10) == 1000 / 200, "what went with loss counts for nothing"
    courses.note("b", 1000, None, 10)
    assert not courses.is_open("b")


def test_the_series_that_was_noted_the_longest_ago_is_forgotten() -> None:
    courses = SeriesCourses(keep=2)
    for key in ("a", "b", "a", "c"):
        courses.note(key, 1000, None, 10)
    assert [key for key in "abc" if courses.is_lossy(key)] == ["a", "c"]
    kept = SeriesCourses()
    for key in range(513):
        kept.note(key, 1000, None, 10)
    assert [kept.is_lossy(key) for key in (0, 1, 512)] == [False, True, True]


class Waits:
    """What `turn` waits for, noted and not waited for."""

    def __init__(self, courses: SeriesCourses, monkeypatch: pytest.MonkeyPatch) -> None:
        self.may_go: list[bool] = []
        monkeypatch.setattr(courses._changed, "wait_for", self._noted)

    def _noted(self, may_go: Any, seconds: float) -> bool:
        assert seconds == series.PATIENCE
        self.may_go.append(may_go())
        return self.may_go[-1]


def test_one_image_at_a_time_until_one_has_told(monkeypatch: pytest.MonkeyPatch) -> None:
    courses = SeriesCourses()
    waits = Waits(courses, monkeypatch)
    with courses.turn("a"):
        with courses.turn("b"), courses.turn("a"):
            pass  # the second of "a" waits, and its end gives nobody a turn
        with courses.turn("a"):
            pass
    assert waits.may_go == [True, True, False, False]
    with courses.turn("a"), courses.turn("a"):  # nothing was told: one is the first again
        courses.note("a", 1000, 100, 10)
        with courses.turn("a"), courses.turn("a"):
            pass
    assert waits.may_go[4:] == [True, False, True, True]
    with courses.turn("a"):
        pass
    with courses.turn("a"):
        pass
    assert waits.may_go[8:] == [True, True]


def test_who_waits_goes_on_when_the_first_tells_or_ends() -> None:
    for tells in (True, False):
        courses = SeriesCourses()
        waiting, gone = threading.Event(), threading.Event()
        changed = courses._changed
        wait_for = changed.wait_for

        def told(may_go: Any, seconds: float, wait_for: Any = wait_for, waiting: Any = waiting) -> bool:
            waiting.set()
            return bool(wait_for(may_go, seconds))

        def other(courses: SeriesCourses = courses, gone: threading.Event = gone) -> None:
            with courses.turn("a"):
                gone.set()

        turn = courses.turn("a")
        turn.__enter__()
        changed.wait_for = told  # type: ignore[method-assign]
        thread = threading.Thread(target=other, daemon=True)
        thread.start()
        assert waiting.wait(20)
        assert not gone.is_set()
        if tells:
            courses.note("a", 1000, 100, 10)
            assert gone.wait(series.PATIENCE / 2)
        turn.__exit__(None, None, None)
        assert gone.wait(series.PATIENCE / 2)
        thread.join(20)


class Others(Notebook):
    """A memory that knows other images of the series."""

    def __init__(self, *others: Mapping[str, Any]) -> None:
        super().__init__()
        self.others = others

    def of_series(self) -> Sequence[Mapping[str, Any]]:
        return self.others


def test_what_was_kept_of_a_series_tells_of_like_images_by_the_same_method() -> None:
    cells = [96, 96, 1, 12]
    lossless = {"course": "lossless", "method": "htj2k", "ratio": 2.5, "cells": cells}
    memory = Others(
        lossless,
        lossless | {"method": "rle"},
        lossless | {"cells": [96, 96, 1, 16]},
        lossless | {"course": "lossy"},
        lossless | {"course": "lossy", "reason": "ratio"},
        lossless | {"reason": "psnr"},
        lossless | {"course": "original"},
        {"course": "lossless", "method": "htj2k", "cells": cells},
        {},
    )
    assert list(of_series(memory, "htj2k", tuple(cells))) == [2.5, None, None, 1.0]
    assert list(of_series(Notebook(), "htj2k", cells)) == []
