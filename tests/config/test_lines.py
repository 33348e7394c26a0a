"""TOML with line numbers: the same values as the standard library's reader, and lines that are true."""

from __future__ import annotations

import tomllib

import pytest
import tomlkit
from hypothesis import given
from hypothesis import strategies as st

from mapdr.config.lines import Malformed, parse

NESTED = """\
top = 1

[a.b]
x = 1
[c]
[a.d]
y = [
  1,
  { p = 1, q = [2, 3] },
]
[[r]]
name = "one"
[r.x]
q = 1
[[r.s]]
t = 1
[[r.s]]
t = 2
[[r]]
name = "two"
[[r.s]]
t = 3

  dotted.key = 3
"quoted key" = '''
many
lines'''
"""


def test_lines_of_everything():
    lines = parse(NESTED).lines
    expected = {
        ("top",): 1,
        ("a",): 3,
        ("a", "b"): 3,
        ("a", "b", "x"): 4,
        ("c",): 5,
        ("a", "d"): 6,
        ("a", "d", "y"): 7,
        ("a", "d", "y", 0): 8,
        ("a", "d", "y", 1): 9,
        ("a", "d", "y", 1, "p"): 9,
        ("a", "d", "y", 1, "q", 1): 9,
        ("r",): 11,
        ("r", 0): 11,
        ("r", 0, "x", "q"): 14,
        ("r", 0, "s", 0): 15,
        ("r", 0, "s", 1, "t"): 18,
        ("r", 1): 19,
        ("r", 1, "name"): 20,
        ("r", 1, "s", 0): 21,
        ("r", 1, "s", 0, "dotted", "key"): 24,
        ("r", 1, "s", 0, "quoted key"): 25,
    }
    assert {place: lines.get(place) for place in expected} == expected


def places(value, place=()):
    if isinstance(value, dict):
        for key, each in value.items():
            yield (*place, key)
            yield from places(each, (*place, key))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield (*place, index)
            yield from places(each, (*place, index))


KEYS = st.text("ab-_ .\"'é", min_size=1, max_size=3)
SCALARS = (
    st.integers(-(2**40), 2**40)
    | st.booleans()
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
    | st.floats(allow_nan=False)
    | st.dates()
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_values_are_those_of_the_standard_library_and_each_has_a_line(values):
    text = tomlkit.dumps(values)
    document = parse(text)
    assert document.values == tomllib.loads(text)
    assert set(places(document.values)) == set(document.lines)
    height = text.count("\n") + 1
    assert all(1 <= line <= height for line in document.lines.values())


@given(st.text("[]{}=\"\n,.#ab1 '\\", max_size=30))
def test_any_text_is_read_or_malformed(text):
    fault = None
    try:
        document = parse(text)
        assert set(places(document.values)) <= set(document.lines)
    except Malformed as error:
        fault = error
    if fault is not None:
        assert 1 <= fault.line <= text.count("\n") + 1
        assert fault.cure
        with pytest.raises(tomllib.TOMLDecodeError):
            tomllib.loads(text)


@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_a_canonical_text_is_its_own_canonical_text(values):
    canonical = tomlkit.dumps(values, sort_keys=True)
    assert tomlkit.dumps(parse(canonical).values, sort_keys=True) == canonical
