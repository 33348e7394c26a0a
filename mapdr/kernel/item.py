"""What moves through MAPDR: where it came from, where its bytes are, what became of it.

A data set is never held whole in memory: a `Payload` is a sequence of byte strings and slices of files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, Protocol

from mapdr.kernel.character_set import AssumedSet
from mapdr.kernel.errors import Permanent
from mapdr.kernel.proof import Proof, unreadable

TagPath = tuple[int, ...]
"""Tags from the top level down, e.g. `(0x00080060,)` or `(0x00400275, 0x00400009)`; any item matches."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where an object came from: the facts of the association, request or folder that brought it.

    `receiver` is the name of the stage that took it, `calling_ae` the peer's name (its AE title, or what the
    protocol has in its place), `called_ae` what the peer called this side, `address` the peer's, each empty
    where there is none. `protocol` is the receiver's type. `credential` is what the peer has proved to be, as
    "certificate:NAME sha256:FINGERPRINT"; empty if it has proved nothing, which is so of an AE title alone.
    """

    receiver: str
    calling_ae: str
    called_ae: str
    address: str
    protocol: str = "dicom"
    credential: str = ""

    @property
    def peer(self) -> str:
        """The name to count and show the peer by; the receiver's where nobody is known."""
        return self.calling_ae or self.credential or self.receiver


NOWHERE = Source("", "", "", "")
"""Where a data set came from of which nobody knows that."""


class Elements(Protocol):
    """What conditions ask of a data set."""

    def texts(self, path: TagPath) -> tuple[str, ...]:
        """All values at `path`, decoded and stripped of padding; empty if absent or empty."""

    def has(self, path: TagPath) -> bool:
        """Whether the element is present, be it empty."""


class Header(Elements, Protocol):
    """What the header scan found of the tags that were asked for."""

    @property
    def pixel_offset(self) -> int | None:
        """Bytes from the start of the data set to its pixel data element; None if there is none."""

    def text(self, path: TagPath) -> str:
        """The first value at `path`, or an empty string."""

    def has(self, path: TagPath) -> bool:
        """Whether the element is present, be it empty."""

    def assuming(self, sets: Sequence[AssumedSet]) -> Header:
        """The same header, its text read in the character sets that are assumed."""


class Arrival(NamedTuple):
    """An object that is safe in the spool and not yet in the index.

    `size` counts the bytes of the data set, `data_offset` those before it in the file; `received_at` is
    seconds since the epoch; `digest` is XXH3-128 over the data set's bytes as received.
    """

    id: str
    source: Source
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data_offset: int
    size: int
    digest: bytes
    received_at: float
    revision: str
    header: Header


@dataclass(frozen=True, slots=True)
class Instance:
    """A spooled object as the index knows it.

    `assumed` are the character sets in which its text is read where its own is missing or wrong; the recipe
    says so that it is prepared by.
    """

    id: str
    source: Source
    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    modality: str
    transfer_syntax_uid: str
    path: Path
    data_offset: int
    size: int
    received_at: float
    proof: Proof | None = field(default=None, compare=False)
    assumed: tuple[AssumedSet, ...] = ()


