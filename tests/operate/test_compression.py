"""What a delivery's compression has reached, told from what was kept when it was made."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from mapdr.operate.compression import Compression, compression_of, compressions_sent

JPEG2000 = "1.2.840.10008.1.2.4.91"
FACTS = {
    "compress": {
        "course": "lossy",
        "method": "jpeg2000",
        "level": 60.1,
        "reversible": False,
        "resolutions": 0,
        "ratio": 10.02,
        "psnr": 62.14,
        "max_error": 9,
        "encodes": 1.3,
    }
}


def test_it_is_what_the_step_kept_in_words() -> None:
    found = compression_of(FACTS)
    assert found == Compression("lossy", "", 10.02, 62.14, 9, None, 1.3)
    assert found.words == "10.02:1, PSNR 62.1 dB, no pixel off by more than 9, encoded 1.3 times"
    assert compression_of({"compress": {"course": "lossless", "reason": "dose"}}) == Compression(
        "lossless", "dose"
    )


@pytest.mark.parametrize("facts", [None, {}, {"deidentify": {}}, {"compress": {}}, {"compress": None}])
def test_nothing_is_told_where_nothing_was_kept(facts: Any) -> None:
    assert compression_of(facts) is None


class Store:
    """Facts by the transfer syntax under which they were kept."""

    def __init__(self, **kept: Any) -> None:
        self._kept = kept
        self.recipes = self

    def kept(self, instances: Sequence[str]) -> Any:
        syntaxes = {"first": "", "asked": JPEG2000}
        return {(id_, "r", syntaxes[name]): self._kept[name] for id_ in instances for name in self._kept}


def row(treatment: str = "transcoded", reason: str = "", **last: Any) -> Any:
    made = SimpleNamespace(treatment=treatment, transfer_syntax_uid=JPEG2000, **last)
    return SimpleNamespace(instance="0" * 32, recipe="r", reason=reason, last=made)


def compression_sent(store: Store, delivery: Any) -> Compression | None:
    (found,) = compressions_sent(store, [delivery])  # type: ignore[arg-type]
    return found


def test_it_is_that_of_what_was_sent() -> None:
    asked = {"compress": {"course": "lossless"}}
    store: Any = Store(first=FACTS, asked=asked)
    assert compression_sent(store, row()) == Compression("lossless")
    first: Any = Store(first=FACTS)
    assert compression_sent(first, row()) == compression_of(FACTS)
    assert compression_sent(first, row("relayed")) is None
    assert compression_sent(first, row(reason="compression-refused")) is None
    none_sent = SimpleNamespace(last=None)
    assert compression_sent(first, none_sent) is None


@pytest.mark.parametrize("treatment", ["relayed", "edited", "transcoded"])
def test_of_an_image_that_was_left_as_it_came_it_is_why(treatment: str) -> None:
    """Also of one that went in another syntax for its receiver's sake: the rule has not compressed it."""
    left = {"compress": {"course": "original", "reason": "not-smaller"}}
    found = compression_sent(Store(first=left), row(treatment))
    assert found == Compression("original", "not-smaller")
    assert found.told == "not compressed (not-smaller)"


def test_what_was_not_done_is_told_before_what_was_reached() -> None:
    assert Compression("lossless", "dose", 2.5).told == "without loss (dose), 2.50:1"
    assert Compression("lossless", "", 2.5).told == Compression("lossy", "", 2.5).told == "2.50:1"
