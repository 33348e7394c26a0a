from __future__ import annotations

import os

import pytest

from mapdr.store import Store
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


def test_a_newer_index_is_refused_with_a_cure(store: Store, opener: Opener) -> None:
    from mapdr.kernel.errors import ConfigurationError

    with store.database.write() as connection:
        connection.exec_driver_sql("UPDATE fact SET value = '99' WHERE name = 'schema'")
    with pytest.raises(ConfigurationError, match="schema 99"):
        opener(start=False)


def test_an_unknown_database_is_refused(opener: Opener) -> None:
    from mapdr.kernel.errors import ConfigurationError

    with pytest.raises(ConfigurationError, match="postgresql"):
        opener(start=False, database="mysql://x")
