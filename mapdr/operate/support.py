"""A bundle for the vendor: what this node is and how it is, without patients and without secrets.

    about.json           versions, system, and how the bundle was made
    doctor.json          what `mapdr doctor` finds
    status.json          what `mapdr status` counts
    configuration.toml   the configuration's values, without comments
    mapdr.log            the end of the log, where the node writes one into its data folder

What may identify a patient is replaced by a keyed hash (`#` and 12 hexadecimal digits): the same value has
the same hash within a bundle, and nobody can try values, for the key is random and kept nowhere. So are the
UIDs of images, and patient IDs and accession numbers of the last STUDIES studies, wherever they stand, as far
as the index can be read. Of the configuration, secrets are removed (where they are kept stays), and what
rules, headers, payloads and URLs say is hashed. AE titles, hosts, ports, names of destinations and paths of
files stay: without them nobody can help.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import platform
import re
import secrets
import sys
import time
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import tomlkit

import mapdr
from mapdr.config.lines import Malformed, parse
from mapdr.config.read import read_node
from mapdr.kernel.errors import MapdrError
from mapdr.kernel.permissions import private_opener
from mapdr.kernel.privacy import in_words
from mapdr.operate.access import Access
from mapdr.operate.answer import moment, plain
from mapdr.operate.configuration import examine as check_file
from mapdr.operate.configuration import node_of
from mapdr.operate.doctor import LIBRARIES, examine
from mapdr.operate.errors import RequestError, WrongConfiguration
from mapdr.operate.view import node_state

STUDIES = 20_000
"""Studies, from the last one on, whose values are looked for in what is bundled."""
LOG_BYTES = 4 * 1000**2
"""Of the log's end."""
REMOVED = "(removed)"

_UID = re.compile(r"(?<![\d.])(?!1\.2\.840\.10008\.)[012](?:\.\d+){3,}(?![\d.])")
"""A UID that is none of DICOM's own; addresses have three dots as well (`_is_address`)."""
_SECRET = re.compile(r"auth|cookie|token|secret|api-?_?key|passw|credential|private", re.IGNORECASE)
_PLACEHOLDER = re.compile(r"\{\w+\}")
_SHORTEST = 4
"""Characters of a value that is looked for in texts: shorter ones stand everywhere."""
_PLAIN_IN_RULES = {"send_to", "stop", "priority", "compress", "Modality", "SOPClassUID", "TransferSyntaxUID"}
"""Keys of rules whose values say nothing of a person."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that was written: its file, its members, and its size in bytes."""

    file: str
    members: tuple[str, ...]
    bytes: int


