"""A fault at any call of a recipe: it gives no payload, or the very one that it gives without the fault.

The calls are not listed but found: a recipe is run once, and each function of MAPDR that it calls is made to
fail, on its way in at the call in the middle (of three frames the second), and on its way out at the last.
What then becomes of a delivery is in `tests/deliver/test_recipe_faults.py`.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import FrameType, SimpleNamespace

import numpy as np
import pytest

import mapdr
from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import Instance, Payload
from mapdr.kernel.registry import Registry
from mapdr.transform.codecs import foreign, worker
from mapdr.transform.encode import frames
from mapdr.transform.pipeline import Pipeline, build_pipeline

from .helpers import CODECS, EXPLICIT, Notebook, image, payload_of, picture, settings, to_syntax

PACKAGE = str(Path(mapdr.__file__).parent)
IMPLICIT, LOSSLESS = "1.2.840.10008.1.2", "1.2.840.10008.1.2.4.90"
BANNER = {"when": {}, "blank": [{"x": 2, "y": 2, "width": 9, "height": 4}]}
DEIDENTIFY = {"type": "deidentify", "config": {"profile": "basic", "options": ["modified-dates"]}}
EDITS = [
    {"set": "ClinicalTrialProtocolID", "to": "HEAD-7"},
    {"replace": "SeriesDescription", "pattern": "a", "with": "b"},
]
TAGS = {"type": "tags", "config": EDITS}
BLANK = {"type": "blank", "config": {"regions": [BANNER]}}
LOSSY = {"type": "compress", "config": {"to": "jpeg2000", "ratio": 8}}
RECIPES = {
    "headers": (EXPLICIT, (DEIDENTIFY, TAGS)),
    "blanked": (IMPLICIT, (DEIDENTIFY, TAGS, BLANK)),
    "codestreams": (LOSSLESS, (DEIDENTIFY, TAGS)),
    "encoded again": (LOSSLESS, (BLANK,)),
    "compressed": (EXPLICIT, (DEIDENTIFY, TAGS, BLANK, LOSSY)),
}
"""The syntax that an image comes in, and its steps."""
Call = tuple[str, str, str]
"""Event ("call" or "return"), file and function."""


class Injected(Exception):
    """What no code waits for."""


ERRORS: tuple[Callable[[], BaseException], ...] = (
    lambda: Injected("Marked"),
    MemoryError,
    lambda: Permanent("injected", reason="injected"),
    lambda: SystemExit(3),
)

Hook = Callable[[FrameType, str, object], None]
"""What `sys.setprofile` takes."""


@contextmanager
def profiled(hook: Hook) -> Iterator[None]:
    """`hook` sees each call and its end, and may raise in it."""
    sys.setprofile(hook)
    try:
        yield
    finally:
        sys.setprofile(None)


def call_of(frame: FrameType, event: str) -> Call | None:
    """What is called or ends, if it is one of MAPDR's own functions."""
    code = frame.f_code
    if event in ("call", "return") and code.co_filename.startswith(PACKAGE) and code.co_name != "__del__":
        return event, code.co_filename[len(PACKAGE) + 1 :], code.co_qualname
    return None


def counted(calls: Counter[Call]) -> Hook:
    """Counts the calls of MAPDR's own functions."""

    def hook(frame: FrameType, event: str, argument: object) -> None:
        call = call_of(frame, event)
        if call is not None:
            calls[call] += 1

    return hook


def fault_at(wanted: Call, number: int, error: BaseException) -> Hook:
    """Raises at the `number`-th of these calls."""
    kind, _, function = wanted
    name = function.rpartition(".")[2]
    seen = 0

    def hook(frame: FrameType, event: str, argument: object) -> None:
        nonlocal seen
        # It is asked thousands of times in a recipe: what tells most calls apart goes first.
        if event == kind and frame.f_code.co_name == name and call_of(frame, event) == wanted:
            seen += 1
            if seen == number:
                raise error

    return hook


class DecoderHere:
    """In the place of a decoder process, which would have to be started anew after each fault that meets it:
    that took ten times as long as all else."""

    def __init__(self, target: object) -> None:
        self.process = SimpleNamespace(is_alive=lambda: True)

    def ask(self, job: worker.Job, stream: bytes, seconds: float) -> tuple[dict[str, str], bytes]:
        """The answer of the process."""
        answer, cells = worker._answer(job, stream)
        return answer, cells or b""

    def exit_code(self) -> int:
        """That of a process that its codec has killed."""
        return 1

    def end(self) -> None:
        """There is nothing to end."""


@pytest.fixture
def pipeline(own_decoders: None, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Pipeline]:
    """Makes pipelines all of whose calls are those of the test's own thread, those of decoders too."""
    monkeypatch.setattr(frames, "_together", lambda strand, room, at_once: strand())
    monkeypatch.setattr(foreign, "_Worker", DecoderHere)
    # A fault in it would leave this very process with the limit.
    monkeypatch.setattr(worker, "_limited", lambda more: nullcontext(False))
    registry = Registry()
    return lambda *steps: build_pipeline({"steps": list(steps)}, registry, settings(), CODECS)


def came(folder: Path, syntax: str) -> Instance:
    """A spooled image of three frames, with values that de-identification changes, nested too."""
    data = image(np.stack([picture(32, 32, 100, 3000, seed) for seed in range(3)]), frames=3)
    data.StudyDate, data.PatientBirthDate, data.SeriesDescription = "20240229", "19500101", "Marked a"
    data.RequestAttributesSequence = [type(data)()]
    data.RequestAttributesSequence[0].RequestedProcedureID = "Marked"
    payload, instance = payload_of(data)
    payload = to_syntax(payload, syntax)
    path = folder / "image.dcm"
    path.write_bytes(b"".join(payload.chunks()))
    return replace(instance, path=path, data_offset=0, size=payload.length, transfer_syntax_uid=syntax)


def same(one: Payload, other: Payload) -> bool:
    """Whether the two are the same to a receiver."""
    what = [replace(each, parts=(b"".join(each.chunks()),), treatment=one.treatment) for each in (one, other)]
    return what[0] == what[1]


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_fault_at_any_call_gives_no_other_payload(
    recipe: str, pipeline: Callable[..., Pipeline], tmp_path: Path
) -> None:
    syntax, steps = RECIPES[recipe]
    instance = came(tmp_path, syntax)

    def prepared(hook: Hook) -> Payload:
        fresh = pipeline(*steps)  # it has learnt nothing from the image before
        with profiled(hook):
            return fresh.prepare(instance, Notebook())

    calls: Counter[Call] = Counter()
    whole = prepared(lambda *event: None)  # tables are read that stay in memory
    assert same(prepared(counted(calls)), whole)
    gone_on = 0
    for number, (call, count) in enumerate(calls.items()):
        place = count if call[0] == "return" else (count + 1) // 2
        error = ERRORS[number % len(ERRORS)]()
        try:
            made = prepared(fault_at(call, place, error))
        except (Exception, SystemExit):
            continue
        # A fast path may leave to its twin what it cannot do.
        gone_on += 1
        assert same(made, whole), f"{error!r} at {call}, {place} of {count}, lets another payload out"
    assert len(calls) > 150
    assert gone_on < len(calls) / 10, "faults that nobody noticed"
