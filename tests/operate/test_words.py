"""Numbers as an operator reads them."""

from __future__ import annotations

import json
from http import HTTPStatus

import pytest

from mapdr.kernel.status import (
    HttpStatus,
    from_facts,
    from_number,
    is_http,
    protocol,
    to_facts,
    to_number,
)
from mapdr.operate import words
from mapdr.wire.status import STATUSES


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0, "0 s"),
        (0.25, "250 ms"),
        (12, "12 s"),
        (119.4, "119 s"),
        (120, "2 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (8040, "2 h 14 min"),
        (48 * 3600, "2 days"),
        (-5, "0 s"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert words.duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0.25, "250 ms"),
        (0.96, "1.0 s"),
        (2.14, "2.1 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (150, "2 min"),
    ],
)
def test_a_measured_time_has_two_digits(seconds: float | None, text: str) -> None:
    assert words.lasted(seconds) == text


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (0xA700, "out of resources (0xA700)"),
        (0x0110, "processing failure (0x0110)"),
        (0x0211, "the receiver does not know the operation (0x0211)"),
        (0x01F7, "a status that the standard does not define for C-STORE (0x01F7)"),
        (HttpStatus(401), "unauthorized (HTTP 401)"),
        (HttpStatus(503), "service unavailable (HTTP 503)"),
        (HttpStatus(529), "a status that is not registered (HTTP 529)"),
        (HttpStatus(530), "a status that is not registered (HTTP 530)"),
        (HttpStatus(599), "a status that is not registered (HTTP 599)"),
    ],
)
def test_answers(status: int, text: str) -> None:
    assert words.answer(status) == text


def test_no_status_is_of_dimse_and_of_http() -> None:
    assert not [status for status in STATUSES if is_http(status)]
    assert all(is_http(HttpStatus(status)) for status in HTTPStatus)


@pytest.mark.parametrize("status", [None, 0, 0x0211, 0xA700, 0xFFFF, HttpStatus(200), HttpStatus(529)])
def test_a_status_says_of_which_protocol_it_is_wherever_it_is_kept(status: int | None) -> None:
    kept = (from_number(to_number(status)), from_facts(json.loads(json.dumps(to_facts(status)))))
    assert kept == (status, status)
    assert {protocol(each) for each in kept} == {protocol(status)}
    assert from_facts({}) is None


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (None, "-"),
        (0, "0 B"),
        (840, "840 B"),
        (1200, "1.2 kB"),
        (999_600, "1.0 MB"),
        (182e9, "182 GB"),
        (2e18, "2000 PB"),
    ],
)
def test_sizes(octets: float | None, text: str) -> None:
    assert words.size(octets) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (0, "0"), (0.44, "0.4"), (9.96, "10"), (1200.4, "1,200")]
)
def test_rates(value: float | None, text: str) -> None:
    assert words.rate(value) == text


def test_counts_and_plurals() -> None:
    assert words.count(12804) == "12,804"
    assert words.many(1, "image") == "1 image"
    assert words.many(2, "study", "studies") == "2 studies"


def test_foreign_text_cannot_drive_the_terminal() -> None:
    assert words.plain("a\x1b[2Jb\nc\u202ed") == "a?[2Jb?c?d"


def test_long_texts_are_cut_where_they_tell_least() -> None:
    assert words.middle("archive", 16) == "archive"
    assert words.middle("teleradiology-of-the-hospital-north", 16) == "telerad..l-north"
    assert len(words.middle("x" * 99, 9)) == 9
    assert words.cut("a long story", 8) == "a long.."
    assert words.modality("") == "(none)"
