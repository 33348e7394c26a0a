"""Actions say what they would do, do it, and have the node log who did what to how many."""

from __future__ import annotations

import getpass
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from mapdr.kernel.errors import MapdrError
from mapdr.kernel.item import Priority
from mapdr.operate import actions, orders
from mapdr.operate.access import Access, access
from mapdr.operate.deliveries import deliveries
from mapdr.operate.errors import RequestError
from mapdr.operate.events import sentence
from mapdr.operate.facts import SILENT
from mapdr.operate.purge import purge
from mapdr.operate.selection import Selection
from mapdr.store import Settlement
from mapdr.store.index.commands import RESTS
from mapdr.store.spool.claim import Claim, running_file
from paper.nodes import SOURCE, NodeFolder

MR = Selection(modality="MR")


def notes(opened: Access) -> list[dict[str, Any]]:
    """What the node was told to log since it was asked last."""
    return [dict(one.arguments) for one in opened.index().commands.take() if one.name == "note"]


@pytest.mark.parametrize(
    ("act", "number", "to"),
    [
        (
            lambda opened, dry: actions.retry(opened, Selection(state="parked"), dry_run=dry),
            1,
            {"telepacs": 1},
        ),
        (
            lambda opened, dry: actions.dismiss(opened, Selection(), everything=True, dry_run=dry),
            1,
            {"telepacs": 1},
        ),
        (lambda opened, dry: actions.hold(opened, MR, dry_run=dry), 4, {"archive": 2, "telepacs": 2}),
        (
            lambda opened, dry: actions.prioritize(opened, Priority.STAT, MR, dry_run=dry),
            4,
            {"archive": 2, "telepacs": 2},
        ),
        (
            lambda opened, dry: actions.reroute(opened, Selection(modality="CT"), dry_run=dry),
            3,
            {"telepacs": 3},
        ),
    ],
)
def test_an_action_says_before_what_it_does_and_is_noted_once(
    opened: Access, act: Callable[[Access, bool], Any], number: int, to: dict[str, int]
) -> None:
    before = deliveries(opened, Selection())
    looked = act(opened, True)
    assert (looked.deliveries, dict(looked.to), looked.dry_run) == (number, to, True)
    assert deliveries(opened, Selection()) == before
    assert not notes(opened)
    done = act(opened, False)
    assert (done.deliveries, dict(done.to), done.dry_run) == (number, to, False)
    assert deliveries(opened, Selection()) != before
    (note,) = notes(opened)
    assert (note["by"], note["number"], note["to"]) == (getpass.getuser(), number, ", ".join(to))


@pytest.mark.parametrize(
    "act", [actions.retry, actions.dismiss, actions.hold, actions.release, actions.reroute]
)
@pytest.mark.parametrize("nothing", [Selection(), Selection(instances=[]), Selection(deliveries=())])
def test_a_selection_without_a_condition_is_refused_unless_all_is_meant(
    opened: Access, act: Callable[..., Any], nothing: Selection
) -> None:
    before = deliveries(opened, Selection())
    with pytest.raises(RequestError, match="say what is chosen"):
        act(opened, nothing)
    with pytest.raises(RequestError, match="say what is chosen"):
        actions.prioritize(opened, Priority.STAT, nothing)
    assert deliveries(opened, Selection()) == before
    assert not notes(opened)
    assert act(opened, nothing, everything=True, dry_run=True).dry_run


