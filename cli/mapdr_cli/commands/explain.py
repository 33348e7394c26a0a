"""`mapdr explain FILE`: what the rules would do to a file, and why; nothing is stored or sent."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from pydicom.uid import UID
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mapdr.config.model import RuleConfig
from mapdr.config.site import site_key
from mapdr.dicom import gate
from mapdr.dicom.scan import ScannedHeader
from mapdr.kernel.errors import MapdrError, Permanent
from mapdr.kernel.item import Header, Instance, Payload, Routing, Source, TagPath
from mapdr.kernel.output import in_words
from mapdr.kernel.registry import Registry
from mapdr.kernel.stage import Settings
from mapdr.kernel.watch import Watch
from mapdr.node.plan import Plan
from mapdr.route.condition import leaves
from mapdr.route.explain import Explained
from mapdr.store.spool.headers import (
    INDEX_TAGS,
    MODALITY,
    SERIES_INSTANCE_UID,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    identity,
    is_cut,
    read_file_header,
)
from mapdr.transform.codecs.foreign import close_decoders
from mapdr.transform.codecs.table import Codecs
from mapdr.transform.pipeline import Pipeline, build_pipeline
from mapdr_cli import part10, words
from mapdr_cli.commands.check import load
from mapdr_cli.differences import changes, quality
from mapdr_cli.options import config_option, json_option, print_json
from mapdr_cli.render.terminal import Glyphs, console, glyphs

SHOWN = 64
"""Characters of a value; a description can fill a page."""


class NoMemory:
    """A memory that keeps nothing: every search begins anew."""

    def recall(self) -> Mapping[str, Any] | None:
        """Nothing."""
        return None

    def keep(self, facts: Mapping[str, Any]) -> None:
        """Nowhere."""


@click.command(short_help="What the rules would do to a file.")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--calling-ae", default="", metavar="TITLE", help="As if this AE title had sent it.")
@click.option("--called-ae", default="", metavar="TITLE", help="As if it had called this AE title.")
@click.option("--address", default="", metavar="ADDRESS", help="As if it came from this address.")
@click.option("--receiver", default="", metavar="NAME", help="As if this receiver had taken it.")
@config_option
@json_option
def explain(
    *, file: Path, calling_ae: str, called_ae: str, address: str, receiver: str, config: Path, as_json: bool
) -> None:
    """Show what the rules would do to FILE: which match and why, tags before and after, size and quality.

    Nothing is stored or sent. The output shows values of the file: it is for your own terminal. Exits 1 if
    a transform fails; the image would then be parked.
    """
    loaded, plan, registry = load(config)
    rules = loaded.config.rule if loaded.config is not None else ()
    source = Source(receiver or next(iter(plan.receivers), ""), calling_ae, called_ae, address)
    try:
        told = examine(file, plan, rules, registry, source)
    finally:
        close_decoders()
    if as_json:
        print_json(told)
    else:
        out = console()
        out.print(drawing(told, glyphs(out)))
    if any(delivery["error"] for delivery in told["deliveries"]):
        raise click.exceptions.Exit(1)


def examine(
    file: Path, plan: Plan, rules: Sequence[RuleConfig], registry: Registry, source: Source
) -> dict[str, Any]:
    """Everything that is to be told of one file. Raises Permanent if it is not DICOM, OSError."""
    found = part10.locate(file)
    header = _taken(found, INDEX_TAGS | plan.router.wanted)
    routing = plan.router.route(header, source)
    instance = Instance(
        id="0" * 32,
        source=source,
        sop_class_uid=identity(header.text(SOP_CLASS_UID), found.sop_class_uid),
        sop_instance_uid=identity(header.text(SOP_INSTANCE_UID), found.sop_instance_uid),
        study_instance_uid=header.text(STUDY_INSTANCE_UID),
        series_instance_uid=header.text(SERIES_INSTANCE_UID),
        modality=header.text(MODALITY),
        transfer_syntax_uid=found.transfer_syntax_uid,
        path=found.path,
        data_offset=found.offset,
        size=found.length,
        received_at=time.time(),
    )
    return {
        "file": str(file),
        "sop_class": _name(instance.sop_class_uid),
        "transfer_syntax": _name(found.transfer_syntax_uid),
        "bytes": found.length,
        "rules": [
            _rule(one, _reasons(rule, header, source))
            for one, rule in zip(plan.router.explain(header, source, values=True), rules, strict=True)
        ],
        "deliveries": list(_deliveries(routing, plan, registry, instance)),
    }


def _taken(found: part10.File, wanted: frozenset[TagPath]) -> ScannedHeader:
    """The header, read as the node does before it answers. Raises Permanent where the node would refuse."""
    against = gate.uid_objection(found.sop_class_uid, found.sop_instance_uid)
    if against is not None:
        raise Permanent(f"the node would refuse it: {against[1]}", reason="refused")
    syntax = found.transfer_syntax_uid
    try:
        header = read_file_header(
            found.path, found.offset, found.length, transfer_syntax_uid=syntax, wanted=wanted
        )
        with found.path.open("rb") as file:
            cut = is_cut(file.fileno(), found.offset, found.length, header, syntax)
    except Permanent as error:
        what = f"the node would refuse it, as it cannot be read: {error}"
        raise Permanent(what, reason=error.reason) from error
    objection = gate.objection(header, found.sop_class_uid, cut=cut)
    if objection:
        raise Permanent(f"the node would refuse it: {objection}", reason="refused")
    return header


def _name(uid: str) -> str:
    name = UID(uid).name
    return f"{name} ({uid})" if name != uid else uid


def _reasons(rule: RuleConfig, header: Header, source: Source) -> list[str]:
    """What a rule asks about, and what the file answers."""
    found = {}
    for leaf in leaves(rule.when):
        subject = leaf.subject
        texts = (getattr(source, subject),) if isinstance(subject, str) else header.texts(subject)
        found[leaf.label] = "\\".join(texts)
    return [f"{label} is {value or 'empty or absent'}" for label, value in found.items()]


def _rule(one: Explained, reasons: list[str]) -> dict[str, Any]:
    return {
        "name": one.rule,
        "matched": one.matched,
        "because": reasons if one.matched else [],
        "reached": one.reached,
        "failure": one.failure,
        "send_to": list(one.send_to),
        "shadowed": list(one.shadowed),
        "returned": list(one.returned),
    }


def _deliveries(
    routing: Routing, plan: Plan, registry: Registry, instance: Instance
) -> Sequence[dict[str, Any]]:
    """Each destination's payload; destinations with one recipe share the work."""
    results: dict[str, dict[str, Any]] = {}
    told = []
    for destination, recipe in routing.deliveries:
        if recipe not in results:
            results[recipe] = _prepare(plan, registry, recipe, instance)
        told.append({"destination": destination, **results[recipe]})
    return told


