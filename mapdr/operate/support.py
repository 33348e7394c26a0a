"""A bundle for the vendor: what this node is and how it is, without patients and without secrets.

    about.json           versions, system, and how the bundle was made
    doctor.json          what `mapdr doctor` finds
    status.json          what `mapdr status` counts
    configuration.toml   the configuration's values, without comments
    mapdr.log            the end of the log, where the node writes one into its data folder

What may identify a patient is replaced by a keyed hash (`#` and 12 hexadecimal digits): the same value has
the same hash within a bundle, and nobody can try values, for the key is random and kept nowhere. So are the
UIDs of images, and patient IDs and accession numbers of the last STUDIES studies, wherever they stand, as far
as the index can be read. Of the configuration, secrets are removed (where they are kept stays), with all that
stands under keys that are not known, and what rules, headers, payloads and URLs say is hashed
(`mapdr.operate.redaction`); what is not shown of it is looked for in the other parts too. AE titles, hosts,
ports, names of destinations and paths of files stay: without them nobody can help.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import tomlkit

import mapdr
from mapdr.config.lines import Malformed, parse
from mapdr.config.read import read_node
from mapdr.kernel.durable import flush_file
from mapdr.kernel.errors import MapdrError
from mapdr.kernel.permissions import private_opener
from mapdr.kernel.privacy import in_words
from mapdr.operate.access import Access
from mapdr.operate.answer import moment, plain
from mapdr.operate.configuration import examine as check_file
from mapdr.operate.configuration import node_of
from mapdr.operate.doctor import LIBRARIES, examine
from mapdr.operate.errors import RequestError, WrongConfiguration
from mapdr.operate.redaction import Hashes, hidden, shown
from mapdr.operate.view import node_state

STUDIES = 20_000
"""Studies, from the last one on, whose values are looked for in what is bundled."""
LOG_BYTES = 4 * 1000**2
"""Of the log's end."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that was written: its file, its members, and its size in bytes."""

    file: str
    members: tuple[str, ...]
    bytes: int


def support(config: Path, file: Path) -> Bundle:
    """Write the bundle for the node of the configuration `config` into the new zip `file`.

    A part that cannot be had says why in its place: a bundle is asked for where something is wrong. Raises
    RequestError if there is such a file, MapdrError if it cannot be written.
    """
    hashes = Hashes([*_identifying(config), *_hidden(config)])
    parts: dict[str, Callable[[], str]] = {
        "about.json": lambda: _json(_about()),
        "doctor.json": lambda: _json(hashes.values(plain({"findings": list(examine(config))}))),
        "status.json": lambda: _json(hashes.values(_status(config))),
        "configuration.toml": lambda: _configuration(config, hashes),
        "mapdr.log": lambda: hashes.free(_log(config)),
    }
    try:
        with open(file, "xb", opener=private_opener) as made:
            try:
                with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
                    for name, look in parts.items():
                        archive.writestr(name, _had(look, hashes))
                flush_file(made)
            except BaseException:
                file.unlink(missing_ok=True)
                raise
    except FileExistsError:
        raise RequestError(f"there is a file {file}: name another one") from None
    except OSError as error:
        raise MapdrError(f"{file} cannot be written: {error.strerror or in_words(error)}") from error
    return Bundle(str(file), tuple(parts), file.stat().st_size)


def _had(look: Callable[[], str], hashes: Hashes) -> str:
    try:
        return look()
    except Exception as error:  # noqa: BLE001  it is told in the bundle, and the other parts are had
        return f"cannot be had: {hashes.free(in_words(error))}\n"


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False)


def _about() -> dict[str, Any]:
    found = {}
    for library in LIBRARIES:
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            found[library] = "not installed"
    return {
        "mapdr": mapdr.__version__,
        "made_at": moment(time.time()),
        "python": sys.version,
        "system": platform.platform(),
        "processors": os.cpu_count(),
        "libraries": found,
        "hashes": "# and 12 digits stand for a value; the key was random, and is kept nowhere",
    }


def _access(config: Path) -> Access:
    """The way to the node, whatever is wrong with the file beside where its data is. Raises MapdrError."""
    try:
        return Access.of(config)
    except WrongConfiguration as error:
        alone = node_of(check_file(config, rules=False))
        if alone is None:
            raise
        return Access(alone, problems=error.problems, config=config)


def _status(config: Path) -> Any:
    opened = _access(config)
    try:
        with opened.named():
            return plain(node_state(opened))
    finally:
        opened.close()


def _identifying(config: Path) -> list[str]:
    """Values of the last studies. Empty where the index cannot be read."""
    try:
        opened = _access(config)
    except MapdrError:
        return []
    try:
        with opened.named():
            return [] if opened.store is None else opened.store.studies.identifying(STUDIES)
    except MapdrError:
        return []
    finally:
        opened.close()


def _hidden(config: Path) -> set[str]:
    """What the bundle does not show of the configuration, and which problems or the log may quote. Empty
    without a file of TOML."""
    try:
        return hidden(parse(config.read_text(encoding="utf-8-sig")).values)
    except (Malformed, OSError, UnicodeDecodeError):
        return set()


def _log(config: Path) -> str:
    """The end of the log in the data folder."""
    node = read_node(config.read_text(encoding="utf-8-sig"), Path(os.path.abspath(config)).parent)
    if node is None:
        raise MapdrError("the configuration does not say where the data is")
    path = node.data / "mapdr.log"
    if not path.is_file():
        return "there is none in the data folder: the node logs to its console, or to the system's journal\n"
    with path.open("rb") as file:
        start = max(0, path.stat().st_size - LOG_BYTES)
        file.seek(start)
        if start:
            file.readline()  # the rest of a line: half a value is not found
        return file.read(LOG_BYTES).decode(errors="replace")


def _configuration(config: Path, hashes: Hashes) -> str:
    """The values of the configuration, without what identifies and what is secret."""
    try:
        values = parse(config.read_text(encoding="utf-8-sig")).values
    except Malformed:
        raise MapdrError("it is no TOML; see doctor.json") from None
    return hashes.text(tomlkit.dumps(shown(values, hashes)))
