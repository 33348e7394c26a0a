"""Forms change the configuration file: what was meant, nothing else, and nothing where it would be wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from mapdr.config.starter import starter
from mapdr.operate import orders
from mapdr.operate.access import Access
from mapdr.operate.actor import Actor
from mapdr.operate.destination_form import (
    DestinationForm,
    configured_destinations,
    echo_destination,
    remove_destination,
    save_destination,
)
from mapdr.operate.errors import RequestError
from mapdr.operate.settings import file_state, read_file
from mapdr.testing.sink import Sink
from paper.nodes import NodeFolder

NEW = DestinationForm("cardio", "CARDIO", "192.0.2.77", 104, tls=False)
ANN = Actor("ann", "192.0.2.1")


@pytest.fixture
def opened(tmp_path: Path) -> Access:
    """The way to a node that never ran, of the first configuration, with its comments."""
    path = tmp_path / "mapdr.toml"
    path.write_bytes(starter(to_host="192.0.2.10").encode())
    found = Access.of(path)
    found._actor = ANN
    return found


def text(opened: Access) -> str:
    assert opened.config is not None
    return opened.config.read_bytes().decode()


def seen(opened: Access) -> str:
    return read_file(opened).seen


def test_a_destination_is_added_and_nothing_else_changes(used: NodeFolder) -> None:
    used.config.write_text("# ours\n" + used.config.read_text().replace("[[rule]]", "# a rule\n[[rule]]", 1))
    before = used.config.read_text()
    found = Access.of(used.config, rules=True)
    saved = save_destination(found, NEW, seen(found), new=True)
    assert (saved.saved, saved.in_use, saved.stale, saved.problems) == (True, False, False, ())
    written = '[egress.cardio]\ntype = "dicom"\nae_title = "CARDIO"\nhost = "192.0.2.77"\nport = 104\n\n'
    assert text(found) == before.replace("# a rule\n", written + "# a rule\n", 1)
    known = {one.name: one for one in configured_destinations(read_file(found))}
    assert known["cardio"].form == NEW
    assert known["telepacs"].rules == ["CT to teleradiology", "CT and MR to the archive"]
    note = next(one for one in found.index().commands.take() if one.name == "note")
    assert (note.arguments["action"], note.arguments["of"], note.arguments["to"]) == (
        "save",
        "destination",
        "cardio",
    )
    found.close()


def test_a_changed_destination_keeps_what_the_form_does_not_know(opened: Access) -> None:
    assert opened.config is not None
    path = opened.config
    path.write_text(
        path.read_text()
        .replace('#bandwidth = "20 Mbit/s"', 'bandwidth = "20 Mbit/s"')
        .replace("port = 104\n", "port = 104   # as ever\n")
    )
    before = path.read_text()
    saved = save_destination(
        opened, DestinationForm("pacs", "PACS", "192.0.2.11", 105, tls=False), seen(opened)
    )
    assert saved.saved
    assert path.read_text() == before.replace('"192.0.2.10"', '"192.0.2.11"').replace(
        "port = 104   #", "port = 105   #"
    )


@pytest.mark.parametrize(
    ("form", "field", "what"),
    [
        (DestinationForm("cardio", "A" * 17, "192.0.2.77", 104, tls=False), "ae_title", "is not an AE title"),
        (DestinationForm("cardio", "CARDIO", "10.1", 104, tls=False), "host", "is not an IPv4 address"),
        (DestinationForm("cardio", "CARDIO", "192.0.2.77", 0, tls=False), "port", "is too small"),
        (DestinationForm("no name", "CARDIO", "192.0.2.77", 104, tls=False), "", "is not a name"),
        (DestinationForm("cardio", "MAPDR", "127.0.0.1", 11112, tls=False), "port", "own receiver"),
    ],
)
def test_what_is_wrong_is_said_at_its_field_and_nothing_is_written(
    opened: Access, form: DestinationForm, field: str, what: str
) -> None:
    before = text(opened)
    saved = save_destination(opened, form, seen(opened), new=True)
    assert not saved.saved
    assert [each.field for each in saved.problems] == [field]
    assert what in saved.problems[0].what
    assert text(opened) == before
    assert opened.config is not None
    assert [each.name for each in opened.config.parent.iterdir()] == ["mapdr.toml"]


def test_what_somebody_else_changed_meanwhile_is_not_overwritten(opened: Access) -> None:
    assert opened.config is not None
    made_from = seen(opened)
    opened.config.write_text(text(opened) + "# mine\n")
    before = text(opened)
    assert save_destination(opened, NEW, made_from, new=True).stale
    assert text(opened) == before


def test_a_file_with_problems_is_shown_and_not_changed(opened: Access) -> None:
    assert opened.config is not None
    opened.config.write_text(text(opened).replace("ae_title", "ae_titel", 1))
    state = file_state(opened, read_file(opened))
    assert [(each.path, each.line) for each in state.problems] == [("receive.modalities.ae_titel", 16)]
    assert state.text is None
    saved = save_destination(opened, NEW, state.seen, new=True)
    assert [each.field for each in saved.problems] == [""]
    assert saved.problems[0].what == "receive.modalities.ae_titel: unknown key"
    opened.config.write_text("[egress")
    assert file_state(opened, read_file(opened)).problems
    with pytest.raises(RequestError, match="correct it first"):
        save_destination(opened, NEW, seen(opened), new=True)


def test_a_destination_that_rules_name_is_not_removed(used: NodeFolder) -> None:
    found = Access.of(used.config, rules=True)
    before = text(found)
    saved = remove_destination(found, "archive", seen(found))
    assert [each.what for each in saved.problems] == [
        'rule "CT and MR to the archive".send_to[0]: there is no destination "archive"'
    ]
    assert text(found) == before
    save_destination(found, NEW, seen(found), new=True)
    assert remove_destination(found, "cardio", seen(found)).saved
    assert text(found) == before
    found.close()


def test_the_echo_asks_what_the_form_says(opened: Access) -> None:
    before = text(opened)
    with Sink(ae_title="CARDIO") as sink:
        there = DestinationForm("cardio", "CARDIO", "127.0.0.1", sink.port, tls=False)
        found = echo_destination(opened, there, new=True)
        assert found.echo is not None
        assert found.echo.there
        assert sink.echoes == 1
        moved = DestinationForm("pacs", "CARDIO", "127.0.0.1", sink.port, tls=False)
        found = echo_destination(opened, moved)
        assert found.echo is not None
        assert found.echo.there
    gone = echo_destination(opened, there, new=True).echo
    assert gone is not None
    assert not gone.there
    assert gone.comment
    wrong = echo_destination(opened, DestinationForm("cardio", "", "127.0.0.1", 1, tls=False), new=True)
    assert wrong.echo is None
    assert [each.field for each in wrong.problems] == ["ae_title"]
    assert text(opened) == before


def test_the_file_is_as_it_was_if_the_node_refuses(used: NodeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Access.of(used.config, rules=True)
    before = used.config.read_bytes()
    used.config.chmod(0o600)
    used.beat()
    monkeypatch.setattr(Access, "alive", True)
    refused = orders.OrderResult(ok=False, problems=["egress.cardio: no"], changed=False)
    monkeypatch.setattr(orders, "reload", lambda opened, config: refused)
    saved = save_destination(found, NEW, seen(found), new=True)
    assert (saved.saved, saved.refused) == (False, ["egress.cardio: no"])
    assert used.config.read_bytes() == before
    assert used.config.stat().st_mode & 0o777 == 0o600

    def late(opened: Access, config: Path) -> orders.OrderResult:
        raise orders.NotTaken("withdrawn")

    monkeypatch.setattr(orders, "reload", late)
    assert save_destination(found, NEW, seen(found), new=True).refused == ["withdrawn"]
    assert used.config.read_bytes() == before
    partly = orders.OrderResult(ok=False, problems=["web could not be started"], changed=True)
    monkeypatch.setattr(orders, "reload", lambda opened, config: partly)
    saved = save_destination(found, NEW, seen(found), new=True)
    assert (saved.saved, saved.in_use, saved.troubles) == (True, True, ["web could not be started"])
    assert used.config.read_bytes() != before
    found.close()


def test_a_link_and_line_ends_stay(used: NodeFolder) -> None:
    content = b"\xef\xbb\xbf" + used.config.read_bytes().replace(b"\n", b"\r\n")
    target = used.config.with_name("real.toml")
    target.write_bytes(content)
    used.config.unlink()
    used.config.symlink_to(target)
    found = Access.of(used.config, rules=True)
    assert save_destination(found, NEW, seen(found), new=True).saved
    assert used.config.is_symlink()
    written = target.read_bytes()
    assert written.startswith(b"\xef\xbb\xbf[node]")
    assert written.count(b"\n") == written.count(b"\r\n") == content.count(b"\n") + 6
    assert remove_destination(found, "cardio", seen(found)).saved
    assert target.read_bytes() == content
    found.close()


def test_the_text_is_shown_to_who_asks_for_it_and_that_is_recorded(used: NodeFolder) -> None:
    found = Access.of(used.config, rules=True)
    assert file_state(found, read_file(found)).text is None
    assert file_state(found, read_file(found), identify=True).text == used.config.read_text()
    audit = next((found.plan.node.data / "audit").iterdir()).read_text()
    assert audit.count("view settings") == 1
    found.close()
