"""Globs and regular expressions: they mean what they say, and no value makes them slow."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mapdr.route.pattern import LONGEST, LONGEST_PATTERN, compile_regex, glob_matcher


def slow_glob(pattern: str, value: str) -> bool:
    """The obvious definition, by recursion."""
    if not pattern:
        return not value
    if pattern[0] == "*":
        return any(slow_glob(pattern[1:], value[start:]) for start in range(len(value) + 1))
    return bool(value) and pattern[0] in ("?", value[0]) and slow_glob(pattern[1:], value[1:])


@given(st.text("ab*?.\n", max_size=7), st.text("ab*.\n", max_size=8))
@example("*", "")
@example("a*a", "a")
@example("*a*", "bab")
@example("**?", "")
@example("a*?b", "ab")
def test_a_glob_means_its_definition(pattern, value):
    assert glob_matcher(pattern)(value) == slow_glob(pattern, value)


def test_a_glob_of_many_stars_stays_fast():
    matches = glob_matcher("*a" * 60 + "*b")
    began = time.perf_counter()
    assert not matches("a" * 20_000)
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize(
    "pattern",
    [
        "CT.*",
        "(?:CT|MR)[0-9]{2,4}",
        "[]a]+x",
        "[^]]*",
        r"\d+\.\d*",
        "a{2}b?",
        ".*head.*(CT|MR).*",
        "x{",
        "a{,}",
        "(ab){3}",
    ],
)
def test_harmless_patterns_are_taken(pattern):
    assert compile_regex(pattern).pattern == pattern


@pytest.mark.parametrize(
    ("pattern", "what"),
    [
        ("(a+)+b", "could take too long"),
        ("(a|aa)*b", "could take too long"),
        ("((a?){9}){9}b", "could take too long"),
        ("a?" * 60 + "a" * 60, "could take too long"),
        (".*.*.*.*.*x", "could take too long"),
        ("(a|b|c|ab){30}x", "could take too long"),
        (r"(a)\1", "back reference"),
        ("(?=a)b", r"\(\?\.\.\.\) group"),
        ("(?i)ct", r"\(\?\.\.\.\) group"),
        ("(?P<x>a)", r"\(\?\.\.\.\) group"),
        ("a" * (LONGEST_PATTERN + 1), "longer than"),
        ("(", "not a regular expression"),
        ("[[a]b]", "not a regular expression"),
        ("a{99999999999}", "not a regular expression"),
    ],
)
def test_dangerous_patterns_are_refused_with_a_cure(pattern, what):
    with pytest.raises(ValueError, match=what) as caught:
        compile_regex(pattern)
    assert "; " in str(caught.value)


@given(st.text("ab(|)*+?.[]^{},2\\", max_size=14))
@example(".*a.*a.*b")
@example("a*a*a*b")
def test_what_is_taken_is_fast_on_a_nasty_value(pattern):
    try:
        compiled = compile_regex(pattern)
    except ValueError:
        return
    began = time.perf_counter()
    for value in ("a" * (LONGEST - 1) + "b", "a" * LONGEST, "ab" * (LONGEST // 2)):
        compiled.fullmatch(value)
    assert time.perf_counter() - began < 2


@given(st.text("ab(|)*+?.[]^{},2\\", max_size=12))
def test_only_what_re_takes_is_taken(pattern):
    try:
        compile_regex(pattern)
    except ValueError:
        return
    re.compile(pattern)
