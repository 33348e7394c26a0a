"""The whole screen of `mapdr top`: first line, what needs a person, a view, what is asked, the keys.

A pure function from what was found and where one is to lines.
"""

from __future__ import annotations

import textwrap

from rich.text import Text

from mapdr.operate import words
from mapdr.operate.model import NodeState
from mapdr.operate.selection import IDENTIFYING, KEYS
from mapdr_cli.render.columns import cut, ends, rule
from mapdr_cli.render.dashboard import first_trouble, header, overview
from mapdr_cli.render.shapes import LEVEL_STYLE
from mapdr_cli.render.terminal import Glyphs
from mapdr_cli.top.found import Found
from mapdr_cli.top.place import Place, Screen, View, crumbs
from mapdr_cli.top.press import marked
from mapdr_cli.top.views import body

HINTS = {
    "parked": "4 shows them",
    "down": "r tries now",
    "held": "l releases",
    "unrouted": "/ unrouted shows them",
}
"""Kinds of what needs attention, and the key that helps."""

FOOT = 2
"""Lines below a view: what is asked or said, and the keys."""

SMALL = (40, 10)
"""Columns and lines below which nothing sensible can be drawn."""

HELP = (
    ("1 2 3 4 5", "overview, destinations, studies, parked, log"),
    ("tab", "the next of these"),
    ("up down pgup pgdn", "through the rows; home and end; j and k too"),
    ("enter", "open: a destination's studies, a study's images, an image's way"),
    ("esc", "back"),
    ("/", "choose: modality=CT to=pacs parked; study-date=2026-11-01..; since='2 h'; today"),
    ("", f"conditions: {' '.join(KEYS)}"),
    ("s", "sort studies: the newest, the oldest, the stuck ones first"),
    ("h", "hold a destination, or what waits of a study or an image"),
    ("l", "release it"),
    ("r", "retry what is parked, and what waits for its next try"),
    ("x", "dismiss what is parked: it shall never be sent"),
    ("H L R X", "the same for all that studies or parked have chosen"),
    ("", "each says how many and where to, and asks first"),
    ("q", "leave; the node goes on"),
)


def frame(found: Found, screen: Screen, width: int, height: int, glyphs: Glyphs) -> list[Text]:
    """The screen, exactly `height` lines of at most `width` columns."""
    if width < SMALL[0] or height < SMALL[1]:
        small = Text("mapdr top needs more room", no_wrap=True)
        return [cut(small, width, glyphs), *[Text()] * (height - 1)][:height]
    room = height - FOOT
    if screen.helped:
        lines = [
            header(found.state, width, glyphs, "help"),
            rule(width, glyphs),
            *_help(width, room - 2, glyphs),
        ]
    elif screen.place.view is View.OVERVIEW:
        keys = found.keys
        place = marked(screen.place, keys)
        selected = keys[place] if place >= 0 else ""
        lines = overview(found.state, width=width, height=room, glyphs=glyphs, selected=selected, hints=HINTS)
    else:
        lines = _head(found.state, screen, width, glyphs)
        lines += body(found, screen.place, width, room - len(lines), glyphs)
    lines = lines[:room]
    lines += [Text()] * (room - len(lines))
    return [*lines, _said(screen, width, glyphs), _keys(found, screen, width, glyphs)]


def page(screen: Screen, height: int) -> int:
    """How many rows a page has, about."""
    return max(1, height - FOOT - 6)


def _head(state: NodeState, screen: Screen, width: int, glyphs: Glyphs) -> list[Text]:
    """First line, the worst that needs a person, and what is chosen."""
    lines = [header(state, width, glyphs, _way(screen, width - len(state.node.name) - 26, glyphs))]
    lines += first_trouble(state.attention, width, glyphs, HINTS)
    return [*lines, rule(width, glyphs, _chosen(screen.place, glyphs))]


