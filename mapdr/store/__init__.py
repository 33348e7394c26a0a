"""Makes images safe, knows what happened to each, and holds the queue of deliveries.

    spool/   files: an image from its first byte to its final name, flushed (the order: `spool.files`)
    index/   the database: schema, string table, studies, counters, and what people look at
    queue/   deliveries: arrivals become rows (`ingest`), rows are leased and settled (`ledger`), shown
             (`listing`), changed by people (`actions`) and promised anew (`reroute`)

`spool` knows nothing of the other two, `index` nothing of `queue`. Above them: the writer enters arrivals in
batches; recovery puts in order what a crash left, by the `rules` that images came under; retention purges
files; the outbox holds what webhooks are told (`study_events`); the clock moves due times. This package alone
touches the database.
"""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mapdr._fast import RunQueue
from mapdr.kernel.durable import Durability, sync_folder
from mapdr.kernel.item import TagPath
from mapdr.kernel.permissions import make_private
from mapdr.kernel.privacy import system_says
from mapdr.kernel.watch import Watch
from mapdr.store.alarms import RaisedAlarms
from mapdr.store.clock import Clock
from mapdr.store.erasure import Erasure
from mapdr.store.index.arrivals import LastArrivals
from mapdr.store.index.commands import RESTS, RESTS_ELSEWHERE, Commands
from mapdr.store.index.corrections import Corrections
from mapdr.store.index.counters import Counters
from mapdr.store.index.counts import Counts
from mapdr.store.index.database import BUSY_SECONDS, Database
from mapdr.store.index.figures import Figures
from mapdr.store.index.instances import Instances
from mapdr.store.index.overview import Overview
from mapdr.store.index.recipes import Recipes
from mapdr.store.index.selection import Selection
from mapdr.store.index.strings import Sources, StringTable
from mapdr.store.index.studies import Studies
from mapdr.store.messages import OutboxEntry
from mapdr.store.outbox import Outbox
from mapdr.store.queue.actions import Actions
from mapdr.store.queue.comparison import Repeats
from mapdr.store.queue.ingest import Ingest
from mapdr.store.queue.inhand import InHand
from mapdr.store.queue.jobs import Jobs
from mapdr.store.queue.ledger import Ledger
from mapdr.store.queue.listing import Listing
from mapdr.store.queue.reroute import Rerouting
from mapdr.store.queue.settle import Settlement
from mapdr.store.recover import Recovered, Recovery
from mapdr.store.retention import Purged, Retention
from mapdr.store.rules import EarlierRules, Router, Rules, RulesFor
from mapdr.store.spool.claim import Claim, node_file
from mapdr.store.spool.durable import make_folder
from mapdr.store.spool.files import MOST_WAITING, Spool
from mapdr.store.spool.folder import SpoolFolder
from mapdr.store.spool.headers import INDEX_TAGS, STUDY_TAGS, Reading
from mapdr.store.spool.journal.journal import Journal
from mapdr.store.spool.journal.keeper import Keeper
from mapdr.store.spool.journal.replay import journal_folder, replay
from mapdr.store.spool.room import DiskFigures
from mapdr.store.study_events import StudyEvent, StudyEvents
from mapdr.store.unrouted import UnroutedRetention
from mapdr.store.writer import Writer

__all__ = [
    "OutboxEntry",
    "Purged",
    "Rules",
    "Selection",
    "Settlement",
    "Store",
    "StudyEvent",
]


log = logging.getLogger("mapdr.store")

CLAIM_SECONDS = 10.0
"""How long a node waits at its start for another process of its name."""


