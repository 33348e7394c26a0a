"""What statuses mean, and how long a server is left alone."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapdr.net.http.status import LONGEST_WAIT, Kind, kind, meaning, retry_after

NOW = "Fri, 27 Nov 2026 10:00:00 GMT"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("", 0),
        ("0", 0),
        ("120", 120),
        (" 120 ", 120),
        ("3601", LONGEST_WAIT),
        ("9" * 6000, LONGEST_WAIT),
        ("-5", 0),
        ("1.5", 0),
        ("\u0661\u0662", 0),
        ("soon", 0),
        ("Fri, 27 Nov 2026 10:02:00 GMT", 120),
        ("Friday, 27-Nov-26 10:02:00 GMT", 120),
        ("Fri Nov 27 10:02:00 2026", 120),
        ("Fri, 27 Nov 2026 09:59:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_WAIT),
        ("Fri, 99 Nov 2026 10:02:00 GMT", 0),
    ],
)
def test_a_wait_is_a_number_or_a_date(value: str, seconds: float) -> None:
    assert retry_after(value, NOW) == seconds


def test_without_a_date_of_its_own_a_date_counts_from_now() -> None:
    assert 50 < retry_after(formatdate(time.time() + 60, usegmt=True)) <= 60


def test_a_server_whose_clock_is_wrong_is_left_alone_as_long_as_it_meant() -> None:
    assert retry_after("Thu, 01 Jan 1970 00:00:30 GMT", "Thu, 01 Jan 1970 00:00:00 GMT") == 30


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_header_is_a_wait_within_bounds(value: str, date: str) -> None:
    assert 0 <= retry_after(value, date) <= LONGEST_WAIT


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (200, Kind.TAKEN),
        (202, Kind.TAKEN),
        (204, Kind.TAKEN),
        (302, Kind.REDIRECTED),
        (400, Kind.REFUSED),
        (401, Kind.NOT_LET_IN),
        (403, Kind.NOT_LET_IN),
        (406, Kind.SYNTAX),
        (409, Kind.REFUSED),
        (413, Kind.TOO_LARGE),
        (415, Kind.SYNTAX),
        (422, Kind.REFUSED),
        (429, Kind.TROUBLE),
        (500, Kind.TROUBLE),
        (503, Kind.TROUBLE),
        (599, Kind.TROUBLE),
        (100, Kind.TROUBLE),
        (999, Kind.TROUBLE),
    ],
)
def test_each_status_has_a_class_and_words(status: int, expected: Kind) -> None:
    assert kind(status) is expected
    assert meaning(status).endswith(f"(HTTP {status})")
