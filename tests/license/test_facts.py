"""Facts of machines: what counts, what says nothing, and how a virtual one is known."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from mapdr.license.code import KINDS
from mapdr.license.facts import machine, machine_by, plain


def readers(**facts: str) -> dict[str, Callable[[], str]]:
    return {kind: lambda fact=fact: fact for kind, fact in facts.items()}


@pytest.mark.parametrize(
    "said",
    [
        "",
        " \0",
        "00000000-0000-0000-0000-000000000000",
        "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
        "03000200-0400-0500-0006-000700080009",
        "To Be Filled By O.E.M.",
        "Default string",
        "System Serial Number",
        "N/A",
        "0",
        "XXXXXXXX",
        "Not Specified",
    ],
)
def test_a_placeholder_is_no_fact(said: str) -> None:
    assert plain(said) == ""


def test_a_fact_has_one_spelling() -> None:
    assert plain("  Intel(R)  Core(TM)\0 i5 ") == plain("intel(r) core(tm) i5") == "intel(r) core(tm) i5"


def test_what_cannot_be_read_is_left_out() -> None:
    def fails() -> str:
        raise PermissionError

    def has_none() -> str:
        raise LookupError

    known = readers(machine="a", cpu="b") | {"firmware": fails, "disk": has_none}
    found = machine_by(known, lambda: "Dell Inc. OptiPlex 7010")
    assert dict(found.facts) == {"machine": "a", "cpu": "b"}
    assert not found.virtual


@pytest.mark.parametrize(
    "words",
    [
        "QEMU Standard PC (Q35 + ICH9, 2009)",
        "VMware, Inc. VMware Virtual Platform",
        "innotek GmbH VirtualBox",
        "Microsoft Corporation Virtual Machine Hyper-V",
        "Xen HVM domU",
        "Amazon EC2 t3.medium",
        "Google Google Compute Engine",
        "DigitalOcean Droplet",
        "Parallels Software International Inc. Parallels Virtual Platform",
    ],
)
def test_a_virtual_machine_counts_by_its_own_identity(words: str) -> None:
    found = machine_by(readers(**{kind: f"the {kind}" for kind in KINDS}), lambda: words)
    assert found.virtual
    assert found.facts.keys() == {"machine", "firmware", "network"}


@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac tells its facts through ioreg, seconds long")
def test_this_machine_tells_the_same_twice() -> None:
    one = machine()
    assert one == machine()
    assert one.facts.keys() <= set(KINDS)
    assert one.facts, "nothing at all can be read here"
