from __future__ import annotations

import os
from pathlib import Path

import pytest

from mapdr.store import Store
from mapdr.store.index.commands import Heartbeat
from store.conftest import Opener


def test_orders_reach_their_node_once(opener: Opener) -> None:
    cli, north, south = (opener(node=name, start=False).commands for name in ("cli", "north", "south"))
    for_all = cli.give("reload")
    for_south = cli.give("hold", {"destination": "pacs"}, node="south")
    assert [(c.id, c.name) for c in north.take()] == [(for_all, "reload")]
    (order,) = south.take()
    assert (order.id, order.name, order.arguments) == (for_south, "hold", {"destination": "pacs"})
    assert north.take() == south.take() == []
    assert cli.get(for_south).done_at is None
    south.done(for_south, {"rows": 3})
    answer = cli.get(for_south)
    assert answer.result == {"rows": 3}
    assert answer.done_at is not None
    with pytest.raises(KeyError):
        cli.get(999)


def test_a_node_shows_that_it_lives(opener: Opener) -> None:
    opener(node="north", start=False).commands.beat({"received": 3})
    north = opener(node="north", start=False)
    north.commands.beat({"received": 5, "deep": {"a": [1]}})
    opener(node="south", start=False).commands.beat({})
    beats = north.commands.heartbeats()
    assert [beat.node for beat in beats] == ["north", "south"]
    assert beats[0].counters == {"received": 5, "deep": {"a": [1]}}
    assert beats[0].process == os.getpid()
    assert beats[0].started_at <= beats[0].at


def test_a_nodes_own_sign_is_read_without_those_of_others(opener: Opener) -> None:
    north, south = (opener(node=name, start=False) for name in ("north", "south"))
    assert south.commands.last_beat() is None
    for node in (north, south):
        node.commands.beat({"of": node.commands is south.commands})
    with south.database.write() as connection:
        connection.exec_driver_sql("UPDATE heartbeat SET counters = '{' WHERE node = 'north'")
    last = south.commands.last_beat()
    assert last is not None
    assert (last.node, last.counters) == ("south", {"of": True})


def test_until_when_a_process_may_have_lived() -> None:
    for counters, until in (
        ({}, 50.0),
        ({"rests": None}, 50.0),
        ({"rests": 300.0}, 350.0),
        ({"rests": 300.0, "state": "running"}, 350.0),
        ({"rests": 300.0, "state": "stopped"}, 50.0),
    ):
        assert Heartbeat("n", 50.0, 1.0, 7, counters).lived_until == until


def test_a_clock_that_was_set_moves_the_start(store: Store) -> None:
    store.commands.beat({})
    (before,) = store.commands.heartbeats()
    store.commands.moved(-1000.0)
    store.commands.beat({})
    (after,) = store.commands.heartbeats()
    assert before.started_at - after.started_at == pytest.approx(1000.0)


def test_an_order_is_withdrawn_while_nobody_has_taken_it(store: Store) -> None:
    """Taken back it reaches nobody, and says so; taken, it stands, and another one is not touched."""
    commands = store.commands
    early, other, late = (commands.give(name) for name in ("early", "other", "late"))
    assert commands.withdraw(early)
    assert not commands.withdraw(early)
    order = commands.get(early)
    assert order.result == {"ok": False, "problems": ["it was withdrawn"]}
    assert order.taken_at == order.done_at is not None
    taken = commands.take()
    assert [(each.id, each.name) for each in taken] == [(other, "other"), (late, "late")]
    assert not commands.withdraw(late)
    for each in taken:
        told = commands.get(each.id)
        assert (told.taken_at, told.done_at, told.result) == (each.taken_at, None, None)
    commands.done(late, {"rows": 1})
    assert commands.get(late).result == {"rows": 1}
    assert commands.get(other).result is None
    assert commands.take() == []


def test_a_newer_index_is_refused_with_a_cure(store: Store, opener: Opener) -> None:
    from mapdr.kernel.errors import ConfigurationError

    with store.database.write() as connection:
        connection.exec_driver_sql("UPDATE fact SET value = '99' WHERE name = 'schema'")
    with pytest.raises(ConfigurationError, match="schema 99"):
        opener(start=False)


def test_an_unknown_database_is_refused(
    opener: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mapdr.kernel.errors import ConfigurationError

    monkeypatch.chdir(tmp_path)  # a file of no folder would be made there
    with pytest.raises(ConfigurationError, match="postgresql"):
        opener(start=False, database="mysql://x")
