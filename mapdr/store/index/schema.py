"""The index: what happened to each image. One schema for SQLite and PostgreSQL.

    source ─┐
    series ─┼─ instance ──< delivery ──< attempt
    study ──┘                  └─ recipe, word (destination, transfer syntax, reason)

Rows are narrow because every image writes some: names that repeat (destinations, UIDs of classes, titles)
stand once in the string table `word`, a study's and a series' UIDs once in their tables. An SOP Instance UID
is looked up through its series and a 64-bit hash, so that the images of a series lie side by side in the
index: a hash alone would spread each batch over the whole index (measured: 4 against 20 microseconds an image
with 400,000 rows). Times are seconds since the epoch.
"""

from __future__ import annotations

from enum import IntEnum

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    event,
    text,
)

VERSION = 5
"""Of the schema; kept in `fact`. `migrations` has the way from each one before."""


class State(IntEnum):
    """Where a delivery stands. The two that a worker may meet come first, what has ended comes last: the
    partial indexes and the retention rely on the order."""

    PENDING = 0
    LEASED = 1
    HELD = 2
    PARKED = 3
    DELIVERED = 4
    SUPERSEDED = 5  # a newer promise to the same destination stands in its place
    DISMISSED = 6  # a person said that it shall not be sent

    @property
    def word(self) -> str:
        """The state as listings, selections and settlements write it."""
        return self.name.lower()


ENDED = State.DELIVERED
"""This state and those after it are final: only the receiver's own Success changes one of them."""

UNDER_WAY = (State.PENDING, State.LEASED, State.HELD)
"""The image will be sent without anybody's doing: the same promise need not be made again."""

OWED = (State.PENDING, State.LEASED, State.HELD, State.PARKED)
"""Promised and not ended."""

REPLACEABLE = (State.PENDING, State.HELD, State.PARKED)
"""Not ended and not being sent: another promise, or another file, may take the place of the row's."""

AFTER_ATTEMPT = {state.word: state for state in (State.DELIVERED, State.PENDING, State.PARKED)}
"""The states that an attempt may leave a delivery or a webhook message in, by word."""


class Kind(IntEnum):
    """What an arrival is to those before it (design, decision 5)."""

    FIRST = 0
    ABSORBED = 1
    REPEAT = 2
    VERSION = 3


OPEN = "state < 2"
STUCK = "state IN (2, 3)"
LEASED = "state = 1"
UNROUTED = "routed = 0 AND purged_at IS NULL"
DUE = "due = 1"
"""Conditions of the partial indexes; a query must hold them literally for SQLite to use the index."""

metadata = MetaData()
_Id = BigInteger().with_variant(Integer, "sqlite")


def _key() -> Column[int]:
    return Column("id", _Id, primary_key=True, autoincrement=True)


def _partial(name: str, table: Table, columns: list[str], where: str) -> Index:
    return Index(name, *(table.c[column] for column in columns), sqlite_where=text(where))


@event.listens_for(metadata, "before_create")
def _give_conditions(_metadata: MetaData, connection: Connection, **_options: object) -> None:
    """Give partial indexes their conditions on PostgreSQL too.

    Not where they are declared: an option that names a dialect loads it, which costs every command 95 ms.
    """
    if connection.dialect.name == "postgresql":
        for index in (each for table in metadata.tables.values() for each in table.indexes):
            where = index.dialect_options["sqlite"]["where"]
            if where is not None:
                index.dialect_kwargs["postgresql_where"] = where


fact = Table("fact", metadata, Column("name", Text, primary_key=True), Column("value", Text, nullable=False))

word = Table("word", metadata, _key(), Column("text", Text, nullable=False, unique=True))