class Store:
    """One node's store. Any process may open it to read and to change deliveries; who takes images calls
    `use`, `recover` (the node only) and `start` too, in this order."""

    def __init__(
        self,
        data: Path,
        node: str,
        database: Database,
        *,
        durability: Durability,
        journal: bool,
        min_free: int,
        low_free: int,
        repeats: Repeats,
        on_commit: Callable[[frozenset[str]], None],
        watch: Watch | None,
    ) -> None:
        self.data = data
        self.node = node
        self.durability = durability
        self.database = database
        folder = SpoolFolder(data, node)
        # The index.
        self.strings = StringTable(database)
        self.sources = Sources(database)
        self.recipes = Recipes(database, self.strings)
        self.studies = Studies(database)
        self.arrivals = LastArrivals(database, self.sources, node)
        self.counters = Counters(database)
        self.instances = Instances(database, self.strings, self.sources, folder)
        self.counts = Counts(database, self.strings)
        self.figures = Figures(database, self.strings)
        self.overview = Overview(database, self.strings, self.sources)
        self.corrections = Corrections(database, self.strings)
        self.commands = Commands(database, node)
        # The queue.
        self.ledger = Ledger(
            database,
            strings=self.strings,
            sources=self.sources,
            recipes=self.recipes,
            instances=self.instances,
            studies=self.studies,
            counters=self.counters,
        )
        self.listing = Listing(database, self.strings, self.recipes)
        self.actions = Actions(database, self.strings, self.studies)
        self.rerouting = Rerouting(
            database,
            strings=self.strings,
            recipes=self.recipes,
            instances=self.instances,
            studies=self.studies,
        )
        self.jobs = Jobs(database)
        self.ingest = Ingest(
            database,
            strings=self.strings,
            sources=self.sources,
            recipes=self.recipes,
            studies=self.studies,
            arrivals=self.arrivals,
            counters=self.counters,
            node=node,
            repeats=repeats,
            intact=self.instances.intact,
        )
        self.in_hand = InHand(folder.folder / "in-hand", database, self.strings, self.recipes)
        # What stands above the rooms, and the way in: images go from the spool to the writer.
        runs = RunQueue(MOST_WAITING)
        self.writer = Writer(
            self.ingest, folder.discard, runs, ready=database.check_file, on_commit=on_commit, watch=watch
        )
        self.spool = Spool(
            data,
            node,
            durability,
            min_free=min_free,
            low_free=low_free,
            submit=self.writer.submit,
            runs=runs,
            on_lane=self.writer.wake,
            refusing=lambda: self.writer.failing,
        )
        self.outbox = Outbox(database)
        self.study_events = StudyEvents(database, self.strings, self.outbox)
        self.alarms = RaisedAlarms(database, self.outbox, node)
        self.retention = Retention(database, self.spool)
        self.erasure = Erasure(database, self.strings, self.studies, folder)
        self.unrouted = UnroutedRetention(database, self.strings, self.spool)
        self._clock = Clock(database)
        self._with_journal = journal and durability == "power-loss"
        self._keeper: Keeper | None = None
        self._no_journal = ""
        self._replayed = False
        self._claim = Claim(folder.folder / "claim", node)
        self._node_claim = Claim(node_file(data, node), node)

    @classmethod
    def open(
        cls,
        data: Path,
        node: str,
        *,
        database: str = "sqlite",
        durability: Durability = "power-loss",
        journal: bool = False,
        min_free: int = 0,
        low_free: int = 0,
        repeats: Repeats = "forward",
        busy: float = BUSY_SECONDS,
        on_commit: Callable[[frozenset[str]], None] = lambda destinations: None,
        watch: Watch | None = None,
    ) -> Store:
        """Open a node's store, making what is missing. Raises ConfigurationError, OSError.

        `journal`: whether images are made safe by the journal, under "power-loss": for the node alone, which
        has its folder for itself;
        `min_free`: bytes of disk that stay free; `low_free`: bytes below which less is kept and taken;
        `repeats`: whether an image that was delivered before and is pushed again is delivered again;
        `busy`: seconds to wait while another process holds the index;
        `on_commit` is called, by the writer's thread, with the destinations that have new work.
        """
        data = Path(data).absolute()
        above = [data.parent, *(each.parent for each in data.parents if not each.is_dir())]
        make_private(data)
        if durability == "power-loss":
            for each in above:
                sync_folder(each)
        opened = Database.open(database, data, durability, busy)
        try:
            return cls(
                data,
                node,
                opened,
                durability=durability,
                journal=journal,
                min_free=min_free,
                low_free=low_free,
                repeats=repeats,
                on_commit=on_commit,
                watch=watch,
            )
        except BaseException:
            opened.close()
            raise

    def use(
        self,
        revision: str,
        router: Router,
        recipes: Mapping[str, Mapping[str, Any]],
        *,
        study_tags: frozenset[TagPath] = frozenset(),
    ) -> None:
        """Take a configuration revision into use: its rules and recipes, from the next object on.

        Recovery asks for these rules by `revision`: keep its text first (`mapdr.config.revision`).
        `study_tags` are kept with each study, for what webhooks tell. Objects under way end under the
        revision that they began with.
        """
        self.recipes.add(recipes)
        tags = STUDY_TAGS | study_tags
        self.ingest.use(tags)
        self.writer.use(revision, router.route)
        self.spool.use(Reading(revision, INDEX_TAGS | router.wanted | tags), router.route)

    def recover(self, rules_for: RulesFor) -> Recovered:
        """Put in order what a crash left, before `start`; see `mapdr.store.recover`.

        From here to `close` no other process can be this node. Raises ConfigurationError when another one
        still is, or adds images, after CLAIM_SECONDS.
        """
        make_folder(self.spool.folder, self.durability, within=self.data)
        self._node_claim.alone(CLAIM_SECONDS)
        last = self.commands.last_beat()
        with self._claim.exclusive(CLAIM_SECONDS):
            recovery = Recovery(
                self.database,
                spool=self.spool,
                ingest=self.ingest,
                ledger=self.ledger,
                in_hand=self.in_hand,
                rules=EarlierRules(rules_for, self.recipes),
                last_beat=last.at if last is not None else None,
            )
            self.outbox.release()
            replayed = replay(self.spool)
            self._replayed = True
            if replayed:
                log.info("%d images were written anew from the journal", replayed)
            return recovery.run()

    def start(self) -> None:
        """Begin to take arrivals. Raises ConfigurationError while another process recovers this node."""
        make_folder(self.spool.folder, self.durability, within=self.data)
        self._claim.shared(CLAIM_SECONDS)
        self.spool.after(self.instances.newest())
        last = self.commands.last_beat()
        self._clock.begin(last.at if last is not None else None)
        self.arrivals.resume(last.lived_until if last is not None else None, time.time())
        if self._with_journal:
            self._begin_journal()
        self.writer.start()

    def stop(self, deadline: float) -> None:
        """Write what waits, by `deadline` (time.monotonic()). Safe twice and without `start`."""
        self.writer.stop(deadline)
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.stop()
        self._claim.release()

    def close(self) -> None:
        """Stop, and give the database back. Safe twice."""
        self.stop(time.monotonic() + 10)
        self.in_hand.stop()
        self.database.close()
        self._node_claim.release()

    def look_at_the_index(self) -> str:
        """Whether it is still the one that was opened: if not, nothing is taken. Why nothing is, for this
        reason or another; empty if all is well."""
        self.writer.check()
        return self.refusing

    @property
    def refusing(self) -> str:
        """Why nothing is taken, in words; empty if all is well."""
        if self.writer.failing and not self.spool.trust.lost:
            return f"the index cannot be written: {self.writer.failing}"
        return self.spool.trust.lost

    @property
    def without_journal(self) -> str:
        """Why the journal that is configured is not in use, in words with the cure; empty if it is, or none
        is. After a fault of the disk nothing is taken at all: `refusing`."""
        journal = self.spool.journal
        return self._no_journal if journal is None else journal.gone

    @property
    def rests(self) -> float:
        """Seconds between two signs of life at most."""
        return RESTS if self.database.is_file else RESTS_ELSEWHERE

    def changes(self) -> object:
        """What is another after each commit to the index, by any process, and costs no query."""
        return self.database.version()

    def look_at_the_clock(self) -> float:
        """Move due times if the clock was set since the last call; by how many seconds it was, or 0."""
        jump = self._clock.look()
        if jump:
            self.commands.moved(jump)
        return jump

    def look_at_the_disk(self) -> DiskFigures:
        """How full it is, and what is done about that. Raises OSError if it cannot be asked."""
        self.spool.room.look()
        return self.spool.room.figures

    def flow(self) -> dict[str, Any]:
        """For the sign of life: images in each of the last 60 minutes, oldest first, by who sent them and by
        destination; the last minute is not over, and `elapsed` seconds of it are."""

        def named(told: Mapping[int, list[int]]) -> dict[str, list[int]]:
            return {self.strings.text(number): images for number, images in told.items()}

        return {
            "elapsed": round(self.counters.sources.elapsed(), 1),
            "sources": named(self.counters.sources.told()),
            "destinations": named(self.counters.destinations.told()),
        }

    def health(self) -> dict[str, Any]:
        """For the sign of life: `refusing` says why nothing is taken (empty: all is well), `without_journal`
        why a configured journal is not in use (likewise), `set_aside` how many images are safe that the index
        does not take, `disk` what is done about a filling disk, `expiring` how many unrouted images are
        purged within a week, and when the first."""
        return {
            "refusing": self.refusing,
            "without_journal": self.without_journal,
            "set_aside": self.writer.set_aside,
            "disk": self.spool.room.figures.step.word,
            "expiring": {"images": self.unrouted.expiring.images, "at": self.unrouted.expiring.first_at},
        }

    def _begin_journal(self) -> None:
        if not self._replayed:  # a journal that is opened forgets what it held
            replay(self.spool)
        self._replayed = False
        try:
            journal = Journal(
                journal_folder(self.spool), self.spool.trust, min_free=lambda: self.spool.room.min_free
            )
        except OSError as error:  # a full disk, say: what is there is to be delivered
            said = system_says(error)
            log.error("there is no journal: its files cannot be made (%s); images are flushed", said)
            cure = "make room on the disk, and" if error.errno == errno.ENOSPC else "see to that, and"
            self._no_journal = f"its files could not be made ({said}); {cure} restart the node"
            return
        self._no_journal = ""
        self._keeper = Keeper(journal)
        self._keeper.start()
        self.spool.journal = journal
