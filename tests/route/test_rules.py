"""The compiled router against a slow, obvious reading of the rules."""

from __future__ import annotations

import datetime
import ipaddress
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapdr.config.model import RuleConfig
from mapdr.config.when import parse_when
from mapdr.dicom.path import parse_path
from mapdr.kernel.finding import Finding
from mapdr.kernel.item import Header, Priority, Source
from mapdr.route.condition import FACTS
from mapdr.route.recipe import recipe_hash
from mapdr.route.rules import Peer, Router, compile_rules

from .headers import FakeHeader, sender


def rule(
    when: dict[str, Any],
    send_to: tuple[str, ...] = ("a",),
    *,
    name: str = "r",
    stop: bool = False,
    steps: Any = (),
    priority: str = "routine",
) -> RuleConfig:
    findings: list[Finding] = []
    condition = parse_when(when, ("when",), findings)
    assert not findings
    return RuleConfig(name=name, when=condition, send_to=send_to, stop=stop, steps=steps, priority=priority)


def router(*rules: RuleConfig) -> Router:
    return compile_rules(rules, {"a": Peer(), "b": Peer(), "c": Peer("CT1", frozenset({"10.1.2.3"}))})


def takes(when: dict[str, Any], header: Header, source: Source | None = None) -> bool:
    return not router(rule(when)).route(header, source or sender()).unrouted


# The oracle: reads the TOML again for each image.


def slow_table(table: dict[str, Any], header: Header, source: Source, prefix: str = "") -> bool:
    answers = []
    for key, value in table.items():
        if key == "any":
            answers.append(any(slow_table(part, header, source, prefix) for part in value))
        elif key == "all":
            answers.append(all(slow_table(part, header, source, prefix) for part in value))
        elif key == "not":
            answers.append(not slow_table(value, header, source, prefix))
        elif key in FACTS:
            answers.append(slow_subject((getattr(source, key),), True, value, key == "address"))
        elif key.endswith("Sequence"):
            answers.append(slow_table(value, header, source, f"{prefix}{key}."))
        else:
            path = parse_path(prefix + key)
            answers.append(slow_subject(header.texts(path), header.has(path), value, False))
    return all(answers)


def slow_subject(values: tuple[str, ...], there: bool, want: Any, network: bool) -> bool:
    if isinstance(want, dict):
        answers = []
        if "present" in want:
            answers.append(there == want["present"])
        if "empty" in want:
            answers.append((values in {(), ("",)} or set(values) == {""}) == want["empty"])
        if "not" in want:
            answers.append(not slow_subject(values, there, want["not"], network))
        rest = {key: each for key, each in want.items() if key not in {"present", "empty", "not"}}
        if rest:
            answers.append(
                any(all(slow_operator(key, each, value) for key, each in rest.items()) for value in values)
            )
        return all(answers)
    wants = want if isinstance(want, list) else [want]
    return any(slow_value(each, value, network) for each in wants for value in values)


def slow_operator(key: str, want: Any, value: str) -> bool:
    if key == "equals":
        return slow_value(want, value, False) if isinstance(want, int | float) else value == want
    if key == "glob":
        return (
            re.fullmatch(re.escape(want).replace(r"\*", ".*").replace(r"\?", "."), value, re.DOTALL)
            is not None
        )
    if key == "regex":
        return re.fullmatch(want, value) is not None
    found = slow_read(want, value)
    if found is None:
        return False
    return found >= want if key == "min" else found <= want


def slow_read(want: Any, value: str) -> Any:
    try:
        if isinstance(want, datetime.date):
            return datetime.datetime.strptime(value, "%Y%m%d").date()
        return float(value)
    except ValueError:
        return None


def slow_value(want: Any, value: str, network: bool) -> bool:
    if network:
        return ipaddress.ip_address(value) in ipaddress.ip_network(want)
    if isinstance(want, int | float):
        return slow_read(want, value) == want
    if isinstance(want, datetime.date):
        return slow_read(want, value) == want
    return slow_operator("glob", want, value)


