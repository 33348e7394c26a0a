"""What people write from habit, and the words that get them out of it: real stages, one mistake at a time."""
# ruff: noqa: E501  the messages are as long as they are

from __future__ import annotations

import pytest

from mapdr.config.read import read_text

GOOD = """\
[node]
name = "clinic-north"
data = "data"

[egress.pacs]
type = "dicom"
ae_title = "PACS"
host = "203.0.113.7"
port = 104

[[rule]]
name = "CT to pacs"
when = { Modality = "CT" }
tags = [{ prefix = "AccessionNumber", with = "CN-" }]
compress = { to = "jpeg2000", ratio = 10 }
send_to = ["pacs"]
"""

HABITS = [
    (
        "ratio = 10",
        'ratio = "10:1"',
        'mapdr.toml:15 rule "CT to pacs".compress.ratio: is not a number; '
        "write the first number alone, without quotes",
    ),
    (
        "ratio = 10",
        'ratio = "ten"',
        'mapdr.toml:15 rule "CT to pacs".compress.ratio: is not a number; write it without quotes',
    ),
    (
        "port = 104",
        'port = "104"',
        "mapdr.toml:9 egress.pacs.port: is not a whole number; write digits without quotes",
    ),
    (
        "[[rule]]",
        '[rule]\nname = "a"\n\n[rule]',
        'mapdr.toml:14: "rule" is there twice; write [[rule]], with two brackets, before each rule',
    ),
    (
        "[[rule]]",
        "[rule]",
        "mapdr.toml:11 rule: is not a list of rules; write [[rule]], with two brackets, before each rule",
    ),
    (
        'data = "data"',
        'data = "C:\\mapdr"',
        'mapdr.toml:3: a backslash within "..." has a meaning of its own; '
        "write paths with / or in single quotes: 'C:\\mapdr'",
    ),
    (
        'data = "data"',
        'data = "C:\\users"',
        'mapdr.toml:3: a backslash within "..." has a meaning of its own; '
        "write paths with / or in single quotes: 'C:\\mapdr'",
    ),
    (
        'data = "data"',
        'data = "C:\\new"',
        "mapdr.toml:3 node.data: holds a control character; write paths with / or in single quotes: 'C:\\mapdr'",
    ),
    (
        '"clinic-north"',
        "\u201cclinic-north\u201d",
        'mapdr.toml:2: has curly quotes, as word processors write them; write straight ones: "..."',
    ),
    (
        "[egress.pacs]",
        "[egress pacs]",
        "mapdr.toml:5: the name of a table has no spaces; write [egress.pacs], with a dot",
    ),
    (
        '"CN-" }]',
        '"CN-" }',
        "mapdr.toml:14: the [ of this line is not closed before line 15; add ]",
    ),
    ('"CT" }', '"CT"', "mapdr.toml:13: the { of this line is not closed before line 14; add }"),
    (
        'send_to = ["pacs"]',
        'send_to = ["pacs"',
        "mapdr.toml:16: the [ of this line is not closed before the end of the file; add ]",
    ),
    (
        '["pacs"]',
        '["pacs" "pacs"]',
        "mapdr.toml:16: '\"' is not expected here; check for a missing comma in the list that line 16 opens",
    ),
    (
        "{ prefix =",
        "{ delete =",
        'mapdr.toml:14 rule "CT to pacs".tags[0].delete: unknown key; write remove instead',
    ),
]


def test_the_text_without_a_mistake_is_right() -> None:
    assert not read_text(GOOD).problems


@pytest.mark.parametrize(("right", "written", "said"), HABITS)
def test_a_habit_gets_the_words_that_cure_it(right: str, written: str, said: str) -> None:
    assert GOOD.count(right) == 1
    problems = [str(problem) for problem in read_text(GOOD.replace(right, written)).problems]
    assert said in problems
    assert len(problems) == 1 or "delete" in written