class Hashes:
    """Values by their keyed hash, and texts in which known values are replaced."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        self._key = secrets.token_bytes(32)
        # Each as it stands in a text, and as it is quoted in JSON and TOML.
        values = [each for each in known if len(each) >= _SHORTEST]
        quoted = {json.dumps(each, ensure_ascii=False)[1:-1]: each for each in values}
        self._known = quoted | {each: each for each in values}
        lengths: dict[str, set[int]] = {}
        for form in self._known:
            lengths.setdefault(form[:_SHORTEST], set()).add(len(form))
        self._lengths = {start: sorted(found, reverse=True) for start, found in lengths.items()}

    def of(self, value: str) -> str:
        """The hash that stands for a value."""
        return "#" + hmac.new(self._key, value.encode(), hashlib.sha256).hexdigest()[:12]

    def text(self, text: str) -> str:
        """A text without UIDs of images and without the values that are known."""
        text = self._without_known(text)
        return _UID.sub(lambda found: found[0] if _is_address(found[0]) else self.of(found[0]), text)

    def _without_known(self, text: str) -> str:
        """Replace the longest known value at each place, in one pass.

        A regular expression of all values takes minutes for a log of some megabytes.
        """
        parts, done, at = [], 0, 0
        while at <= len(text) - _SHORTEST:
            for length in self._lengths.get(text[at : at + _SHORTEST], ()):
                value = self._known.get(text[at : at + length])
                if value is not None:
                    parts += [text[done:at], self.of(value)]
                    at = done = at + length
                    break
            else:
                at += 1
        return "".join([*parts, text[done:]])


def support(config: Path, file: Path) -> Bundle:
    """Write the bundle for the node of the configuration `config` into the new zip `file`.

    A part that cannot be had says why in its place: a bundle is asked for where something is wrong. Raises
    RequestError if there is such a file, MapdrError if it cannot be written.
    """
    hashes = Hashes([*_identifying(config), *_rule_names(config)])
    parts: dict[str, Callable[[], str]] = {
        "about.json": _about,
        "doctor.json": lambda: json.dumps(
            plain({"findings": list(examine(config))}), indent=1, ensure_ascii=False
        ),
        "status.json": lambda: _status(config),
        "configuration.toml": lambda: _configuration(config, hashes),
        "mapdr.log": lambda: _log(config),
    }
    try:
        with open(file, "xb", opener=private_opener) as made:
            try:
                with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
                    for name, look in parts.items():
                        archive.writestr(name, hashes.text(_had(look)))
                made.flush()
                os.fsync(made.fileno())
            except BaseException:
                file.unlink(missing_ok=True)
                raise
    except FileExistsError:
        raise RequestError(f"there is a file {file}: name another one") from None
    except OSError as error:
        raise MapdrError(f"{file} cannot be written: {error.strerror or in_words(error)}") from error
    return Bundle(str(file), tuple(parts), file.stat().st_size)


def _had(look: Callable[[], str]) -> str:
    try:
        return look()
    except Exception as error:  # noqa: BLE001  it is told in the bundle, and the other parts are had
        return f"cannot be had: {in_words(error)}\n"


def _about() -> str:
    found = {}
    for library in LIBRARIES:
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            found[library] = "not installed"
    about = {
        "mapdr": mapdr.__version__,
        "made_at": moment(time.time()),
        "python": sys.version,
        "system": platform.platform(),
        "processors": os.cpu_count(),
        "libraries": found,
        "hashes": "# and 12 digits stand for a value; the key was random, and is kept nowhere",
    }
    return json.dumps(about, indent=1, ensure_ascii=False)


def _access(config: Path) -> Access:
    """The way to the node, whatever is wrong with the file beside where its data is. Raises MapdrError."""
    try:
        return Access.of(config)
    except WrongConfiguration as error:
        alone = node_of(check_file(config, rules=False))
        if alone is None:
            raise
        return Access(alone, problems=error.problems, config=config)


def _status(config: Path) -> str:
    opened = _access(config)
    try:
        with opened.named():
            return json.dumps(plain(node_state(opened)), indent=1, ensure_ascii=False)
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


def _rule_names(config: Path) -> list[str]:
    """The names of rules, which problems quote, and which may name a person. Empty without a file of TOML."""
    try:
        rules = parse(config.read_text(encoding="utf-8-sig")).values.get("rule", [])
    except (Malformed, OSError, UnicodeDecodeError):
        return []
    tables = [each for each in rules if isinstance(each, Mapping)] if isinstance(rules, list) else []
    return [name for each in tables if isinstance(name := each.get("name"), str)]


def _log(config: Path) -> str:
    """The end of the log in the data folder."""
    node = read_node(config.read_text(encoding="utf-8-sig"), Path(os.path.abspath(config)).parent)
    if node is None:
        raise MapdrError("the configuration does not say where the data is")
    path = node.data / "mapdr.log"
    if not path.is_file():
        return "there is none in the data folder: the node logs to its console, or to the system's journal\n"
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - LOG_BYTES))
        return file.read().decode(errors="replace")


def _configuration(config: Path, hashes: Hashes) -> str:
    """The values of the configuration, without what identifies and what is secret."""
    try:
        values = parse(config.read_text(encoding="utf-8-sig")).values
    except Malformed:
        raise MapdrError("it is no TOML; see doctor.json") from None
    return tomlkit.dumps(_without(values, hashes, (), hashed=False))


def _without(value: Any, hashes: Hashes, place: tuple[str, ...], *, hashed: bool) -> Any:
    """A value of the configuration at `place` as it may be shown; `hashed`: all that is text is hashed."""
    if isinstance(value, Mapping):
        return {
            key: _below(str(key), each, hashes, (*place, str(key)), hashed=hashed)
            for key, each in value.items()
        }
    if isinstance(value, list):
        return [_without(each, hashes, place, hashed=hashed) for each in value]
    if not isinstance(value, str) or value.startswith(("env:", "file:")):
        return value
    if "://" in value:
        return _url(value, hashes)
    if _PLACEHOLDER.fullmatch(value):
        return value
    return hashes.of(value) if hashed else value


def _below(key: str, value: Any, hashes: Hashes, place: tuple[str, ...], *, hashed: bool) -> Any:
    if _SECRET.search(key) and isinstance(value, str | int | float):
        is_place = isinstance(value, str) and value.startswith(("env:", "file:"))
        return value if is_place else REMOVED
    if place[0] == "rule" and _PLAIN_IN_RULES.intersection(place):
        hashed = False
    elif place[0] == "rule" or key in ("headers", "payload"):
        hashed = True
    return _without(value, hashes, place, hashed=hashed)


def _url(text: str, hashes: Hashes) -> str:
    """Where it leads; what else it says may be a secret: user, path, query."""
    try:
        split = urlsplit(text)
        where = split.hostname or ""
        port = f":{split.port}" if split.port else ""
    except ValueError:
        return hashes.of(text)
    rest = f"{split.path}{split.query}"
    return f"{split.scheme}://{where}{port}{'/' + hashes.of(rest) if rest.strip('/') else ''}"


def _is_address(text: str) -> bool:
    parts = text.split(".")
    return len(parts) == 4 and all(int(part) < 256 for part in parts)
