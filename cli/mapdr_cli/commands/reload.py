"""`mapdr reload`: have the running node read its configuration again."""

from __future__ import annotations

import time
from pathlib import Path

import click
from click.exceptions import Exit

from mapdr.kernel.errors import MapdrError
from mapdr.store import Store
from mapdr.store.index.commands import Command
from mapdr_cli.access import access
from mapdr_cli.options import config_option
from mapdr_cli.render.terminal import console
from mapdr_cli.state import SILENT

PATIENCE = 90.0
"""Seconds that a node may take: receivers that changed are drained first, then destinations."""
PAUSE = 0.1


@click.command(short_help="Apply a changed configuration.")
@config_option
def reload(config: Path) -> None:
    """Have the running node read its configuration again, without dropping what did not change.

    A wrong configuration is refused, here and by the node, and the old one stays. Images keep what they were
    promised; `mapdr reroute` promises anew.
    """
    with access(config, rules=True) as opened:
        name, store = opened.plan.node.name, opened.index()
        beats = [beat.at for beat in store.commands.heartbeats() if beat.node == name]
        if not beats or time.time() - beats[0] > SILENT:
            raise MapdrError("the node does not run; it reads the configuration when it starts")
        order = store.commands.give("reload", {"path": str(config.absolute())}, node=name)
        done = _wait(store, order)
    result = done.result or {}
    for problem in result.get("problems", ()):
        console(stderr=True).print(problem, style="bad", soft_wrap=True)
    if not result.get("ok"):
        raise Exit(1)
    console().print("The node uses the changed configuration.")


def _wait(store: Store, order: int) -> Command:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        command = store.commands.get(order)
        if command.done_at is not None:
            return command
        time.sleep(PAUSE)
    raise MapdrError(f"the node did not answer within {PATIENCE:.0f} seconds; see its log")
