"""What the menu of the tray offers, by the node's state; without a tray."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mapdr.operate.glance import Glance, Standing

Action = Literal["", "open", "pause", "resume", "quit"]

WORDS: dict[Standing, str] = {
    "receiving": "receiving",
    "waiting": "images wait",
    "stuck": "stuck: look at the page",
    "stopped": "the node does not run",
}
UNKNOWN = "not known: sign in at the page"


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the menu: what a click does, to which destination; nothing where it is only to be read."""

    text: str
    action: Action = ""
    destination: str = ""
    entries: Sequence[Entry] = ()


def title(seen: Glance | None) -> str:
    """What is said where the pointer rests on the icon."""
    return f"MAPDR: {UNKNOWN if seen is None else WORDS[seen.standing]}"


def entries(seen: Glance | None, *, ends_node: bool) -> list[Entry]:
    """The menu; the first entry is what a click on the icon does. `ends_node`: quitting ends the node too."""
    found = [Entry("Open MAPDR", "open"), Entry(title(seen).removeprefix("MAPDR: ").capitalize())]
    if seen is not None:
        found.append(Entry(f"Today: {seen.counts}"))
        found += [_destination(name, state) for name, state in seen.destinations]
    return [*found, Entry("Quit, and end the node" if ends_node else "Quit; the node goes on", "quit")]


def _destination(name: str, state: str) -> Entry:
    """A destination with what can be done to it."""
    held = state == "held"
    what = Entry("Resume", "resume", name) if held else Entry("Pause", "pause", name)
    return Entry(f"{name}: {'paused' if held else state}", entries=[what])
