"""`mapdr top` without a terminal: keys make screens, screens make lines, and a thread looks and acts."""

from __future__ import annotations

import io
import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from mapdr.operate.access import Access, access
from mapdr.operate.deliveries import deliveries
from mapdr.operate.model import Attention, EventText, NodeState
from mapdr.operate.selection import Selection
from mapdr.operate.view import NodeView
from mapdr.testing.wait import until
from mapdr_cli.render.keys import Keys
from mapdr_cli.render.terminal import ASCII, THEME, UNICODE
from mapdr_cli.top.act import Outcome
from mapdr_cli.top.app import App
from mapdr_cli.top.canvas import Canvas
from mapdr_cli.top.found import Found
from mapdr_cli.top.frame import HELP, frame
from mapdr_cli.top.looker import Looker
from mapdr_cli.top.place import TABS, Action, Place, Question, Screen, View
from mapdr_cli.top.press import VERBS, Quit, answer, asked, press
from paper import morning
from paper.nodes import NodeFolder

PAGE = 5


def _go(*keys: str, screen: Screen | None = None) -> Screen:
    """The screen after keys, each with what would be found there."""
    screen = screen or Screen()
    for key in keys:
        screen, _ = press(screen, key, morning.found(screen.place), PAGE)
    return screen


def _effect(*keys: str) -> object:
    screen = _go(*keys[:-1])
    return press(screen, keys[-1], morning.found(screen.place), PAGE)[1]


def _notice(screen: Screen) -> str:
    return screen.notice.text if screen.notice is not None else ""


def _text(screen: Screen, width: int = 80, height: int = 24, **more: object) -> str:
    return "\n".join(line.plain for line in _lines(screen, width, height, **more))


def _lines(screen: Screen, width: int, height: int, **more: object) -> list[Text]:
    identify = bool(more.get("identify"))
    glyphs = ASCII if more.get("ascii_only") else UNICODE
    return frame(morning.found(screen.place, identify=identify), screen, width, height, glyphs)


def test_tab_and_digits_go_through_the_views() -> None:
    screen, seen = Screen(), []
    for _ in TABS:
        screen = _go("tab", screen=screen)
        seen.append(screen.place.view)
    assert seen == [*TABS[1:], TABS[0]]
    assert _go("backtab").place.view is TABS[-1]
    assert [_go(str(number + 1)).place.view for number in range(len(TABS))] == list(TABS)
    assert _go("9") == Screen()


def test_enter_goes_from_a_destination_to_one_image_and_escape_back() -> None:
    keys = ("2", "down", "enter", "enter", "down", "down", "enter")
    ways = [_go(*keys[:number]) for number in range(len(keys) + 1)]
    assert [one.place.view for one in ways[1:]] == [
        View.DESTINATIONS,
        View.DESTINATIONS,
        View.STUDIES,
        View.IMAGES,
        View.IMAGES,
        View.IMAGES,
        View.TIMELINE,
    ]
    assert ways[3].place.chosen == Selection(destination="archive")
    assert ways[4].place.chosen == Selection(study_instance_uid=morning.studies()[0].study_instance_uid)
    third = morning.images()[2]
    assert ways[7].place.chosen == replace(IMAGE, sop_instance_uid=third.sop_instance_uid)
    back = _go("esc", screen=ways[7])
    assert back.place == ways[6].place, "the row that was opened is marked again"
    assert _go("esc", "esc", "esc", "esc", "esc", screen=back).places == (Place(View.OVERVIEW),)


def test_a_row_stays_marked_when_others_come_and_go() -> None:
    screen = _go("3", "down", "down")
    marked = screen.place.cursor
    rows = morning.studies()
    assert marked == rows[2].study_instance_uid
    others = replace(morning.found(screen.place), rows=[rows[7], *rows[1:5]])
    moved, _ = press(screen, "down", others, PAGE)
    assert moved.place.cursor == rows[3].study_instance_uid
    gone, _ = press(screen, "down", replace(others, rows=rows[5:8]), PAGE)
    assert gone.place.cursor == rows[6].study_instance_uid


