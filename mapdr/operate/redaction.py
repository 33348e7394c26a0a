"""What may leave the house in a bundle for the vendor: values by keyed hashes, no secret, no patient.

A configuration is asked for where it is broken: a secret may stand under a misspelt key, and in the open. So
a text is shown only under a key that this program knows; of rules only their own words are.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from typing import Any, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel

from mapdr.config.model import NodeConfig, WebhookConfig
from mapdr.config.read import RULE_KEYS
from mapdr.config.when import GROUPS, OPERATORS
from mapdr.dicom.edit.verbs import VERBS
from mapdr.dicom.path import parse_edit_path
from mapdr.kernel.errors import Unavailable
from mapdr.kernel.page import page_factory
from mapdr.kernel.registry import Registry
from mapdr.route.condition import FACTS

REMOVED = "(removed)"
TABLES = ("node", "receive", "egress", "webhook", "web", "rule")

_UID = re.compile(r"(?<![\d.])(?!1\.2\.840\.10008\.)[012](?:\.\d+){3,}(?![\d.])")
"""A UID that is none of DICOM's own; addresses have three dots as well (`_is_address`)."""
_SECRET = re.compile(r"auth|cookie|token|secret|api-?_?key|passw|credential|private", re.IGNORECASE)
_PLACE = ("env:", "file:")
_PLACEHOLDER = re.compile(r"\{\w+\}")
_LINK = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s\"'<>]+", re.IGNORECASE)
_LOGIN = re.compile(r"\b(Basic|Bearer)\s+\S+", re.IGNORECASE)
_SHORTEST = 4
"""Characters of a value that is looked for in texts: shorter ones stand everywhere."""
_PLAIN_IN_RULES = {
    *FACTS,
    *("send_to", "stop", "priority", "compress", "odd_lengths"),
    *("Modality", "SOPClassUID", "TransferSyntaxUID"),
}
"""Keys of rules whose values say nothing of a person."""
_FREE = {"headers", "payload"}
"""Tables whose keys anybody may choose; their values are hashed."""


