"""The state machine of `mapdr top`: a key, and what it makes of the screen. It draws and asks nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mapdr.operate import words
from mapdr.operate.errors import RequestError
from mapdr.operate.images import Image
from mapdr.operate.parked import ParkedGroup
from mapdr.operate.selection import UNROUTED, Selection, parse
from mapdr.operate.studies import Study
from mapdr_cli.top.found import Found, Row, key_of
from mapdr_cli.top.place import ORDERS, TABS, Action, Notice, Place, Question, Screen, View

VERBS = {"h": "hold", "l": "release", "r": "retry", "x": "dismiss"}
"""Keys of actions; in capitals, for all that the view has chosen."""

MOVES = {"up": -1, "k": -1, "down": 1, "j": 1}
BACK = ("esc", "left", "backspace")
LONGEST = 500
"""Characters of a selection that is typed."""


class Quit:
    """One wants to leave."""


Effect = Quit | Action | None
"""What a key asks for beyond the screen: to leave, or to say how many an action concerns."""


def press(screen: Screen, key: str, found: Found, page: int) -> tuple[Screen, Effect]:
    """The screen after a key, for what was `found` there; a `page` is so many rows.

    An action is asked for in two steps: it comes out of here as an effect, and `asked` puts the question.
    """
    if screen.question is not None:  # answered by `answer`
        return screen, None
    if screen.typing is not None:
        return _type(screen, screen.typing, key), None
    screen = replace(screen, notice=None)
    if screen.helped:
        return replace(screen, helped=False), Quit() if key == "q" else None
    if key == "q":
        return screen, Quit()
    if key == "?":
        return replace(screen, helped=True), None
    if key in BACK:
        return _back(screen), None
    if key in ("tab", "backtab") or (key.isdecimal() and 1 <= int(key) <= len(TABS)):
        return _tab(screen, key), None
    if key == "/":
        return _find(screen), None
    if key == "s":
        return _sort(screen), None
    if key in ("enter", "right"):
        return _open(screen, found), None
    if key.lower() in VERBS and len(key) == 1:
        return _act(screen, key, found)
    return _move(screen, key, found.keys, page), None


def answer(screen: Screen, key: str) -> tuple[Screen, Action | None]:
    """The screen after a key that answers its question, and the action if the answer is yes."""
    asked = screen.question
    if asked is None:
        return screen, None
    if key in ("y", "Y"):
        return replace(screen, question=None), asked.action
    if key in ("n", "N", "q", *BACK):
        return replace(screen, question=None, notice=Notice("nothing was done")), None
    return screen, None


def asked(screen: Screen, action: Action, number: int, text: str) -> Screen:
    """The screen that asks whether an action is meant, or says that there is nothing to do."""
    if not number:
        return replace(screen, notice=Notice(text))
    return replace(screen, question=Question(action, text), notice=None)


def marked(place: Place, keys: Sequence[str]) -> int:
    """The number of the row that is marked, -1 if there is none."""
    if not keys:
        return -1
    return keys.index(place.cursor) if place.cursor in keys else 0


def _move(screen: Screen, key: str, keys: Sequence[str], page: int) -> Screen:
    steps = {**MOVES, "pgup": -page, "pgdn": page, " ": page, "home": -len(keys), "g": -len(keys)}
    steps |= {"end": len(keys), "G": len(keys)}
    if key not in steps or not keys:
        return screen
    row = min(len(keys) - 1, max(0, marked(screen.place, keys) + steps[key]))
    return screen.at(replace(screen.place, cursor=keys[row]))


def _back(screen: Screen) -> Screen:
    """One step back: out of a view, then out of its selection."""
    if len(screen.places) > 1:
        return replace(screen, places=screen.places[:-1])
    if screen.place.typed:
        return screen.at(Place(screen.place.view, order=screen.place.order))
    return replace(screen, places=(Place(View.OVERVIEW),))


def _tab(screen: Screen, key: str) -> Screen:
    root = screen.places[0].view
    here = TABS.index(root) if root in TABS else 0
    to = int(key) - 1 if key.isdecimal() else (here + (1 if key == "tab" else -1)) % len(TABS)
    return replace(screen, places=(Place(TABS[to]),))


def _find(screen: Screen) -> Screen:
    view = screen.place.view
    return replace(screen, typing=screen.place.typed if view in (View.STUDIES, View.PARKED) else "")


def _type(screen: Screen, typed: str, key: str) -> Screen:
    """A key while a selection is typed."""
    if key == "esc":
        return replace(screen, typing=None, notice=None)
    if key == "backspace":
        return replace(screen, typing=typed[:-1])
    if key == "enter":
        return _chosen(screen, typed)
    if len(key) == 1 and key.isprintable() and len(typed) < LONGEST:
        return replace(screen, typing=typed + key)
    return screen


def _chosen(screen: Screen, typed: str) -> Screen:
    """The view with what was typed chosen: of studies, but where what is parked is looked at."""
    try:
        chosen = parse(typed)
    except RequestError as error:
        return replace(screen, notice=Notice(words.plain(str(error)), "warn"))
    view = (
        View.PARKED if screen.place.view is View.PARKED and chosen.state in ("", "parked") else View.STUDIES
    )
    place = Place(view, chosen, typed=typed.strip())
    before = () if screen.place.view is view or view is View.STUDIES else screen.places[:-1]
    return replace(screen, typing=None, notice=None, places=(*before, place))


def _sort(screen: Screen) -> Screen:
    place = screen.place
    if place.view is not View.STUDIES:
        return replace(
            screen, notice=Notice("only studies are sorted; the others have an order of their own")
        )
    order = ORDERS[(ORDERS.index(place.order) + 1) % len(ORDERS)]
    said = {"newest": "the newest first", "oldest": "the oldest first", "stuck": "those that are stuck first"}
    return replace(screen.at(replace(place, order=order, cursor="")), notice=Notice(said[order]))


def _row(screen: Screen, found: Found) -> Row | None:
    place = marked(screen.place, found.keys)
    return found.rows[place] if 0 <= place < len(found.rows) else None


def _open(screen: Screen, found: Found) -> Screen:
    """One step into the row that is marked."""
    place = screen.place
    if found.query != place.query:  # its rows are not there yet
        return screen
    if place.view in (View.OVERVIEW, View.DESTINATIONS):
        row = marked(place, found.keys)
        if row < 0:
            return screen
        name = found.keys[row]
        to = Place(View.STUDIES, Selection(destination=name), crumbs=f"{name}: studies", typed=_typed(name))
        return _into(screen, replace(place, cursor=name), to)
    match _row(screen, found):
        case Study() as study:
            of_study = Selection(study_instance_uid=study.study_instance_uid)
            to = Place(View.IMAGES, of_study, crumbs=study_words(study))
        case Image() as image:
            to = Place(View.TIMELINE, _of_image(image), crumbs=_short(image))
        case ParkedGroup() as group:
            chosen = replace(place.chosen, state="parked", reason=group.reason)
            typed = " ".join(filter(None, (place.typed, f"parked reason={group.reason}")))
            to = Place(View.STUDIES, chosen, crumbs=group.reason, typed=typed)
        case _:
            return screen
    row_ = _row(screen, found)
    return _into(screen, replace(place, cursor=key_of(row_) if row_ is not None else ""), to)


def _of_image(image: Image) -> Selection:
    return Selection(study_instance_uid=image.study_instance_uid, sop_instance_uid=image.sop_instance_uid)


def _short(image: Image) -> str:
    return f"image ..{image.sop_instance_uid[-8:].lstrip('.')}"


def _into(screen: Screen, here: Place, to: Place) -> Screen:
    return replace(screen.at(here), places=(*screen.places[:-1], here, to))


def _typed(name: str) -> str:
    return f'to="{name}"' if " " in name else f"to={name}"


def study_words(study: Study) -> str:
    """A study in words that identify nobody: what it is, when it came, how many images."""
    what = "+".join(map(words.modality, study.modalities))
    when = words.day_and_clock(study.first_at)[:-3]
    return f"{what} {when}, {words.many(study.images, 'image')}"


def _act(screen: Screen, key: str, found: Found) -> tuple[Screen, Effect]:
    """An action on the row that is marked, or with a capital on all that the view has chosen."""
    verb, place = VERBS[key.lower()], screen.place
    if found.query != place.query:
        return replace(screen, notice=Notice("still looking")), None
    if key.isupper():
        return _act_on_all(screen, verb)
    if place.view in (View.OVERVIEW, View.DESTINATIONS):
        row = marked(place, found.keys)
        if row < 0:
            return screen, None
        name = found.keys[row]
        if verb in ("hold", "release"):
            return screen, Action(verb, destinations=(name,))
        return screen, Action(verb, Selection(destination=name, state="parked" if verb == "dismiss" else ""))
    chosen = place.chosen
    match _row(screen, found):
        case Study() as study:
            chosen = replace(chosen, study_instance_uid=study.study_instance_uid, limit=None)
        case Image() as image:
            chosen = _of_image(image)
        case ParkedGroup() as group:
            chosen = replace(chosen, state="parked", reason=group.reason, limit=None)
    if place.view is View.LOG or found.rows == ():
        return replace(screen, notice=Notice("nothing is marked here")), None
    return _possible(screen, verb, chosen)


def _act_on_all(screen: Screen, verb: str) -> tuple[Screen, Effect]:
    place = screen.place
    if place.view is View.PARKED:
        return _possible(screen, verb, replace(place.chosen, state="parked"))
    if place.view in (View.OVERVIEW, View.DESTINATIONS, View.LOG):
        return replace(
            screen, notice=Notice("capitals mean all that a view has chosen: studies, parked")
        ), None
    return _possible(screen, verb, place.chosen)


def _possible(screen: Screen, verb: str, chosen: Selection) -> tuple[Screen, Effect]:
    if chosen.state == UNROUTED:
        said = "what no rule takes has no delivery: correct the rules, then mapdr reroute --state unrouted"
        return replace(screen, notice=Notice(said, "warn")), None
    if verb == "dismiss" and chosen.state not in ("", "parked"):
        return replace(screen, notice=Notice("only parked deliveries can be dismissed", "warn")), None
    if chosen.of_everything:
        return replace(screen, notice=Notice("choose with / first: this would be everything", "warn")), None
    return screen, Action(verb, chosen)