@dataclass(frozen=True, slots=True)
class FileSlice:
    """`length` bytes of the file `path`, from `offset`; who reads them for a receiver checks `proof`.

    `keeper` is what keeps a temporary file: that goes with the last reference to it.
    """

    path: Path
    offset: int
    length: int
    proof: Proof | None = field(default=None, compare=False)
    keeper: object = field(default=None, compare=False, repr=False)

    def cut(self, start: int, stop: int) -> FileSlice:
        """The bytes from `start` to `stop` of this slice."""
        return FileSlice(self.path, self.offset + start, stop - start, self.proof, self.keeper)

    def chunks(self, size: int) -> Iterator[bytes]:
        """Its bytes, at most `size` at a time. Raises OSError, or EOFError if the file ends early."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            left = self.length
            while left:
                data = file.read(min(size, left))
                if not data:
                    raise EOFError(f"{self.path.name} ended {left} bytes early")
                left -= len(data)
                yield data


Part = bytes | FileSlice


def _made(part: Part) -> int:
    if isinstance(part, bytes):
        return len(part)
    return 0 if part.keeper is None else part.length


class Treatment(StrEnum):
    """What was done to a data set (design, decision 6); the values are what the ledger shows."""

    RELAYED = "relayed"
    EDITED = "edited"
    REENCODED = "re-encoded"
    TRANSCODED = "transcoded"


@dataclass(frozen=True, slots=True)
class Payload:
    """A data set ready for an egress: its parts in order, their total length, and its identity.

    `study_instance_uid` and `series_instance_uid` are those of the image as it was received, for an egress
    that gathers (a folder, a STOW-RS request); empty where there is none.
    `note` says why a step left the data set as it was, such as "not compressed: no-pixels", or which entry of
    the configuration it went by: no value of the image.
    `unmet` is one word for what the rule asked for and the receiver's transfer syntaxes did not allow.
    `others` are the transfer syntaxes of the rule that would do as well, the best first.
    `stat`: it passes the bandwidth of its destination. `assumed`: as for `Instance`.
    `share` is what the payload holds of the node's budget of memory; given back with the last reference.
    Raises Permanent(reason="uid") for a UID that is none: a receiver could not be asked to take it.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    parts: tuple[Part, ...]
    length: int
    treatment: Treatment = Treatment.RELAYED
    note: str = ""
    unmet: str = ""
    others: tuple[str, ...] = ()
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    stat: bool = False
    assumed: tuple[AssumedSet, ...] = ()
    share: object = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        # `is_uid` of each, in one look at all characters: this runs for every image.
        sop_class, instance, syntax = self.sop_class_uid, self.sop_instance_uid, self.transfer_syntax_uid
        lengths = 0 < len(sop_class) <= 64 and 0 < len(instance) <= 64 and 0 < len(syntax) <= 64
        if not lengths or (sop_class + instance + syntax).strip("0123456789."):
            raise self._no_uid()

    def _no_uid(self) -> Permanent:
        uids = {
            "SOP Class UID": self.sop_class_uid,
            "SOP Instance UID": self.sop_instance_uid,
            "Transfer Syntax UID": self.transfer_syntax_uid,
        }
        wrong = next(name for name, uid in uids.items() if not is_uid(uid))
        return Permanent(f"its {wrong} is none: 1 to 64 digits and dots", reason="uid")

    @property
    def need(self) -> Need:
        """What decides whether a receiver takes it."""
        return Need(self.sop_class_uid, self.transfer_syntax_uid, self.others)

    @property
    def in_memory(self) -> int:
        """The bytes that it holds in memory; slices of files hold none."""
        return sum([len(part) for part in self.parts if isinstance(part, bytes)])

    @property
    def made(self) -> int:
        """The bytes that were made for it, and go with it: in memory, and in temporary files."""
        return sum(map(_made, self.parts))

    def chunks(self, size: int = 1 << 18) -> Iterator[bytes]:
        """The bytes in order, at most `size` at a time; the plain way to read a payload.

        Raises OSError if a slice's file cannot be read, EOFError if it ends early, Permanent if one of the
        spool is gone or does not hold what was received.
        """
        for part in self.parts:
            if isinstance(part, bytes):
                yield part
                continue
            if part.proof is not None:
                part.proof.check()
            try:
                yield from part.chunks(size)
            except (FileNotFoundError, EOFError) as error:
                raise unreadable(error, part.proof) from None


class Verdict(StrEnum):
    """How one attempt to deliver ended."""

    DELIVERED = "delivered"
    RETRY = "retry"
    REFUSED = "refused"
    SYNTAX_REFUSED = "syntax-refused"