def test_pages_end_where_the_rows_end() -> None:
    keys = [row.study_instance_uid for row in morning.studies()]
    for pressed, row in (("pgdn", 5), ("end", 11), ("G", 11), (" ", 5), ("j", 1)):
        assert _go("3", pressed).place.cursor == keys[row]
    assert _go("3", "end", "down").place.cursor == keys[11]
    assert _go("3", "end", "pgup").place.cursor == keys[6]
    assert _go("3", "end", "home", "up").place.cursor == keys[0]


def _typed(text: str, screen: Screen | None = None) -> Screen:
    return _go("/", *text, "enter", screen=screen)


def test_each_view_says_the_worst_trouble_in_a_line_and_how_many_more_there_are() -> None:
    long = Attention("down", "bad", "telepacs is down: " + "connection refused, " * 9)
    for others in (0, 2):
        found = replace(morning.state(), attention=[long, *morning.state().attention[:others]])
        line = frame(replace(morning.found(Place(View.STUDIES)), state=found), _go("3"), 80, 24, UNICODE)[
            1
        ].plain
        assert line.startswith("▲ telepacs is down: connection refused, ")
        assert line.endswith("…  r tries now" + (f"  +{others} more" if others else ""))
        assert len(line) <= 80


def test_a_selection_is_typed_and_chosen() -> None:
    screen = _typed("modality=CT parked")
    assert screen.place.view is View.STUDIES
    assert screen.place.chosen == Selection(modality="CT", state="parked")
    assert "chosen: modality=CT parked" in _text(screen)
    again = _go("/", screen=screen)
    assert again.typing == "modality=CT parked", "it can be changed"
    assert _go("backspace", "esc", screen=again) == screen
    assert _go("esc", screen=screen).place.chosen == Selection()
    of_parked = _typed("to=archive", _go("4"))
    assert of_parked.place.view is View.PARKED
    assert of_parked.place.chosen == Selection(destination="archive")


def test_a_selection_that_is_none_is_said_and_can_be_mended() -> None:
    screen = _typed("modalty=CT")
    assert screen.typing == "modalty=CT"
    assert 'did you mean "modality"' in _notice(screen)
    assert _go("backspace", screen=screen).typing == "modalty=C"


def test_studies_are_sorted_and_nothing_else() -> None:
    orders = [_go("3", *"s" * number).place.order for number in range(4)]
    assert orders == ["newest", "oldest", "stuck", "newest"]
    assert "stuck first" in _text(_go("3", "s", "s"))
    assert "only studies" in _notice(_go("4", "s"))


STUDY = morning.studies()[0].study_instance_uid
IMAGE = Selection(study_instance_uid=STUDY, sop_instance_uid=morning.images()[0].sop_instance_uid)


@pytest.mark.parametrize(
    ("keys", "action"),
    [
        (("2", "h"), Action("hold", destinations=("research",))),
        (("l",), Action("release", destinations=("research",))),
        (("2", "end", "r"), Action("retry", Selection(destination="telepacs"))),
        (("2", "end", "x"), Action("dismiss", Selection(destination="telepacs", state="parked"))),
        (("3", "h"), Action("hold", Selection(study_instance_uid=STUDY))),
        (
            ("3", "enter", "r"),
            Action("retry", IMAGE),
        ),
        (("4", "r"), Action("retry", Selection(state="parked", reason="refused"))),
        (("4", "down", "x"), Action("dismiss", Selection(state="parked", reason="value-too-long"))),
        (("4", "X"), Action("dismiss", Selection(state="parked"))),
        (
            ("4", "enter", "r"),
            Action("retry", Selection(state="parked", reason="refused", study_instance_uid=STUDY)),
        ),
        (("4", "enter", "R"), Action("retry", Selection(state="parked", reason="refused"))),
        (
            ("3", "enter", "enter", "l"),
            Action("release", IMAGE),
        ),
    ],
)
def test_an_action_concerns_what_is_marked_and_with_a_capital_what_is_chosen(
    keys: tuple[str, ...], action: Action
) -> None:
    assert _effect(*keys) == action


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (("3", "R"), "this would be everything"),
        (("5", "r"), "nothing is marked"),
        (("1", "X"), "capitals"),
        (("/", *"unrouted", "enter", "r"), "mapdr reroute"),
        (("/", *"pending", "enter", "x"), "only parked"),
    ],
)
def test_what_cannot_be_done_says_why_and_asks_nothing(keys: tuple[str, ...], said: str) -> None:
    assert _effect(*keys) is None
    assert said in _notice(_go(*keys))