def test_a_purge_is_noted_with_who_and_waits_for_what_is_on_its_way(
    opened: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened.index()
    (lease, *_) = store.ledger.lease("archive", 1, 600, "test")
    chosen = Selection(sop_instance_uid=lease.instance.sop_instance_uid)
    with pytest.raises(MapdrError, match="still owed"):
        purge(opened, chosen)
    assert not notes(opened)
    early = purge(opened, chosen, even_undelivered=True, patience=0.0)
    assert (early.images, early.on_the_way) == (0, 1)
    assert lease.instance.path.exists()
    monkeypatch.setattr(
        "mapdr.operate.purge.time.sleep",
        lambda seconds: store.ledger.settle([Settlement(lease.id, "delivered")]),
    )
    done = purge(opened, chosen, even_undelivered=True)
    assert (done.images, done.on_the_way, done.traces) == (1, 0, False)
    assert not lease.instance.path.exists()
    _, note = notes(opened)
    assert (note["by"], note["number"], note["of"]) == (getpass.getuser(), 1, "images")
    assert lease.instance.sop_instance_uid not in str(note)
    _, text = sentence("operator.acted", note)
    assert text == f"{getpass.getuser()}: purge --even-undelivered 1 images: archive"


@pytest.mark.parametrize("nothing", [Selection(), Selection(limit=3), Selection(instances=[])])
def test_a_purge_without_a_condition_is_refused(opened: Access, nothing: Selection) -> None:
    with pytest.raises(RequestError, match="say what is purged"):
        purge(opened, nothing, even_undelivered=True)
    assert len(deliveries(opened, Selection())) == len(deliveries(opened, Selection(limit=999)))
    assert not notes(opened)


def test_a_note_holds_nothing_of_the_selection(opened: Access) -> None:
    (study,) = {row.study_instance_uid for row in deliveries(opened, MR)}
    actions.hold(opened, Selection(study_instance_uid=study))
    (note,) = notes(opened)
    assert study not in str(note)


def test_released_is_what_was_held(opened: Access) -> None:
    actions.hold(opened, MR)
    assert actions.release(opened, Selection(), everything=True, dry_run=True).to == {
        "archive": 2,
        "telepacs": 2,
    }
    assert actions.release(opened, MR).deliveries == 4
    assert actions.release(opened, MR).deliveries == 0
    assert [note["action"] for note in notes(opened)] == ["hold", "release"]


def test_a_destination_is_held_by_its_name_alone(opened: Access) -> None:
    looked = actions.hold_destinations(opened, ["archive"], dry_run=True)
    assert (looked.destinations, looked.to) == (["archive"], {"archive": 6})
    assert not opened.index().ledger.held_destinations()
    actions.hold_destinations(opened, ["archive"])
    assert set(opened.index().ledger.held_destinations()) == {"archive"}
    actions.release_destinations(opened, ["archive"])
    assert not opened.index().ledger.held_destinations()
    notes(opened)
    again = actions.release_destinations(opened, ["archive"])
    assert (list(again.destinations), again.deliveries, again.to) == ([], 0, {})
    assert not notes(opened)
    with pytest.raises(RequestError, match='did you mean "archive"'):
        actions.hold_destinations(opened, ["archiv"])


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"action": "retry", "by": "mona", "number": 1200, "of": "deliveries", "to": "a, b"}, "1,200"),
        ({"action": "hold destination", "by": "mona", "number": 0, "of": "deliveries", "to": "a"}, "a"),
    ],
)
def test_a_note_reads_well(facts: dict[str, Any], said: str) -> None:
    level, text = sentence("operator.acted", facts)
    assert level == "info"
    assert text.startswith(f"mona: {facts['action']}")
    assert said in text
    assert " 0 " not in text


def test_an_order_to_a_node_that_does_not_run_is_an_error(opened: Access, used: NodeFolder) -> None:
    with pytest.raises(MapdrError, match="the node does not run"):
        orders.reload(opened, used.config)


def test_a_node_that_says_that_it_has_stopped_is_given_no_order(opened: Access, used: NodeFolder) -> None:
    opened.index().commands.beat({"state": "stopped"})
    assert opened.running() is None
    with pytest.raises(MapdrError, match="the node does not run"):
        orders.reload(opened, used.config)
    assert not opened.index().commands.take()


