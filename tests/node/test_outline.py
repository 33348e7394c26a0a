"""The outline of a configuration stands for exactly the text that a node took into use, and says the same."""

from __future__ import annotations

from pathlib import Path

import pytest

import mapdr
from mapdr.node.outline import keep_outline, kept_outline
from mapdr.operate.access import Access
from mapdr.operate.configuration import load
from mapdr.operate.view import node_state
from node.conftest import Start
from node.stages import HEAD
from peers.processes import free_port

RECEIVER = '[receive.modalities]\ntype = "dicom"\nhost = "127.0.0.1"\nae_title = "NORTH"\nport = {port}\n'
EGRESS = '[egress.pacs]\ntype = "dicom"\nae_title = "PACS"\nhost = "127.0.0.1"\nport = 1\n'


def keep(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    found = load(path)
    found.plan.node.data.joinpath("revisions").mkdir(parents=True, exist_ok=True)
    keep_outline(found.plan, found.loaded.text, path.parent)


def test_what_a_look_says_by_the_outline_is_what_it_says_by_the_plan(path: Path, start: Start) -> None:
    node = start(RECEIVER.format(port=free_port()) + EGRESS)
    by_outline, by_plan = Access.of(path), Access(node.plan)
    assert by_outline.plan == kept_outline(path)
    assert by_plan.plan is node.plan
    try:
        said, expected = node_state(by_outline), node_state(by_plan)
    finally:
        by_outline.close()
        by_plan.close()
    for name in ("name", "state", "durability", "data", "receivers"):
        assert getattr(said.node, name) == getattr(expected.node, name)
    assert [one.name for one in said.destinations] == ["pacs"]
    assert said.destinations == expected.destinations
    assert said.attention == expected.attention


def test_a_reload_leaves_the_outline_of_the_new_text(path: Path, start: Start) -> None:
    receiver = RECEIVER.format(port=free_port())
    node = start(receiver + EGRESS)
    path.write_text(HEAD + receiver + EGRESS + EGRESS.replace("egress.pacs", "egress.archive"))
    assert kept_outline(path) is None
    assert node.reload(path) == ()
    outline = kept_outline(path)
    assert outline is not None
    assert list(outline.destinations) == ["pacs", "archive"]


def test_an_outline_stands_for_its_text_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = HEAD + RECEIVER.format(port=11112) + EGRESS
    keep(path, text)
    assert kept_outline(path) is not None
    path.write_text(text.replace("11112", "11113"), encoding="utf-8")
    assert kept_outline(path) is None
    path.write_text(text + "[[[", encoding="utf-8")
    assert kept_outline(path) is None
    path.write_text(text, encoding="utf-8")
    elsewhere = path.parent / "elsewhere" / path.name
    elsewhere.parent.mkdir()
    elsewhere.write_text(text, encoding="utf-8")
    assert kept_outline(elsewhere) is None
    monkeypatch.setattr(mapdr, "__version__", "another")
    assert kept_outline(path) is None


def test_an_outline_that_cannot_be_read_is_none(path: Path) -> None:
    keep(path, HEAD + EGRESS)
    (kept,) = (path.parent / "data" / "revisions").glob("*.json")
    for content in (b"", b"[]", b"{}", b'{"node": {}, "receivers": [], "destinations": []}'):
        kept.write_bytes(content)
        assert kept_outline(path) is None


def test_who_a_plug_in_or_a_secret_is_needed_for_has_no_outline(
    path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    start('[egress.pacs]\ntype = "small"\n')
    assert kept_outline(path) is None
    monkeypatch.setenv("MAPDR_TEST_DATABASE", "sqlite")
    keep(path, HEAD + 'database = "env:MAPDR_TEST_DATABASE"\n' + EGRESS)
    assert kept_outline(path) is None
