"""Reads a configuration file: every problem at once, each with its line.

`read` never raises for what the file says; `Loaded.problems` holds it. Names that point from one table to
another are checked by `node.plan`, whose findings `Loaded.locate` gives their lines.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomlkit
from pydantic import TypeAdapter

from mapdr.config.lines import Malformed, parse
from mapdr.config.lists import check_lists
from mapdr.config.model import Config, NamedStage, NodeConfig, RuleConfig, RuleHead, WebhookConfig, check_name
from mapdr.config.payload import check_payload
from mapdr.config.problem import Problem, locate
from mapdr.config.validate import validate
from mapdr.config.when import parse_when
from mapdr.kernel.errors import Unavailable
from mapdr.kernel.finding import Finding, Place, instead
from mapdr.kernel.page import page_factory
from mapdr.kernel.privacy import in_words, system_says
from mapdr.kernel.registry import Plugin, Registry

TABLES = ("egress", "node", "receive", "rule", "web", "webhook")
RULE_KEYS = ("name", "priority", "send_to", "stop", "when")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration as read. `config` is None only if the text is not TOML or cannot be read.

    `revision` is the SHA-256, in hex, of `canonical`: the configuration without comments and layout, and with
    what the files of its transforms hold.
    """

    file: str
    text: str
    config: Config | None
    problems: tuple[Problem, ...]
    canonical: str = ""
    revision: str = ""
    lines: Mapping[Place, int] = field(default_factory=dict)
    rules: Mapping[int, str] = field(default_factory=dict)

    def locate(self, findings: Iterable[Finding]) -> tuple[Problem, ...]:
        """The findings as problems with lines, in the order of the file."""
        return _sorted(locate(finding, self.file, self.lines, self.rules) for finding in findings)


