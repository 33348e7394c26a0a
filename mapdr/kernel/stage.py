"""What a stage is: small typed Protocols, a factory for each, and the settings it is built with.

A stage is built with its downstream in hand (`next`), so none looks another up while running. The
lifecycle is the same for all: build (no side effects) -> `start` -> `stop`. `stop` is safe to call twice
and without `start`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any, Literal, Protocol, get_args, runtime_checkable

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationInfo, field_validator
from pydantic.fields import FieldInfo

from mapdr.kernel.budget import DEFAULT
from mapdr.kernel.certificate import Certificate
from mapdr.kernel.finding import Finding
from mapdr.kernel.item import Acceptance, Need, Outcome, Payload, Sent, Source
from mapdr.kernel.runs import RunResult
from mapdr.kernel.watch import Watch

KINDS = ("receive", "transform", "codec", "egress")
"""The kinds of stage that can be plugged in, in the order of the flow."""


class StageConfig(BaseModel):
    """The base of every stage's configuration: unknown keys are errors, values are never echoed."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    @field_validator("*", mode="before")
    @classmethod
    def _numbers_without_quotes(cls, value: Any, info: ValidationInfo) -> Any:
        """A number in quotes is told, not guessed; fields with a form of their own ("2 h") say more."""
        field = cls.model_fields[str(info.field_name)]
        if isinstance(value, str) and _is_number(field):
            if re.fullmatch(r"\s*\d+(\.\d+)?\s*:\s*1\s*", value):
                raise ValueError("is not a number; write the first number alone, without quotes")
            if field.annotation is int:
                raise ValueError("is not a whole number; write digits without quotes")
            raise ValueError("is not a number; write it without quotes")
        return value


def _is_number(field: FieldInfo) -> bool:
    """Whether nothing but a number may stand there."""
    kinds = {kind for kind in get_args(field.annotation) or (field.annotation,) if kind is not NoneType}
    return kinds <= {int, float} and not any(isinstance(each, BeforeValidator) for each in field.metadata)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the node gives to each stage that it builds.

    `data` is the node's data folder, `site_key` 32 secret bytes for keyed hashes, `workers` how many
    codec threads the node has, `memory` how many bytes all that it inflates, decodes and encodes may take.
    `durability` is what is made of a file before it counts as safe: it survives a power cut, or only the end
    of the process. `only_looks`: it is built to show what it would do, and writes nothing anywhere, but for
    temporary files. Those are in the folder `scratch`, or where the system has them, and leave `spare` bytes
    of its disk free.
    """

    name: str
    node: str
    data: Path
    site_key: bytes
    watch: Watch
    workers: int = 2
    memory: int = DEFAULT
    durability: Literal["power-loss", "process-crash"] = "power-loss"
    only_looks: bool = False
    scratch: Path | None = None
    spare: int = 0


@runtime_checkable
class Stage(Protocol):
    """What every stage with a life of its own can do."""

    def start(self) -> None:
        """Begin to work; raises ConfigurationError or OSError if it cannot."""

    def stop(self, deadline: float) -> None:
        """End by `deadline` (time.monotonic()): finish what runs, then abort it. Safe twice."""


@runtime_checkable
class Acquires(Protocol):
    """An optional ability of stages: to take what they need before they work, as a reload wants it."""

    def acquire(self, ending: Sequence[object] = ()) -> None:
        """Take what `start` would (ports, files, secrets) without working yet; `stop` gives it back.

        `ending` are stages that end when this one starts: what they hold may be shared or taken over. Raises
        as `start`, and has changed nothing then.
        """


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One end of a network connection: where a receiver listens, or whom a destination calls.

    `host` is a name or an address as configured, or the path of a folder; `port` 0 where the system chooses
    one or there is none, `ae_title` empty where the protocol has none.
    """

    host: str = ""
    port: int = 0
    ae_title: str = ""
    tls: bool = False


@dataclass(frozen=True, slots=True)
class Rejection:
    """How often a receiver did not let in a peer for one cause, and when last (seconds since the epoch).

    `cure` is what in the configuration would let it in; empty where nothing would.
    """

    address: str
    calling_ae: str
    called_ae: str
    cause: str
    cure: str
    times: int = 0
    last_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Description(Endpoint):
    """What a receiver or destination is and does now; what of it does not apply has its default.

    `port` is the one in use, `associations` counts the open ones (or what the protocol has in their place),
    `rejected` are the peers that were not let in, the last one first. `certificates` are those that it shows
    and trusts, and of those that peers have shown the ones that end soon; `tls_trouble` says why changed TLS
    files are not in use. Its fields, as JSON, are what the sign of life says of the stage.
    """

    associations: int = 0
    rejected: tuple[Rejection, ...] = ()
    certificates: tuple[Certificate, ...] = ()
    tls_trouble: str = ""


class Receiver(Stage, Protocol):
    """Takes objects from a network or a folder, and gives them to the Intake that it was built with."""

    def describe(self) -> Description:
        """What it is and does now. Called at any time, from any thread; it neither waits nor raises."""


class Incoming(Protocol):
    """One object on its way into the store: write*, then commit or abort."""

    id: str

    def fileno(self) -> int:
        """The open spool file, positioned where the data set's next byte belongs."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append bytes of the data set, as received. Raises Refused when the disk is full."""

    def commit(self) -> None:
        """Make the object safe at the configured durability; only then may Success be answered.

        Blocks while the index is too far behind. Raises Refused; the object is then gone.
        """

    def abort(self) -> None:
        """Forget the object. Safe after commit (does nothing) and twice."""