def slow_route(
    rules: tuple[RuleConfig, ...], whens: list[dict[str, Any]], header: Header, source: Source
) -> Any:
    deliveries: dict[str, str] = {}
    matched, shadowed = [], []
    for each, when in zip(rules, whens, strict=True):
        if slow_table(when, header, source):
            matched.append(each.name)
            for destination in each.send_to:
                if destination in deliveries:
                    shadowed.append((each.name, destination))
                else:
                    deliveries[destination] = recipe_hash(each.recipe)
            if each.stop:
                break
    return tuple(deliveries.items()), tuple(matched), tuple(shadowed)


WORDS = st.sampled_from(["CT", "MR", "C", "ER1", "ER", "7", "7.50", "20260131", "19991231", ""])
GLOBS = st.sampled_from(["CT", "C*", "*", "E?", "?R*", "7"])
DATES = st.dates(datetime.date(1999, 12, 30), datetime.date(2026, 2, 1))
OPERATIONS = st.fixed_dictionaries(
    {},
    optional={
        "present": st.booleans(),
        "empty": st.booleans(),
        "not": GLOBS,
        "equals": st.sampled_from(["CT", "C*", 7]),
        "glob": GLOBS,
        "regex": st.sampled_from(["C.", "[0-9]+", "(CT|MR)"]),
        "min": st.integers(5, 8),
        "max": st.integers(8, 9),
    },
).filter(bool)
TESTS = GLOBS | st.lists(GLOBS, min_size=1, max_size=3) | st.just(7) | st.just(7.5) | DATES | OPERATIONS
DATE_RANGE = st.fixed_dictionaries({"min": DATES}) | st.fixed_dictionaries({"max": DATES})
TAGS = st.fixed_dictionaries(
    {},
    optional={
        "Modality": TESTS,
        "StudyDate": DATE_RANGE,
        "StationName": TESTS,
        "RequestAttributesSequence": st.fixed_dictionaries({"ScheduledProcedureStepID": TESTS}),
        "calling_ae": GLOBS | st.lists(GLOBS, min_size=1, max_size=2),
        "address": st.sampled_from(["10.1.2.0/24", "10.1.2.3", "::/0"]),
        "receiver": GLOBS,
    },
)
WHEN = st.recursive(
    TAGS,
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "any": st.lists(inner, min_size=1, max_size=3),
            "all": st.lists(inner, min_size=1, max_size=3),
            "not": inner,
            "Modality": TESTS,
        },
    ),
    max_leaves=4,
)
VALUES = st.lists(WORDS, max_size=3).map(tuple)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "Modality": VALUES,
        "StudyDate": VALUES,
        "StationName": VALUES,
        "RequestAttributesSequence.ScheduledProcedureStepID": VALUES,
    },
).map(FakeHeader)
SOURCES = st.builds(
    sender,
    receiver=st.sampled_from(["CT", "x"]),
    calling=st.sampled_from(["CT", "ER1"]),
    address=st.sampled_from(["10.1.2.3", "10.1.9.9", "2001:db8::1"]),
)


@settings(max_examples=250)
@given(
    st.lists(
        st.tuples(
            WHEN, st.lists(st.sampled_from("ab"), unique=True, max_size=2), st.booleans(), st.integers(0, 1)
        ),
        max_size=4,
    ),
    HEADERS,
    SOURCES,
)
def test_the_router_is_what_the_rules_say(specs, header, source):
    rules = tuple(
        rule(when, tuple(send_to), name=str(index), stop=stop, steps=(("tags", recipe),) if recipe else ())
        for index, (when, send_to, stop, recipe) in enumerate(specs)
    )
    compiled = router(*rules)
    routing = compiled.route(header, source)
    whens = [when for when, *_ in specs]
    assert (routing.deliveries, routing.rules, routing.shadowed) == slow_route(rules, whens, header, source)
    assert routing.unrouted == (not routing.rules)
    told = compiled.explain(header, source)
    assert tuple(each.rule for each in told if each.matched) == routing.rules
    for each in told:
        assert bool(each.failure) == (each.reached and not each.matched)


