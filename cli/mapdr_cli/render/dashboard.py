"""The dashboard: a pure function from the node's state (`mapdr.operate.model`) to a drawing.

It shows names from the configuration, modalities, counts, times and reasons; never a value that may
identify a patient. It fits 80 columns as well as 200: what does not fit is left out in order of
importance; only what needs attention may take a second line.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from mapdr.operate import words
from mapdr.operate.brief import counts_line
from mapdr.operate.destinations import stuck_first
from mapdr.operate.model import Attention, Counted, Destination, EventText, NodeState, Receiver
from mapdr_cli.render.terminal import UNICODE, Glyphs

WIDE = 130
"""From this width on, panels stand side by side and destinations say why they wait."""

LONG_NAME, SHORT_NAME = 40, 14
"""Characters of a destination's name on a wide and a narrow screen; of a longer one the middle goes."""

Counts = Mapping[str, Counted]

_NODE_STYLE = {"running": "good", "draining": "warn", "stopped": "bad", "silent": "bad", "unknown": "bad"}
_DESTINATION_STYLE = {
    "sending": "good",
    "idle": "good",
    "untried": "",
    "waiting": "warn",
    "held": "warn",
    "down": "bad",
    "stopped": "warn",
    "unknown": "warn",
}
_LEVEL_STYLE = {"good": "good", "info": "", "warn": "warn", "bad": "bad"}


