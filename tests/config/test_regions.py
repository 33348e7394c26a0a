"""Files of regions: every fault with its line and cure, and a configuration that holds what they said."""

from __future__ import annotations

from pathlib import Path

import pytest
import tomlkit
from pydantic import TypeAdapter

from mapdr.config.read import Loaded, read, read_text
from mapdr.config.revision import keep_revision, read_revision
from mapdr.kernel.registry import Registry

RULE = '[[rule]]\nname = "US"\nwhen = {}\nsend_to = []\nblank = '
GOOD = "[[image]]\nwhen = { Rows = 480 }\nblank = [{ x = 0, y = 0, width = 640, height = 40 }]\n"


def loaded(blank: str, folder: Path, regions: str = "") -> Loaded:
    if regions:
        (folder / "ours.toml").write_text(regions, encoding="utf-8")
    (folder / "mapdr.toml").write_text(RULE + blank + "\n", encoding="utf-8")
    return read(folder / "mapdr.toml")


FAULTS = {
    '[[image]]\nwhen = { Row = 1 }\nkeep = "ultrasound"': "ours.toml:1 image[0] when.Row",
    "[[image]]\nwhen = {}\n": "ours.toml:1 image[0] blanks and keeps nothing, or both; write blank =",
    GOOD + "\n[[image]]\nwhen = {}\nkeep = []\nblank = []": "ours.toml:5 image[1] blanks and keeps nothing",
    "[[image]]\nwhen = {}\nblank = [\n { x = 0, y = 0, width = 0, height = 1 },\n]": (
        "ours.toml:4 image[0].blank[0].width is too small; the limit is 1"
    ),
    "[[image]]\nwhen = {}\nblank = [{ x = -1, y = 0, width = 2 }]": (
        "ours.toml:3 image[0].blank[0].x is too small; the limit is 0 (1 more there)"
    ),
    '[[image]]\nwhen = {}\nblank = [{ x = 0, y = "a", width = 2, height = 2 }]': (
        "ours.toml:3 image[0].blank[0].y is not a whole number; write digits without quotes"
    ),
    "[[image]]\nwhen = {}\nkep = []": "ours.toml:3 image[0].kep unknown key; did you mean",
    '[[image]]\nwhen = { calling_ae = "X" }\nkeep = "ultrasound"': "asks for calling_ae, and regions are of",
    '[[image]]\nwhen = { StudyDate = 2026-01-31 }\nkeep = "ultrasound"': 'as a text, such as "20260131"',
    "[[images]]\nwhen = {}": "ours.toml:1 images unknown key",
    "image = 5": "ours.toml:1 image is not a list",
    "[[image]\n": "ours.toml:1 ",
    "#": "ours.toml:0 image is missing; add image = ...",
}


@pytest.mark.parametrize("text", FAULTS)
def test_what_is_wrong_in_a_file_is_told_with_its_line(text: str, tmp_path: Path) -> None:
    problems = loaded('{ regions = "ours.toml" }', tmp_path, text).problems
    assert [(problem.line, problem.path) for problem in problems] == [(5, 'rule "US".blank.regions')]
    assert FAULTS[text] in f"{problems[0].what}; {problems[0].cure}"


@pytest.mark.parametrize(
    ("blank", "told"),
    [
        ('{ regions = "ultrasond" }', 'there is no set of regions "ultrasond"; did you mean "ultrasound"'),
        (
            '{ regions = "gone.toml" }',
            "gone.toml cannot be read (No such file or directory); correct the name",
        ),
        ("{ regions = [] }", "too short a list"),
        ("{ regions = 5 }", 'is no list of regions; write "ultrasound"'),
        ("{}", "is missing; add regions = ..."),
        ('{ regions = "ultrasound", uncovered = "skip" }', "is not one of the choices"),
        ('{ regions = [{ when = {}, keep = "all" }] }', "is not one of the choices"),
        ('"ultrasound"', "is not a table"),
    ],
)
def test_what_is_wrong_in_a_rule_is_told(blank: str, told: str, tmp_path: Path) -> None:
    problems = loaded(blank, tmp_path).problems
    assert len(problems) == 1, problems
    assert told in f"{problems[0].what}; {problems[0].cure}"


def test_a_configuration_means_the_same_when_its_file_has_changed_or_gone(tmp_path: Path) -> None:
    text = '{ regions = ["ours.toml", "ultrasound"] }'
    first = loaded(text, tmp_path, GOOD)
    assert first.problems == ()
    assert first.config is not None
    (rule,) = first.config.rule
    assert rule.files == (tmp_path / "ours.toml",)
    keep_revision(tmp_path, first)
    second = loaded(text, tmp_path, GOOD.replace("40", "50"))
    assert second.revision != first.revision
    (tmp_path / "ours.toml").unlink()
    kept = read_revision(tmp_path, first.revision)
    assert kept.config is not None
    assert kept.problems == ()
    assert kept.config.rule[0].recipe == rule.recipe
    assert rule.recipe["steps"][0]["config"]["regions"][0]["blank"][0]["height"] == 40


def test_names_of_what_comes_with_the_program_stay_names(tmp_path: Path) -> None:
    found = loaded('{ regions = "known-devices" }', tmp_path)
    assert found.canonical == tomlkit.dumps(
        tomlkit.parse(RULE + '{ regions = "known-devices" }').unwrap(), sort_keys=True
    )


def test_a_recipe_of_regions_builds_the_same_again() -> None:
    config = read_text(RULE + '{ regions = ["ultrasound", "known-devices"] }').config
    assert config is not None
    (step,) = config.rule[0].recipe["steps"]
    adapter = TypeAdapter(Registry().factory("transform", "blank").config)
    again = adapter.validate_python(step["config"])
    assert adapter.dump_python(again, mode="json", by_alias=True, exclude_none=True) == step["config"]
    assert len(step["config"]["regions"]) > 50