def test_no_action_is_taken_on_rows_that_are_not_those_of_the_view() -> None:
    screen = _go("3", "enter")
    before = morning.found(_go("3").place)  # the images have not been found yet
    for key in VERBS:
        after, effect = press(screen, key, before, PAGE)
        assert effect is None
        assert _notice(after) == "still looking"
    assert press(screen, "enter", before, PAGE)[0].place == screen.place
    assert "looking ..." in "\n".join(line.plain for line in frame(before, screen, 80, 24, UNICODE))


def test_a_question_takes_yes_or_no_and_nothing_else() -> None:
    action = Action("retry", Selection(state="parked"))
    assert _notice(asked(Screen(), action, 0, "nothing to try again")) == "nothing to try again"
    screen = asked(Screen(), action, 3, "Try 3 deliveries again now (telepacs 3)?")
    assert screen.question == Question(action, "Try 3 deliveries again now (telepacs 3)?")
    assert "Try 3 deliveries again now (telepacs 3)? yes  no" in _text(screen)
    for key in ("r", "enter", "x", "down", " "):
        assert answer(screen, key) == (screen, None)
        assert press(screen, key, morning.found(screen.place), PAGE) == (screen, None)
    assert answer(screen, "y") == (Screen(), action)
    for key in ("n", "esc", "q"):
        left, nothing = answer(screen, key)
        assert (left.question, nothing, _notice(left)) == (None, None, "nothing was done")


def test_help_is_open_until_the_next_key_and_names_every_key() -> None:
    helped = _go("3", "?")
    drawn = _text(helped)
    assert all(key in drawn for key, _ in HELP)
    assert _go("r", screen=helped) == _go("3")
    assert isinstance(_effect("?", "q"), Quit)
    assert isinstance(_effect("4", "q"), Quit)


EVERY = [
    Screen(),
    *(_go(str(number)) for number in range(2, 6)),
    _go("2", "end"),
    _go("3", "enter"),
    _go("3", "enter", "down", "down", "enter"),
    _go("4", "enter"),
    _go("?"),
    _go("/", *"modality=CT"),
    asked(Screen(), Action("retry"), 3, "Try 3 deliveries again now (telepacs 3)?"),
]


@given(st.sampled_from(EVERY), st.integers(1, 250), st.integers(1, 70), st.booleans())
def test_every_view_fits_every_screen(screen: Screen, width: int, height: int, ascii_only: bool) -> None:
    lines = _lines(screen, width, height, ascii_only=ascii_only)
    assert len(lines) == height
    assert max(line.cell_len for line in lines) <= width
    if ascii_only:
        assert all(line.plain.isascii() for line in lines)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 50)])
@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("overview", ()),
        ("destinations", ("2", "end")),
        ("studies", ("3",)),
        ("images", ("3", "enter", "down", "down")),
        ("image", ("3", "enter", "down", "down", "enter")),
        ("parked", ("4",)),
        ("log", ("5",)),
        ("help", ("?",)),
    ],
)
def test_the_views_are_those_that_were_looked_at(
    name: str, keys: tuple[str, ...], width: int, height: int, golden: Callable[[str, str], None]
) -> None:
    golden(f"top-{name}-{width}x{height}", _text(_go(*keys), width, height))


def test_nothing_identifying_is_shown_unless_it_is_asked_for() -> None:
    for screen in EVERY:
        for width in (80, 200):
            assert morning.PATIENT not in _text(screen, width, 50)
    assert morning.PATIENT in _text(_go("3"), 200, 50, identify=True)
    typed = _typed(f"patient={morning.PATIENT} study-date=2026-11-23 modality=CT")
    assert "chosen: patient=.. study-date=.. modality=CT" in _text(typed, 200)
    assert morning.PATIENT not in _text(typed, 200)


