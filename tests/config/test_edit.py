"""One table of a configuration's text is changed; all else stays as it is, by letter and by value."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tomlkit.items import Table

from mapdr.config.edit import NotEditable, added, changed, removed, set_value, written_value
from mapdr.config.lines import parse

TEXT = """\
# top
[egress.a]
type = "dicom"   # c
port = 1   # the port
hosts = ["a",
  "b",  # second
]
# trailing of a

# for b
[egress.b]
x=1
[egress.b.tls]
ca = "x"
# for rule
[[rule]]
name="r"
when={}
tags = [
   { set = "A", to = "b" }, # one
]
# tail
[[rule]]
name="s"
[rule.when]
Modality = "CT"
"""


def port(table: Table) -> None:
    set_value(table, "port", 2)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_comments_order_and_layout_stay(end: str) -> None:
    text = TEXT.replace("\n", end)

    def told(found: str) -> str:
        assert found.count("\n") == found.count(end)
        return found.replace("\r\n", "\n")

    assert told(changed(text, ("egress", "a"), port)) == TEXT.replace("port = 1 ", "port = 2 ")
    assert told(removed(text, ("egress", "b"))) == TEXT.replace(
        '[egress.b]\nx=1\n[egress.b.tls]\nca = "x"\n', ""
    )
    assert told(removed(text, ("rule", 0))).endswith(
        '# for rule\n# tail\n[[rule]]\nname="s"\n[rule.when]\nModality = "CT"\n'
    )
    assert told(added(text, ("egress", "n.w"), {"port": 3})) == TEXT.replace(
        "# for rule\n", '\n[egress."n.w"]\nport = 3\n\n# for rule\n'
    )
    assert (
        told(added(text, ("rule",), {"name": "n", "when": {}}))
        == f'{TEXT}\n[[rule]]\nname = "n"\nwhen = {{}}\n'
    )


def test_a_list_keeps_the_layout_of_what_stays() -> None:
    def hosts(table: Table) -> None:
        set_value(table, "hosts", ["b", "c"])

    assert '  "b",  # second\n  "c",\n]' in changed(TEXT, ("egress", "a"), hosts)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("egress = { a = { port = 1 } }\n", ("egress", "a")),
        ("[egress]\na.port = 1\n", ("egress", "a")),
        ("[egress.a]\nport = 1\n", ("egress", "b")),
        ("[egress.a]\nport = 1\n[node]\n[egress.a.tls]\nx = 1\n", ("egress", "a")),
    ],
)
def test_what_cannot_be_cut_out_is_left_alone(text: str, place: tuple[str, str]) -> None:
    with pytest.raises(NotEditable):
        removed(text, place)


NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,6}[A-Za-z0-9]", fullmatch=True)
SCALARS = st.one_of(st.text(max_size=8), st.integers(-9, 99999), st.booleans())
VALUES = st.one_of(
    SCALARS,
    st.lists(st.text(max_size=4), max_size=3),
    st.dictionaries(st.text(min_size=1, max_size=4), SCALARS, max_size=2),
    st.lists(st.dictionaries(NAMES, SCALARS, min_size=1, max_size=2), min_size=1, max_size=3),
)
TABLES = st.dictionaries(NAMES, VALUES, min_size=1, max_size=4)
GAPS = st.sampled_from(["", "\n", "# word\n", "\n# word\n", "# word\n\n", "\n\n# [egress.x]\n\n"])


@st.composite
def texts(draw: st.DrawFn) -> str:
    """A configuration with destinations and rules, and comments in all places."""
    names = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    blocks = [(f'[egress."{name}"]', draw(TABLES)) for name in names]
    blocks += [("[[rule]]", each) for each in draw(st.lists(TABLES, min_size=1, max_size=3))]
    text = draw(GAPS)
    for header, table in blocks:
        text += f"{header}  # of it\n"
        for key, value in table.items():
            text += f"{draw(GAPS)}{written_value(key)} = {written_value(value)}  # of the key\n"
        text += draw(GAPS)
    return text


@settings(max_examples=25, deadline=None)
@given(texts(), TABLES, st.data())
def test_what_was_written_reads_back_and_all_else_is_as_it_was(
    text: str, values: dict[str, Any], data: st.DataObject
) -> None:
    before = parse(text).values
    for place in ([("rule",)], [("egress", "Fresh-One.1")])[data.draw(st.integers(0, 1))]:
        after = added(text, place, values)
        expected = deepcopy(before)
        if place == ("rule",):
            expected["rule"].append(values)
        else:
            expected["egress"]["Fresh-One.1"] = values
        assert parse(after).values == expected
        assert after.count("# word") == text.count("# word")
    name = data.draw(st.sampled_from(sorted(before["egress"])))
    for at in (("egress", name), ("rule", 0)):

        def change(table: Table) -> None:
            for key, value in values.items():
                set_value(table, key, value)

        after = changed(text, at, change)
        found, expected = parse(after).values, deepcopy(before)
        expected[at[0]][at[1]] |= values  # type: ignore[index]
        assert found == expected
        assert after.count("# word") == text.count("# word")
