"""The configuration file as people see it and change it by forms: destinations, sources, rules.

A change is a transaction. The file is read and compared with what the form was made from, changed in memory
(`mapdr.config.edit`), written beside, checked as `mapdr check` does, put in the file's place, and the node is
told to reload it. What the check finds is said at the field that it is about; if the node refuses, the
file stands again byte for byte.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mapdr.config.edit import NotEditable
from mapdr.config.lines import Malformed, parse
from mapdr.config.problem import Problem, path_text
from mapdr.kernel.durable import fresh_name, sync_folder, write_durably
from mapdr.kernel.errors import MapdrError
from mapdr.kernel.finding import Place
from mapdr.kernel.permissions import make_private, same_rights
from mapdr.kernel.privacy import system_says
from mapdr.node.configuration import Checked, examine
from mapdr.operate import orders
from mapdr.operate.access import Access
from mapdr.operate.errors import RequestError

_LOCK = threading.Lock()
"""One change after another in this process; who changes the file elsewhere is noticed by its hash."""
_PATIENCE = 2.0
"""Seconds for which Windows may keep a file from being replaced while another program reads it."""

Edit = Callable[[str], str]
"""A change to the text. Raises NotEditable, RequestError."""


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """What is wrong with a form: `field` names the one of its fields that it is about, empty for none."""

    field: str
    what: str
    cure: str


@dataclass(frozen=True, slots=True)
class Saved:
    """What became of a change. `saved`: it is in the file; `in_use`: the node works by it.

    `stale`: somebody else has changed the file since the form was made, and nothing was done. `problems` are
    what the check found, `refused` why the node did not take it: then the file is as it was. `troubles` are
    what could not be started of a change that is in use.
    """

    saved: bool = False
    in_use: bool = False
    stale: bool = False
    problems: Sequence[FieldProblem] = ()
    refused: Sequence[str] = ()
    troubles: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class FileProblem:
    """A problem of the file: its line (0: the whole file), the place as TOML names it, what and the cure."""

    line: int
    path: str
    what: str
    cure: str


@dataclass(frozen=True, slots=True)
class FileState:
    """The configuration file as it is.

    `seen` names this very content, for a form that is made from it. `in_use`: the node works by it, None
    where no node runs. `text` is the file itself, None unless it was asked for or cannot be read.
    """

    file: str
    seen: str
    in_use: bool | None
    problems: Sequence[FileProblem]
    warnings: Sequence[FileProblem]
    text: str | None


@dataclass(frozen=True, slots=True)
class ConfigurationFile:
    """A configuration file that was read: its bytes, text and plain values, empty if it is no TOML."""

    path: Path
    content: bytes
    text: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def seen(self) -> str:
        """What names this very content."""
        return hashlib.sha256(self.content).hexdigest()

    def tables(self, kind: str) -> Mapping[str, Mapping[str, Any]]:
        """The tables of a kind by name: `receive`, `egress`, `webhook`."""
        found = self.values.get(kind, {})
        return {name: table for name, table in found.items() if isinstance(table, dict)}

    def rules(self) -> Sequence[Mapping[str, Any]]:
        """The rules in their order."""
        found = self.values.get("rule", [])
        return [rule for rule in found if isinstance(rule, dict)] if isinstance(found, list) else []


def read_file(opened: Access) -> ConfigurationFile:
    """The configuration file of an access, whatever is wrong in it. Raises MapdrError without one."""
    path = _path(opened)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise MapdrError(f"the configuration cannot be read ({system_says(error)})") from error
    try:
        text = content.decode("utf-8-sig")
        return ConfigurationFile(path, content, text, parse(text).values)
    except (UnicodeDecodeError, Malformed):  # told as a problem by `file_state`
        return ConfigurationFile(path, content)


def file_state(opened: Access, file: ConfigurationFile, *, identify: bool = False) -> FileState:
    """The file with its problems, as `mapdr check` finds them; its text with `identify` alone, for a rule may
    name a patient. Raises AuditError then."""
    checked = examine(file.path, surroundings=True)
    if identify:
        opened.audit.viewed(opened.actor, "settings", {})
    beat = opened.running() if opened.store is not None else None
    revision = None if beat is None else beat.counters.get("revision")
    return FileState(
        file=str(file.path),
        seen=file.seen,
        in_use=None if beat is None else revision == checked.loaded.revision,
        problems=_told(checked.problems),
        warnings=_told(checked.warnings),
        text=checked.loaded.text or None if identify else None,
    )


def save(opened: Access, seen: str, edit: Edit, place: Place, *, of: str, name: str) -> Saved:
    """Change the configuration file, and have the node reload it. See this module.

    `seen` names the content that the form was made from, `place` is the table that it is about: problems
    there are told by their fields. `of` and `name` say what is saved, for the audit. Raises RequestError
    where the file cannot be changed by a form, and MapdrError where it cannot be written.
    """
    with _LOCK:
        file = read_file(opened)
        if file.seen != seen:
            return Saved(stale=True)
        if not file.values:
            raise RequestError("the file cannot be read; correct it first, see its problems")
        try:
            content = _encoded(edit(file.text), file)
        except (NotEditable, Malformed) as error:
            raise RequestError(str(NotEditable())) from error
        saved = _written(opened, file, content, place)
    if saved.saved and opened.store is not None:
        orders.note(opened, "save", 1, {name: 1}, of=of)
    elif saved.saved:  # a node that has never run has no log to tell of it, nor a folder
        make_private(opened.plan.node.data)
        opened.audit.acted(opened.actor, "save", number=1, of=of, to={name: 1}, chosen={})
    return saved


def problems_of(problems: Iterable[Problem], place: Place, names: Mapping[int, str]) -> list[FieldProblem]:
    """Problems as a form tells them: by field where they are about the table at `place`."""
    prefix = path_text(place, names)
    found = []
    for each in problems:
        rest = each.path.removeprefix(prefix)
        within = each.path.startswith(prefix) and rest[:1] in ("", ".", "[")
        what = each.what if within or not each.path else f"{each.path}: {each.what}"
        found.append(FieldProblem(rest.lstrip(".") if within else "", what, each.cure))
    return found


def _path(opened: Access) -> Path:
    if opened.config is None:
        raise MapdrError("it is not known which file the configuration is in")
    return Path(os.path.realpath(opened.config))  # a link stays one: what it leads to is replaced


def _told(problems: Iterable[Problem]) -> list[FileProblem]:
    return [FileProblem(each.line, each.path, each.what, each.cure) for each in problems]


def _encoded(text: str, file: ConfigurationFile) -> bytes:
    """The text as the file has it: with a byte order mark if it had one."""
    return text.encode("utf-8-sig" if file.content.startswith(b"\xef\xbb\xbf") else "utf-8")


def _written(opened: Access, file: ConfigurationFile, content: bytes, place: Place) -> Saved:
    """Checked beside the file, put in its place, and reloaded; or nothing changed."""
    try:
        with fresh_name(file.path) as fresh:
            write_durably(fresh, content)
            same_rights(file.path, fresh)
            checked = examine(fresh, resolve=True, surroundings=True)
            if checked.problems:
                names = checked.loaded.rules
                return Saved(problems=problems_of(_as_of(file.path, checked.problems), place, names))
            _leaves_the_page(opened, checked)
            if file.path.read_bytes() != file.content:
                return Saved(stale=True)
            _replace(fresh, file.path)
    except OSError as error:
        raise MapdrError(
            f"the configuration cannot be written in {file.path.parent} ({system_says(error)})"
        ) from error
    return _reloaded(opened, file, content)


def _reloaded(opened: Access, file: ConfigurationFile, content: bytes) -> Saved:
    """The node works by the file that was changed; or the file is as it was."""
    if opened.store is None or opened.running() is None:
        return Saved(saved=True)
    try:
        result = orders.reload(opened, file.path)
    except orders.NotTaken as error:
        _put_back(file, content)
        return Saved(refused=[str(error)])
    if not result.changed:
        _put_back(file, content)
        return Saved(refused=list(result.problems))
    return Saved(saved=True, in_use=True, troubles=list(result.problems))


def _put_back(file: ConfigurationFile, content: bytes) -> None:
    """The file as it was, unless somebody has changed it again meanwhile."""
    try:
        if file.path.read_bytes() != content:
            return
        with fresh_name(file.path) as fresh:
            write_durably(fresh, file.content)
            same_rights(file.path, fresh)
            _replace(fresh, file.path)
    except OSError as error:
        raise MapdrError(
            "the node refused the change, and the file as it was cannot be written again "
            f"({system_says(error)}): take back by hand what was changed"
        ) from error


def _leaves_the_page(opened: Access, checked: Checked) -> None:
    """Raise RequestError if the file has another `[web]` than the node uses: its reload would end the page
    that waits for it."""
    used, now = getattr(opened.plan, "page", None), checked.plan.page if checked.plan is not None else None
    if used is not None and (now is None or now.config != used.config):
        raise RequestError(
            "[web] was changed in the file and is not in use yet; take it into use first: mapdr reload"
        )


def _as_of(path: Path, problems: Iterable[Problem]) -> list[Problem]:
    return [replace(each, file=str(path)) for each in problems]


def _replace(fresh: Path, path: Path) -> None:
    """Put one file in the place of another at once. Raises OSError."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            os.replace(fresh, path)
            break
        except PermissionError:
            if os.name != "nt" or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
    sync_folder(path.parent)