def read(path: Path, registry: Registry | None = None, *, rules: bool = True, unknown: str = "") -> Loaded:
    """The configuration in the file `path`; relative paths in it start from its folder.

    Problems name the file as `path` does; paths in the configuration come out absolute, so that they stay
    what they are by whichever way the file is named. Without `rules`, rules are left out, and so is what is
    wrong with them: who only looks at a node needs neither the dictionary of tags nor the transforms.
    `unknown` is added to the cure for a type that the registry does not know.
    """
    name = str(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        what = f"cannot be read ({system_says(error)})"
        cure = "name another file with --config, or write one with: mapdr init"
        return Loaded(name, "", None, (Problem(name, 0, "", what, cure),))
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        return Loaded(
            name, "", None, (Problem(name, line, "", "is not UTF-8 text", "save the file as UTF-8"),)
        )
    base = Path(os.path.abspath(path)).parent
    return read_text(text, registry, file=name, base=base, rules=rules, unknown=unknown)


def read_text(
    text: str,
    registry: Registry | None = None,
    *,
    file: str = "mapdr.toml",
    base: Path = Path(),
    rules: bool = True,
    unknown: str = "",
) -> Loaded:
    """The configuration in `text`; relative paths in it start from `base`. The rest is as for `read`."""
    try:
        document = parse(text)
    except Malformed as error:
        return Loaded(
            file,
            text,
            None,
            (Problem(file, error.line, "", str(error), error.cure),),
        )
    reader = _Reader(registry or Registry(), base, unknown)
    config = reader.config(document.values, rules)
    canonical = tomlkit.dumps(reader.written_out(document.values), sort_keys=True)
    names = _rule_names(document.values.get("rule"))
    return Loaded(
        file=file,
        text=text,
        config=config,
        problems=_sorted(locate(finding, file, document.lines, names) for finding in reader.findings),
        canonical=canonical,
        revision=hashlib.sha256(canonical.encode()).hexdigest(),
        lines=document.lines,
        rules=names,
    )


_NODE_TABLE = re.compile(r"^[ \t]*\[[ \t]*node[ \t]*\].*?(?=^[ \t]*\[|\Z)", re.MULTILINE | re.DOTALL)
_WHERE = ("name", "data", "database")
"""The keys of `[node]` that lead to its index."""


def read_node(text: str, base: Path) -> NodeConfig | None:
    """Which node a text means, whatever else is wrong with it: name, data folder and database.

    None if these cannot be read. Where the text is no TOML, `[node]` is read alone, up to the next table.
    """
    try:
        values = parse(text).values
    except Malformed:
        alone = _NODE_TABLE.search(text)
        if alone is None:
            return None
        try:
            values = parse(alone.group()).values
        except Malformed:
            return None
    table = values.get("node", {})
    if not isinstance(table, dict):
        return None
    known = {key: table[key] for key in _WHERE if key in table}
    node: NodeConfig | None = validate(NodeConfig, known, ("node",), base, [])
    return node


def _rule_names(rules: Any) -> dict[int, str]:
    """What the rules are called, by their position: a number alone says little in a long file."""
    tables = enumerate(rules if isinstance(rules, list) else ())
    named = ((index, table.get("name")) for index, table in tables if isinstance(table, Mapping))
    return {index: name for index, name in named if isinstance(name, str) and name and name.isprintable()}


def _sorted(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    return tuple(sorted(problems, key=lambda problem: problem.line))


class _Reader:
    """Turns plain values into a Config and collects what is wrong on the way."""

    def __init__(self, registry: Registry, base: Path, unknown: str) -> None:
        self._registry = registry
        self._unknown = f"; {unknown}" if unknown else ""
        self._base = base
        self.findings: list[Finding] = []
        self._written: dict[tuple[int, str], Any] = {}

    def written_out(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values of a file that was read, with the content of transforms' files in the place of their
        names."""
        if not self._written:
            return dict(values)
        rules = [dict(rule) if isinstance(rule, Mapping) else rule for rule in values["rule"]]
        for (index, type_), plain in self._written.items():
            rules[index][type_] = plain
        return {**values, "rule": rules}

    def config(self, values: Mapping[str, Any], rules: bool) -> Config:
        for key in values:
            if key not in TABLES:
                self._report((key,), "unknown key", instead(key, TABLES))
        node = validate(NodeConfig, values.get("node", {}), ("node",), self._base, self.findings)
        return Config(
            node=node or validate(NodeConfig, {}, (), self._base, []),
            receive=self._stages("receive", values.get("receive", {})),
            egress=self._stages("egress", values.get("egress", {})),
            webhook=self._webhooks(values.get("webhook", {})),
            web=self._web(values["web"]) if "web" in values else None,
            rule=self._rules(values.get("rule", [])) if rules else (),
        )

    def _report(self, place: Place, what: str, cure: str) -> None:
        self.findings.append(Finding(place, what, cure))

    def _named(self, kind: str, tables: Any) -> Iterable[tuple[str, dict[str, Any]]]:
        if not isinstance(tables, dict):
            self._report((kind,), "is not a table", f"write [{kind}.NAME]")
            return
        for name, table in tables.items():
            if not isinstance(table, dict):
                self._report((kind, name), "is not a table", f"write [{kind}.NAME]")
                continue
            try:
                check_name(name)
            except ValueError as error:
                what, _, cure = str(error).partition("; ")
                self._report((kind, name), what, cure)
            yield name, table

    def _stages(self, kind: str, tables: Any) -> dict[str, NamedStage]:
        found: dict[str, NamedStage] = {}
        for name, table in self._named(kind, tables):
            type_ = table.get("type")
            config = None
            if isinstance(type_, str) and type_ in self._registry.names(kind):
                config = self._stage(kind, name, type_, table)
            elif isinstance(type_, str):
                cure = instead(type_, self._registry.names(kind)) + self._unknown
                self._report((kind, name, "type"), f'there is no {kind} "{type_}"', cure)
            elif "type" in table:
                self._report((kind, name, "type"), "is not a text", "write it in quotes")
            else:
                self._report(
                    (kind, name, "type"),
                    "is missing",
                    "add type = ...; " + instead("", self._registry.names(kind)),
                )
            found[name] = NamedStage(name=name, type=str(type_ or ""), config=config)
        return found

    def _stage(self, kind: str, name: str, type_: str, table: dict[str, Any]) -> Any:
        plugin = self._registry.plugin(kind, type_)
        if plugin.factory is None:
            what = f'{kind} "{type_}" is unavailable, because {plugin.reason}'
            self._report((kind, name, "type"), what, _cure(plugin, "use another type"))
            return None
        raw = {key: value for key, value in table.items() if key != "type"}
        return validate(plugin.factory.config, raw, (kind, name), self._base, self.findings)

    def _webhooks(self, tables: Any) -> dict[str, WebhookConfig]:
        found: dict[str, WebhookConfig] = {}
        for name, table in self._named("webhook", tables):
            hook = validate(WebhookConfig, table, ("webhook", name), self._base, self.findings)
            on = hook.on if hook is not None else ()
            self.findings += check_payload(table.get("payload", {}), ("webhook", name, "payload"), on)
            self.findings += check_lists(table.get("payload", {}), ("webhook", name, "payload"))
            if hook is not None:
                found[name] = hook
        return found

    def _web(self, table: Any) -> Any:
        """The page's configuration; None without one, or where it is not enabled."""
        try:
            factory = page_factory()
        except Unavailable as error:
            self._report(("web",), str(error), "install MAPDR whole, or leave the table out")
            return None
        config = validate(factory.config, table, ("web",), self._base, self.findings)
        return config if config is not None and config.enabled else None

    def _rules(self, tables: Any) -> tuple[RuleConfig, ...]:
        if not isinstance(tables, list):
            self._report(
                ("rule",), "is not a list of rules", "write [[rule]], with two brackets, before each rule"
            )
            return ()
        return tuple(self._rule(table, ("rule", index)) for index, table in enumerate(tables))

    def _rule(self, table: Any, place: Place) -> RuleConfig:
        """The rule, or what can be read of it: positions must stay those of the file."""
        if not isinstance(table, dict):
            self._report(place, "is not a table", "write [[rule]]")
            table = {"name": "-", "when": {}, "send_to": []}
        transforms = self._registry.names("transform")
        for key in table:
            if key not in RULE_KEYS and key not in transforms:
                cure = instead(key, (*RULE_KEYS, *transforms)) + self._unknown
                self._report((*place, key), "unknown key", cure)
        if "when" not in table:
            self._report((*place, "when"), "is missing", "add when = { ... }; when = {} takes every image")
        when = parse_when(table.get("when", {}), (*place, "when"), self.findings)
        steps = [self._step(type_, table[type_], place) for type_ in transforms if type_ in table]
        made = [step for step in steps if step is not None]
        ordered = sorted((step[:3] for step in made), key=lambda step: step[:2])
        plain = {key: table[key] for key in RuleHead.model_fields if key in table}
        head = validate(RuleHead, plain, place, self._base, self.findings) or _UNREADABLE
        return RuleConfig(
            **head.model_dump(),
            when=when,
            steps=tuple((type_, config) for _, type_, config in ordered),
            files=tuple(path for *_, files in made for path in files),
        )

    def _step(self, type_: str, raw: Any, place: Place) -> tuple[int, str, Any, Sequence[Path]] | None:
        """Order, type, JSON-able configuration, defaults filled in (a later default changes no promise), and
        the files that it was read from."""
        plugin = self._registry.plugin("transform", type_)
        if plugin.factory is None:
            what = f'transform "{type_}" is unavailable, because {plugin.reason}'
            self._report((*place, type_), what, _cure(plugin, "leave it out"))
            return None
        kind = plugin.factory.config
        config = validate(kind, raw, (*place, type_), self._base, self.findings)
        if config is None:
            return None
        plain = TypeAdapter(kind).dump_python(config, mode="json", by_alias=True, exclude_none=True)
        try:
            files = plugin.factory.files(config)
        except Exception as error:  # noqa: BLE001  a plug-in may fail in any way; never a traceback
            self._report(
                (*place, type_), f"fails when it is read: {in_words(error)}", _cure(plugin, "leave it out")
            )
            return None
        if files and isinstance(place[1], int):
            self._written[place[1], type_] = plain
        order = plugin.factory.order
        return order(config) if callable(order) else order, type_, plain, files


def _cure(plugin: Plugin, otherwise: str) -> str:
    """What to do about a stage that is unavailable."""
    if plugin.is_broken:
        return f"correct or update the plug-in, or {otherwise}"
    return f"install what it needs, or {otherwise}"


_UNREADABLE = RuleHead(name="-", send_to=())