HEADER = FakeHeader(
    {
        "Modality": ("CT",),
        "PatientAge": ("007Y",),
        "StudyTime": ("081530.5",),
        "AcquisitionDateTime": ("20260131081530+0100",),
        "PatientID": (),
        "StudyID": ("", ""),
        "ImageType": ("ORIGINAL", "PRIMARY"),
        "SliceThickness": ("1.25",),
        "StudyDescription": ("x" * 300,),
        "(0009,1001)": ("private",),
    }
)
NOON = datetime.time(12)


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ({}, True),
        ({"ImageType": "PRIMARY"}, True),
        ({"ImageType": {"not": "PRIMARY"}}, False),
        ({"ImageType": ["DERIVED", "ORIGINAL"]}, True),
        ({"PatientAge": {"max": 17}}, True),
        ({"PatientAge": {"min": 17}}, False),
        ({"StudyTime": {"min": datetime.time(8), "max": NOON}}, True),
        ({"StudyTime": {"min": NOON}}, False),
        ({"AcquisitionDateTime": {"min": datetime.datetime(2026, 1, 31, 8)}}, True),
        ({"AcquisitionDateTime": {"max": datetime.date(2026, 1, 31)}}, True),
        ({"AcquisitionDateTime": datetime.date(2026, 1, 30)}, False),
        ({"SliceThickness": 1.25}, True),
        ({"SliceThickness": "1.25"}, True),
        ({"SliceThickness": {"min": 1, "max": 1.2}}, False),
        ({"SliceThickness": {"min": 1.25, "max": 1.25}}, True),
        ({"StudyID": {"empty": True}}, True),
        ({"StudyID": {"empty": False}}, False),
        ({"Modality": {"min": 1}}, False),
        ({"PatientID": {"present": True, "empty": True}}, True),
        ({"PatientName": {"present": False, "empty": True}}, True),
        ({"PatientName": {"not": "X"}}, True),
        ({"StudyDescription": {"regex": "x+"}}, False),
        ({"StudyDescription": "x*"}, True),
        ({"(0009,1001)": "priv*"}, True),
        ({"calling_ae": ["CT?"]}, True),
        ({"called_ae": {"not": "MAPDR"}}, False),
        ({"address": ["192.0.2.1", "10.0.0.0/8"]}, True),
        ({"address": {"not": "10.0.0.0/8"}}, False),
        ({"any": [{"Modality": "MR"}, {"receiver": "modal*"}]}, True),
        ({"not": {"Modality": "CT", "StationName": "X"}}, True),
    ],
)
def test_conditions(when, expected):
    assert takes(when, HEADER) is expected


def test_an_ipv4_sender_on_a_dual_stack_socket_is_in_its_network():
    assert takes({"address": "10.1.2.0/24"}, HEADER, sender(address="::ffff:10.1.2.3"))
    assert not takes({"address": "10.1.2.0/24"}, HEADER, sender(address="a name"))


def test_wanted_are_the_tags_that_rules_ask_for():
    compiled = router(
        rule({"Modality": "CT", "not": {"RequestAttributesSequence": {"ScheduledProcedureStepID": "x"}}}),
        rule({"any": [{"PatientID": {"present": True}}], "calling_ae": "X"}, name="s"),
    )
    assert compiled.wanted == {(0x00080060,), (0x00400275, 0x00400009), (0x00100020,)}


def test_an_image_never_goes_back_to_its_sender():
    compiled = router(rule({}, ("a", "c")))
    for address in ("10.1.2.3", "::ffff:10.1.2.3"):
        routing = compiled.route(HEADER, sender(address=address))
        assert [destination for destination, _ in routing.deliveries] == ["a"]
        assert routing.returned == (("r", "c"),)
        assert not routing.unrouted
    for other in (sender(address="10.1.2.4"), sender(calling="CT2")):
        assert compiled.route(HEADER, other).returned == ()


def test_the_first_rule_owns_the_recipe():
    first = rule({}, ("a",), name="first", steps=(("tags", 1),))
    second = rule({}, ("a", "b"), name="second")
    routing = router(first, second).route(HEADER, sender())
    assert routing.deliveries == (("a", recipe_hash(first.recipe)), ("b", recipe_hash(second.recipe)))
    assert routing.shadowed == (("second", "a"),)


