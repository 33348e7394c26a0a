"""What is shown of a node: plain values that the dashboard draws and `--json` prints.

Fields that are called `at` or end in `_at` are moments in seconds since the epoch; those that end in
`_seconds` are lengths of time. `reason` is a short stable word; `comment` says it in words for a person.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Counted:
    """Distinct images, and studies by their first image."""

    images: int
    studies: int


@dataclass(frozen=True, slots=True)
class Counts:
    """The counts of local days: by modality, and by destination and modality."""

    received: Mapping[str, Counted]
    delivered: Mapping[str, Mapping[str, Counted]]


@dataclass(frozen=True, slots=True)
class ExtraCounts:
    """Images that are counted beside those of today (repeats or versions), and by destination."""

    received: int
    delivered: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class FlowRates:
    """Images and bytes a second over the last seconds; None before there are two moments to compare."""

    received: float | None
    delivered: float | None
    received_bytes: float | None
    delivered_bytes: float | None


@dataclass(frozen=True, slots=True)
class LastHour:
    """Images a second in each of the last 60 minutes, oldest first, by source (`Source.peer`) and by
    destination; the last minute is not over yet. Who had none in that hour is left out."""

    sources: Mapping[str, Sequence[float]]
    destinations: Mapping[str, Sequence[float]]


@dataclass(frozen=True, slots=True)
class Receiver:
    """A receiver; `associations` are those that are open, None while the node does not say."""

    name: str
    ae_title: str
    address: str
    associations: int | None


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """The node itself. `state` is running, draining, stopped, silent or unknown; `disk_free` in bytes,
    `disk_step` what it does about a filling disk (`mapdr.store.spool.room`).

    What comes from its sign of life is None as long as there is none. No part of the JSON: `disk_floor`, the
    bytes free below which it refuses images, and `index_bytes`, the size of the index, None if it is no file.
    """

    name: str
    state: str
    started_at: float | None
    uptime_seconds: float | None
    heartbeat_age_seconds: float | None
    process: int | None
    durability: str
    data: str
    disk_free: int | None
    receivers: Sequence[Receiver]
    disk_step: str | None = None
    disk_floor: int = field(default=0, metadata={"json": False})
    index_bytes: int | None = field(default=None, metadata={"json": False})


@dataclass(frozen=True, slots=True)
class Sender:
    """A peer that sends, by its name (`mapdr.kernel.item.Source.peer`), and the receivers that know it.

    `today` counts distinct images, `last_at` is when its last one came, None if that is not known; `silent`:
    it normally sends, and has sent nothing for long.
    """

    name: str
    receivers: Sequence[str]
    today: int
    last_at: float | None
    silent: bool


@dataclass(frozen=True, slots=True)
class Destination:
    """How a destination stands: `state` is idle, untried, sending, waiting, held, down, stopped or unknown.

    `reason` is one of `waits.REASONS`, empty where nothing waits or all goes well; `fault` is what its egress
    raised since it last sent something. Counts are deliveries; `queue` is pending and leased together,
    `uncompressed` those sent without the compression of their rule since the node started, `oldest_seconds`
    how long the oldest one waits, `rate` images a second, `quiet_seconds` for how long nothing of a study
    must have come before it is sent, `closed_until` when its hours open next, None while they are open;
    `saved` is the share of the bytes as received that today's deliveries saved, None if there were none.
    """

    name: str
    state: str
    reason: str
    comment: str
    fault: str
    queue: int
    pending: int
    leased: int
    held: int
    parked: int
    parked_reasons: Mapping[str, int]
    uncompressed: int
    oldest_seconds: float | None
    rate: float
    next_try_at: float | None
    quiet_seconds: float
    closed_until: float | None = None
    saved: float | None = None


@dataclass(frozen=True, slots=True)
class KnownCertificate:
    """A certificate that a stage shows or trusts, or that its peer has shown, and what is said of its end."""

    stage: str
    text: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class Hook:
    """A webhook's messages; `comment` says how its last attempt failed, empty if it is in no trouble."""

    name: str
    pending: int
    parked: int
    comment: str
    next_try_at: float | None


@dataclass(frozen=True, slots=True)
class Webhooks:
    """All webhooks' messages together, and each."""

    pending: int
    parked: int
    hooks: Sequence[Hook]


@dataclass(frozen=True, slots=True)
class Attention:
    """Something that a person should look at: `level` is warn or bad."""

    kind: str
    level: str
    text: str


@dataclass(frozen=True, slots=True)
class EventText:
    """An event in words: `level` is good, info, warn or bad."""

    at: float | None
    kind: str
    level: str
    text: str


@dataclass(frozen=True, slots=True)
class NodeState:
    """A node's state at one moment, complete. `day` is the local day that `today` counts.

    `history` holds earlier rates for the drawing, oldest first, `last_hour` those by source and destination;
    `senders` are those that sent lately, the last one first (`mapdr sources` tells all), `certificates` those
    that are in use, the first to end first. None of them is part of the JSON.
    """

    at: float
    day: str
    node: NodeInfo
    today: Counts
    repeats: ExtraCounts
    versions: ExtraCounts
    pending: int
    parked: int
    unrouted: int
    rates: FlowRates
    destinations: Sequence[Destination]
    webhooks: Webhooks
    attention: Sequence[Attention]
    events: Sequence[EventText]
    history: Mapping[str, Sequence[float]] = field(default_factory=dict, metadata={"json": False})
    senders: Sequence[Sender] = field(default=(), metadata={"json": False})
    last_hour: LastHour = field(default=LastHour({}, {}), metadata={"json": False})
    certificates: Sequence[KnownCertificate] = field(default=(), metadata={"json": False})
