"""A short campaign against each target in every run; `make fuzz` and `make sanitize` have the long ones."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz import structure
from fuzz.campaign import campaign
from fuzz.targets import TARGETS
from mapdr._fast import _rewrite_py, _scan_py
from mapdr._fast.scan_tables import NeedMore, Tree, Unreadable

UIDS: Tree = {0x00080016: {}, 0x00080018: {}}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", TARGETS)
def test_any_bytes_lead_to_an_answer_or_an_error_of_the_contract(name: str) -> None:
    target, seeds, draw = TARGETS[name]
    assert campaign(target, seeds(), draw, seconds=10, inputs=500, seed=20261123) > 50


def test_the_campaign_finds_what_is_there() -> None:
    def target(data: bytes) -> None:
        assert b"\xff\xff" not in data

    with pytest.raises(AssertionError):
        campaign(target, [b"some bytes to begin with"], seconds=10, inputs=100_000, seed=1)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", TARGETS)
@given(st.randoms(use_true_random=False))
@settings(suppress_health_check=list(HealthCheck), max_examples=40)
def test_what_is_drawn_can_be_shrunk(name: str, chance: Random) -> None:
    run, _, draw = TARGETS[name]
    run(draw(chance))


def test_the_generator_draws_what_is_regular_and_what_once_ended_the_router() -> None:
    chance, regular, undefined = Random(1), 0, 0
    for _ in range(2000):
        data = structure.data_set(chance, structure.IMPLICIT)
        regular += _rewrite_py.locate(data, len(data), 0, ()) is not None
        try:
            walked = _scan_py.walk(data, len(data), len(data), 0, UIDS, beyond=True, max_value=64)
        except (Unreadable, NeedMore):
            continue
        # A UID of undefined length, properly delimited: 4 GiB were read behind the buffer.
        undefined += not walked.truncated and any(found.length == 0xFFFFFFFF for found in walked.found)
    assert regular > 500
    assert undefined > 10