def test_what_is_wrong_with_the_index_stands_in_the_view() -> None:
    screen = _go("3")
    broken = replace(
        morning.found(screen.place), rows=[], trouble="the index cannot be used (disk I/O error)"
    )
    drawn = "\n".join(line.plain for line in frame(broken, screen, 80, 24, UNICODE))
    assert "disk I/O error" in drawn


def _screen() -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(
        file=file, width=80, height=24, force_terminal=True, theme=THEME, legacy_windows=False
    ), file


def test_only_lines_that_changed_are_written() -> None:
    console, file = _screen()
    canvas = Canvas(console)
    with canvas.shown():
        first = _lines(Screen(), 80, 24)
        assert canvas.draw(first) == 24
        assert canvas.draw(_lines(Screen(), 80, 24)) == 0
        file.seek(0)
        file.truncate()
        later = morning.found(Screen().place)
        later = replace(later, state=replace(later.state, at=later.state.at + 1))
        assert canvas.draw(frame(later, Screen(), 80, 24, UNICODE)) == 1, "the clock's line alone"
        assert "10:42:08" in file.getvalue()
        assert "destination" not in file.getvalue()
        said = [Text("the same words", style) for style in ("bad", "bad", "warn")]
        assert [canvas.draw([one]) for one in said][1:] == [0, 1], "a colour is a change too"
        console.size = (120, 30)  # type: ignore[assignment]
        assert canvas.draw(_lines(Screen(), 120, 30)) == 30, "another size is drawn anew"


@contextmanager
def _looker(folder: NodeFolder, look: Callable[[], NodeState] | None = None) -> Iterator[Looker]:
    opened = Access.of(folder.config)
    acting = lambda rules: access(folder.config, rules=rules)  # noqa: E731
    looker = Looker(look or NodeView(opened).look, opened, acting, seconds=0.05)
    looker.want(Place(View.OVERVIEW))
    looker.start()
    try:
        yield looker
    finally:
        looker.stop(10)


def _found(looker: Looker, place: Place) -> Found:
    looker.want(place)

    def there() -> Found | None:
        found = looker.found
        return found if found is not None and found.query == place.query else None

    found = until(there, 20, "what was wanted")
    assert found is not None
    return found


def _outcome(looker: Looker, action: Action, *, dry_run: bool) -> Outcome:
    looker.ask(action, dry_run=dry_run)
    told = looker.answers.get(timeout=20)
    assert isinstance(told, Outcome), told
    return told


def test_each_view_finds_its_rows(used: NodeFolder) -> None:
    with _looker(used) as looker:
        (parked,) = _found(looker, Place(View.PARKED)).keys
        assert parked == "refused"
        studies = _found(looker, Place(View.STUDIES, order="stuck")).keys
        assert len(studies) == 3
        images = _found(looker, Place(View.IMAGES, Selection(study_instance_uid=studies[0])))
        assert len(images.keys) == 4
        uid = images.rows[0].sop_instance_uid  # type: ignore[union-attr]
        way = _found(looker, Place(View.TIMELINE, Selection(sop_instance_uid=uid)))
        drawn = frame(way, Screen((Place(View.TIMELINE, Selection(sop_instance_uid=uid)),)), 120, 30, UNICODE)
        assert any('"CT to teleradiology"' in line.plain for line in drawn)
        wrong = _found(looker, Place(View.STUDIES, Selection(destination="telepac")))
        assert 'did you mean "telepacs"' in wrong.trouble


