"""The compiled gate: whose licenses it takes, and builds that are to have one and do not get it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import pytest

from license.vendor import FACTS, KEY, OTHER_KEY, PUBLIC, build, load, token
from mapdr.license import built, gate
from mapdr.license.token import WrongToken
from mapdr.operate import selftest

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


def test_without_a_gate_no_license_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "compiled", None)
    told, record = gate.judge(None, {}, NOW, None)
    assert (gate.needed(), told.kind, told.forwards, record) == (False, "unneeded", True, None)
    with pytest.raises(WrongToken, match="needs no license"):
        gate.verify(token())


def test_a_gate_that_was_taken_away_opens_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "compiled", None)
    monkeypatch.setattr(built, "VENDOR", True)
    told, _ = gate.judge(token(), FACTS, NOW, None)
    assert (gate.needed(), told.forwards, told.reason) == (True, False, gate.MISSING)


def test_the_gate_takes_the_licenses_of_its_vendor_alone(vendor_build: ModuleType) -> None:
    assert gate.needed()
    assert gate.judge(token(), FACTS, NOW, None)[0].kind == "licensed"
    assert gate.judge(token(key=OTHER_KEY), FACTS, NOW, None)[0].kind == "trial"
    assert gate.verify(token()).customer == "Clinic North"
    with pytest.raises(WrongToken, match="not signed by the vendor"):
        gate.verify(token(key=OTHER_KEY))


def test_a_token_that_is_changed_at_any_place_is_none(vendor_build: ModuleType) -> None:
    text = token()
    for place, letter in enumerate(text):
        other = "A" if letter != "A" else "B"
        told, _ = gate.judge(text[:place] + other + text[place + 1 :], FACTS, NOW, None)
        assert told.kind == "trial", place
    for length in range(len(text)):
        with pytest.raises(WrongToken):
            gate.verify(text[:length])


def test_nothing_of_the_gate_can_be_set_from_python(
    vendor_build: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {name for name in vars(vendor_build) if not name.startswith("__")}
    assert {"judge", "verify"} <= names
    assert not any(value == PUBLIC or value == (PUBLIC,) for value in vars(vendor_build).values())
    monkeypatch.setattr("mapdr.license.standing.standing", lambda *given: pytest.fail("asked for"))
    monkeypatch.setattr("mapdr.license.token.verify", lambda *given: pytest.fail("asked for"))
    assert gate.verify(token()).id == "2026-1"


def test_the_selftest_asks_the_gate(gate_module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    for module, vendor in ((None, False), (gate_module, True), (None, True)):
        monkeypatch.setattr(gate, "compiled", module)
        monkeypatch.setattr(built, "VENDOR", vendor)
        (one,) = selftest._license()
        told.append((one.ok, one.text))
    assert told[0] == (True, "this build needs no license")
    assert told[1][0]
    assert told[1][1].startswith("it answers; ")
    assert told[2] == (False, gate.MISSING)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"MAPDR_VENDOR_KEY": PUBLIC.hex(), "MAPDR_NO_EXTENSIONS": "1"}, "needs a compiler"),
        ({"MAPDR_VENDOR_KEY": "12ab"}, "is no public key"),
        ({"MAPDR_VENDOR_KEY": "not hexadecimal"}, "is no public key"),
        ({"MAPDR_VENDOR_KEY": PUBLIC.hex(), "CC": "no-such-compiler"}, "no-such-compiler"),
    ],
)
def test_a_vendor_s_build_that_cannot_have_its_gate_fails(
    environment: dict[str, str], said: str, gate_module: ModuleType, tmp_path: Path
) -> None:
    done = build(tmp_path, **environment)
    assert done.returncode != 0
    assert said in done.stderr
    with pytest.raises(LookupError):
        load(tmp_path)


def test_a_gate_of_two_keys_takes_the_licenses_of_both(gate_module: ModuleType, tmp_path: Path) -> None:
    other = OTHER_KEY.public_key().public_bytes_raw()
    done = build(tmp_path, MAPDR_VENDOR_KEY=f"{PUBLIC.hex()},{other.hex()}")
    assert done.returncode == 0, done.stderr
    both = load(tmp_path)
    assert {both.verify(token(key=key)).id for key in (KEY, OTHER_KEY)} == {"2026-1"}


def test_without_a_key_no_gate_is_built(tmp_path: Path) -> None:
    done = build(tmp_path)
    assert done.returncode == 0, done.stderr
    with pytest.raises(LookupError):
        load(tmp_path)
