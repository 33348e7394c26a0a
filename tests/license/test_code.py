"""The request code says what it was made of, and a slip of the tongue is found."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mapdr.license.code import KINDS, Fingerprint, WrongCode, fingerprint, read, written

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
FACTS = {kind: f"{kind} of this machine" for kind in KINDS}
codes = st.builds(
    Fingerprint,
    st.integers(0, (1 << 30) - 1),
    st.dictionaries(st.sampled_from(KINDS), st.integers(0, (1 << 20) - 1)),
)


@given(codes)
def test_it_says_what_it_was_made_of(found: Fingerprint) -> None:
    text = written(found)
    assert [len(group) for group in text.split("-")] == [5] * 8
    assert read(text) == found
    assert read(f"  {text.lower().replace('-', ' ')}\n") == found
    assert read(text.replace("0", "O").replace("1", "l")) == found


@given(codes, st.integers(0, 39), st.sampled_from(ALPHABET))
def test_one_wrong_character_is_found_in_its_group(found: Fingerprint, place: int, other: str) -> None:
    plain = written(found).replace("-", "")
    assume(plain[place] != other)
    with pytest.raises(WrongCode, match=f"group {place // 5 + 1} "):
        read(plain[:place] + other + plain[place + 1 :])


@given(codes, st.integers(0, 7), st.integers(0, 3))
def test_two_that_are_swapped_are_found(found: Fingerprint, group: int, place: int) -> None:
    plain = list(written(found).replace("-", ""))
    at = 5 * group + place
    assume(plain[at] != plain[at + 1])
    plain[at], plain[at + 1] = plain[at + 1], plain[at]
    with pytest.raises(WrongCode, match=f"group {group + 1} "):
        read("".join(plain))


@given(codes, st.integers(0, 6))
def test_swapped_groups_are_found(found: Fingerprint, place: int) -> None:
    groups = written(found).split("-")
    groups[place], groups[place + 1] = groups[place + 1], groups[place]
    with pytest.raises(WrongCode):
        read("-".join(groups))


@pytest.mark.parametrize("text", ["", "ABCDE", "?" * 40, "0" * 41, "Ä" * 40])
def test_what_is_no_code_is_refused(text: str) -> None:
    with pytest.raises(WrongCode):
        read(text)


def test_a_code_tells_nobody_the_facts_and_is_another_one_each_time() -> None:
    one, other = fingerprint(FACTS), fingerprint(FACTS)
    assert one.salt != other.salt
    assert not set(one.hashes.values()) & set(other.hashes.values())
    assert fingerprint(FACTS, one.salt) == one
    assert (
        fingerprint({"machine": "a", "cpu": "a"}, 1).hashes["machine"]
        != fingerprint({"machine": "a", "cpu": "a"}, 1).hashes["cpu"]
    )
