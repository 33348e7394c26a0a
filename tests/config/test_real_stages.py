"""The configuration with the stages that MAPDR ships: starter, documentation, recipes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter

from mapdr.config.model import EVENTS, Config, NodeConfig, RuleHead, WebhookConfig
from mapdr.config.payload import PLACEHOLDERS
from mapdr.config.read import Loaded, read_text
from mapdr.config.starter import STARTER, starter
from mapdr.config.validate import _kinds_at, _models, keys_of
from mapdr.config.when import OPERATORS
from mapdr.kernel.registry import BUILTIN, Registry
from mapdr.node.plan import make_plan
from mapdr.route.condition import FACTS

DOCS = Path(__file__).parents[2] / "docs" / "configuration.md"
MANUAL = DOCS.read_text(encoding="utf-8")
EXAMPLE = re.search(r"```toml\n(.*?)```", MANUAL, re.DOTALL)[1]


def problems(loaded: Loaded) -> list[str]:
    assert loaded.config is not None, loaded.problems
    found = (*loaded.problems, *loaded.locate(make_plan(loaded.config, Registry()).problems))
    return [str(problem) for problem in found]


def test_the_starter_is_right_as_it_stands():
    assert problems(read_text(STARTER)) == []


def test_the_starter_s_examples_are_right_too():
    text = re.sub(r"(?m)^#(?=[^\s#]|  \{)", "", STARTER)
    loaded = read_text(text)
    assert problems(loaded) == []
    config = loaded.config
    assert config is not None
    assert len(config.rule) == 2
    assert list(config.webhook) == ["ris"]
    assert config.egress["pacs"].config.tls.cert == Path("me.pem")


def test_the_starter_quotes_what_it_is_given():
    nasty = 'a"b\\c'
    config = read_text(starter(to="tele-pacs", to_ae='X"Y', to_host="::1", to_port=105)).config
    assert config is not None
    assert config.egress["tele-pacs"].config.ae_title == 'X"Y'
    assert config.rule[0].send_to == ("tele-pacs",)
    shown = problems(read_text(starter(name=nasty)))
    assert shown == [
        "mapdr.toml:6 node.name: is not a name; use up to 64 letters, digits, -, _ and ., e.g. clinic-north"
    ]


def test_the_manual_s_example_is_right():
    assert problems(read_text(EXAMPLE)) == []


BLOCKS = [
    (path.name, number, text)
    for path in (DOCS, DOCS.parents[1] / "README.md")
    for number, text in enumerate(
        re.findall(r"```toml\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
    )
]
FRAMES = {
    "compress": '[[rule]]\nname = "a rule"\nwhen = {}\nsend_to = []\n',
    "when": '[[rule]]\nname = "a rule"\nsend_to = []\n',
    "[webhook.ris.payload]": '[webhook.ris]\nurl = "https://ris/"\non = ["study.received"]\n',
}
"""What stands around a part of a table that is shown alone."""


@pytest.mark.parametrize(("document", "number", "text"), BLOCKS)
def test_every_block_of_the_documents_is_right(document: str, number: int, text: str):
    frame = next((frame for begin, frame in FRAMES.items() if text.startswith(begin)), "")
    assert problems(read_text(frame + text)) == [], f"{document}, block {number}"


def test_a_recipe_builds_the_same_configuration_again():
    config = read_text(EXAMPLE).config
    assert config is not None
    steps = config.rule[0].recipe["steps"]
    assert [step["type"] for step in steps] == ["tags", "compress"]
    for step in steps:
        adapter = TypeAdapter(Registry().factory("transform", step["type"]).config)
        again = adapter.validate_python(step["config"])
        assert adapter.dump_python(again, mode="json", by_alias=True, exclude_none=True) == step["config"]


def test_defaults_are_part_of_a_recipe():
    """A later version's default must not change what was promised."""
    config = read_text(EXAMPLE).config
    assert config is not None
    assert config.rule[0].recipe["steps"][0]["config"][2] == {
        "remove": "OtherPatientIDs",
        "overflow": "error",
        "if_empty": "error",
    }


