"""The overview: a pure function from the node's state (`mapdr.operate.model`) to lines of a screen.

It shows names from the configuration, modalities, counts, times and reasons; never a value that may
identify a patient. What needs a person stands first. It fits 80 columns as well as 200: what does not fit is
left out in order of importance; only what needs attention may take a second line.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from mapdr.operate import words
from mapdr.operate.brief import counts_line
from mapdr.operate.destinations import stuck_first
from mapdr.operate.model import (
    Attention,
    Counted,
    Destination,
    EventText,
    NodeState,
    Receiver,
    Sender,
)
from mapdr_cli.render.columns import RULE_ENDS, Column, cut, ends, rule, table
from mapdr_cli.render.shapes import LEVEL_STYLE
from mapdr_cli.render.shapes import state as state_text
from mapdr_cli.render.sparkline import condensed, sparkline
from mapdr_cli.render.terminal import UNICODE, Glyphs

WIDE = 130
"""From this width on, counts and sources stand side by side and destinations say why they wait."""

LONG_NAME, SHORT_NAME = 40, 14
"""Characters of a destination's name on a wide and a narrow screen; of a longer one the middle goes."""

HOUR_OF_SOURCE = 20
"""Bars of a source's last hour."""

Counts = Mapping[str, Counted]
Hints = Mapping[str, str]
"""Kind of what needs attention to what a person can do about it here."""


def dashboard(state: NodeState, *, width: int, height: int, glyphs: Glyphs = UNICODE) -> RenderableType:
    """The whole screen for who only watches, at most `height` lines of `width` columns."""
    return Group(*overview(state, width=width, height=height, glyphs=glyphs))