class Hashes:
    """Values by their keyed hash, and texts in which known values are replaced.

    `known` are looked for by their first characters: there may be a hundred thousand of them.
    """

    def __init__(self, known: Iterable[str] = ()) -> None:
        self._key = secrets.token_bytes(32)
        self._known = frozenset(each for each in known if len(each) >= _SHORTEST)
        lengths: dict[str, set[int]] = {}
        for each in self._known:
            lengths.setdefault(each[:_SHORTEST], set()).add(len(each))
        self._lengths = {start: sorted(found, reverse=True) for start, found in lengths.items()}

    def of(self, value: str) -> str:
        """The hash that stands for a value."""
        return "#" + hmac.new(self._key, value.encode(errors="replace"), hashlib.sha256).hexdigest()[:12]

    def removed(self, value: object) -> str:
        """What stands for a secret."""
        return REMOVED

    def text(self, text: str) -> str:
        """A text without UIDs of images and without the values that are known."""
        parts, done, at, lengths = [], 0, 0, self._lengths
        while lengths and at <= len(text) - _SHORTEST:
            for length in lengths.get(text[at : at + _SHORTEST], ()):
                if text[at : at + length] in self._known:
                    parts += [text[done:at], self.of(text[at : at + length])]
                    done = at + length
                    break
            at = max(at + 1, done)
        text = "".join([*parts, text[done:]])
        return _UID.sub(lambda found: found[0] if _is_address(found[0]) else self.of(found[0]), text)

    def free(self, text: str) -> str:
        """As `text`, without what URLs and logins give away, for what others may have written."""
        return self.text(_LOGIN.sub(rf"\1 {REMOVED}", _LINK.sub(lambda found: url(found[0], self), text)))

    def values(self, value: Any) -> Any:
        """A value of JSON with each text as `free` gives it."""
        if isinstance(value, Mapping):
            return {key: self.values(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.values(each) for each in value]
        return self.free(value) if isinstance(value, str) else value


class _Collector(Hashes):
    """Notes what is hashed or removed."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def of(self, value: str) -> str:
        # A short one is looked for as problems quote it.
        self.found.add(value if len(value) >= _SHORTEST else f'"{value}"')
        return super().of(value)

    def removed(self, value: object) -> str:
        if isinstance(value, str):
            self.found.add(value)
        return REMOVED


def hidden(values: Mapping[str, Any]) -> set[str]:
    """What `shown` does not show of a configuration, and which may be quoted elsewhere."""
    collector = _Collector()
    shown(values, collector)
    return collector.found


def shown(values: Mapping[str, Any], hashes: Hashes) -> dict[str, Any]:
    """The values of a configuration (its tables) as they may be shown."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if key == "rule":
            found[key] = _rule(value, hashes, plain=False)
        elif key in ("receive", "egress", "webhook") and isinstance(value, Mapping):
            found[key] = {name: _table(each, hashes, key) for name, each in value.items()}
        else:
            found[_key(key, key in TABLES, hashes)] = _table(value, hashes, key if key in TABLES else "")
    return found


def url(text: str, hashes: Hashes) -> str:
    """Where it leads; what else it says may be a secret: user, path, query."""
    try:
        split = urlsplit(text)
        where, port = split.hostname or "", f":{split.port}" if split.port else ""
    except ValueError:
        return hashes.of(text)
    if split.password:
        hashes.removed(split.password)
    if len(split.query) >= _SHORTEST:
        hashes.removed(split.query)
    rest = f"{split.path}{split.query}"
    return f"{split.scheme}://{where}{port}{'/' + hashes.of(rest) if rest.strip('/') else ''}"


def _table(value: Any, hashes: Hashes, key: str, *, hide: bool = False) -> Any:
    """A value beside rules, under `key` (empty: one that is not known)."""
    hide = hide or not key
    if isinstance(value, Mapping):
        return {
            _key(name, name in known_keys() or key in _FREE, hashes): _below(name, each, hashes, key, hide)
            for name, each in value.items()
        }
    if isinstance(value, list):
        return [_table(each, hashes, key, hide=hide) for each in value]
    if isinstance(value, bool) or (not hide and not isinstance(value, str)):
        return value
    if isinstance(value, str) and value.startswith(_PLACE):
        return value
    if hide:
        return hashes.removed(value)
    if "://" in value:
        return url(value, hashes)
    if key.endswith("url") or key == "proxy" or (key == "database" and value != "sqlite"):
        return hashes.removed(value)
    return value


def _below(name: str, value: Any, hashes: Hashes, key: str, hide: bool) -> Any:
    """The value of `name` in the table `key`."""
    if key in _FREE or name in _FREE:
        return _free_values(name, value, hashes)
    if _SECRET.search(name):
        # `auth` is a table of known keys; whatever else is here is a secret, or where one is kept.
        return _table(value, hashes, name, hide=hide or name != "auth" or not isinstance(value, Mapping))
    is_known = name in known_keys() and (name != "key" or key == "tls")  # elsewhere it may be a password
    return _table(value, hashes, name if is_known else "", hide=hide)


def _free_values(name: str, value: Any, hashes: Hashes) -> Any:
    if isinstance(value, Mapping):
        return {key: _free_values(key, each, hashes) for key, each in value.items()}
    if isinstance(value, list):
        return [_free_values(name, each, hashes) for each in value]
    if not isinstance(value, str) or value.startswith(_PLACE) or _PLACEHOLDER.fullmatch(value):
        return value
    return hashes.removed(value) if _SECRET.search(name) else hashes.of(value)


def _rule(value: Any, hashes: Hashes, *, plain: bool) -> Any:
    """A value of a rule; `plain`: under a key that says nothing of a person."""
    if isinstance(value, Mapping):
        return {
            _key(key, _is_word(key), hashes): _rule(each, hashes, plain=plain or key in _PLAIN_IN_RULES)
            for key, each in value.items()
        }
    if isinstance(value, list):
        return [_rule(each, hashes, plain=plain) for each in value]
    return hashes.of(value) if isinstance(value, str) and not plain else value


def _key(key: str, is_known: bool, hashes: Hashes) -> str:
    """A key as it may be shown: one that is not known, and no plain word, may be somebody's name."""
    return key if is_known or re.fullmatch(r"[a-z]+(_[a-z]+)*", key) else hashes.of(key)


def _is_word(key: str) -> bool:
    """Whether a key of a rule is this program's, or a tag."""
    if key in {*RULE_KEYS, *GROUPS, *OPERATORS, *FACTS, *(each.name for each in VERBS)}:
        return True
    try:
        parse_edit_path(key)
    except ValueError:
        return False
    return True


@cache
def known_keys() -> frozenset[str]:
    """Every key of every table of a configuration, beside rules."""
    factories = [each.factory for each in Registry().plugins() if each.kind in ("receive", "egress")]
    kinds = [NodeConfig, WebhookConfig, *(each.config for each in factories if each is not None)]
    with suppress(Unavailable):
        kinds.append(page_factory().config)
    return frozenset({"type", *(key for kind in kinds for key in _keys(kind))})


def _keys(kind: Any) -> Iterator[str]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        for name, field in kind.model_fields.items():
            yield field.alias or name
            yield from _keys(field.annotation)
    for each in get_args(kind):
        yield from _keys(each)


def _is_address(text: str) -> bool:
    parts = text.split(".")
    return len(parts) == 4 and all(int(part) < 256 for part in parts)