class Intake(Protocol):
    """What the store offers to receivers."""

    def begin(
        self, source: Source, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str
    ) -> Incoming:
        """Open a spool file for one object. Raises Refused(0xA700) when there is no room."""


class Lane(Protocol):
    """The way into the store for runs: many objects of one association, without the interpreter for each."""

    def take(self, channel: Any) -> RunResult:
        """Read C-STORE requests from `channel` for a moment, store them, and answer those that are safe.

        It takes only messages that are complete and regular: an empty run is no error.
        """

    def close(self) -> None:
        """The association is over."""


@runtime_checkable
class HasLanes(Protocol):
    """An optional ability of an Intake: to store runs."""

    def lane(self, source: Source, contexts: Mapping[int, tuple[str, str]]) -> Lane | None:
        """A lane for an association, None where runs cannot be had (no compiled code).

        `contexts`: id of each accepted presentation context to its abstract syntax and transfer syntax.
        """


class EgressSession(Protocol):
    """An open way to a receiver: an association, an HTTP client, a folder."""

    def acceptance(self, need: Need) -> Acceptance | None:
        """Whether the receiver takes images like this, or in another transfer syntax, or not, and why.

        None if that can only be found out on another session: this one was opened for others, or has ended.
        `TAKEN` where the protocol asks nothing beforehand. Answered at once, from what is known by now.
        """

    def send(self, payload: Payload) -> Outcome:
        """Send one payload and wait for the receiver's final status; never raises for peer trouble.

        SYNTAX_REFUSED is for a receiver that says so only now: `acceptance` has it from then on, with the
        transfer syntax to prepare the image in instead, if there is one.
        """

    def close(self) -> None:
        """End it in the protocol's polite way, or hard if that fails. Safe twice."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What a session is given in one call at most: so many payloads, of so many bytes together."""

    images: int
    bytes: int = 1 << 62


@runtime_checkable
class SendsBatches(Protocol):
    """An optional ability of sessions: to send several payloads in one call, cheaper than one by one.

    A STOW-RS request holds many; on an association many go out in one call of compiled code.
    """

    @property
    def batch(self) -> Batch:
        """What it wants to be given now, and may change from call to call; the first payload may be larger.

        So many images are leased ahead for it, but no call waits for a batch to fill.
        """

    def send_batch(self, payloads: Sequence[Payload], sent: list[Sent]) -> None:
        """Send `payloads`, of needs that are taken, and append what became of each to `sent`, in their order.

        The first is always sent. What was not begun is left out, from some payload to the end: it is due
        again at once, and not held against anybody. Raises as `EgressSession.send`, of the payload after
        those in `sent`.
        """


@runtime_checkable
class Finishes(Protocol):
    """An optional ability of destinations: what follows once no more images come, such as a DICOMDIR."""

    def finish(self) -> None:
        """Write now what would be written when no image has come for a while. Raises OSError."""


class Egress(Stage, Protocol):
    """A destination."""

    @property
    def sessions(self) -> int:
        """How many sessions may be open at once."""

    def connect(self, needs: Sequence[Need]) -> EgressSession:
        """Open a session that can say something of `needs`, of the first ones at least where there are many.

        Raises Temporary, or Permanent when the receiver rejects this node for good.
        """

    def probe(self) -> Outcome:
        """Ask the receiver whether it is there (C-ECHO or its like)."""

    def describe(self) -> Description:
        """What it is and does now: its peer, and its open sessions. As `Receiver.describe`."""


@dataclass(frozen=True, slots=True)
class Factory:
    """How the kernel makes a stage without knowing its type.

    `build(settings, config, next)` makes a Receiver, Transform or Egress; `next` is the Intake for receivers
    and None for all others. `listens(config)` is where a receiver will listen, `peer(config)` whom a
    destination will call; None where there is no such end, as with a folder. `resources(config)` names what
    else the stage has for itself, such as "folder:in"; two stages with one resource, or with one port, are
    refused before anything starts. `faults(config)` tells what the stage would miss if it were started here
    and now, such as a file (places from the stage's own table on); `doubts(config)`, likewise, what may be
    meant as it is written and hardly is, or works now and soon may not: `mapdr check` warns of it. Both
    change nothing and call nobody. `certificates(config)` are those of its files. `order` places a
    transform within a recipe; it is a function of its configuration where that says so. `files(config)` are
    those that its configuration was read from and holds the content of: it is kept with that, so that it
    means the same when they have changed or gone.
    """

    kind: str
    type: str
    config: Any
    build: Callable[[Settings, Any, Any], Any]
    resources: Callable[[Any], Sequence[str]] = lambda config: ()
    order: int | Callable[[Any], int] = 0
    faults: Callable[[Any], Iterable[Finding]] = lambda config: ()
    doubts: Callable[[Any], Iterable[Finding]] = lambda config: ()
    certificates: Callable[[Any], Iterable[Certificate]] = lambda config: ()
    files: Callable[[Any], Sequence[Path]] = lambda config: ()
    listens: Callable[[Any], Endpoint | None] = lambda config: None
    peer: Callable[[Any], Endpoint | None] = lambda config: None