def _prepare(plan: Plan, registry: Registry, recipe: str, instance: Instance) -> dict[str, Any]:
    node = plan.node
    # The key is only looked at: explaining must not make one.
    known = (node.data / "keys" / "site.key").is_file()
    key = site_key(node.data) if known else bytes(32)
    settings = Settings("explain", node.name, node.data, key, Watch(), node.workers)
    codecs = Codecs(registry, settings)
    try:
        pipeline = build_pipeline(plan.recipes[recipe], registry, settings, codecs)
        started = time.perf_counter()
        payload = pipeline.prepare(instance, NoMemory())
        seconds = time.perf_counter() - started
    except MapdrError as error:
        return {"error": f"{getattr(error, 'reason', 'temporary')}: {error}"}
    except Exception as error:  # noqa: BLE001  fails closed in the node: tried again, then parked with this word
        return {"error": f"unexpected: {in_words(error)}"}
    before = Pipeline([], settings, codecs).prepare(instance, NoMemory())
    return _describe(before, payload, seconds, codecs, node.workers)


def _describe(
    before: Payload, after: Payload, seconds: float, codecs: Codecs, workers: int
) -> dict[str, Any]:
    told: dict[str, Any] = {
        "error": "",
        "treatment": str(after.treatment),
        "note": after.note,
        "transfer_syntax": _name(after.transfer_syntax_uid),
        "bytes": after.length,
        "milliseconds": round(seconds * 1000, 1),
        "changes": [],
        "unshown": "",
        "quality": quality(before, after, codecs, workers) if after.parts != before.parts else None,
    }
    try:
        told["changes"] = [asdict(one) for one in changes(before, after)]
    except Permanent as error:
        told["unshown"] = str(error)
    return told