@dataclass(frozen=True, slots=True)
class Pause:
    """That a receiver takes nothing at present, whatever it is sent: its destination waits, not the image.

    `reason` is one word for why ("unauthorized", "busy", "no-room"), `seconds` how long it wants to be left
    alone (HTTP `Retry-After`); 0 where a person has to end that: it is asked again after pauses that grow.
    """

    reason: str
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a receiver said of one payload.

    `status` is the receiver's own final status (of DIMSE, or an `HttpStatus`), None if it never answered;
    `comment` is its error comment or our reason; `peer_fault` says that the association, or what the receiver
    has of room, failed, and not the image. `begun` is false when nothing of the payload went out. `not_now`
    says that the receiver accepts no such image at present and may later, without a fault of anybody.
    `duplicate` says that the receiver has an instance of this UID and took none. `pause`, with RETRY and
    `peer_fault`, says that it would have been so with any other payload. `cut` says that the session ended
    without a word of the receiver, closed, reset or silent: that may have been the network. `credential` is
    what the receiver has proved to be, as in `Source`. `reason` is one word for why the image is not
    delivered, shown with its row in place of `deliver`'s own; `final`, with REFUSED, that the receiver would
    refuse it however often it is sent.
    """

    verdict: Verdict
    status: int | None = None
    comment: str = ""
    peer_fault: bool = False
    begun: bool = True
    not_now: bool = False
    duplicate: bool = False
    pause: Pause | None = None
    credential: str = ""
    reason: str = ""
    final: bool = False
    cut: bool = False


class Sent(NamedTuple):
    """One attempt to send: its outcome, when it began (seconds since the epoch), how many seconds it took."""

    outcome: Outcome
    started_at: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Need:
    """What decides whether a receiver takes an image: its SOP class and, once prepared, transfer syntax."""

    sop_class_uid: str
    transfer_syntax_uid: str
    others: tuple[str, ...] = field(default=(), compare=False)
    """Transfer syntaxes that its recipe makes as gladly, the best first: proposed beside it, and taken before
    those that the destination falls back to."""


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What a receiver says of images of one kind before it is sent any.

    It takes them as they are, unless there is a `refusal`: what becomes of one that cannot be prepared anew
    (SYNTAX_REFUSED, or RETRY, `not_now`), and why. `instead` is the best other transfer syntax in which it
    would take them; empty if there is none.
    """

    refusal: Outcome | None = None
    instead: str = ""


TAKEN = Acceptance()
"""The receiver takes them as they are."""


class Priority(IntEnum):
    """How urgent a delivery is; what is less goes first. A re-route promises in bulk."""

    STAT = -1
    ROUTINE = 0
    BULK = 1

    @property
    def word(self) -> str:
        """The priority as configurations, commands and listings write it."""
        return self.name.lower()

    @classmethod
    def of(cls, word: str) -> Priority:
        """The priority of that `word`. Raises KeyError."""
        return cls[word.upper()]


ALL_ROUTINE: Mapping[str, Priority] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Routing:
    """What the rules decided for one image: destination to recipe hash, in rule order.

    `priorities` has the destinations that are not of routine priority. `shadowed` names (rule, destination)
    pairs whose recipe lost to an earlier rule, `returned` those that were left out because the destination is
    the peer that sent the image. `assumed` are the character sets in which the rules have read its text.
    """

    deliveries: tuple[tuple[str, str], ...] = ()
    rules: tuple[str, ...] = ()
    shadowed: tuple[tuple[str, str], ...] = field(default=())
    returned: tuple[tuple[str, str], ...] = field(default=())
    priorities: Mapping[str, Priority] = field(default_factory=lambda: ALL_ROUTINE)
    assumed: tuple[AssumedSet, ...] = ()

    @property
    def unrouted(self) -> bool:
        """Whether no rule took the image (design, decision 15)."""
        return not (self.rules or self.deliveries)


def is_uid(text: str) -> bool:
    """Whether `text` can be a UID (PS3.5, section 9.1), components with leading zeros tolerated."""
    return 0 < len(text) <= 64 and not text.strip("0123456789.")


def is_ae_title(text: str) -> bool:
    """Whether `text` is an AE title (PS3.5, table 6.2-1).

    That is 1 to 16 printable characters of ASCII, no backslash among them, and not spaces alone.
    """
    printable = text.isascii() and text.isprintable()
    return 0 < len(text) <= 16 and printable and "\\" not in text and not text.isspace()


def total_length(parts: Sequence[Part]) -> int:
    """The number of bytes that the parts hold together."""
    return sum([len(part) if isinstance(part, bytes) else part.length for part in parts])