source = Table(
    "source",
    metadata,
    _key(),
    Column("receiver", Text, nullable=False),
    Column("calling_ae", Text, nullable=False),
    Column("called_ae", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("protocol", Text, nullable=False, server_default="dicom"),
    Column("credential", Text, nullable=False, server_default=""),
    Index(
        "source_whole",
        *("receiver", "calling_ae", "called_ae", "address", "protocol", "credential"),
        unique=True,
    ),
)

last_arrival = Table(  # when a source's last image came: a scan of the images would take seconds
    "last_arrival",
    metadata,
    Column("source", _Id, primary_key=True, autoincrement=False),
    Column("at", Float, nullable=False),
)

recipe = Table(
    "recipe",
    metadata,
    _key(),
    Column("hash", Text, nullable=False, unique=True),
    Column("body", Text),  # JSON; NULL when a rule named a recipe that nobody brought
)

study = Table(
    "study",
    metadata,
    _key(),
    Column("uid", Text, nullable=False, unique=True),
    Column("study_date", Text, nullable=False),  # YYYYMMDD or empty
    Column("first_at", Float, nullable=False),
    Column("last_at", Float, nullable=False),
    Column("tags", Text, nullable=False),  # JSON: path in hexadecimal digits -> value
    Index("study_by_date", "study_date"),
)

series = Table(
    "series",
    metadata,
    _key(),
    Column("study", _Id, nullable=False),
    Column("uid", Text, nullable=False),
    Index("series_whole", "study", "uid", unique=True),
)

instance = Table(
    "instance",
    metadata,
    Column("id", LargeBinary(16), primary_key=True),
    Column("series", _Id, nullable=False),
    Column("uid_hash", BigInteger, nullable=False),
    Column("sop_instance_uid", Text, nullable=False),
    Column("node", _Id, nullable=False),
    Column("source", _Id, nullable=False),
    Column("sop_class", _Id, nullable=False),
    Column("syntax", _Id, nullable=False),
    Column("modality", _Id, nullable=False),
    Column("data_offset", Integer, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("digest", LargeBinary(16), nullable=False),
    Column("received_at", Float, nullable=False),
    Column("revision", _Id, nullable=False),
    Column("kind", SmallInteger, nullable=False),
    Column("routed", SmallInteger, nullable=False),
    Column("purged_at", Float),
    Index("instance_by_series", "series", "uid_hash"),
    sqlite_with_rowid=False,
)
_partial("instance_unrouted", instance, ["series"], UNROUTED)

delivery = Table(
    "delivery",
    metadata,
    _key(),
    Column("instance", LargeBinary(16), nullable=False),
    Column("study", _Id, nullable=False),
    Column("destination", _Id, nullable=False),
    Column("batch", Integer, nullable=False),
    Column("priority", SmallInteger, nullable=False),  # kernel.item.Priority
    Column("recipe", _Id, nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("not_before", Float, nullable=False),
    Column("syntax", _Id, nullable=False, server_default="0"),
    Column("attempts", Integer, nullable=False, server_default="0"),  # those that count for giving up
    Column("tries", Integer, nullable=False, server_default="0"),  # all of them: rows in `attempt`
    Column("leased_until", Float),
    Column("owner", _Id),
    Column("settled_at", Float),
    Column("reason", Text),
    Column("comment", Text),
    Index("delivery_by_study", "study", "instance"),
)
_partial("delivery_queue", delivery, ["destination", "priority", "study", "id", "not_before"], OPEN)
_partial("delivery_leased", delivery, ["leased_until"], LEASED)
_partial("delivery_stuck", delivery, ["state", "destination"], STUCK)

attempt = Table(
    "attempt",
    metadata,
    Column("delivery", _Id, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("started_at", Float, nullable=False),
    Column("milliseconds", Integer, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("status", Integer),
    Column("comment", Text),
    Column("reason", Text),
    Column("bytes", BigInteger, nullable=False),
    Column("syntax", _Id, nullable=False),
    Column("sop_instance_uid", Text),  # NULL when it is the received one
    Column("treatment", Text),
    Column("credential", _Id),  # a `word`: what the receiver has proved to be; NULL if nothing
    sqlite_with_rowid=False,
)

derivation = Table(
    "derivation",
    metadata,
    Column("instance", LargeBinary(16), primary_key=True),
    Column("recipe", _Id, primary_key=True, autoincrement=False),
    Column("syntax", _Id, primary_key=True, autoincrement=False),
    Column("facts", Text, nullable=False),
)

death = Table(  # of the node, with an image in hand: see `store.queue.inhand`
    "death",
    metadata,
    Column("instance", LargeBinary(16), primary_key=True),
    Column("recipe", _Id, primary_key=True, autoincrement=False),
    Column("syntax", _Id, primary_key=True, autoincrement=False),
    Column("deaths", Integer, nullable=False),
)

job = Table(  # a re-route of a name, which goes on where it was: see `store.queue.jobs`
    "job",
    metadata,
    _key(),
    Column("name", Text, nullable=False, unique=True),
    Column("request", Text, nullable=False),  # a keyed hash of what was asked for
    Column("operator", Text, nullable=False),
    Column("started_at", Float, nullable=False),
)

job_image = Table(
    "job_image",
    metadata,
    Column("job", _Id, primary_key=True, autoincrement=False),
    Column("instance", LargeBinary(16), primary_key=True),
    Column("done", SmallInteger, nullable=False),
    sqlite_with_rowid=False,
)

correction = Table(  # of an image's values before its rules' recipe, with one batch of promises
    "correction",
    metadata,
    Column("instance", LargeBinary(16), primary_key=True),
    Column("batch", Integer, primary_key=True, autoincrement=False),
    Column("study", _Id, nullable=False),
    Column("operator", Text, nullable=False),
    Column("at", Float, nullable=False),
    Column("changes", Text, nullable=False),  # JSON: [[tag, old, new], ...]; empty once it is erased
    Index("correction_by_study", "study"),
    sqlite_with_rowid=False,
)

hold = Table(
    "hold",
    metadata,
    Column("destination", _Id, primary_key=True, autoincrement=False),
    Column("since", Float, nullable=False),
)

alarm = Table(  # what holds at a node and was told: see `store.alarms`
    "alarm",
    metadata,
    Column("node", Text, primary_key=True),
    Column("event", Text, primary_key=True),  # that which tells its beginning
    Column("subject", Text, primary_key=True),
    Column("level", Text, nullable=False),
    Column("since", Float, nullable=False),
    Column("facts", Text, nullable=False),  # JSON
)

tally = Table(
    "tally",
    metadata,
    Column("day", Integer, primary_key=True, autoincrement=False),  # YYYYMMDD, the node's local day
    Column("destination", _Id, primary_key=True, autoincrement=False),  # 0: received
    Column("origin", _Id, primary_key=True, autoincrement=False),  # the peer's name; 0: all of them
    Column("modality", _Id, primary_key=True, autoincrement=False),  # -1: every one, of `studies` alone
    Column("images", BigInteger, nullable=False),
    Column("studies", BigInteger, nullable=False),
    Column("repeats", BigInteger, nullable=False),
    Column("versions", BigInteger, nullable=False),
    # Of data sets, repeats and versions too: as received of what came or was delivered, and as delivered.
    Column("bytes_received", BigInteger, nullable=False, server_default="0"),
    Column("bytes_sent", BigInteger, nullable=False, server_default="0"),
)

hourly = (
    Table(  # images by the hour of the local day; one that a change of daylight-saving time repeats is one
        "hourly",
        metadata,
        Column("day", Integer, primary_key=True, autoincrement=False),
        Column("hour", SmallInteger, primary_key=True, autoincrement=False),
        Column("destination", _Id, primary_key=True, autoincrement=False),  # 0: received
        Column("images", BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
)

delay = Table(  # images by the time from arrival to delivery: see `delays`
    "delay",
    metadata,
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("destination", _Id, primary_key=True, autoincrement=False),
    Column("origin", _Id, primary_key=True, autoincrement=False),
    Column("modality", _Id, primary_key=True, autoincrement=False),
    Column("bucket", SmallInteger, primary_key=True, autoincrement=False),
    Column("images", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

failure = Table(  # attempts that did not deliver, and how many of them left their image parked
    "failure",
    metadata,
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("destination", _Id, primary_key=True, autoincrement=False),
    Column("origin", _Id, primary_key=True, autoincrement=False),
    Column("modality", _Id, primary_key=True, autoincrement=False),
    Column("reason", Text, primary_key=True),
    Column("attempts", BigInteger, nullable=False),
    Column("parked", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

tallied = Table(
    "tallied",
    metadata,
    Column("study", _Id, primary_key=True, autoincrement=False),
    Column("destination", _Id, primary_key=True, autoincrement=False),
    Column("origin", _Id, primary_key=True, autoincrement=False),
    Column("modality", _Id, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)

progress = Table(
    "progress",
    metadata,
    Column("study", _Id, primary_key=True, autoincrement=False),
    Column("destination", _Id, primary_key=True, autoincrement=False),  # 0: received
    Column("changed_at", Float, nullable=False),
    Column("due", SmallInteger, nullable=False),
    Column("announced", Integer, nullable=False),
)
_partial("progress_due", progress, ["changed_at"], DUE)

outbox = Table(
    "outbox",
    metadata,
    _key(),
    Column("key", Text, nullable=False, unique=True),
    Column("hook", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("payload", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("not_before", Float, nullable=False),
    Column("leased_until", Float),
    Column("attempts", Integer, nullable=False),
    Column("settled_at", Float),
    Column("status", Integer),
    Column("comment", Text),
    Column("study", _Id),  # whose messages keep their order; negative: an alarm
    Column("shown", Text),  # the payload without identifying values: empty if it has none, null if unknown
    Column("tried_at", Float),
    Column("asked_at", Float),  # when a person had it sent again
)
_partial("outbox_queue", outbox, ["hook", "not_before"], OPEN)
_partial("outbox_order", outbox, ["hook", "id"], OPEN)
_partial("outbox_study", outbox, ["hook", "study"], OPEN)
_partial("outbox_stuck", outbox, ["state", "hook"], STUCK)

command = Table(
    "command",
    metadata,
    _key(),
    Column("node", Text, nullable=False),  # empty: every node may take it
    Column("name", Text, nullable=False),
    Column("arguments", Text, nullable=False),
    Column("given_at", Float, nullable=False),
    Column("taken_at", Float),
    Column("done_at", Float),
    Column("result", Text),
)
_partial("command_waiting", command, ["id"], "taken_at IS NULL")

heartbeat = Table(
    "heartbeat",
    metadata,
    Column("node", Text, primary_key=True),
    Column("at", Float, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("process", BigInteger, nullable=False),
    Column("counters", Text, nullable=False),
)
