"""The examination of a destination: what lies between this node and its receiver, with cures."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

from mapdr.kernel.errors import MapdrError
from mapdr.kernel.item import Need, Outcome, Payload, Verdict
from mapdr.kernel.stage import Egress
from mapdr.kernel.status import code


class Level(StrEnum):
    """What a finding means for images: BAD keeps them, or some of them, from arriving."""

    GOOD = "good"
    INFO = "info"
    WARN = "warn"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class PeerFinding:
    """One thing that was found out of a destination.

    `part` is what was looked at, in a word or two ("TCP"); `cure` says what to do, of WARN and BAD always.
    Neither names anything of an image or a secret. `milliseconds` is how long the peer took, if it did.
    """

    part: str
    level: Level
    text: str
    cure: str = ""
    milliseconds: float | None = None


@dataclass(frozen=True, slots=True)
class Examination:
    """What is asked for.

    `needs` are what images would be sent as, the most frequent first; `assumed` says that they are a list of
    what is usual, because no image was sent there yet: what a receiver lacks of it may be meant so. `images`
    are one marked test image in several transfer syntaxes, the best first, of which one is to be stored;
    none, and nothing may be stored. `seconds` is what one step may take.
    """

    needs: Sequence[Need] = ()
    assumed: bool = False
    images: Sequence[Payload] = ()
    seconds: float = 10.0


@runtime_checkable
class Examines(Protocol):
    """An optional ability of an egress: to examine its receiver."""

    def examine(self, examination: Examination) -> Iterator[PeerFinding]:
        """What is found, in the order in which a connection is built up, each finding as soon as it is known.

        The stage was started. What the peer does is a finding, and never raised; after one that leaves
        nothing more to look at, the examination ends. It may be left before its end.
        """


# --- the last step ------------------------------------------------------------------------------------------

TEST_IMAGE = "test image"

_REFUSED = "read the receiver's log: it has the reason behind its answer"
_RETRY = "the receiver takes nothing now: look after it; images wait meanwhile"


def and_test_image(
    findings: Iterator[PeerFinding], egress: Egress, examination: Examination, *, beside: str = ""
) -> Iterator[PeerFinding]:
    """`findings`, and behind them the test image, unless one is BAD and not of the part `beside`."""
    sound = True
    for found in findings:
        sound = sound and (found.level is not Level.BAD or found.part == beside)
        yield found
    if examination.images and sound:
        yield from _store(egress, examination)
    elif examination.images:
        yield PeerFinding(TEST_IMAGE, Level.INFO, "not sent, because of what is bad above")


def _store(egress: Egress, examination: Examination) -> Iterator[PeerFinding]:
    """Store the first of `examination.images` that the receiver takes, and say what it answered."""
    needs = [Need(each.sop_class_uid, each.transfer_syntax_uid) for each in examination.images]
    started = time.perf_counter()
    try:
        session = egress.connect(needs)
        try:
            takes = []
            for image, need in zip(examination.images, needs, strict=True):
                said = session.acceptance(need)
                if said is not None and said.refusal is None:
                    takes.append(image)
            if not takes:
                text = "not sent: the receiver takes CT images in none of its transfer syntaxes"
                yield PeerFinding(TEST_IMAGE, Level.BAD, text, "see the contexts above")
                return
            started = time.perf_counter()
            outcome = session.send(takes[0])
        finally:
            session.close()
    except MapdrError as error:
        yield PeerFinding(TEST_IMAGE, Level.BAD, f"not sent: {error}", _RETRY)
        return
    yield _found(outcome, takes[0], (time.perf_counter() - started) * 1000)


def _found(outcome: Outcome, image: Payload, milliseconds: float) -> PeerFinding:
    status = "" if outcome.status is None else code(outcome.status)
    words = outcome.comment or ("success" if outcome.verdict is Verdict.DELIVERED else "refused")
    told = words if not status or status in words else f"{words} ({status})"
    if outcome.verdict is Verdict.DELIVERED:
        text = f"stored: {told}. It stays there, as SOP instance {image.sop_instance_uid}"
        return PeerFinding(TEST_IMAGE, Level.GOOD, text, "", milliseconds)
    cure = _RETRY if outcome.verdict is Verdict.RETRY else _REFUSED
    return PeerFinding(TEST_IMAGE, Level.BAD, f"not stored: {told}", cure, milliseconds)
