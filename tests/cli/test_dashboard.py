"""The dashboard at every size: what it shows, that it fits, and that any code page can show it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from mapdr.operate.model import Attention, Counted, Counts, EventText, NodeState
from mapdr_cli.render import dashboard as drawing
from mapdr_cli.render.terminal import ASCII, UNICODE, glyphs
from paper import draw, states


def test_a_status_that_scrolls_leaves_nothing_of_a_cure_out() -> None:
    text = " ".join(f"word{number}" for number in range(40))
    state = replace(states.busy(), attention=[Attention("rejected", "warn", text)])
    drawn = draw.text_of(drawing.summary(state, width=80), draw.make_console(80))
    assert text in " ".join(drawn.split())
    assert max(map(len, drawn.splitlines())) <= 80


def test_a_screen_that_is_full_shows_the_first_trouble_nevertheless() -> None:
    state = states.busy()
    rows = [replace(state.destinations[0], name=f"destination{number}") for number in range(10)]
    texts = [f"destination{number} is down: " + "word " * 20 for number in range(13)]
    troubles = [Attention("down", "bad", text) for text in texts]
    for height in range(12, 26):
        drawn = _draw(replace(state, destinations=rows, attention=troubles), 80, height)
        assert "destination0 is down" in drawn
        assert re.search(r"1 of 13 |and 1\d more", drawn)


def test_repeats_of_a_day_fit_beside_what_is_owed() -> None:
    state = replace(states.busy(), pending=12345, parked=1234, unrouted=123)
    state = replace(state, repeats=replace(state.repeats, received=12345))
    drawn = draw.text_of(drawing.summary(state, width=80), draw.make_console(80))
    assert "besides 12,345 repeats today" in drawn


def test_receivers_that_do_not_fit_are_counted() -> None:
    state = states.quiet()
    (one,) = state.node.receivers
    rows = [replace(one, ae_title=f"MODALITY{number}", associations=7) for number in range(5)]
    state = replace(state, node=replace(state.node, receivers=rows))
    assert "MODALITY0@0.0.0.0:11112 7 associations, +4 more " in _draw(state, 80, 24)
    assert "MODALITY1@0.0.0.0:11112 7 associations, +3 more " in _draw(state, 110, 24)
    assert "MODALITY4@0.0.0.0:11112 7 associations ─" in _draw(state, 240, 24)
    long = replace(
        one, ae_title="SIXTEEN_LETTERS_", address="ct-scanner.radiology.clinic-north.example:11112"
    )
    state = replace(state, node=replace(state.node, receivers=[long, one]))
    assert "SIXTEEN_LETTERS_@ct-scanner" in (drawn := _draw(state, 72, 24))
    assert ", +1 more " in drawn


def _draw(state: NodeState, width: int, height: int, encoding: str = "utf-8") -> str:
    console = draw.make_console(width, encoding)
    drawn = drawing.dashboard(state, width=width, height=height, glyphs=glyphs(console))
    return draw.text_of(drawn, console)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (80, 40), (200, 34)])
@pytest.mark.parametrize("name", ["quiet", "busy"])
def test_the_drawing_is_the_one_that_was_looked_at(
    name: str, width: int, height: int, golden: Callable[[str, str], None]
) -> None:
    golden(f"dashboard-{name}-{width}x{height}", _draw(getattr(states, name)(), width, height))


def test_the_drawing_in_a_dos_code_page(golden: Callable[[str, str], None]) -> None:
    golden("dashboard-busy-80x24-cp437", _draw(states.busy(), 80, 24, "cp437"))


@given(width=st.integers(72, 260), height=st.integers(24, 80), busy=st.booleans())
def test_it_fits_the_screen(width: int, height: int, busy: bool) -> None:
    state = states.busy() if busy else states.quiet()
    lines = _draw(state, width, height).splitlines()
    assert len(lines) <= height
    assert max(map(cell_len, lines)) <= width


@given(count=st.integers(1, 60), height=st.integers(24, 50), width=st.sampled_from([80, 132, 200]))
def test_many_destinations_fit_too_and_the_broken_one_is_seen(count: int, height: int, width: int) -> None:
    state = states.quiet()
    (row,) = state.destinations
    rows = [replace(row, name=f"pacs{number:02d}") for number in range(count)]
    rows[-1] = replace(rows[-1], state="down", comment="connection refused")
    troubles = [Attention("down", "bad", f"trouble {number}") for number in range(count)]
    state = replace(state, destinations=rows, attention=troubles)
    drawn = _draw(state, width, height)
    assert len(drawn.splitlines()) <= height
    assert f"pacs{count - 1:02d}" in drawn
    assert "down" in drawn


@pytest.mark.parametrize("encoding", ["cp437", "cp850", "cp1252", "ascii", "shift_jis"])
def test_every_code_page_can_show_it(encoding: str) -> None:
    for width in (80, 200):
        drawn = _draw(states.busy(), width, 40, encoding)
        assert drawn.isascii()
        assert "archive" in drawn


def test_names_are_text_and_not_markup_or_escape_sequences() -> None:
    state = states.busy()
    state = replace(
        state,
        destinations=[replace(state.destinations[0], name="[red]x[/red]"), *state.destinations[1:]],
        events=[EventText(states.AT, "x", "info", "CT1\x1b]0;owned\x07 [bold]")],
        today=replace(state.today, received={"C\x1b[2J": Counted(1, 1)}),
    )
    drawn = _draw(state, 200, 40)
    assert "[red]x[/red]" in drawn
    assert "\x1b]0" not in drawn
    assert "\x1b[2J" not in drawn
    assert "CT1?]0;owned? [bold]" in drawn


def test_modalities_beyond_the_room_are_summed_as_other() -> None:
    received = {f"M{number:02d}": Counted(1000 + number, 2) for number in range(30)}
    state = replace(states.quiet(), today=Counts(received, {"telepacs": {}}))
    drawn = _draw(state, 80, 24)
    assert "other" in drawn
    assert f"{sum(1000 + number for number in range(30)):,}" in drawn
    assert "M29" in drawn


def test_a_node_that_has_stopped_says_when_it_was_last_seen() -> None:
    state = states.quiet()
    state = replace(state, node=replace(state.node, state="silent", heartbeat_age_seconds=300.0))
    assert "silent, last seen 5 min ago" in _draw(state, 80, 24)


def test_the_sparkline_is_scaled_to_its_largest_value() -> None:
    assert drawing.sparkline([0, 1, 50, 100], 6, UNICODE) == "   ▁▄█"
    assert drawing.sparkline([0, 1, 50, 100], 6, ASCII) == "   .=@"
    assert drawing.sparkline([], 3, UNICODE) == "   "
    assert drawing.sparkline(range(100), 2, UNICODE) == "██"


def test_what_needs_attention_may_take_a_second_line_and_a_long_name_loses_its_middle() -> None:
    state = states.busy()
    name = "teleradiology-of-the-university-hospital-north"
    text = f"{name} is down: 127.0.0.1:104 cannot be reached: Connection refused, next try in 40 s"
    sending, down, held = state.destinations
    rows = [sending, replace(down, name=name), held]
    state = replace(state, destinations=rows, attention=[Attention("down", "bad", text)])
    drawn = _draw(state, 80, 30)
    assert "next try in 40 s" in drawn
    assert "tele" in drawn
    for title in ("waiting", "images/s", "oldest", "held", "parked"):
        assert title in drawn
    assert max(map(len, drawn.splitlines())) <= 80
