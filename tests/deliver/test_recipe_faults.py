"""A fault at each step of a recipe leaves nothing sent, and a row that says so without a value of the image.

One store, one receiver and real recipes: each image has a recipe of its own, in which one thing fails. What
fails within the steps, function by function, is in `tests/transform/test_recipe_faults.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deliver.world import CT, EXPLICIT, World, delivering, egress, settings, world
from mapdr.kernel.errors import Permanent, Temporary
from mapdr.kernel.item import Header, Routing, Source, TagPath
from mapdr.kernel.registry import Registry
from mapdr.store.spool.headers import SOP_INSTANCE_UID
from mapdr.testing.wait import until
from mapdr.transform.codecs.table import Codecs
from mapdr.transform.pipeline import Pipeline, build_pipeline, build_steps
from peers.marks import Marks
from peers.rawsink import RawSink
from transform.helpers import encoded, image, picture

J2K_LOSSLESS = "1.2.840.10008.1.2.4.90"
TRIES = 2
FRAMES = 3
CELLS = np.stack([picture(24, 24, 100, 3000, seed) for seed in range(FRAMES)])
REGISTRY = Registry()
HEADERS: Sequence[Mapping[str, Any]] = (
    {"type": "deidentify", "config": {"profile": "basic", "options": ["modified-dates"]}},
    {"type": "tags", "config": [{"set": "ClinicalTrialProtocolID", "to": "HEAD-7"}]},
)
BLANKED: Sequence[Mapping[str, Any]] = (
    *HEADERS,
    {
        "type": "blank",
        "config": {"regions": [{"when": {}, "blank": [{"x": 2, "y": 2, "width": 9, "height": 4}]}]},
    },
)
WHOLE: Sequence[Mapping[str, Any]] = (
    *BLANKED,
    {"type": "compress", "config": {"to": "jpeg2000-lossless"}},
)


class Odd(Exception):
    """What nobody waits for."""


ERRORS: Mapping[str, Callable[[str], BaseException]] = {
    "unexpected": Odd,
    "out of memory": MemoryError,
    "permanent": lambda text: Permanent("injected", reason="injected"),
    "temporary": lambda text: Temporary("injected"),
    "exit": SystemExit,
}
"""By kind, with a value of the image where code that is not MAPDR's could quote one."""


@dataclass
class Fault:
    """Every `period`-th call of `name` fails, from the `number`-th (0 is the first), before its work or after
    it: one of a step, or one frame of an image."""

    step: str
    name: str
    kind: str
    number: int = 0
    period: int = 1
    after: bool = False
    recipe: Sequence[Mapping[str, Any]] = WHOLE
    hits: int = field(default=0, compare=False)

    def put_into(self, stage: Any, text: str) -> None:
        """Have the calls of `stage` fail."""
        work, calls = getattr(stage, self.name), count()

        def fails(*args: Any, **options: Any) -> Any:
            here = next(calls) % self.period == self.number
            if here and not self.after:
                self._hit(text)
            made = work(*args, **options)
            if here:
                self._hit(text)
            return made

        setattr(stage, self.name, fails)

    def _hit(self, text: str) -> None:
        self.hits += 1
        raise ERRORS[self.kind](text)


def faults() -> list[Fault]:
    """Each step at its begin and its end, frames first, middle and last; quick recipes and slow ones."""
    made: list[Fault] = []
    for kind in ERRORS:
        for after in (False, True):
            made += [
                Fault(step, "apply", kind, after=after, recipe=recipe)
                for step in ("deidentify", "tags")
                for recipe in (HEADERS, WHOLE)
            ]
            made += [
                Fault("blank", "painting", kind, after=after, recipe=BLANKED),
                Fault("compress", "encode", kind, after=after),
            ]
        for number in range(FRAMES):
            made += [
                Fault("paint", "paint", kind, number, FRAMES, after=number == FRAMES - 1, recipe=recipe)
                for recipe in (BLANKED, WHOLE)
            ]
            made += [Fault("codec", name, kind, number, FRAMES) for name in ("encode", "decode")]
    return made


