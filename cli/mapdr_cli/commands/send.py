"""`mapdr send`: files through the router's own store and ledger, as safe as if a modality had sent them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click
import tomlkit
from click.exceptions import Exit
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from mapdr.config.lines import parse
from mapdr.config.read import Loaded, read_text
from mapdr.dicom.uids import MEDIA_STORAGE_DIRECTORY
from mapdr.kernel.errors import Permanent, Refused
from mapdr.kernel.item import Source
from mapdr.kernel.registry import Registry
from mapdr.node.plan import Plan, make_plan
from mapdr.notify.events import wanted_tags
from mapdr.store import Store
from mapdr.store.index.fault import index_named
from mapdr_cli import part10, words
from mapdr_cli.access import Access, node_runs
from mapdr_cli.commands.check import load
from mapdr_cli.commands.echo import choose
from mapdr_cli.options import config_option, json_option, print_json
from mapdr_cli.render.terminal import console

RULE = "mapdr send"
SOURCE = Source(receiver="send", calling_ae="", called_ae="", address="", protocol="file")
COPIED = 1 << 20


@dataclass
class Sent:
    """What became of the files: ids of those that are safe, and (file, reason) for those that are not.

    `not_indexed` counts those that are safe and that the index did not take.
    """

    ids: list[str] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    skipped: int = 0
    not_indexed: int = 0


@click.command(short_help="Send files through the node's store.")
@click.argument(
    "paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True)
)
@click.option(
    "--to",
    "destinations",
    metavar="NAME",
    multiple=True,
    help="Send the files there as they are; may be repeated. Otherwise the rules decide.",
)
@config_option
@json_option
def send(paths: tuple[Path, ...], destinations: tuple[str, ...], config: Path, as_json: bool) -> None:
    """Put files and folders of files into the node's store, to be delivered like images of a modality.

    They are safe when this command ends; `mapdr deliveries` shows what becomes of them. Files that are not
    DICOM are refused and named, and the exit status is then 1.
    """
    loaded, plan, registry = load(config)
    choose(plan, destinations)
    if destinations:
        loaded, plan = as_they_are(loaded, destinations, registry, config.parent)
    with index_named(plan.node.database_url(), plan.node.data):
        before = Access(plan)
        try:
            before.look_for_the_index()
        finally:
            before.close()
        store = open_store(plan)
    try:
        running = node_runs(store, plan.node.name)
        out = console(stderr=as_json)
        sent = put(store, loaded, plan, _watched(list(part10.files(paths)), out))
    finally:
        store.close()
    if as_json:
        refused = [{"file": name, "reason": reason} for name, reason in sent.refused]
        print_json(
            {
                "sent": sent.ids,
                "refused": refused,
                "skipped": sent.skipped,
                "not_indexed": sent.not_indexed,
                "node_runs": running,
            }
        )
    else:
        _report(out, sent, running)
    if sent.refused or sent.not_indexed:
        raise Exit(1)


def as_they_are(
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
        repeats=node.repeats,
    )


def put(store: Store, loaded: Loaded, plan: Plan, paths: Iterable[Path]) -> Sent:
    """Put files into the store; returns when all of them are safe, and indexed if the index takes them."""
    sent = Sent()
    store.use(
        loaded.revision,
        plan.router,
        plan.recipes,
        text=loaded.canonical,
        study_tags=wanted_tags(plan.webhooks.values()),
    )
    store.start()
    for path in paths:
        try:
            found = part10.locate(path)
            if found.sop_class_uid == MEDIA_STORAGE_DIRECTORY:
                sent.skipped += 1
                continue
            sent.ids.append(_put_one(store, found))
        except (Permanent, Refused) as error:
            sent.refused.append((str(path), str(error)))
        except OSError as error:
            sent.refused.append((str(path), error.strerror or type(error).__name__))
    store.stop(time.monotonic() + 60)
    sent.not_indexed = store.writer.waiting + store.writer.set_aside
    return sent


def _put_one(store: Store, found: part10.File) -> str:
    with found.path.open("rb") as file:
        file.seek(found.offset)
        incoming = store.spool.begin(
            SOURCE, found.sop_class_uid, found.sop_instance_uid, found.transfer_syntax_uid
        )
        try:
            while data := file.read(COPIED):
                incoming.write(data)
            incoming.commit()
        except BaseException:
            incoming.abort()
            raise
    return incoming.id


def _watched(paths: list[Path], out: Console) -> Iterator[Path]:
    """The files, with a bar on a terminal."""
    if not out.is_terminal:
        yield from paths
        return
    columns = (TextColumn("sending"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=out, transient=True) as progress:
        yield from progress.track(paths)


def _report(out: Console, sent: Sent, running: bool) -> None:
    for name, reason in sent.refused:
        out.print(f"{words.plain(name)}: {words.plain(reason)}", style="bad", soft_wrap=True)
    out.print(f"{words.many(len(sent.ids) - sent.not_indexed, 'image')} in the store, to be delivered.")
    if sent.not_indexed:
        what = words.many(sent.not_indexed, "image is", "images are")
        out.print(
            f"{what} safe in the spool, but the index does not take them; the node's next start tries again.",
            style="bad",
            soft_wrap=True,
        )
    if sent.skipped:
        out.print(f"{words.many(sent.skipped, 'DICOMDIR')} skipped.")
    if sent.ids and not running:
        out.print("The node is not running; they go out when it is started (mapdr run).", style="warn")