def dashboard(state: NodeState, *, width: int, height: int, glyphs: Glyphs = UNICODE) -> RenderableType:
    """The whole screen, at most `height` lines of `width` columns."""
    wide = width >= WIDE
    header = _header(state, width, glyphs)
    inside = (width // 2 if wide else width) - 4
    troubles = [_attention_lines(item, inside, glyphs) for item in state.attention]
    left_width = width * 3 // 5 if wide else width
    today, today_height = _today(state, left_width - 4, glyphs, most=max(2, height // 4))
    flow = _flow(state, glyphs, bars=(width - left_width if wide else width) - 38)
    rows = state.destinations
    room = height - len(header) - today_height - (0 if wide else len(flow)) - 3
    shown = _shown(len(rows), room - min(max(sum(map(len, troubles)), 1), 3) - 2)
    room -= shown + (shown < len(rows))
    body: list[RenderableType] = [*header]
    if wide:
        panels = _panel(today, "Today"), _panel(Group(*flow), "Flow", today_height)
        body.append(_beside(*panels, left_width))
    else:
        body += [*flow, _panel(today, "Today")]
    body.append(_panel(_destinations(rows, shown, wide, glyphs), "Destinations"))
    body += _foot(state, troubles, room, width, glyphs)
    return Group(*body)


def summary(state: NodeState, *, width: int, glyphs: Glyphs = UNICODE) -> RenderableType:
    """The same in a few lines that scroll: header, counts, queues, and what needs attention."""
    today, _ = _today(state, width, glyphs, most=1000)
    rows = state.destinations
    parts: list[RenderableType] = [*_header(state, width, glyphs), Text(), today, Text()]
    parts += [_destinations(rows, len(rows), width >= WIDE, glyphs), Text()]
    parts.append(_flow(state, glyphs, bars=0)[-1])
    parts += _all_attention(state, width, glyphs)
    return Group(*parts)


def farewell(state: NodeState, *, width: int, glyphs: Glyphs = UNICODE) -> RenderableType:
    """How things stand when a node has ended: its counts of today, and what needs attention."""
    parts: list[RenderableType] = [_header(state, width, glyphs)[0]]
    parts += _all_attention(state, width, glyphs)
    parts.append(Text(f"today: {counts_line(state)}"))
    return Group(*parts)


def _shown(rows: int, room: int) -> int:
    """How many of `rows` fit in `room` lines, leaving one to say that there are more."""
    return rows if rows <= room else max(1, room - 1)


def _header(state: NodeState, width: int, glyphs: Glyphs) -> list[Text]:
    node = state.node
    first = Text.assemble((" MAPDR ", "reverse bold"), "  ", (words.plain(node.name), "name"), "   ")
    style = _NODE_STYLE.get(node.state, "warn")
    first.append(f"{glyphs.dot} {node.state}", style)
    if node.state == "running":
        first.append(f" for {words.duration(node.uptime_seconds)}")
    elif node.heartbeat_age_seconds is not None:
        first.append(f", last seen {words.duration(node.heartbeat_age_seconds)} ago")
    facts = [_durability(node.durability), Text(f"{words.size(node.disk_free)} free")]
    facts += [_receiver(receiver) for receiver in node.receivers]
    second = Text(f" {glyphs.bar} ").join(facts)
    if width >= WIDE:
        return [_ends(first + Text("   ") + second, words.clock(state.at), width, glyphs)]
    return [
        _ends(first, words.clock(state.at), width, glyphs),
        _ends(Text(" ") + second, "", width, glyphs),
    ]


def _durability(level: str) -> Text:
    if level == "process-crash":
        return Text("durability process-crash (power loss may lose images)", "warn")
    return Text(f"durability {level}")


def _receiver(receiver: Receiver) -> Text:
    text = Text(f"{words.plain(receiver.ae_title)}@{words.plain(receiver.address)}")
    if receiver.associations is not None:
        text.append(f" ({words.many(receiver.associations, 'association')})", "faint")
    return text


def _ends(left: Text, right: str, width: int, glyphs: Glyphs) -> Text:
    """One line with `left` at its left end and `right` at its right end; the left one yields."""
    line = left.copy()
    room = width - len(right) - 1
    if line.cell_len > room:
        line.truncate(room - len(glyphs.more))
        line.append(glyphs.more)
    line.pad_right(max(0, width - line.cell_len - len(right)))
    line.append(right, "faint")
    line.no_wrap = True
    return line


def _flow(state: NodeState, glyphs: Glyphs, *, bars: int) -> list[Text]:
    rates = state.rates
    lines = []
    ways = (
        ("in ", "received", rates.received, rates.received_bytes),
        ("out", "delivered", rates.delivered, rates.delivered_bytes),
    )
    for word, key, images, octets in ways:
        line = Text(f" {word} ", "head", no_wrap=True)
        amount = "" if octets is None else f"{words.size(octets)}/s"
        line.append(f"{words.rate(images):>7} images/s {amount:>10}  ")
        line.append(sparkline(state.history.get(key, ()), bars, glyphs), "busy")
        lines.append(line)
    owed = Text(" owed", "head", no_wrap=True, overflow="ellipsis")
    owed.append(f"{words.count(state.pending):>7} wait", "")
    for word, number, style in (("parked", state.parked, "bad"), ("unrouted", state.unrouted, "warn")):
        owed.append(f" {glyphs.bar} ", "faint")
        owed.append(f"{words.count(number)} {word}", style if number else "")
    again = state.repeats.received
    if again:
        owed.append(f" {glyphs.bar} ", "faint")
        owed.append(f"besides {words.many(again, 'repeat')} today")
    return [*lines, owed]


def sparkline(values: Sequence[float], width: int, glyphs: Glyphs) -> str:
    """The last `width` values as bars of eight heights, scaled to the largest."""
    values = list(values)[-width:]
    top = max(values, default=0)
    steps = len(glyphs.bars) - 1
    bars = (
        glyphs.bars[0 if value <= 0 or not top else max(1, round(value / top * steps))] for value in values
    )
    return "".join(bars).rjust(width)


def _today(state: NodeState, width: int, glyphs: Glyphs, *, most: int) -> tuple[Table, int]:
    """The table of today's counts, with at most `most` destinations, and its height in a panel."""
    today = state.today
    names = list(dict.fromkeys([*(row.name for row in state.destinations), *today.delivered]))
    if len(names) > most:
        names.sort(key=lambda name: -_total(today.delivered.get(name, {}).values()).images)
    ways = [("received", today.received)]
    longest = max(14, width // 4)
    ways += [
        (f"{glyphs.to} {words.middle(words.plain(name), longest)}", today.delivered.get(name, {}))
        for name in names[:most]
    ]
    named = max(14, *(len(title) for title, _ in ways))
    columns, rest = _modalities([counts for _, counts in ways], width - named - 18)
    table = Table(box=None, pad_edge=False, header_style="faint", expand=True)
    table.add_column("images/studies", no_wrap=True, ratio=1, min_width=14)
    for title in ("images", "studies", *columns, *(["other"] if rest else [])):
        table.add_column(words.modality(title)[:16], justify="right", no_wrap=True)
    for number, (title, counts) in enumerate(ways):
        total = _total(counts.values())
        cells = [_pair(counts.get(modality)) for modality in columns]
        if rest:
            cells.append(_pair(_total(counts[key] for key in rest if key in counts)))
        name = Text(title, "name" if number else "head")
        table.add_row(name, words.count(total.images), words.count(total.studies), *cells)
    if len(names) > most:
        table.add_row(Text(f"{glyphs.more} and {len(names) - most} more", "faint"))
    return table, table.row_count + 3


def _modalities(ways: Sequence[Counts], room: int) -> tuple[list[str], list[str]]:
    """The modalities with columns of their own, in order of images, and those that share `other`.

    `room` is the number of characters that all of the columns may take.
    """
    images: dict[str, int] = {}
    widths: dict[str, int] = {}
    for counts in ways:
        for modality, numbers in counts.items():
            images[modality] = max(images.get(modality, 0), numbers.images)
            wide = max(len(modality), _pair(numbers).cell_len) + 2
            widths[modality] = max(widths.get(modality, 0), wide)
    ranked = sorted(images, key=lambda modality: (-images[modality], modality))
    if sum(widths.values()) <= room:
        return ranked, []
    room -= max(widths.values())  # the column of the others, at its widest
    taken = 0
    while taken < len(ranked) and widths[ranked[taken]] <= room:
        room -= widths[ranked[taken]]
        taken += 1
    return ranked[:taken], ranked[taken:]


def _total(counts: Iterable[Counted]) -> Counted:
    """Sums; a study with two modalities counts in both columns and in this sum."""
    numbers = list(counts)
    return Counted(sum(one.images for one in numbers), sum(one.studies for one in numbers))


def _pair(numbers: Counted | None) -> Text:
    if not numbers or not numbers.images:
        return Text("-", "faint")
    return Text.assemble(words.count(numbers.images), (f"/{words.count(numbers.studies)}", "faint"))


def _destinations(rows: Sequence[Destination], shown: int, wide: bool, glyphs: Glyphs) -> RenderableType:
    if not rows:
        return Text("no destination is configured", "warn")
    table = Table(box=None, pad_edge=False, header_style="faint", expand=True)
    table.add_column(
        "destination", no_wrap=True, ratio=None if wide else 1, min_width=14, overflow="ellipsis"
    )
    table.add_column("state", no_wrap=True, min_width=9)
    for title in ("waiting", "images/s", "oldest", "held", "parked"):
        table.add_column(title, justify="right", no_wrap=True, min_width=8)
    if wide:
        table.add_column("why it waits", no_wrap=True, ratio=1, overflow="ellipsis")
    for row in stuck_first(rows)[:shown]:
        style = _DESTINATION_STYLE.get(row.state, "")
        symbol = glyphs.down if row.state == "down" else glyphs.dot
        cells = [
            Text(words.middle(words.plain(row.name), LONG_NAME if wide else SHORT_NAME), "name"),
            Text(f"{symbol} {row.state}", style),
            Text(words.count(row.queue)),
            Text(words.rate(row.rate)),
            Text(words.duration(row.oldest_seconds and max(1.0, row.oldest_seconds))),
            Text(words.count(row.held), "warn" if row.held else "faint"),
            Text(words.count(row.parked), "bad" if row.parked else "faint"),
        ]
        table.add_row(*cells, *([Text(words.plain(row.comment), style)] if wide else []))
    if shown < len(rows):
        table.add_row(Text(f"{glyphs.more} and {len(rows) - shown} more", "faint"))
    return table


def _all_attention(state: NodeState, width: int, glyphs: Glyphs) -> list[Text]:
    return [line for item in state.attention for line in _attention_lines(item, width, glyphs, most=None)]


def _attention_lines(item: Attention, width: int, glyphs: Glyphs, most: int | None = 2) -> list[Text]:
    """What needs attention, in at most so many lines: its end (a cure, the next try) matters too."""
    style = _LEVEL_STYLE.get(item.level, "")
    mark = f"{glyphs.up} "
    lines = textwrap.wrap(words.plain(item.text), width - len(mark), max_lines=most, placeholder=glyphs.more)
    return [
        Text((mark if number == 0 else " " * len(mark)) + line, style, no_wrap=True, overflow="ellipsis")
        for number, line in enumerate(lines)
    ]


def _event_line(event: EventText) -> Text:
    text = Text(f"{words.clock(event.at)} ", "faint", no_wrap=True, overflow="ellipsis")
    return text.append(words.plain(event.text), _LEVEL_STYLE.get(event.level, ""))


def _foot(
    state: NodeState, troubles: list[list[Text]], room: int, width: int, glyphs: Glyphs
) -> list[RenderableType]:
    """What needs attention and what happened, side by side or one above the other, in `room` lines."""
    events = [_event_line(event) for event in reversed(state.events)]
    title = "Needs attention" if troubles else "Nothing needs attention"
    if width >= WIDE:
        lines = max(1, room - 2)
        left = _panel(Group(*_at_most(troubles, lines, glyphs)), title, lines + 2, bool(troubles))
        right = _panel(Group(*events[:lines]), "What happened", lines + 2)
        return [_beside(left, right, width // 2)]
    parts: list[RenderableType] = []
    if troubles:
        wanted = sum(map(len, troubles))
        lines = max(1, min(wanted, max(3, room // 2 - 2), room - 2))
        if room - lines - 2 < 4:  # too little for the events: the troubles may have it
            lines = max(1, min(wanted, room - 2))
        parts.append(_panel(Group(*_at_most(troubles, lines, glyphs)), title, lines + 2, True))
        room -= lines + 2
    if room >= 3:
        parts.append(_panel(Group(*events[: room - 2]), "What happened", room))
    return parts


def _at_most(troubles: list[list[Text]], room: int, glyphs: Glyphs) -> list[Text]:
    """As many troubles as fit whole into `room` lines, leaving one to say that there are more; in a room of
    one line, how many there are and the first."""
    if sum(map(len, troubles)) <= room:
        return [line for lines in troubles for line in lines]
    if room == 1:
        first = Text(f"1 of {len(troubles)} ", "warn", no_wrap=True, overflow="ellipsis")
        return [first.append_text(troubles[0][0])]
    shown: list[Text] = []
    number = 0
    while len(shown) + len(troubles[number]) < room:
        shown += troubles[number]
        number += 1
    if number == 0:
        shown, number = troubles[0][: room - 1], 1
    if number < len(troubles):
        shown.append(Text(f"{glyphs.more} and {len(troubles) - number} more", "warn"))
    return shown


def _panel(inside: RenderableType, title: str, height: int | None = None, alarm: bool = False) -> Panel:
    return Panel(
        inside,
        title=Text(f" {title} ", "bad" if alarm else "head"),
        title_align="left",
        border_style="bad" if alarm else "faint",
        box=box.ROUNDED,
        height=height,
        padding=(0, 1),
    )


def _beside(left: RenderableType, right: RenderableType, width: int) -> Table:
    grid = Table.grid(expand=True)
    grid.add_column(width=width)
    grid.add_column(ratio=1)
    grid.add_row(left, right)
    return grid
