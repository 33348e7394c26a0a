"""Every C-STORE status leads to the behaviour that the field asks for (features.md 22, 23)."""

from __future__ import annotations

import pytest
from pynetdicom.status import STORAGE_SERVICE_CLASS_STATUS, code_to_category

from mapdr.kernel.item import Verdict
from mapdr.wire import status


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        (0x0000, Verdict.DELIVERED),
        (0x0001, Verdict.DELIVERED),
        (0x0107, Verdict.DELIVERED),
        (0x0111, Verdict.DELIVERED),
        (0x0116, Verdict.DELIVERED),
        (0xB000, Verdict.DELIVERED),
        (0xB006, Verdict.DELIVERED),
        (0xB007, Verdict.DELIVERED),
        (0xBFFF, Verdict.DELIVERED),
        (0xA700, Verdict.RETRY),
        (0xA7FF, Verdict.RETRY),
        (0x0110, Verdict.RETRY),
        (0x0213, Verdict.RETRY),
        (0xFE00, Verdict.RETRY),
        (0xF000, Verdict.RETRY),
        (0xFF00, Verdict.RETRY),
        (0xA900, Verdict.REFUSED),
        (0xA9FF, Verdict.REFUSED),
        (0xC000, Verdict.REFUSED),
        (0xCFFF, Verdict.REFUSED),
        (0x0122, Verdict.REFUSED),
        (0x0124, Verdict.REFUSED),
    ],
)
def test_verdict(code: int, verdict: Verdict) -> None:
    assert status.verdict(code) is verdict


def test_what_may_pass_is_not_the_images_fault() -> None:
    for code in (0xA700, 0xA701, 0xA7FF, 0x0213, 0x0110, 0x0210, 0xFE00):
        assert status.outcome(code).peer_fault, hex(code)
    for code in (0xA6FF, 0xA800, 0xA900, 0x0122, 0x0111, 0xDEAD):
        assert not status.outcome(code).peer_fault, hex(code)
    assert not status.outcome(0xC000).peer_fault
    assert not status.outcome(0x0000).peer_fault


def test_only_a_duplicate_is_called_one() -> None:
    assert status.outcome(0x0111).duplicate
    assert not any(status.outcome(code).duplicate for code in (0x0000, 0x0110, 0x0112, 0xB000, 0xA700))


def test_outcome_keeps_the_receivers_own_comment() -> None:
    assert status.outcome(0xC001, "no such study").comment == "no such study"
    assert status.outcome(0xC001).comment == "the receiver cannot understand the data set (0xC001)"
    assert status.outcome(0xA9FF).comment == "the data set does not match its SOP class (0xA9FF)"
    assert status.outcome(0x0000).comment == ""


def test_agrees_with_pynetdicoms_categories() -> None:
    """pynetdicom calls 0111 a failure; to one who relays, an object that is already there has arrived."""
    for code in STORAGE_SERVICE_CLASS_STATUS:
        if code == 0x0111:
            continue
        delivered = status.verdict(code) is Verdict.DELIVERED
        assert delivered == (code_to_category(code) in ("Success", "Warning")), hex(code)


def test_every_status_has_words() -> None:
    for code in range(0x10000):
        assert status.meaning(code).endswith(f"(0x{code:04X})")
