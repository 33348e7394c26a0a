"""Putting a backup in the place of a node's data and configuration.

All is written beside the data folder and read back; then the old folder gets another name, and the new one
its own. Until that moment nothing has changed; after it the old data stands beside, and nobody removes it.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mapdr.config.read import read_node
from mapdr.config.revision import sync_folder, write_durably
from mapdr.kernel.errors import MapdrError
from mapdr.kernel.permissions import FOLDER_MODE
from mapdr.operate import words
from mapdr.operate.backup import CONFIG, DATA, Manifest, read_manifest, verify
from mapdr.operate.errors import RequestError
from mapdr.store.backup import copy_file, nodes_in, spool_files
from mapdr.store.index.schema import VERSION
from mapdr.store.spool.claim import claimed

_CLAIMS = ("node", "running", "claim")
_SPARE = 64 * 1000**2
"""Bytes that stay free beside what is restored."""

Told = Callable[[int], None]
"""Told how many files are done."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What was restored, and where.

    `owed`: deliveries that the next start makes; `before`: where the previous data stands, empty if there was
    none, and `only_before` images that it has and the backup has not; `config_before`: where the previous
    configuration stands. `kept` are files that the configuration names and that were there with other
    content: they were left. `images`, `made_at` and `version` are those of the backup.
    """

    node: str
    data: str
    config: str
    images: int
    owed: int
    made_at: float
    version: str
    before: str = ""
    only_before: int = 0
    config_before: str = ""
    kept: tuple[str, ...] = ()


def restore(folder: Path, config: Path, *, force: bool = False, told: Told = lambda done: None) -> Restored:
    """Restore the backup `folder` to the configuration file `config` and the data folder that it names.

    `force`: also over data and a configuration that are there, which get other names. Raises RequestError
    for a request that cannot be met, MapdrError where the backup is damaged or something cannot be written;
    then all is as it was.
    """
    config = Path(os.path.abspath(config))
    manifest = _checked(folder)
    text = (folder / CONFIG).read_text(encoding="utf-8-sig")
    node = read_node(text, config.parent)
    if node is None:
        raise MapdrError("the configuration of the backup does not say where its data belongs")
    # Where it really is: what was put elsewhere by a link stays there.
    data = Path(os.path.abspath(node.data)).resolve()
    if os.path.ismount(data):
        raise RequestError(
            f"the data folder {data} is a file system of its own, which cannot be kept beside under another "
            "name: let `data` in the configuration of the backup name a folder in it"
        )
    if folder.resolve().is_relative_to(data.resolve()):
        raise RequestError(f"the backup stands in the data folder {data}: move it elsewhere first")
    _refuse_a_running_node(data)
    replaced = data.is_dir() and any(data.iterdir())
    changed = config.is_file() and config.read_bytes() != (folder / CONFIG).read_bytes()
    if not force and (replaced or changed):
        what = " and ".join([f"data in {data}"] * replaced + [f"another configuration {config}"] * changed)
        raise RequestError(f"there is {what}: with --force it is kept beside under another name")
    stamp = time.strftime("%Y%m%d-%H%M%S")
    try:
        staged = _staged(folder, manifest, data, told)
        try:
            only_before = len(set(spool_files(data)) - set(spool_files(staged))) if replaced else 0
            kept = _put_named(folder, manifest, config.parent, data)
            before, config_before = _put(staged, data, folder / CONFIG, config, stamp)
        except BaseException:
            shutil.rmtree(staged, ignore_errors=True)
            raise
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise MapdrError(f"the backup could not be restored: {error.strerror or error}{where}") from error
    return Restored(
        node=manifest.node,
        data=str(data),
        config=str(config),
        images=manifest.images,
        owed=manifest.owed,
        made_at=manifest.made_at,
        version=manifest.version,
        before=before,
        only_before=only_before,
        config_before=config_before,
        kept=kept,
    )


def _checked(folder: Path) -> Manifest:
    """What a backup is that is whole, and not of a later version. Raises RequestError, MapdrError."""
    manifest = read_manifest(folder)
    if not manifest.schema.isdigit() or int(manifest.schema) > VERSION:
        raise RequestError(
            f"the backup was made by MAPDR {words.plain(manifest.version)}, whose index (schema "
            f"{words.plain(manifest.schema)}) this version does not know: restore it with that version, "
            "or a later one"
        )
    problems = verify(folder).problems
    if problems:
        more = f", and {len(problems) - 1} more" if problems[1:] else ""
        raise MapdrError(f"the backup is damaged, and nothing was changed: {problems[0]}{more}")
    return manifest


def _refuse_a_running_node(data: Path) -> None:
    for node in nodes_in(data):
        if any(claimed(data / "spool" / node / name) for name in _CLAIMS):
            raise RequestError(
                f'node "{node}" runs on {data}, or images are being added: stop it first (mapdr stop)'
            )


def _staged(folder: Path, manifest: Manifest, data: Path, told: Told) -> Path:
    """The data of the backup, beside the data folder, flushed and with the old one's owner. Raises OSError,
    MapdrError."""
    staged = data.with_name(f"{data.name}.restoring")
    shutil.rmtree(staged, ignore_errors=True)  # of a run that was ended
    data.parent.mkdir(parents=True, exist_ok=True)
    wanted = sum(each.size for each in manifest.files) + _SPARE
    free = shutil.disk_usage(data.parent).free
    if free < wanted:
        raise MapdrError(
            f"{data.parent} has {words.size(free)} free, and the backup takes {words.size(wanted)}: "
            "make room first"
        )
    try:
        staged.mkdir(mode=FOLDER_MODE)
        files = [each for each in manifest.files if each.path.startswith(f"{DATA}/")]
        for number, each in enumerate(files, 1):
            target = staged / each.path.removeprefix(f"{DATA}/")
            target.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            if copy_file(folder / each.path, target) != (each.sha256, each.size):
                raise MapdrError(f"the backup changed while it was read: {each.path}")
            told(number)
        for path, _, _ in os.walk(staged):
            sync_folder(Path(path))
        _give_to(staged, data if data.exists() else data.parent)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise
    return staged


def _give_to(staged: Path, like: Path) -> None:
    """Give what the superuser wrote, a folder or a file, to the account whose data it is."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return
    owner = like.stat()
    os.chown(staged, owner.st_uid, owner.st_gid)
    for path, _, names in os.walk(staged):
        for each in (path, *(os.path.join(path, name) for name in names)):
            os.chown(each, owner.st_uid, owner.st_gid)


