"""What a step of a recipe is: three phases, and what a step has to declare of itself.

    header: elements are changed ──▶ pixels: frames are changed ──▶ encode: frames are written once

A step is a stage of the kind `transform` (`mapdr.kernel.stage.Factory`) without a life of its own: it is
built for a recipe, and called for one image after the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Flag, IntEnum, StrEnum, auto
from typing import Any, ClassVar, Protocol, runtime_checkable

from mapdr.kernel.codec import FrameFormat, Pixels
from mapdr.kernel.item import Instance, Payload, TagPath


class Memory(Protocol):
    """What a transform may remember about one image and recipe, so that a retry makes the same bytes."""

    def recall(self) -> Mapping[str, Any] | None:
        """What `keep` was given earlier for this image and recipe, or None."""

    def keep(self, facts: Mapping[str, Any]) -> None:
        """Store JSON-able facts durably, before the payload is first sent."""


@runtime_checkable
class SeriesMemory(Protocol):
    """An optional ability of a `Memory`: to know other images of the same series."""

    def of_series(self) -> Sequence[Mapping[str, Any]]:
        """What `keep` was given for some of them, under the same recipe and in the same transfer syntax."""


class Phase(IntEnum):
    """Where in a pipeline a step stands; whatever order a rule names its steps in, they run in this one."""

    HEADER = 1
    PIXELS = 2
    ENCODE = 3


class Reads(StrEnum):
    """What a step looks at. One that reads the header alone takes so little time that nobody waits for it."""

    HEADER = "header"
    CODESTREAMS = "codestreams"
    """The header, and what encapsulated pixel data says beside its pixels (PS3.5, A.4)."""
    DATA_SET = "data set"
    FRAMES = "frames"


class Changes(Flag):
    """What a step may change; SYNTAX is the transfer syntax."""

    NOTHING = 0
    HEADER = auto()
    PIXELS = auto()
    SYNTAX = auto()


class Transform(Protocol):
    """One step of a pipeline, of one of three phases: HeaderStep, PixelStep or EncodeStep.

    Its class declares what it is; a class that does not is not loaded (`kernel.conformance`). One object
    serves many threads. Every step is required: an exception of any kind means that the image does not leave;
    Permanent (with a reason) parks it, what else is raised is tried again first.
    """

    phase: ClassVar[Phase]
    reads: ClassVar[Reads]
    changes: ClassVar[Changes]
    copies: ClassVar[int]
    """How many copies of the data set it makes in memory; they are kept free for it. 0 for one that takes
    no more than a header, or says itself by `kernel.budget.need` what it is about to take."""


@runtime_checkable
class Brings(Protocol):
    """An optional ability of steps: to bring one of another phase, without which theirs is not whole."""

    @property
    def brings(self) -> Transform | None:
        """The other step; it runs in its own phase, behind those that the rule names. None without one."""


class HeaderStep(Transform, Protocol):
    """A step that reads a data set and changes elements of it, but neither pixels nor transfer syntax."""

    def apply(self, payload: Payload, instance: Instance, memory: Memory) -> Payload:
        """The changed payload, or the same. May be called again with the same payload after `need` raised."""


@runtime_checkable
class Divides(Protocol):
    """An optional ability of header steps: to be carried out part by part, to tell which part did what."""

    def parts(self) -> Sequence[tuple[str, HeaderStep]]:
        """Its parts, each with its number and words, such as `edit 1: remove PatientID`, in which no value of
        an image is; one after the other they do what `apply` does."""


@runtime_checkable
class Accounts(Protocol):
    """An optional ability of header steps: to say why they changed an element, as by a row of a table."""

    def account(self, path: TagPath, instance: Instance) -> str:
        """The words for an element that this step has changed, or nothing; no value of an image is in them.

        `path` leads to the element by tags, whatever the item.
        """


class PixelStep(Transform, Protocol):
    """A step that changes pixels. What is decoded and encoded again is not its business."""

    def paint(self, frame: Pixels, form: FrameFormat, index: int, instance: Instance) -> Pixels:
        """Frame `index` (from 0) with its pixels changed, in the same shape and type; `frame` is read-only.

        It holds the cells of the data set as they are: unsigned integers of `form.allocated` bits, negative
        values as two's complement, samples interleaved; unused bits may hold overlays. `form.photometric` is
        that of these cells: a decoder may have given RGB. May be called for a frame twice, from any thread,
        and has to do the same then.
        """


class Painting(Protocol):
    """What a step does to the pixels of one image, and to the header that stands beside them.

    `note` says so, in words that hold no value of the image; empty for nothing to say.
    """

    @property
    def note(self) -> str:
        """As above."""

    def paint(self, frame: Pixels, form: FrameFormat, index: int) -> Pixels:
        """As `PixelStep.paint`, for this image."""

    def header(self, header: bytes, *, changed: bool) -> bytes:
        """`header` as it has to be beside the painted frames: elements up to the pixel data, explicit VR
        little endian. Called before a frame is read, and once more, with what it gave, where a pixel has
        `changed`. The SOP Instance UID is not its business."""

    def tail(self, tail: bytes) -> bytes:
        """The elements behind the pixel data, likewise, as they have to be."""


class ImageStep(Transform, Protocol):
    """A step of the phase PIXELS that looks at an image before its frames are painted."""

    def painting(self, came: Any, instance: Instance) -> Painting | str:
        """What is done to an image, or in fixed words why it is left as it is.

        `came` is the `mapdr.transform.document.OpenImage` of the data set as it was received, before any
        other step; it has pixel data, and is closed afterwards.
        """


class EncodeStep(Transform, Protocol):
    """A step that chooses how pixels are written. A pipeline has one at most."""

    def encode(self, document: Any, instance: Instance, memory: Memory, syntax: str) -> Payload:
        """The payload of a `mapdr.transform.document.Document`, encoded, or `document.payload` as it is.

        `syntax` is empty, or a transfer syntax UID: the receiver takes no other. A step that would write
        another one leaves the payload as it is, says in `Payload.unmet` what the rule wanted and did not
        get, and the pipeline writes what the receiver takes.
        """
