"""A backup of a node, made while it runs, and the look at one whether it is whole.

    manifest.json   what this is, of which node and version, and size and SHA-256 of every file; written last
    mapdr.toml      the configuration
    named/          the files that it names: certificates, keys, secrets
    data/           the data folder (`mapdr.store.backup`)

A folder without manifest.json is no backup: it was not finished. A backup holds patients and secrets, as the
node's own folder does, and is made for its owner alone.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import BaseModel

import mapdr
from mapdr.config.secret import Secret
from mapdr.kernel.durable import sync_folder, write_durably
from mapdr.kernel.errors import MapdrError
from mapdr.kernel.permissions import make_private
from mapdr.kernel.privacy import in_words, system_says
from mapdr.operate import words
from mapdr.operate.access import Access
from mapdr.operate.errors import RequestError
from mapdr.store.backup import INDEX, Told, copy_data, copy_file, digest_of
from mapdr.store.index.copying import IndexFacts, facts_of_copy

MANIFEST, CONFIG, NAMED, DATA = "manifest.json", "mapdr.toml", "named", "data"
FORMAT = 1
LATEST = 32_503_680_000
"""Seconds since the epoch, the year 3000: later moments cannot be told on every system."""


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A file of a backup: its path there, with `/`, its size in bytes and its SHA-256 in hex."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A file that the configuration names: its path in the backup, and where it belongs, from the
    configuration's folder if it is in there."""

    path: str
    place: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup is. `made_at`: seconds since the epoch; the rest as in `IndexFacts` and `DataCopy`."""

    format: int
    version: str
    node: str
    made_at: float
    schema: str
    images: int
    owed: int
    unfinished: int
    missing: int
    named: tuple[NamedFile, ...]
    files: tuple[KeptFile, ...]


@dataclass(frozen=True, slots=True)
class BackedUp:
    """What became of a backup: where it is, its files and bytes, how many of them are second names of the
    spool's own files, and what the manifest says."""

    folder: str
    files: int
    bytes: int
    linked: int
    images: int
    owed: int
    unfinished: int
    missing: int


@dataclass(frozen=True, slots=True)
class Verified:
    """A backup that was read whole; `problems` are files that are missing or changed."""

    folder: str
    node: str
    version: str
    made_at: float
    files: int
    bytes: int
    images: int
    owed: int
    problems: tuple[str, ...]


def backup(opened: Access, folder: Path, *, told: Told = lambda done: None) -> BackedUp:
    """Copy the node into `folder`, which must not be there yet or be empty, and read back what was copied.

    Raises RequestError for a folder that cannot be used, MapdrError where something cannot be read or
    written; what was written is removed then.
    """
    node = opened.plan.node
    if node.database != "sqlite":
        raise RequestError("the index is in PostgreSQL: back it up, and the data folder, by its own tools")
    data = Path(os.path.abspath(node.data))
    if not (data / INDEX).is_file():  # not opened as a store: one of an earlier version stays what it is
        raise MapdrError(f"there is no index in {data}: the node has not run yet")
    target = _new_folder(folder, data)
    try:
        return _fill(opened, data, target, told)
    except OSError as error:
        _empty(target)
        raise MapdrError(f"the backup failed and was removed: {in_words(error)}") from error
    except BaseException:
        _empty(target)
        raise


def _fill(opened: Access, data: Path, target: Path, told: Told) -> BackedUp:
    copied = copy_data(data, target / DATA, told=told)
    files = [KeptFile(f"{DATA}/{path}", size, sha) for path, (sha, size) in copied.digests.items()]
    if opened.config is None:
        raise MapdrError("the configuration file of the node is not known")
    files.append(_copied(opened.config, target, CONFIG))
    named = []
    for number, (place, source) in enumerate(named_files(opened.config)):
        (target / NAMED).mkdir(mode=0o700, exist_ok=True)
        files.append(_copied(source, target, f"{NAMED}/{number}-{source.name}"))
        named.append(NamedFile(files[-1].path, place))
    facts = facts_of_copy(target / DATA / INDEX)
    manifest = Manifest(
        format=FORMAT,
        version=mapdr.__version__,
        node=opened.plan.node.name,
        made_at=time.time(),
        schema=facts.schema,
        images=facts.images,
        owed=facts.owed,
        unfinished=copied.unfinished,
        missing=copied.missing,
        named=tuple(named),
        files=tuple(files),
    )
    # A linked file was read when it was linked; what was copied is read back.
    problems = [
        text
        for each in files
        if each.path.removeprefix(f"{DATA}/") not in copied.linked and (text := _problem(target, each))
    ]
    if problems:
        raise MapdrError(f"the disk does not give back what was written: {problems[0]}")
    write_durably(target / MANIFEST, json.dumps(asdict(manifest), indent=1).encode())
    sync_folder(target)
    return BackedUp(
        folder=str(target),
        files=len(files),
        bytes=sum(each.size for each in files),
        linked=len(copied.linked),
        images=facts.images,
        owed=facts.owed,
        unfinished=copied.unfinished,
        missing=copied.missing,
    )


def verify(folder: Path, *, told: Told = lambda done: None) -> Verified:
    """Read a backup whole. Raises RequestError if it is none, MapdrError if it cannot be read."""
    manifest = read_manifest(folder)
    problems = []
    for number, each in enumerate(manifest.files, 1):
        if text := _problem(folder, each):
            problems.append(text)
        told(number)
    if not problems:
        facts_of(folder)
    return Verified(
        folder=str(folder),
        node=manifest.node,
        version=manifest.version,
        made_at=manifest.made_at,
        files=len(manifest.files),
        bytes=sum(each.size for each in manifest.files),
        images=manifest.images,
        owed=manifest.owed,
        problems=tuple(problems),
    )