def _swap(staged: Path, data: Path, stamp: str) -> str:
    """Put the staged folder in the data folder's place; where the old one stands, empty if there was none."""
    _refuse_a_running_node(data)  # nobody has started it meanwhile
    before = _free(data, stamp)
    if not data.exists():
        staged.rename(data)
        sync_folder(data.parent)
        return ""
    data.rename(before)
    try:
        staged.rename(data)
    except BaseException:
        before.rename(data)
        raise
    sync_folder(data.parent)
    return str(before)


def _put(staged: Path, data: Path, source: Path, config: Path, stamp: str) -> tuple[str, str]:
    """Put data and configuration in their places, both or none; where the previous ones stand, empty for
    what was not there or is the same. Raises OSError."""
    if config.is_file() and config.read_bytes() == source.read_bytes():
        return _swap(staged, data, stamp), ""
    config.parent.mkdir(parents=True, exist_ok=True)
    fresh, beside = config.with_name(f".{config.name}.restoring"), None
    try:
        # What takes room is written before anything changes.
        _written_like(source, fresh, config if config.is_file() else source)
        if config.is_file():
            beside = _free(config, stamp)
            _written_like(config, beside, config)
        before = _swap(staged, data, stamp)
        try:
            os.replace(fresh, config)
        except OSError:
            data.rename(staged)
            if before:
                Path(before).rename(data)
            raise
    except BaseException:
        for each in (fresh, beside):
            if each is not None:
                each.unlink(missing_ok=True)
        raise
    sync_folder(config.parent)
    return before, "" if beside is None else str(beside)


def _written_like(source: Path, target: Path, like: Path) -> None:
    """Write a copy, flushed, which those may read who may read `like`: the node is among them."""
    write_durably(target, source.read_bytes())
    if os.name == "nt":  # a file has the rights of its folder
        return
    there = like.stat()
    target.chmod(there.st_mode & 0o777)
    if os.geteuid() == 0:
        os.chown(target, there.st_uid, there.st_gid)


def _free(path: Path, stamp: str) -> Path:
    """A name for what stood at `path`, which nothing has."""
    beside, number = path.with_name(f"{path.name}.before-{stamp}"), 2
    while os.path.lexists(beside):
        beside, number = path.with_name(f"{path.name}.before-{stamp}-{number}"), number + 1
    return beside


def _put_named(folder: Path, manifest: Manifest, base: Path, data: Path) -> tuple[str, ...]:
    """Put the files that the configuration names where they are missing; those that are there and differ.
    Those in the data folder come with it."""
    kept = []
    for each in manifest.named:
        source, target = folder / each.path, base / each.place
        if target.resolve().is_relative_to(data):
            continue
        if target.exists():
            if target.read_bytes() != source.read_bytes():
                kept.append(str(target))
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        copy_file(source, target)
        _give_to(target, data if data.exists() else data.parent)
    return tuple(kept)