def drawing(told: Mapping[str, Any], glyphs: Glyphs) -> RenderableType:
    """What `examine` found, for a terminal."""
    head = Text.assemble(
        (words.plain(told["file"]), "name"), f"\n{told['sop_class']}\n{told['transfer_syntax']}"
    )
    head.append(f"\n{words.size(told['bytes'])}\n")
    parts: list[RenderableType] = [head, Text("Rules", "head"), _rule_table(told["rules"], glyphs)]
    if not told["deliveries"]:
        parts.append(Text("\nNo rule sends it anywhere: it would be kept and shown as unrouted.", "warn"))
    for delivery in told["deliveries"]:
        parts.append(_delivery(delivery, told["bytes"], glyphs))
    return Group(*parts)


def _rule_table(rules: Sequence[Mapping[str, Any]], glyphs: Glyphs) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column(overflow="fold", ratio=1)
    for rule in rules:
        mark, said = Text(glyphs.cross, "faint"), Text(words.plain(rule["failure"]), "faint")
        if rule["matched"]:
            mark, said = Text(glyphs.check, "good"), _sends(rule, glyphs)
        elif not rule["reached"]:
            said = Text("not reached: an earlier rule says stop", "faint")
        table.add_row(mark, Text(words.plain(rule["name"]), "name"), said)
    return table


def _sends(rule: Mapping[str, Any], glyphs: Glyphs) -> Text:
    text = Text("matches")
    if rule["because"]:
        text.append(f", {_short(', '.join(rule['because']))}")
    for name in rule["send_to"]:
        text.append(f" {glyphs.to} {words.plain(name)}", "good")
        if name in rule["shadowed"]:
            text.append(" (an earlier rule decides what is done)", "warn")
        elif name in rule["returned"]:
            text.append(" (not sent: it came from there)", "warn")
    return text


def _delivery(delivery: Mapping[str, Any], size: int, glyphs: Glyphs) -> RenderableType:
    title = Text(f"\n{glyphs.to} {words.plain(delivery['destination'])}", "head")
    if delivery["error"]:
        return Group(title, Text(f"would be parked: {words.plain(delivery['error'])}", "bad"))
    facts = f"{delivery['treatment']}: {words.size(size)} {glyphs.to} {words.size(delivery['bytes'])}"
    if delivery["bytes"] < size:
        facts += f" (1:{size / delivery['bytes']:.1f})"
    lines: list[RenderableType] = [title, Text(f"{facts}, {delivery['transfer_syntax']}")]
    if delivery["note"]:
        lines.append(Text(words.plain(delivery["note"]), "warn"))
    if delivery["quality"]:
        lines.append(Text(_quality(delivery["quality"])))
    if delivery["unshown"]:
        lines.append(Text(f"what changes cannot be shown: {words.plain(delivery['unshown'])}", "warn"))
    elif delivery["changes"]:
        lines.append(_change_table(delivery["changes"]))
    else:
        lines.append(Text("no element changes", "faint"))
    return Group(*lines)


def _quality(measured: Mapping[str, Any]) -> str:
    if not measured["max_error"]:
        return "pixels: equal"
    psnr = "" if measured["psnr"] is None else f", PSNR {measured['psnr']:.1f} dB"
    return f"pixels: at most {measured['max_error']} off{psnr}"


def _change_table(rows: Sequence[Mapping[str, str]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="faint")
    for title in ("tag", "name"):
        table.add_column(title, no_wrap=True)
    for title in ("before", "after"):
        table.add_column(title, overflow="fold", ratio=1)
    for row in rows:
        values = (_short(row["before"]), _short(row["after"]))
        table.add_row(row["tag"], words.plain(row["name"]), *values)
    return table


def _short(value: str) -> str:
    value = words.plain(value)
    return value if len(value) <= SHOWN else value[: SHOWN - 3] + "..."