def test_an_action_says_how_many_before_it_does_anything(used: NodeFolder) -> None:
    with _looker(used) as looker, access(used.config) as opened:
        action = Action("retry", Selection(state="parked"))
        told = _outcome(looker, action, dry_run=True)
        assert (told.number, told.text) == (1, "Try 1 delivery (telepacs 1) again now?")
        assert len(deliveries(opened, Selection(state="parked"))) == 1
        told = _outcome(looker, action, dry_run=False)
        assert (told.number, told.text) == (1, "1 delivery (telepacs 1) will be tried again")
        assert not deliveries(opened, Selection(state="parked"))
        assert _outcome(looker, action, dry_run=True).number == 0
        hold = Action("hold", destinations=("archive",))
        assert (
            _outcome(looker, hold, dry_run=True).text
            == "Put destination archive on hold (6 images waiting there)?"
        )
        assert opened.index().ledger.held_destinations() == {}
        _outcome(looker, hold, dry_run=False)
        assert set(opened.index().ledger.held_destinations()) == {"archive"}
        release = Action("release", destinations=("archive",))
        assert _outcome(looker, release, dry_run=False).text.startswith("destination archive released")
        assert _outcome(looker, release, dry_run=True).number == 0
        only = Action("hold", Selection(modality="MR", destination="telepacs"))
        assert _outcome(looker, only, dry_run=False).number == 2


def test_an_action_that_fails_says_why_and_the_looking_goes_on(used: NodeFolder) -> None:
    with _looker(used) as looker:
        looker.ask(Action("hold", destinations=("nowhere",)), dry_run=True)
        assert 'there is no destination "nowhere"' in str(looker.answers.get(timeout=20))
        assert _found(looker, Place(View.PARKED)).keys == ["refused"]


def test_rows_that_cost_much_are_looked_up_less_often_and_at_once_after_an_action(
    used: NodeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[Place] = []
    states = 0

    def gathered(opened: Access, place: Place, *, identify: bool) -> list[object]:
        looked.append(place)
        return []

    def look() -> NodeState:
        nonlocal states
        states += 1
        return morning.state()

    ticks = itertools.count(0.0, 5.0)  # each look-up seems to take five seconds of a core
    monkeypatch.setattr("mapdr_cli.top.looker.gather", gathered)
    monkeypatch.setattr("mapdr_cli.top.looker.time.thread_time", lambda: next(ticks))
    with _looker(used, look) as looker:
        _found(looker, Place(View.PARKED))
        seen = states
        until(lambda: states > seen + 5, 20, "more looks at the state")
        assert looked.count(Place(View.PARKED)) == 1
        _outcome(looker, Action("hold", destinations=("archive",)), dry_run=True)
        until(lambda: looked.count(Place(View.PARKED)) == 2, 20, "the rows after the action")


@pytest.mark.parametrize("there", [True, False])
def test_an_input_that_is_gone_ends_the_watching_and_one_that_never_was_does_not(
    used: NodeFolder, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    console, file = _screen()
    monkeypatch.setattr("mapdr_cli.top.app.keys", lambda: nullcontext(Keys(there=there)))
    monkeypatch.setattr("mapdr_cli.render.keys.read", lambda seconds: None)
    opened = Access.of(used.config)
    looker = Looker(NodeView(opened).look, opened, lambda rules: access(used.config), seconds=0.05)
    shown = threading.Event()

    def ended() -> bool:
        if "telepacs" in file.getvalue():
            shown.set()
        return shown.is_set()

    app = threading.Thread(target=App(console, looker, ended=ended).run)
    app.start()
    app.join(20)
    assert not app.is_alive()
    assert shown.is_set() is not there


def test_events_are_kept_while_one_looks_and_each_once(used: NodeFolder) -> None:
    told = iter(range(3))

    def look() -> NodeState:
        first = next(told, 2)
        events = [EventText(float(n), "x", "info", f"event {n}") for n in range(first, first + 2)]
        return replace(morning.state(), events=events)

    with _looker(used, look) as looker:
        until(lambda: looker.found is not None and len(looker.found.events) == 4, 20, "four events")
        assert looker.found is not None
        assert [one.text for one in looker.found.events] == [f"event {n}" for n in range(4)]


def test_what_ends_the_looking_is_not_lost(used: NodeFolder) -> None:
    def look() -> NodeState:
        raise ValueError("broken")

    with _looker(used, look) as looker:
        until(lambda: looker.failure is not None, 20, "the failure")
        assert isinstance(looker.failure, ValueError)
