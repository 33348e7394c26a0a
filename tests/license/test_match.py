"""Which machine is the one that a license was made for."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from itertools import combinations

import pytest

from mapdr.license.code import KINDS, fingerprint, written
from mapdr.license.facts import SHARED_BY_VIRTUAL
from mapdr.license.match import match
from mapdr.license.token import License

FACTS = {kind: f"the {kind} of the clinic" for kind in KINDS}
VIRTUAL = {kind: fact for kind, fact in FACTS.items() if kind not in SHARED_BY_VIRTUAL}


def license_of(facts: dict[str, str], matches: int = 2) -> License:
    return License("1", "Clinic", written(fingerprint(facts)), date(2026, 1, 1), matches=matches)


def changed(facts: dict[str, str], kinds: Iterable[str]) -> dict[str, str]:
    return {**facts, **{kind: f"another {kind}" for kind in kinds}}


def without(facts: dict[str, str], kinds: Iterable[str]) -> dict[str, str]:
    return {kind: fact for kind, fact in facts.items() if kind not in kinds}


@pytest.mark.parametrize("number", range(7))
def test_up_to_two_of_six_may_be_others(number: int) -> None:
    allowed = license_of(FACTS)
    for kinds in combinations(KINDS, number):
        told = match(allowed, changed(FACTS, kinds))
        assert told.holds == (number <= 2), kinds
        assert told.other == set(kinds)


@pytest.mark.parametrize("number", range(7))
def test_what_cannot_be_read_counts_for_neither_side(number: int) -> None:
    allowed = license_of(FACTS)
    for kinds in combinations(KINDS, number):
        told = match(allowed, without(FACTS, kinds))
        assert told.holds == (number <= 4), kinds
        assert told.unreadable == set(kinds)


def test_one_fact_alone_carries_no_license() -> None:
    allowed = license_of(FACTS)
    assert not match(allowed, {"cpu": FACTS["cpu"]}).holds
    two = {kind: FACTS[kind] for kind in ("cpu", "board")}
    assert match(allowed, two).holds
    assert not match(license_of(FACTS, matches=4), two).holds


def test_facts_that_were_not_there_before_say_nothing() -> None:
    few = {kind: FACTS[kind] for kind in ("machine", "network", "disk")}
    assert match(license_of(few), FACTS).holds


def test_a_clone_of_a_virtual_machine_is_another_one() -> None:
    """Its machine id is the same; the hypervisor gives it another identity and address."""
    allowed = license_of(VIRTUAL)
    assert match(allowed, VIRTUAL).holds
    assert not match(allowed, changed(VIRTUAL, ["firmware", "network"])).holds
    assert match(allowed, changed(VIRTUAL, ["network"])).holds, "it has moved to another host"


def test_two_machines_of_one_make_share_none() -> None:
    same = {"cpu", "board"}
    assert not match(license_of(FACTS), changed(FACTS, set(KINDS) - same)).holds
