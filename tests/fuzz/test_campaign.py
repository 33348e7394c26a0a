"""A short campaign against each target in every run; `make fuzz` has the long ones."""

from __future__ import annotations

import pytest

from fuzz.campaign import campaign
from fuzz.targets import TARGETS


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", TARGETS)
def test_any_bytes_lead_to_an_answer_or_an_error_of_the_contract(name: str) -> None:
    target, seeds = TARGETS[name]
    assert campaign(target, seeds(), seconds=5, inputs=1500, seed=20261123) > 100


def test_the_campaign_finds_what_is_there() -> None:
    def target(data: bytes) -> None:
        assert b"\xff\xff" not in data

    with pytest.raises(AssertionError):
        campaign(target, [b"some bytes to begin with"], seconds=10, inputs=100_000, seed=1)
