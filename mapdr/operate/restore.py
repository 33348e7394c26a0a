"""Putting a backup in the place of a node's data and configuration.

All is written beside the data folder and read back; then the old folder gets another name, and the new one
its own. Until that moment nothing has changed; after it the old data stands beside, and nobody removes it.
"""

from __future__ import annotations

import os
import shutil
import stat
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from mapdr.config.read import read_node
from mapdr.kernel.durable import sync_folder, write_durably
from mapdr.kernel.errors import MapdrError
from mapdr.kernel.permissions import FOLDER_MODE, give_to_owner, same_rights
from mapdr.kernel.privacy import in_words
from mapdr.operate import words
from mapdr.operate.backup import CONFIG, DATA, Manifest, read_manifest, verify
from mapdr.operate.errors import RequestError
from mapdr.store.backup import Told, copy_file, spool_files
from mapdr.store.index.schema import VERSION
from mapdr.store.spool.claim import nodes_at_work

_SPARE = 64 * 1000**2
"""Bytes that stay free beside what is restored."""


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
    data = Path(os.path.realpath(node.data))  # a link stays one: the data stays on its disk
    if os.path.ismount(data):
        raise RequestError(
            f"the data folder {data} is a file system of its own, which cannot be kept beside under another "
            "name: let `data` in the configuration of the backup name a folder in it"
        )
    if folder.resolve().is_relative_to(data):
        raise RequestError(f"the backup stands in the data folder {data}: move it elsewhere first")
    _refuse_a_running_node(data)
    replaced = data.is_dir() and any(data.iterdir())
    changed = config.is_file() and config.read_bytes() != (folder / CONFIG).read_bytes()
    if not force and (replaced or changed):
        what = " and ".join([f"data in {data}"] * replaced + [f"another configuration {config}"] * changed)
        raise RequestError(f"there is {what}: with --force it is kept beside under another name")
    try:
        with ExitStack() as taken_back:
            staged = _staged(folder, manifest, data, told)
            taken_back.callback(shutil.rmtree, staged, ignore_errors=True)
            stamp = time.strftime("%Y%m%d-%H%M%S")
            only_before = len(set(spool_files(data)) - set(spool_files(staged))) if replaced else 0
            kept = _put_named(folder, manifest, config.parent, data, taken_back)
            before = _swap(staged, data, stamp, taken_back)
            config_before = ""
            if changed or not config.is_file():
                config_before = _put_config(folder, config, stamp, taken_back)
            taken_back.pop_all()  # all is in its place
    except OSError as error:
        raise MapdrError(f"the backup could not be restored: {in_words(error)}") from error
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
    for node in nodes_at_work(data):
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
    give_to_owner(staged, like)
    for each in staged.rglob("*"):
        give_to_owner(each, like)


def _swap(staged: Path, data: Path, stamp: str, taken_back: ExitStack) -> str:
    """Put the staged folder in the data folder's place; where the old one stands, empty if there was none."""
    _refuse_a_running_node(data)  # nobody has started it meanwhile
    before = _free(data, stamp)
    replaced = data.exists()
    if replaced:
        data.rename(before)
        taken_back.callback(before.rename, data)
    staged.rename(data)
    taken_back.callback(data.rename, staged)
    sync_folder(data.parent)
    return str(before) if replaced else ""


def _put_config(folder: Path, config: Path, stamp: str, taken_back: ExitStack) -> str:
    """Put the configuration in its place, for those who may read the previous one; where that stands, empty
    if there was none."""
    config = Path(os.path.realpath(config))  # a link stays one: what it leads to is replaced
    new = (folder / CONFIG).read_bytes()
    config.parent.mkdir(parents=True, exist_ok=True)
    if not config.is_file():
        write_durably(config, new, stat.S_IMODE((folder / CONFIG).stat().st_mode))
        taken_back.callback(config.unlink, missing_ok=True)
        give_to_owner(config)
        return ""
    before = _free(config, stamp)
    taken_back.callback(before.unlink, missing_ok=True)
    write_durably(before, config.read_bytes(), 0o600)
    same_rights(config, before)
    taken_back.callback(os.replace, before, config)
    write_durably(config, new, 0o600)
    same_rights(before, config)
    return str(before)


def _free(path: Path, stamp: str) -> Path:
    """A name for what stood at `path`, which nothing has."""
    beside, number = path.with_name(f"{path.name}.before-{stamp}"), 2
    while os.path.lexists(beside):
        beside, number = path.with_name(f"{path.name}.before-{stamp}-{number}"), number + 1
    return beside


def _put_named(
    folder: Path, manifest: Manifest, base: Path, data: Path, taken_back: ExitStack
) -> tuple[str, ...]:
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
        taken_back.callback(target.unlink, missing_ok=True)
        _give_to(target, data if data.exists() else data.parent)
        sync_folder(target.parent)
    return tuple(kept)