def test_problems_are_reported_not_raised():
    compiled = compile_rules([rule({}, ("telepac", "a", "a")), rule({})], {"telepacs": Peer(), "a": Peer()})
    assert [(each.place, each.what, each.cure) for each in compiled.problems] == [
        (("rule", 0, "send_to", 0), 'there is no destination "telepac"', 'did you mean "telepacs"?'),
        (("rule", 0, "send_to", 2), '"a" is named twice', "name it once"),
        (("rule", 1, "name"), 'an earlier rule is also named "r"', "give each rule its own name"),
    ]


SECRETIVE = FakeHeader({"PatientName": ("DOE^JANE",), "Modality": ("CT",)})


@pytest.mark.parametrize(
    ("when", "failure", "with_values"),
    [
        ({"PatientName": "SMITH*"}, "PatientName does not fit the pattern", ' "SMITH*" (it is "DOE^JANE")'),
        ({"PatientName": "SMITH"}, "PatientName is not the wanted value", ' "SMITH" (it is "DOE^JANE")'),
        (
            {"PatientName": ["A", "B"]},
            "PatientName is none of the 2 wanted values",
            ' "A", "B" (it is "DOE^JANE")',
        ),
        (
            {"PatientName": {"regex": "S.*"}},
            "PatientName does not fit the pattern",
            ' /S.*/ (it is "DOE^JANE")',
        ),
        ({"PatientName": {"min": 1}}, "PatientName is not in the range", ' 1.0.. (it is "DOE^JANE")'),
        ({"PatientName": 7}, "PatientName is not the wanted value", ' 7 (it is "DOE^JANE")'),
        (
            {"PatientName": {"glob": "*", "equals": "X"}},
            "PatientName fails one of its tests",
            ' "X" and "*" (it is "DOE^JANE")',
        ),
        ({"PatientID": "1"}, "PatientID is empty or absent", ""),
        ({"PatientName": {"present": False}}, "PatientName is present", ""),
        ({"PatientID": {"present": True}}, "PatientID is absent", ""),
        ({"PatientName": {"empty": True}}, "PatientName has a value", ""),
        ({"PatientID": {"empty": False}}, "PatientID is empty or absent", ""),
        (
            {"address": "192.0.2.0/24"},
            "address is in none of the networks",
            ' 192.0.2.0/24 (it is "10.1.2.3")',
        ),
        ({"Modality": "CT", "PatientID": "1"}, "PatientID is empty or absent", ""),
        ({"not": {"Modality": "CT"}}, "what must not hold holds (Modality)", ""),
        (
            {"any": [{"Modality": "MR"}, {"PatientID": "1"}]},
            "none of 2 alternatives holds (Modality, PatientID)",
            "",
        ),
    ],
)
def test_explain_names_the_first_failure_without_values(when, failure, with_values):
    compiled = router(rule(when))
    (plain,) = compiled.explain(SECRETIVE, sender())
    (full,) = compiled.explain(SECRETIVE, sender(), values=True)
    assert plain.failure == failure
    assert full.failure == failure + with_values


def test_explain_shows_stopped_and_shadowed_rules():
    told = router(
        rule({}, ("a", "c"), name="first"),
        rule({}, ("a",), name="second", stop=True),
        rule({}, ("b",), name="third"),
    ).explain(HEADER, sender())
    assert [(each.matched, each.reached) for each in told] == [(True, True), (True, True), (False, False)]
    assert told[0].returned == ("c",)
    assert told[1].shadowed == ("a",)


def test_the_rule_that_owns_a_destination_says_how_urgent_it_is():
    routing = router(
        rule({}, ("a",), name="first", priority="stat"),
        rule({}, ("a", "b"), name="second", priority="bulk"),
    ).route(HEADER, sender())
    assert routing.priorities == {"a": Priority.STAT, "b": Priority.BULK}
    assert router(rule({}, ("a",))).route(HEADER, sender()).priorities == {}
