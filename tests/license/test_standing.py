"""What a license allows over time: licensed, in its trial, in grace, over; and a clock that is set back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mapdr.license.code import KINDS, fingerprint, written
from mapdr.license.standing import GRACE, TRIAL, Record, Standing, standing
from mapdr.license.token import License, sign

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEYS = [KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)]
FACTS = {kind: f"the {kind}" for kind in KINDS}
OTHER = {kind: f"another {kind}" for kind in KINDS}
NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
DAY = timedelta(days=1)
ALLOWED = License("1", "Clinic", written(fingerprint(FACTS)), date(2026, 11, 1), date(2026, 12, 31))
TOKEN = sign(ALLOWED, KEY)


class Clinic:
    """A machine over time."""

    def __init__(self, token: str | None = None) -> None:
        self.token = token
        self.facts: Mapping[str, str] = FACTS
        self.record: Record | None = None

    def at(self, now: datetime) -> Standing:
        told, self.record = standing(self.token, self.facts, now, self.record, KEYS)
        return told


def test_without_a_vendor_s_key_no_license_is_needed() -> None:
    told, record = standing(None, {}, NOW, None, [])
    assert (told.kind, told.forwards, record) == ("unneeded", True, None)


def test_a_license_holds_to_the_end_of_its_last_day_anywhere_and_then_has_its_grace() -> None:
    clinic = Clinic(TOKEN)
    assert clinic.at(NOW).kind == "licensed"
    assert clinic.at(datetime(2027, 1, 1, 11, tzinfo=UTC)).kind == "licensed"
    ended = datetime(2027, 1, 1, 12, tzinfo=UTC)
    told = clinic.at(ended)
    assert (told.kind, told.reason, told.until) == ("grace", "the license has expired", ended + GRACE)
    assert clinic.at(ended + GRACE - timedelta(seconds=1)).forwards
    told = clinic.at(ended + GRACE)
    assert (told.kind, told.forwards) == ("over", False)
    clinic.token = sign(replace(ALLOWED, expires=date(2027, 12, 31)), KEY)
    assert clinic.at(ended + GRACE).kind == "licensed", "a renewed one ends the pause at once"


@pytest.mark.parametrize("last", [date(3000, 1, 1), date(9998, 12, 31), date.max])
def test_a_last_day_that_nobody_sees_is_no_end(last: date) -> None:
    clinic = Clinic(sign(replace(ALLOWED, expires=last), KEY))
    told = clinic.at(NOW)
    assert (told.kind, told.until) == ("licensed", None)


def test_a_program_that_was_off_for_long_has_no_more_grace_than_one_that_ran() -> None:
    clinic = Clinic(TOKEN)
    clinic.at(NOW)
    assert clinic.at(datetime(2027, 3, 1, tzinfo=UTC)).kind == "over"


def test_the_trial_ends_and_has_no_grace() -> None:
    clinic = Clinic()
    told = clinic.at(NOW)
    assert (told.kind, told.until) == ("trial", NOW + TRIAL)
    assert clinic.at(NOW + TRIAL - timedelta(seconds=1)).forwards
    assert clinic.at(NOW + TRIAL).kind == "over"
    clinic.token = TOKEN
    assert clinic.at(NOW + TRIAL).kind == "licensed"


@pytest.mark.parametrize("token", ["", "garbage", TOKEN[:-1], TOKEN.replace("e", "f", 1)])
def test_a_wrong_license_is_none(token: str) -> None:
    clinic = Clinic(token)
    assert clinic.at(NOW).kind == "trial"
    assert clinic.at(NOW + TRIAL).kind == "over"


def test_another_machine_has_grace_where_a_license_held_and_only_once() -> None:
    clinic = Clinic(TOKEN)
    clinic.at(NOW)
    clinic.facts = OTHER
    told = clinic.at(NOW + DAY)
    assert (told.kind, told.reason) == ("grace", "the license is for another machine")
    assert told.until == NOW + DAY + GRACE
    clinic.token = "something else that is wrong"
    assert clinic.at(NOW + 2 * DAY).until == NOW + DAY + GRACE, "another fault begins no other grace"
    assert clinic.at(NOW + DAY + GRACE).kind == "over"
    clinic.token, clinic.facts = TOKEN, FACTS
    assert clinic.at(NOW + DAY + GRACE).kind == "licensed"


def test_a_copy_of_the_license_starts_no_grace_elsewhere() -> None:
    clinic = Clinic(TOKEN)
    clinic.facts = OTHER
    told = clinic.at(NOW)
    assert (told.kind, told.reason) == ("trial", "the license is for another machine")
    assert clinic.at(NOW + TRIAL).kind == "over"


def test_a_clock_that_is_set_back_gains_nothing() -> None:
    clinic = Clinic(TOKEN)
    late = datetime(2027, 1, 20, tzinfo=UTC)
    clinic.at(NOW)
    assert clinic.at(late).kind == "over"
    told = clinic.at(NOW)
    assert (told.kind, told.set_back) == ("over", True)
    assert clinic.record is not None
    assert clinic.record.seen_at == late
    assert not clinic.at(late - timedelta(minutes=59)).set_back, "clocks are corrected a little every day"