def _way(screen: Screen, width: int, glyphs: Glyphs) -> str:
    """The way to where one is, in so many columns if it can be: its end says where that is."""
    parts = crumbs(screen.places)
    between = f" {glyphs.here} "
    while len(parts) > 1 and len(between.join(parts)) > width:
        parts = [glyphs.more, *parts[2:]] if parts[0] == glyphs.more else [glyphs.more, *parts[1:]]
        if len(parts) == 2:
            break
    return between.join(parts)


def _chosen(place: Place, glyphs: Glyphs) -> str:
    """What is chosen and how it is sorted; a value that identifies somebody stays with who typed it."""
    parts = []
    if place.typed:
        parts.append("chosen: " + " ".join(_veiled(word) for word in place.typed.split()))
    if place.view is View.STUDIES:
        parts.append(
            {"newest": "newest first", "oldest": "oldest first", "stuck": "stuck first"}[place.order]
        )
    return f" {glyphs.bar} ".join(parts)


def _veiled(word: str) -> str:
    key, equals, value = word.removeprefix("--").partition("=")
    return f"{key}=.." if equals and value and key in IDENTIFYING else words.plain(word)


def _help(width: int, room: int, glyphs: Glyphs) -> list[Text]:
    lines: list[Text] = []
    for key, said in HELP:
        for number, part in enumerate(textwrap.wrap(said, max(20, width - 20))):
            lines.append(Text.assemble((f" {'' if number else key:<18}", "head"), part, no_wrap=True))
            cut(lines[-1], width, glyphs)
    return lines[:room]


def _said(screen: Screen, width: int, glyphs: Glyphs) -> Text:
    """What is asked, typed or said."""
    if screen.question is not None:
        line = Text.assemble((f" {screen.question.text} ", "warn"), ("y", "head"), "es  ", ("n", "head"), "o")
        return cut(line, width, glyphs)
    if screen.typing is not None:
        room = width - 12
        shown = screen.typing[-room:]
        line = Text.assemble((" choose / ", "head"), shown, ("_", "reverse"), no_wrap=True)
        if screen.notice is not None:
            line.append(f"  {screen.notice.text}", LEVEL_STYLE[screen.notice.level])
        return cut(line, width, glyphs)
    if screen.notice is not None:
        return cut(Text(f" {screen.notice.text}", LEVEL_STYLE[screen.notice.level]), width, glyphs)
    return Text()


Keys = tuple[tuple[str, str], ...]
_FOOTER: Keys = (
    ("enter", "open"),
    ("/", "find"),
    ("h", "hold"),
    ("l", "release"),
    ("r", "retry"),
    ("x", "dismiss"),
    ("tab", "next"),
    ("?", "help"),
    ("q", "quit"),
)
_RARE = ("l", "release")
"""What a narrow screen has no room for; where something is on hold it stands in the place of the hold."""
_WHILE_TYPING: Keys = (("enter", "choose"), ("esc", "leave it"))
_WHILE_ASKED: Keys = (("y", "yes, do it"), ("n", "no"))


def _is_held(found: Found, screen: Screen) -> bool:
    """Whether the destination that is marked is on hold."""
    if screen.place.view not in (View.OVERVIEW, View.DESTINATIONS):
        return False
    at, keys = marked(screen.place, found.keys), found.keys
    return (
        any(one.name == keys[at] and one.state == "held" for one in found.state.destinations)
        if keys
        else False
    )


def _keys(found: Found, screen: Screen, width: int, glyphs: Glyphs) -> Text:
    """The keys that matter now, in the last line."""
    shown = _FOOTER
    if width < 90:
        left_out = ("h", "hold") if _is_held(found, screen) else _RARE
        shown = tuple(each for each in shown if each != left_out)
    if screen.question is not None:
        shown = _WHILE_ASKED
    elif screen.typing is not None:
        shown = _WHILE_TYPING
    line = Text(no_wrap=True)
    for key, word in shown:
        line.append(f" {key}", "head").append(f" {word} ")
    view = screen.place.view.value if not screen.helped else "help"
    return ends(line, f"{view} ", width - 1, glyphs) if width > 90 else cut(line, width - 1, glyphs)
