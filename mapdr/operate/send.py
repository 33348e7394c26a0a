"""Files through the node's own store and ledger, as safe as if a modality had sent them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import tomlkit

from mapdr.config.lines import parse
from mapdr.config.read import Loaded, read_text
from mapdr.config.revision import keep_revision
from mapdr.dicom.uids import MEDIA_STORAGE_DIRECTORY
from mapdr.kernel.errors import Permanent, Refused
from mapdr.kernel.privacy import system_says
from mapdr.kernel.registry import Registry
from mapdr.node.plan import Plan, make_plan
from mapdr.notify.events import wanted_tags
from mapdr.operate import part10
from mapdr.operate.access import Access
from mapdr.operate.configuration import Configuration
from mapdr.operate.names import known_destinations
from mapdr.operate.sources import BY_SEND
from mapdr.store import Store
from mapdr.store.index.fault import index_named

RULE = "mapdr send"
COPIED = 1 << 20


@dataclass(frozen=True, slots=True)
class NotTaken:
    """A file that was refused, and why."""

    file: str
    comment: str


@dataclass
class SendReport:
    """What became of the files: ids of the `images` that are safe, and what was `refused`.

    `skipped` are directories of media (DICOMDIR); `not_indexed` counts those that are safe and that the index
    did not take. `node_runs`: whether they go out now, or when the node is started.
    """

    images: list[str] = field(default_factory=list)
    refused: list[NotTaken] = field(default_factory=list)
    skipped: int = 0
    not_indexed: int = 0
    node_runs: bool = False


def send(
    paths: Iterable[Path],
    configuration: Configuration,
    *,
    to: Sequence[str] = (),
    watched: Callable[[list[Path]], Iterable[Path]] = iter,
) -> SendReport:
    """Put files, and all files of folders, into the store of the configured node.

    With `to` they go to these destinations as they are; otherwise the rules decide. `watched` may look at the
    files as they are taken. Raises RequestError for an unknown destination, and MapdrError where the node
    runs and its index is not where it was.
    """
    loaded, plan = configuration.loaded, configuration.plan
    known_destinations(plan, to)
    if to:
        loaded, plan = _as_they_are(loaded, to, configuration.registry, configuration.path.parent)
    with index_named(plan.node.database_url(), plan.node.data):
        before = Access(plan)
        try:
            before.look_for_the_index()
            running = before.running() is not None
        finally:
            before.close()
        store = open_store(plan)
    try:
        sent = _put(store, loaded, plan, watched(list(part10.files(paths))))
        sent.node_runs = running
    finally:
        store.close()
    return sent


def _as_they_are(
    loaded: Loaded, destinations: Iterable[str], registry: Registry, base: Path
) -> tuple[Loaded, Plan]:
    """The configuration with one rule in place of all others: everything goes to `destinations`, unchanged.

    It is a revision of its own, so that a crash does not let other rules decide over what was half done.
    """
    values = parse(loaded.text).values
    values["rule"] = [{"name": RULE, "when": {}, "send_to": list(dict.fromkeys(destinations))}]
    changed = read_text(tomlkit.dumps(values), registry, file=loaded.file, base=base)
    if changed.config is None or changed.problems:
        raise Permanent("the configuration cannot be rewritten for --to", reason="send")
    return changed, make_plan(changed.config, registry)


def open_store(plan: Plan) -> Store:
    """The node's store, made if there is none."""
    node = plan.node
    return Store.open(
        node.data,
        node.name,
        database=node.database_url(),
        durability=node.durability,
        min_free=node.min_free,
        low_free=node.low,
        repeats=node.repeats,
    )


def taking(store: Store, loaded: Loaded, plan: Plan) -> None:
    """Have the store take images, under this configuration."""
    keep_revision(plan.node.data, loaded)
    tags = wanted_tags(plan.webhooks.values())
    store.use(loaded.revision, plan.router, plan.recipes, study_tags=tags)
    store.start()


def _put(store: Store, loaded: Loaded, plan: Plan, paths: Iterable[Path]) -> SendReport:
    """Put files into the store; returns when all of them are safe, and indexed if the index takes them."""
    sent = SendReport()
    taking(store, loaded, plan)
    for path in paths:
        try:
            found = part10.locate(path)
            if found.sop_class_uid == MEDIA_STORAGE_DIRECTORY:
                sent.skipped += 1
                continue
            sent.images.append(_put_one(store, found))
        except (Permanent, Refused) as error:
            sent.refused.append(NotTaken(str(path), str(error)))
        except OSError as error:
            sent.refused.append(NotTaken(str(path), system_says(error)))
    store.stop(time.monotonic() + 60)
    sent.not_indexed = store.writer.waiting + store.writer.set_aside
    return sent


def _put_one(store: Store, found: part10.File) -> str:
    with found.path.open("rb") as file:
        file.seek(found.offset)
        incoming = store.spool.begin(
            BY_SEND, found.sop_class_uid, found.sop_instance_uid, found.transfer_syntax_uid
        )
        try:
            while data := file.read(COPIED):
                incoming.write(data)
            incoming.commit()
        except BaseException:
            incoming.abort()
            raise
    return incoming.id
