"""Whatever a file says, reading and planning it ends in a configuration or in problems, never in an error."""

from __future__ import annotations

import tomlkit
from hypothesis import given
from hypothesis import strategies as st

from mapdr.config.model import NodeConfig, RuleHead, WebhookConfig
from mapdr.config.read import read_text
from mapdr.config.when import GROUPS, OPERATORS
from mapdr.kernel.registry import Registry
from mapdr.node.plan import make_plan
from mapdr.route.condition import FACTS

REGISTRY = Registry()
TEXTS = st.sampled_from(
    [
        "",
        "x",
        "30 s",
        "10 GB",
        "env:X",
        "127.0.0.1",
        "10.0.0.0/8",
        "{Modality}",
        "{",
        "dicom",
        "a*",
        "(a",
        "jpeg2000",
    ]
)
SCALARS = (
    st.integers(-2, 2**17)
    | st.booleans()
    | st.floats(allow_infinity=True, allow_nan=True)
    | TEXTS
    | st.dates()
    | st.times()
    | st.datetimes()
)


def tables(keys, values, size=4):
    return st.dictionaries(st.sampled_from(sorted(keys)), values, max_size=size)


ANY = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=2) | tables(["ae_title", "host", "set", "to", "x", "cert"], inner, 2)
    ),
    max_leaves=4,
)
WHEN = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=2)
        | tables(
            [*OPERATORS, *FACTS, *GROUPS, "Modality", "RequestAttributesSequence", "(0009,1001)", "x"], inner
        )
    ),
    max_leaves=8,
)


def keys_of(kind, type_):
    return [*REGISTRY.factory(kind, type_).config.model_fields, "x"]


def stages(kind):
    stage = tables([*keys_of(kind, "dicom"), "type"], ANY).map(lambda table: {"type": "dicom", **table})
    return tables(["a", "b", "a b"], stage | SCALARS, 2) | SCALARS


RULES = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            **dict.fromkeys(RuleHead.model_fields, ANY),
            "when": WHEN,
            "tags": st.lists(tables(["set", "to", "remove", "x", "overflow"], ANY), max_size=2) | ANY,
            "compress": tables(keys_of("transform", "compress"), ANY) | ANY,
            "blank": tables(keys_of("transform", "blank"), ANY) | ANY,
            "x": ANY,
        },
    ),
    max_size=3,
)
FILES = st.fixed_dictionaries(
    {},
    optional={
        "node": tables([*NodeConfig.model_fields, "x"], ANY) | SCALARS,
        "receive": stages("receive"),
        "egress": stages("egress"),
        "webhook": tables(["a", "b"], tables([*WebhookConfig.model_fields, "x"], ANY) | SCALARS, 2) | SCALARS,
        "rule": RULES | ANY,
        "x": ANY,
    },
)


@given(FILES)
def test_any_values(values):
    check(tomlkit.dumps(values))


@given(st.text('[]{}="\n,.#x1 ', max_size=40))
def test_any_text(text):
    check(text)


def check(text):
    loaded = read_text(text, REGISTRY)
    problems = loaded.problems
    assert (loaded.config is None) <= bool(problems)
    if loaded.config is not None:
        problems += loaded.locate(make_plan(loaded.config, REGISTRY, is_own=lambda host: True).problems)
    height = text.count("\n") + 1
    for problem in problems:
        assert 0 <= problem.line <= height
        assert problem.what
        assert problem.cure
        assert "\n" not in str(problem)