def section(title: str) -> str:
    """The text below the heading that begins with `title`, up to the next heading of its level or above."""
    level = len(title) - len(title.lstrip("#"))
    start = MANUAL.index(f"\n{title}") + 1
    end = re.compile(rf"^#{{1,{level}}} ", re.MULTILINE).search(MANUAL, start + len(title))
    return MANUAL[start : end.start() if end else len(MANUAL)]


def keys(kind: Any) -> set[str]:
    """Every key of a table, those of tables inside it too."""
    found: set[str] = set()
    for model in _models(kind):
        for name, field in model.model_fields.items():
            found |= {field.alias or name} | keys(field.annotation)
            found |= {inner for each in _kinds_at(field.annotation, (0,)) for inner in keys(each)}
    return found


DOCUMENTED: list[tuple[str, Any]] = [
    ("## `[node]`", NodeConfig),
    ("## `[receive.NAME]`", Registry().factory("receive", "dicom").config),
    ('## `[egress.NAME]`, type `"dicom"`', Registry().factory("egress", "dicom").config),
    ("## `[[rule]]`", RuleHead),
    ("## `[webhook.NAME]`", WebhookConfig),
    ("### `compress`", Registry().factory("transform", "compress").config),
    ("### `blank`", Registry().factory("transform", "blank").config),
    ('## `[receive.NAME]`, type `"dicomweb"`', Registry().factory("receive", "dicomweb").config),
]


@pytest.mark.parametrize(("title", "kind"), DOCUMENTED, ids=[title for title, _ in DOCUMENTED])
def test_every_key_is_in_the_manual(title, kind):
    text = section(title)
    code = " ".join(re.findall(r"`([^`]*)`", text))
    missing = {key for key in keys(kind) if not re.search(rf"\b{key}\b", code)}
    assert not missing


@pytest.mark.parametrize("type_", ["dicomweb", "https"])
def test_every_key_of_a_destination_by_http_is_in_the_manual(type_):
    """Its own keys, and in its table those that are explained for the types before it."""
    own = section(f'## `[egress.NAME]`, type `"{type_}"`')
    config = Registry().factory("egress", type_).config
    assert not {key for key in config.model_fields if not re.search(rf"`{key}`", own)}
    before = section('## `[egress.NAME]`, type `"dicom"`') + section('## `[egress.NAME]`, type `"dicomweb"`')
    assert not {key for key in keys(config) if not re.search(rf"\b{key}\b", own + before)}


@pytest.mark.parametrize(
    ("title", "kind"),
    DOCUMENTED[:2] + DOCUMENTED[4:],
    ids=["node", "receive", "webhook", "compress", "blank", "dicomweb"],
)
def test_every_key_in_the_manual_s_tables_exists(title, kind):
    named = set(re.findall(r"^\| `(\w+)`", section(title), re.MULTILINE))
    assert named
    assert named - {"type"} <= keys(kind)


def test_every_edit_and_operator_is_in_the_manual():
    edits = section("### `tags`")
    (edit,) = _kinds_at(Registry().factory("transform", "tags").config, (0,))
    assert not {key for key in keys_of(edit) if not re.search(rf"\b{key}\b", edits)}
    when = section("### `when`")
    assert not {word for word in (*OPERATORS, *FACTS, "any", "all") if f"{word}" not in when}


def test_the_manual_names_every_table_stage_event_and_placeholder():
    assert not {
        name for name in Config.model_fields if not re.search(rf"^## `\[+{name}[.\]]", MANUAL, re.MULTILINE)
    }
    assert not {
        type_
        for kind, type_ in BUILTIN
        if kind in {"receive", "egress"} and f'type `"{type_}"`' not in MANUAL
    }
    assert not {type_ for kind, type_ in BUILTIN if kind == "transform" and f"### `{type_}`" not in MANUAL}
    webhook = section("## `[webhook.NAME]`")
    assert not {word for word in (*EVENTS, *(f"{{{name}}}" for name in PLACEHOLDERS)) if word not in webhook}


def test_models_hide_what_they_were_given():
    for kind in [NodeConfig, RuleHead, WebhookConfig, Config]:
        assert issubclass(kind, BaseModel)
        assert kind.model_config.get("hide_input_in_errors") is True
        assert kind.model_config.get("extra") == "forbid"