def facts_of(folder: Path) -> IndexFacts:
    """What the index of a backup holds. Raises IndexFault for a damaged one."""
    return facts_of_copy(folder / DATA / INDEX)


def read_manifest(folder: Path) -> Manifest:
    """What a backup says that it is. Raises RequestError for what is none, or of an unknown format."""
    try:
        told: Mapping[str, Any] = json.loads((folder / MANIFEST).read_bytes())
        if told["format"] != FORMAT:
            version = words.plain(str(told["version"]))
            raise RequestError(
                f"the backup in {folder} was made by MAPDR {version}, in a format that this version "
                f"({mapdr.__version__}) does not know: use that version, or a later one"
            )
        values = {
            **told,
            "named": tuple(NamedFile(**each) for each in told["named"]),
            "files": tuple(KeptFile(**each) for each in told["files"]),
        }
        manifest = Manifest(**values)
        _check(manifest)
    except FileNotFoundError:
        what = "it has no manifest.json: the backup was not finished, or this is none"
        raise RequestError(f"{folder} is no backup; {what}") from None
    except OSError as error:
        raise MapdrError(f"the backup cannot be read: {in_words(error)}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RequestError(f"{folder} is no backup that can be used: its manifest.json is damaged") from error
    for path in (each.path for each in manifest.files):
        parts = PurePosixPath(path).parts
        if not parts or ".." in parts or path.startswith("/") or ":" in path or "\\" in path:
            raise RequestError(
                f"{folder} is no backup that can be used: its manifest.json names a file outside of it"
            )
    checked = {each.path for each in manifest.files}
    if not checked >= {CONFIG, f"{DATA}/{INDEX}", *(each.path for each in manifest.named)}:
        raise RequestError(f"{folder} is no backup that can be used: its manifest.json is not whole")
    return manifest


def _check(manifest: Manifest) -> None:
    """Raises ValueError for values that are none of their kind: `restore` must not find out half-way."""
    texts = (manifest.version, manifest.node, manifest.schema)
    numbers = (manifest.images, manifest.owed, *(each.size for each in manifest.files))
    names = [text for each in manifest.files for text in (each.path, each.sha256)]
    names += [text for each in manifest.named for text in (each.path, each.place)]
    if not all(isinstance(each, str) for each in (*texts, *names)):
        raise ValueError("no text")
    if not all(isinstance(each, int) and each >= 0 for each in numbers):
        raise ValueError("no number")
    if not 0 <= manifest.made_at < LATEST:
        raise ValueError("no moment")


def named_files(config: Path) -> Iterator[tuple[str, Path]]:
    """The files that a configuration names and that are there, each once: where it belongs, and where it is.

    Folders are not among them: what is in a watched folder, or was delivered into one, is not the node's.
    """
    from mapdr.operate.configuration import examine  # reads the whole file

    checked = examine(config)
    if checked.loaded.config is None:
        return
    base, seen = Path(os.path.abspath(config)).parent, set()
    for found in _files_in(checked.loaded.config):
        path = Path(os.path.abspath(found))
        if path in seen or not path.is_file():
            continue
        seen.add(path)
        inside = path.is_relative_to(base)
        yield (path.relative_to(base).as_posix() if inside else str(path)), path


def _files_in(value: Any) -> Iterator[Path]:
    """Each path in a configuration's values."""
    if isinstance(value, Path):
        yield value
    elif isinstance(value, Secret):
        if value.file is not None:
            yield value.file
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _files_in(getattr(value, name))
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _files_in(each)
    elif isinstance(value, list | tuple | set | frozenset):
        for each in value:
            yield from _files_in(each)


def _new_folder(folder: Path, data: Path) -> Path:
    """An empty folder to write to. Raises RequestError."""
    target = Path(os.path.abspath(folder))
    real, kept = target.resolve(), data.resolve()
    if real.is_relative_to(kept):
        raise RequestError(
            f"{folder} is in the data folder {data}: name a folder elsewhere, best on another disk"
        )
    try:
        make_private(target)
        there = sorted(each.name for each in target.iterdir())
    except OSError as error:
        raise RequestError(f"{folder} cannot be used for a backup: {in_words(error)}") from error
    if MANIFEST in there:
        raise RequestError(f"{folder} holds a backup already: name another folder")
    if DATA in there:
        raise RequestError(
            f"{folder} holds a backup that was not finished: remove it, or name another folder"
        )
    if set(there) - {"lost+found"}:
        raise RequestError(f"{folder} is not empty: name a folder that is new, or empty")
    return target


def _empty(target: Path) -> None:
    """Remove what a backup has written. What cannot be removed has no manifest.json, and so is no backup."""
    shutil.rmtree(target / DATA, ignore_errors=True)
    shutil.rmtree(target / NAMED, ignore_errors=True)
    for name in (CONFIG, MANIFEST):
        (target / name).unlink(missing_ok=True)


def _copied(source: Path, target: Path, path: str) -> KeptFile:
    sha, size = copy_file(source, target / path)
    return KeptFile(path, size, sha)


def _problem(folder: Path, each: KeptFile) -> str:
    """What is wrong with a file of a backup; empty if nothing."""
    try:
        sha, size = digest_of(folder / each.path)
    except FileNotFoundError:
        return f"{each.path} is missing"
    except OSError as error:
        return f"{each.path} cannot be read ({system_says(error)})"
    return "" if (sha, size) == (each.sha256, each.size) else f"{each.path} is not what it was"