def test_a_node_runs_that_gives_signs_of_life_until_its_process_has_ended(
    opened: Access, used: NodeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert opened.running() is None
    used.beat()
    beat = opened.running()
    assert beat is not None
    assert (beat.node, beat.process) == ("clinic-north", os.getpid())
    monkeypatch.setattr("mapdr.operate.access.claimed", lambda path: False)
    assert opened.running() is None
    monkeypatch.setattr("mapdr.operate.access.claimed", lambda path: True)
    assert opened.running() == beat
    with opened.index().database.write() as connection:
        connection.exec_driver_sql("UPDATE heartbeat SET at = at - 600")
    assert opened.running() is None


@pytest.mark.parametrize(
    ("age", "runs"), [(10.0, True), (RESTS + SILENT - 5, True), (RESTS + SILENT + 5, False)]
)
def test_a_node_that_nobody_can_ask_is_believed_until_its_next_sign_is_due(
    opened: Access, used: NodeFolder, monkeypatch: pytest.MonkeyPatch, age: float, runs: bool
) -> None:
    monkeypatch.setattr("mapdr.operate.access.claimed", lambda path: None)
    used.beat(rests=RESTS)
    with opened.index().database.write() as connection:
        connection.exec_driver_sql(f"UPDATE heartbeat SET at = at - {age}")
    assert (opened.running() is not None) is runs


def test_a_node_that_does_not_answer_is_waited_for_once(
    opened: Access, used: NodeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mapdr.operate.access.ANSWER", 0.2)
    waits: list[float] = []
    monkeypatch.setattr("mapdr.operate.access.time.sleep", waits.append)
    used.beat(rests=RESTS)
    with opened.index().database.write() as connection:
        connection.exec_driver_sql("UPDATE heartbeat SET at = at - 60")
    running = Claim(running_file(used.config.parent / "data", "clinic-north"), "clinic-north")
    running.shared(0)
    try:
        assert opened.running() is None, "it lives, was asked, and says nothing"
        assert waits
        waits.clear()
        assert opened.running() is None
        assert not waits
        used.beat(rests=RESTS)
        assert opened.running() is not None
    finally:
        running.release()


def test_an_order_that_nobody_took_is_not_left_for_the_next_start(
    opened: Access, used: NodeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orders, "PATIENCE", 0.0)
    used.beat()
    with pytest.raises(MapdrError, match="did not take the order within 0 seconds; it is withdrawn"):
        orders.reload(opened, used.config)
    assert not opened.index().commands.take()


def test_an_order_that_was_taken_is_not_withdrawn(opened: Access) -> None:
    commands = opened.index().commands
    order = commands.give("reload", {}, node="clinic-north")
    assert [one.id for one in commands.take()] == [order]
    assert not commands.withdraw(order)
    assert commands.get(order).done_at is None


def test_a_dry_run_of_new_rules_writes_nothing(used: NodeFolder) -> None:
    text = used.config.read_text().replace(
        'prefix = "AccessionNumber", with = "CN-"', 'remove = "PatientName"'
    )
    egress = '[egress.new]\ntype = "dicom"\nae_title = "NEW"\nhost = "127.0.0.1"\nport = 3\n\n'
    text = text.replace("[[rule]]", egress + "[[rule]]", 1)
    used.config.write_text(text.replace('send_to = ["telepacs"]', 'send_to = ["telepacs", "new"]'))
    index = used.config.parent / "data" / "index.db"
    opened = Access.of(used.config, rules=True)

    def dump() -> list[str]:
        with closing(sqlite3.connect(index)) as connection:
            return list(connection.iterdump())

    try:
        for chosen, to in (
            (Selection(modality="CT"), {"telepacs": 4, "new": 4}),
            (Selection(modality="CT", destination="new"), {"new": 4}),
        ):
            before = dump()
            told = actions.reroute(opened, chosen, dry_run=True)
            assert dump() == before
            assert dict(told.to) == to
        done = actions.reroute(opened, Selection(modality="CT"))
        assert dict(done.to) == {"telepacs": 4, "new": 4}
        (new, *_) = opened.index().ledger.lease("new", 1, 60, "test")
        assert opened.index().recipes.recipe(new.recipe)
    finally:
        opened.close()


def test_a_reroute_ends_with_its_process(used: NodeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "portion", lambda rate: 2)
    with access(used.config, rules=True) as opened:
        opened.ends = lambda: True
        with pytest.raises(MapdrError, match="the node ends; 2 of 4 images"):
            actions.reroute(opened, Selection(modality="CT"))


def test_a_reroute_knows_a_sender_by_the_name_of_its_host_as_the_node_does(
    used: NodeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look_up(host: str, port: None) -> list[tuple[Any, ...]]:
        if host != "ct1.example":
            raise OSError
        return [(None, None, None, "", (SOURCE.address, 0))]

    monkeypatch.setattr("mapdr.node.configuration.socket.getaddrinfo", look_up)
    text = used.config.read_text()
    old = 'ae_title = "ARCHIVE"\nhost = "127.0.0.1"'
    assert old in text
    used.config.write_text(text.replace(old, f'ae_title = "{SOURCE.calling_ae}"\nhost = "ct1.example"'))
    used.settle("archive", "delivered", 6)
    with access(used.config, rules=True) as opened:
        told = actions.reroute(opened, MR, dry_run=True)
    assert (told.images, told.to.get("archive", 0)) == (2, 0)
