"""The form of a source changes the `allow` list of its receiver, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from mapdr.config.starter import starter
from mapdr.operate.access import Access
from mapdr.operate.actor import Actor
from mapdr.operate.errors import RequestError
from mapdr.operate.settings import read_file
from mapdr.operate.source_form import (
    SourceForm,
    configured_receivers,
    remove_source,
    save_source,
)

CT, NET = SourceForm("CT1", "10.1.2.3"), SourceForm("", "10.2.0.0/16")


@pytest.fixture
def opened(tmp_path: Path) -> Access:
    """The way to a node that never ran, of the first configuration, with its comments."""
    path = tmp_path / "mapdr.toml"
    path.write_bytes(starter(to_host="192.0.2.10").encode())
    found = Access.of(path)
    found._actor = Actor("ann", "192.0.2.1")
    return found


def seen(opened: Access) -> str:
    return read_file(opened).seen


def sources(opened: Access) -> list[SourceForm]:
    (receiver,) = configured_receivers(read_file(opened))
    return list(receiver.sources)


def test_sources_come_change_and_go(opened: Access) -> None:
    before = read_file(opened).text
    assert not sources(opened), "anybody may send"
    for one in (CT, NET):
        assert save_source(opened, "modalities", one, seen(opened)).saved
    assert sources(opened) == [CT, NET]
    with_sources = read_file(opened).text
    moved = SourceForm("CT1", "10.1.2.4")
    assert save_source(opened, "modalities", moved, seen(opened), before=CT).saved
    assert set(sources(opened)) == {moved, NET}
    assert read_file(opened).text.count("#") == with_sources.count("#"), "comments stay"
    for one in (moved, NET):
        assert remove_source(opened, "modalities", one, seen(opened)).saved
    assert read_file(opened).text == before


def test_the_comments_of_a_list_stay(opened: Access) -> None:
    assert opened.config is not None
    one = '  { ae_title = "CT1", host = "10.1.2.3" },  # the old one\n'
    lines = f'allow = [\n{one}  {{ host = "10.9.0.0/16" }},  # ward\n]\n'
    text = opened.config.read_text().replace("port = 11112\n", f"port = 11112\n{lines}", 1)
    opened.config.write_text(text)
    assert save_source(opened, "modalities", SourceForm("MR1", ""), seen(opened)).saved
    written = opened.config.read_text()
    assert "# the old one" in written
    assert "# ward" in written
    assert '{ ae_title = "MR1" }' in written


@pytest.mark.parametrize(
    ("form", "field", "what"),
    [
        (SourceForm("A" * 17, ""), "ae_title", "is not an AE title"),
        (SourceForm("CT1", "ct-room"), "host", "is not an address or network"),
    ],
)
def test_what_is_wrong_is_said_at_its_field(opened: Access, form: SourceForm, field: str, what: str) -> None:
    before = read_file(opened).text
    saved = save_source(opened, "modalities", form, seen(opened))
    assert not saved.saved
    assert [each.field for each in saved.problems] == [field]
    assert what in saved.problems[0].what
    assert read_file(opened).text == before


def test_what_cannot_be_meant_is_refused(opened: Access) -> None:
    with pytest.raises(RequestError, match="needs an AE title or an address"):
        save_source(opened, "modalities", SourceForm("", ""), seen(opened))
    with pytest.raises(RequestError, match="not in the list any more"):
        remove_source(opened, "modalities", CT, seen(opened))
    assert save_source(opened, "modalities", CT, seen(opened)).saved
    with pytest.raises(RequestError, match="in the list already"):
        save_source(opened, "modalities", CT, seen(opened))
    with pytest.raises(RequestError):
        save_source(opened, "nobody", CT, seen(opened))
    assert save_source(opened, "modalities", NET, "another file").stale