def overview(
    state: NodeState,
    *,
    width: int,
    height: int,
    glyphs: Glyphs,
    selected: str = "",
    hints: Hints | None = None,
) -> list[Text]:
    """The same as lines; the destination `selected` is marked, `hints` stand beside what needs attention."""
    lines = [header(state, width, glyphs)]
    lines += attention(state.attention, width, max(2, height // 5), glyphs, hints or {})
    room = height - len(lines)
    wide = width >= WIDE
    flow = _flow(state, width, glyphs)
    today = _today(state, width * 3 // 5 if wide else width, height, glyphs, fill=not wide)
    left = max(line.cell_len for line in today) + 4 if wide else 0
    from_whom = _senders(state, width - left, glyphs)
    # Destinations come first, but for the two lines of counts that say the most.
    rows = _destination_room(len(state.destinations), room - 2 - 3 - len(flow))
    middle = _destinations(state, rows, width, glyphs, selected)
    room -= len(middle) + 2
    above = _fit(today, room, glyphs)
    if wide:
        above = _beside(above, _fit(from_whom, room, glyphs), left)
    room -= len(above)
    above = [*(flow if room >= len(flow) else []), *above]
    lines += [rule(width, glyphs), *above, rule(width, glyphs, _listening(state, width)), *middle]
    if not wide and height - len(lines) >= 3:
        lines += [
            rule(width, glyphs),
            *_fit(from_whom, min(height - len(lines) - 1, max(3, height // 5)), glyphs),
        ]
    events = height - len(lines) - 1
    if events >= 1 and state.events:
        lines += [
            rule(width, glyphs),
            *(event_line(one, width, glyphs) for one in state.events[: -events - 1 : -1]),
        ]
    return lines[:height]


def summary(state: NodeState, *, width: int, glyphs: Glyphs = UNICODE) -> RenderableType:
    """The same in lines that scroll: what needs attention, counts, queues, and what is owed."""
    parts = [header(state, width, glyphs), *_all_attention(state, width, glyphs), Text()]
    parts += [*_facts(state, width, glyphs), Text()]
    parts += [*_today(state, width, 10_000, glyphs, fill=True), Text()]
    parts += [*_destinations(state, len(state.destinations), width, glyphs, ""), Text()]
    parts.append(_owed(state, width, glyphs))
    return Group(*parts)


def farewell(state: NodeState, *, width: int, glyphs: Glyphs = UNICODE) -> RenderableType:
    """How things stand when a node has ended: its counts of today, and what needs attention."""
    parts: list[RenderableType] = [header(state, width, glyphs)]
    parts += _all_attention(state, width, glyphs)
    parts.append(Text(f"today: {counts_line(state)}"))
    return Group(*parts)


def header(state: NodeState, width: int, glyphs: Glyphs, crumbs: str = "") -> Text:
    """The first line: which node, how it stands, room on the disk, the time; or where one is in its views."""
    node = state.node
    line = Text.assemble((" MAPDR ", "reverse bold"), "  ", (words.plain(node.name), "name"))
    if crumbs:
        line.append(f" {glyphs.here} {words.plain(crumbs)}")
    stands = Text("   ").append_text(state_text(node.state, glyphs))
    if crumbs and width < WIDE:  # where one is comes first
        fits = line.cell_len + stands.cell_len + 9 <= width
        return ends(line.append_text(stands) if fits else line, words.clock(state.at), width, glyphs)
    line.append_text(stands)
    if node.state == "running":
        line.append(f" {words.duration(node.uptime_seconds)}")
    elif node.heartbeat_age_seconds is not None:
        line.append(f", last seen {words.duration(node.heartbeat_age_seconds)} ago")
    line.append(f"   {words.size(node.disk_free)} free")
    if node.durability == "process-crash":
        risk = "durability process-crash (power loss may lose images)"
        line.append(f"   {risk if width >= WIDE else 'process-crash'}", "warn")
    return ends(line, words.clock(state.at), width, glyphs)


def attention(items: Sequence[Attention], width: int, most: int, glyphs: Glyphs, hints: Hints) -> list[Text]:
    """What needs a person, the worst first, each in at most two lines and in `most` together."""
    troubles = [_trouble(item, width, glyphs, hints.get(item.kind, "")) for item in items]
    if sum(map(len, troubles)) <= most:
        return [line for lines in troubles for line in lines]
    shown: list[Text] = []
    number = 0
    while len(shown) + len(troubles[number]) < most:
        shown += troubles[number]
        number += 1
    if number == 0 and most > 1:
        shown, number = troubles[0][: most - 1], 1
    if number < len(troubles):
        shown.append(Text(f"{glyphs.more} and {len(troubles) - number} more", "warn"))
    return shown


def first_trouble(items: Sequence[Attention], width: int, glyphs: Glyphs, hints: Hints) -> list[Text]:
    """The worst that needs a person, in one line that says how many others there are; none if all is well."""
    if not items:
        return []
    more = f"+{len(items) - 1} more" if len(items) > 1 else ""
    end = "".join(f"  {each}" for each in (hints.get(items[0].kind, ""), more) if each)
    line = Text(
        f"{glyphs.up} {words.plain(items[0].text)}", LEVEL_STYLE.get(items[0].level, ""), no_wrap=True
    )
    return [cut(line, width - len(end), glyphs).append(end, "head")]


def _all_attention(state: NodeState, width: int, glyphs: Glyphs) -> list[Text]:
    """All that needs a person, whole: this scrolls."""
    return [line for item in state.attention for line in _trouble(item, width, glyphs, "", most=None)]


def _trouble(item: Attention, width: int, glyphs: Glyphs, hint: str, most: int | None = 2) -> list[Text]:
    """One thing in at most so many lines: its end (a cure, the next try) matters too, and what helps."""
    style = LEVEL_STYLE.get(item.level, "")
    mark = f"{glyphs.up} "
    said = f"  {hint}" if hint else ""
    texts = textwrap.wrap(
        words.plain(item.text) + "\u00a0" * len(said),  # room for the hint, at the end of the last line
        width - len(mark),
        max_lines=most,
        placeholder=glyphs.more,
    )
    lines = [
        Text((mark if number == 0 else " " * len(mark)) + text.rstrip("\u00a0"), style, no_wrap=True)
        for number, text in enumerate(texts)
    ]
    if lines and hint and lines[-1].cell_len + len(said) <= width:
        lines[-1].append(said, "head")
    return lines


def event_line(event: EventText, width: int, glyphs: Glyphs) -> Text:
    """An event in one line."""
    text = Text(no_wrap=True).append(f" {words.clock(event.at)} ", "faint")
    return cut(text.append(words.plain(event.text), LEVEL_STYLE.get(event.level, "")), width, glyphs)


def _facts(state: NodeState, width: int, glyphs: Glyphs) -> list[Text]:
    """Durability, room on the disk and who listens, in one line."""
    parts = [f"durability {state.node.durability}", *(_receiver(one) for one in state.node.receivers)]
    return [cut(Text(" " + f" {glyphs.bar} ".join(parts), "faint"), width, glyphs)]


def _listening(state: NodeState, width: int) -> str:
    """Who listens; on a screen without room for all of them the first ones, and how many more there are."""
    told = [_receiver(one) for one in state.node.receivers]
    for shown in range(len(told), 0, -1):
        text = ", ".join(told[:shown])
        left = f", +{len(told) - shown} more" if shown < len(told) else ""
        if shown == 1 or len(text) + len(left) <= width - RULE_ENDS:
            return words.cut(text, width - RULE_ENDS - len(left)) + left
    return ""


def _receiver(receiver: Receiver) -> str:
    open_ = "" if receiver.associations is None else f" {words.many(receiver.associations, 'association')}"
    return f"{words.plain(receiver.ae_title)}@{words.plain(receiver.address)}{open_}"


def _flow(state: NodeState, width: int, glyphs: Glyphs) -> list[Text]:
    """What comes and goes now, in one line."""
    rates = state.rates
    half = (min(width, WIDE) - 3) // 2
    line = Text(no_wrap=True)
    for word, key, images, octets in (
        ("in", "received", rates.received, rates.received_bytes),
        ("out", "delivered", rates.delivered, rates.delivered_bytes),
    ):
        part = Text.assemble((f" {word} ", "head"), f"{words.rate(images):>5} images/s ")
        part.append(f"{'-' if octets is None else words.size(octets) + '/s':>9} ")
        part.append(sparkline(state.history.get(key, ()), half - part.cell_len, glyphs), "busy")
        line.append(f" {glyphs.bar}" if line else "", "faint").append_text(part)
    return [cut(line, width, glyphs)]


def _owed(state: NodeState, width: int, glyphs: Glyphs) -> Text:
    owed = Text(no_wrap=True).append(" owed", "head")
    owed.append(f"{words.count(state.pending):>7} wait", "")
    for word, number, style in (("parked", state.parked, "bad"), ("unrouted", state.unrouted, "warn")):
        owed.append(f" {glyphs.bar} ", "faint")
        owed.append(f"{words.count(number)} {word}", style if number else "")
    again = state.repeats.received
    if again:
        owed.append(f" {glyphs.bar} ", "faint")
        owed.append(f"besides {words.many(again, 'repeat')} today")
    return cut(owed, width, glyphs)


def _today(state: NodeState, width: int, height: int, glyphs: Glyphs, *, fill: bool) -> list[Text]:
    """Today's counts, a line for what came and one a destination, for a screen of so many lines."""
    today, most = state.today, max(2, height // 4)
    names = list(dict.fromkeys([*(row.name for row in state.destinations), *today.delivered]))
    left = len(names) - most if len(names) > most else 0
    if left:
        names = sorted(names, key=lambda name: -_total(today.delivered.get(name, {}).values()).images)
    ways: list[tuple[str, Counts]] = [("received", today.received)]
    longest = max(14, width // 4)
    ways += [
        (f"{glyphs.to} {words.middle(words.plain(name), longest)}", today.delivered.get(name, {}))
        for name in names[:most]
    ]
    titles = [Text(title, "name" if number else "head") for number, (title, _) in enumerate(ways)]
    totals = [_total(counts.values()) for _, counts in ways]
    named = Column("images/studies", titles, least=14, grows=fill)
    alone = [
        Column("images", [words.count(total.images) for total in totals], right=True),
        Column("studies", [words.count(total.studies) for total in totals], right=True),
    ]
    columns = [named, *alone, *_modality_columns([counts for _, counts in ways], [named, *alone], width)]
    lines = table(columns, width, glyphs)
    return [*lines, *([Text(f" {glyphs.more} and {left} more", "faint")] if left else [])]


def _modality_columns(ways: Sequence[Counts], before: Sequence[Column], width: int) -> list[Column]:
    """A column for each modality, those with the most images first, that fits beside those `before`; the
    others share one."""
    images: dict[str, int] = {}
    for counts in ways:
        for modality, numbers in counts.items():
            images[modality] = max(images.get(modality, 0), numbers.images)
    ranked = sorted(images, key=lambda modality: (-images[modality], modality))
    found: list[Column] = []
    for number in range(len(ranked), -1, -1):
        found = [_modality(name, [counts.get(name) for counts in ways]) for name in ranked[:number]]
        rest = ranked[number:]
        if rest:
            sums = [_total(counts[key] for key in rest if key in counts) for counts in ways]
            found.append(_modality("other", sums))
        needed = sum((one.least or one.width) + 2 for one in (*before, *found))
        if needed <= width:
            break
    return found


def _modality(name: str, numbers: Sequence[Counted | None]) -> Column:
    return Column(words.modality(name)[:16], [_pair(one) for one in numbers], right=True)


def _total(counts: Iterable[Counted]) -> Counted:
    """Sums; a study with two modalities counts in both columns and in this sum."""
    numbers = list(counts)
    return Counted(sum(one.images for one in numbers), sum(one.studies for one in numbers))


def _pair(numbers: Counted | None) -> Text:
    if not numbers or not numbers.images:
        return Text("-", "faint")
    return Text.assemble(words.count(numbers.images), (f"/{words.count(numbers.studies)}", "faint"))


def _destination_room(rows: int, room: int) -> int:
    """How many of `rows` fit in `room` lines with their titles, leaving one to say that there are more."""
    return rows if rows < room else max(1, room - 2)


def _destinations(state: NodeState, shown: int, width: int, glyphs: Glyphs, selected: str) -> list[Text]:
    rows = stuck_first(state.destinations)
    if not rows:
        return [Text(" no destination is configured", "warn")]
    place = next((number for number, row in enumerate(rows) if row.name == selected), None)
    first = 0 if place is None else place // shown * shown
    lines = table(
        destination_columns(rows, state, width, glyphs),
        width,
        glyphs,
        selected=place,
        first=first,
        last=first + shown,
    )
    if shown < len(rows):
        lines.append(Text(f" {glyphs.more} and {len(rows) - shown} more", "faint"))
    return lines


def destination_columns(
    rows: Sequence[Destination], state: NodeState, width: int, glyphs: Glyphs
) -> list[Column]:
    """How destinations stand, for a screen of this width."""
    wide = width >= WIDE
    columns = [
        Column(
            "destination",
            [
                Text(words.middle(words.plain(row.name), LONG_NAME if wide else SHORT_NAME), "name")
                for row in rows
            ],
            least=11,
        ),
        Column("state", [state_text(row.state, glyphs) for row in rows]),
        Column("waiting", [words.count(row.queue) for row in rows], right=True),
        Column("images/s", [words.rate(row.rate) if row.rate else "-" for row in rows], right=True),
    ]
    after = [
        Column(
            "oldest",
            [words.duration(row.oldest_seconds and max(1.0, row.oldest_seconds)) for row in rows],
            right=True,
        ),
        Column("held", [_count(row.held, "warn") for row in rows], right=True),
        Column("parked", [_count(row.parked, "bad") for row in rows], right=True),
    ]
    used = sum(one.width + 2 for one in (*columns, *after)) + 1
    bars = 60 if wide else min(20, width - used - 2)
    if bars >= 8:
        hour = state.last_hour.destinations
        hours = [
            _opens(row, state.at) or _hour(hour.get(words.plain(row.name), ()), bars, glyphs) for row in rows
        ]
        columns.append(Column("last hour", hours, least=8, grows=not wide))
    columns += after
    if wide:
        columns.append(Column("saved", [_saved(row) for row in rows], right=True, rank=3))
        why = [Text(words.plain(row.comment), state_text(row.state, glyphs).style) for row in rows]
        columns.append(Column("why it waits", why, least=12, grows=True))
    return columns


def _opens(row: Destination, now: float) -> Text | None:
    """When a destination's hours begin, where it waits for them."""
    if row.closed_until is None:
        return None
    at = words.weekday_and_clock(row.closed_until)
    return Text(f"opens {at.partition(' ')[2] if row.closed_until - now < 86_400 else at}", "warn")


def _hour(rates: Sequence[float], bars: int, glyphs: Glyphs) -> Text:
    return Text(sparkline(condensed(rates, bars), bars, glyphs), "busy")


def _now(rates: Sequence[float]) -> str:
    """The rate of the minute that is not over yet."""
    return words.rate(rates[-1]) if rates and rates[-1] else "-"


def _saved(row: Destination) -> Text:
    """The share of today's bytes that was saved."""
    return Text("-", "faint") if not row.saved else Text(f"{row.saved:.0%}")


def _count(number: int, style: str) -> Text:
    return Text(words.count(number), style) if number else Text("-", "faint")


def _senders(state: NodeState, width: int, glyphs: Glyphs) -> list[Text]:
    """Who sends: those that are silent first."""
    rows = sorted(state.senders, key=lambda one: not one.silent)
    if not rows:
        return [Text(" source", "faint"), Text(" nobody has sent anything lately", "faint")]
    names = [
        Text.assemble(
            (f"{glyphs.up} " if row.silent else "", "bad"), (words.middle(words.plain(row.name), 24), "name")
        )
        for row in rows
    ]
    columns = [
        Column("source", names, least=10),
        Column("today", [words.count(row.today) if row.today else "-" for row in rows], right=True),
        Column("last", [_last(row, state.at) for row in rows], right=True),
        Column("by", [", ".join(map(words.plain, row.receivers)) for row in rows], rank=3, grows=True),
    ]
    hour = state.last_hour.sources
    if hour:
        bars = [_hour(hour.get(words.plain(row.name), ()), HOUR_OF_SOURCE, glyphs) for row in rows]
        columns[1:1] = [
            Column(
                "images/s", [_now(hour.get(words.plain(row.name), ())) for row in rows], right=True, rank=1
            ),
            Column("last hour", bars, rank=2),
        ]
    return table(columns, width, glyphs)


def _last(row: Sender, now: float) -> Text:
    if row.last_at is None:
        return Text("-", "faint")
    age = now - row.last_at
    said = "now" if age < 10 else f"{words.duration(age)} ago"
    return Text(f"silent, {said}" if row.silent else said, "bad" if row.silent else "")


def _fit(lines: Sequence[Text], room: int, glyphs: Glyphs) -> list[Text]:
    """As many lines as fit, leaving one to say that there are more."""
    if len(lines) <= room:
        return list(lines)
    shown = max(0, room - 1)
    return [
        *lines[:shown],
        *([Text(f" {glyphs.more} and {len(lines) - shown} more", "faint")] if room > 0 else []),
    ]


def _beside(left: Sequence[Text], right: Sequence[Text], width: int) -> list[Text]:
    """Two blocks side by side, the left one `width` columns wide."""
    lines = []
    for number in range(max(len(left), len(right))):
        line = left[number].copy() if number < len(left) else Text()
        line.append(" " * (width - line.cell_len))
        lines.append(line.append_text(right[number]) if number < len(right) else line)
    return lines
