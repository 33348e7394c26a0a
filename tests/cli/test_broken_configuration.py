"""A configuration file with problems keeps nobody from looking at the node that uses an earlier one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mapdr.config.read import read, read_node
from mapdr.config.revision import keep_revision
from mapdr.kernel.registry import BUILTIN
from mapdr.operate.access import Access
from mapdr.operate.view import NodeView
from paper.nodes import CONFIG, NodeFolder

BROKEN = {
    "an unknown key": ("port = 1\n", "port = 1\nprot = 2\n", "egress.telepacs.prot: unknown key"),
    "an open quote": ('"TELEPACS"', '"TELEPACS', "a text is not closed"),
    "a plug-in that is not here": ('"dicom"\nae_title = "ARCHIVE"', '"gone"', 'there is no egress "gone"'),
    "an unknown key of the node": ('data = "data"\n', 'data = "data"\ndate = 1\n', "node.date: unknown key"),
    "an open list at the end": ('["archive", "telepacs"]', '["archive",', "is not closed"),
}
LOOKING = (
    ("status",),
    ("top",),
    ("find", "--patient", "nobody"),
    ("studies",),
    ("sources",),
    ("deliveries",),
    ("hold", "archive"),
    ("release", "archive"),
    ("dismiss", "--to", "archive", "--yes"),
)


@pytest.fixture
def running(used: NodeFolder) -> NodeFolder:
    """A node with images that gives signs of life and keeps its configuration."""
    loaded = read(used.config)
    keep_revision(used.config.parent / "data", loaded)
    used.beat(revision=loaded.revision)
    return used


def spoil(node: NodeFolder, how: str) -> str:
    """Write this problem into the file; how it is told."""
    old, new, told = BROKEN[how]
    assert old in CONFIG
    node.config.write_text(CONFIG.replace(old, new))
    return told


@pytest.mark.parametrize("how", BROKEN)
def test_looking_goes_on_by_what_the_node_used_last(running: NodeFolder, how: str) -> None:
    told = spoil(running, how)
    for words in LOOKING:
        done = running.mapdr(*words, "--json")
        assert done.exit_code == 0, (words, done.output)
        assert json.loads(done.stdout)["mapdr"]["node"] == "clinic-north"
        assert told in done.stderr
        assert done.stderr.startswith("warning: ")
        assert "by the one that the node used last" in done.stderr


@pytest.mark.parametrize("how", BROKEN)
def test_the_status_is_that_of_the_running_node_and_says_so(running: NodeFolder, how: str) -> None:
    before = json.loads(running.mapdr("status", "--json").stdout)
    spoil(running, how)
    after = json.loads(running.mapdr("status", "--json").stdout)
    for key in ("pending", "parked", "unrouted", "today"):
        assert after[key] == before[key], key
    assert sorted(row["name"] for row in after["destinations"]) == ["archive", "telepacs"]
    assert after["node"]["receivers"] == before["node"]["receivers"]
    assert [item["text"] for item in after["attention"] if item["kind"] == "configuration"] == [
        "the configuration file has problems: mapdr check"
    ]
    for words in (("status",), ("top", "--once")):
        assert "the configuration file has problems: mapdr check" in running.mapdr(*words).stdout


def test_a_destination_whose_plug_in_is_gone_from_the_disk_is_shown_and_held(
    running: NodeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    running.beat(revision=read(running.config).revision, destinations={"archive": {}, "telepacs": {}})
    kept = BUILTIN.copy()
    del kept["egress", "dicom"]
    monkeypatch.setattr("mapdr.kernel.registry.BUILTIN", kept)
    done = running.mapdr("status", "--json")
    assert 'there is no egress "dicom"' in done.stderr
    assert [row["name"] for row in json.loads(done.stdout)["destinations"]] == ["archive", "telepacs"]
    assert running.mapdr("hold", "archive").stdout == "archive: on hold.\n"
    assert running.mapdr("release", "archive").stdout == "archive: released.\n"
    assert running.mapdr("hold", "archiv").exit_code == 2


def test_nothing_is_said_of_a_configuration_without_problems(running: NodeFolder) -> None:
    done = running.mapdr("status")
    assert done.stderr == ""
    assert "configuration" not in done.stdout


@pytest.mark.parametrize("command", ["run", "reload", "retry", "echo"])
def test_what_uses_the_configuration_refuses_it(running: NodeFolder, command: str) -> None:
    told = spoil(running, "an unknown key")
    done = running.mapdr(command)
    assert done.exit_code == 2
    assert told in done.stderr


def test_it_is_refused_where_the_node_or_its_revision_cannot_be_found(running: NodeFolder) -> None:
    running.config.write_text(CONFIG.replace('"clinic-north"', '"clinic-north'))
    assert running.mapdr("status").exit_code == 2, "the [node] table itself cannot be read"
    spoil(running, "an unknown key")
    for kept in (running.config.parent / "data/revisions").iterdir():
        kept.unlink()
    done = running.mapdr("status")
    assert done.exit_code == 2
    assert BROKEN["an unknown key"][2] in done.stderr


def test_a_look_that_is_repeated_says_it_while_the_index_cannot_be_read(
    running: NodeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(running, "an unknown key")
    opened = Access.of(running.config)
    looking = NodeView(opened)

    def fail() -> None:
        raise OSError("gone")

    monkeypatch.setattr(looking, "gather", fail)
    try:
        assert "configuration" in {item.kind for item in looking.look().attention}
    finally:
        opened.close()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('[node]\nname = "a"\n[egress.x', "a"),
        ('x = "\n  [ node ]  # here\nname = "a"\nretention = 3', "a"),
        ('name = [\n[node]\nname = "a', None),
        ('[node]\nname = "not a name"\n', None),
        ("node = 3", None),
        ("[nod", None),
        ("", "mapdr"),
    ],
)
def test_which_node_is_meant_is_read_whatever_else_is_wrong(text: str, name: str | None) -> None:
    found = read_node(text, Path("/here"))
    assert (found and found.name) == name