def injected(fault: Fault, recipe: Mapping[str, Any], codecs: Codecs, text: str) -> Pipeline:
    """The pipeline of a recipe with its fault."""
    made = settings("pacs", Path())
    steps = build_steps(recipe, REGISTRY, made)
    stages = dict(steps)
    if fault.step == "codec":
        fault.put_into(codecs.encoder(J2K_LOSSLESS), text)
    elif fault.step == "paint":
        blank: Any = stages["blank"]
        find = blank.painting

        def painting(*args: Any) -> Any:
            found = find(*args)
            fault.put_into(found, text)
            return found

        blank.painting = painting
    else:
        fault.put_into(stages[fault.step], text)
    return Pipeline(steps, made, codecs)


class ByUid:
    """A router that gives each image a recipe of its own."""

    wanted: frozenset[TagPath] = frozenset([SOP_INSTANCE_UID])

    def route(self, header: Header, source: Source) -> Routing:
        return Routing((("pacs", header.text(SOP_INSTANCE_UID)),))


def marked(uid: str, marks: Marks) -> bytes:
    """A data set of three frames with every mark in it."""
    data = image(CELLS, frames=FRAMES)
    data.SOPInstanceUID = uid
    for keyword, value in marks.values.items():
        setattr(data, keyword, value)
    return encoded(data, EXPLICIT)


def decided(made: World) -> bool:
    """Whether every image was delivered or parked, or waits for what may pass."""
    return all(row.state in ("parked", "delivered") or row.reason == "preparing" for row in made.rows())


def test_a_fault_at_any_step_leaves_nothing_sent_and_no_value(
    tmp_path: Path, marks: Marks, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    by_uid = {f"1.9.{number}": fault for number, fault in enumerate(faults(), 1)}
    whole = {"1.8.1": HEADERS, "1.8.2": BLANKED, "1.8.3": WHOLE}
    recipes = {uid: {"steps": list(fault.recipe), "image": uid} for uid, fault in by_uid.items()}
    recipes |= {uid: {"steps": list(steps), "image": uid} for uid, steps in whole.items()}
    said = " ".join(marks.values.values())

    def build(recipe: Mapping[str, Any]) -> Pipeline:
        codecs = Codecs(REGISTRY, settings("pacs", tmp_path))
        fault = by_uid.get(recipe["image"])
        if fault is None:
            return build_pipeline(recipe, REGISTRY, settings("pacs", tmp_path), codecs)
        return injected(fault, recipe, codecs, said)

    with world(tmp_path) as made, RawSink(keep_data=True) as sink:
        made.store.use("faults", ByUid(), recipes)
        made.push_data({uid: (CT, marked(uid, marks)) for uid in recipes})
        retry = {"first": 0.05, "max": 0.1, "tries": TRIES}
        with delivering(made, {"pacs": egress(tmp_path, sink.port, retry=retry)}, build=build):
            until(lambda: decided(made), 120, "a decision on every image")
        rows = {row.uid: row for row in made.rows()}
        tried = {uid: made.attempts(uid) for uid in rows}
    assert len(sink.received) == len(whole)
    assert {row.uid for row in rows.values() if row.state == "delivered"} == set(whole)
    assert not [fault for fault in by_uid.values() if not fault.hits], "faults that did not happen"
    for uid, fault in by_uid.items():
        row = rows[uid]
        expected = {
            "permanent": ("parked", "injected"),
            "temporary": ("pending", "preparing"),
            "out of memory": ("parked", "out-of-memory"),
        }
        assert (row.state, row.reason) == expected.get(fault.kind, ("parked", "unexpected")), fault
        assert fault.hits == 1 if fault.kind == "permanent" else fault.hits >= TRIES, fault
        marks.assert_absent(row.comment, repr(tried[uid]))
    for received in sink.received:
        marks.assert_absent(received.data.decode("latin-1"))
    marks.assert_absent(caplog.text)
