"""What this program is, and whose work is in it: the licences of what is installed with it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata

import mapdr

NAME = "mapdr"
_REQUIRED = re.compile(r"[A-Za-z0-9._-]+")
_LONGEST = 80
"""Characters of a licence's name; some packages have its whole text there."""
_CLASSIFIER = "License :: "


@dataclass(frozen=True, slots=True)
class Licensed:
    """A package that MAPDR uses, its licence by name ("see its files" where its metadata names none), and
    where it is from."""

    name: str
    version: str
    license: str
    home: str


@dataclass(frozen=True, slots=True)
class About:
    """The version, and the packages of others by name."""

    version: str
    packages: Sequence[Licensed]


def about() -> About:
    """What is installed here of what MAPDR and its extras need, and what that needs in turn."""
    found: dict[str, Licensed] = {}
    waiting = [NAME]
    while waiting:
        name = waiting.pop()
        key = re.sub(r"[-_.]+", "-", name).lower()
        if key in found:
            continue
        try:
            one = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # an extra, or for another system
        found[key] = Licensed(one.metadata["Name"], one.version, _license(one), _home(one))
        waiting += _needs(one, extras=name == NAME)
    found.pop(NAME, None)
    return About(mapdr.__version__, [found[key] for key in sorted(found)])


def _needs(one: metadata.Distribution, *, extras: bool) -> Iterator[str]:
    for text in one.requires or ():
        match = _REQUIRED.match(text)
        if match and (extras or not re.search(r"\bextra\s*==", text)):
            yield match[0]


def _license(one: metadata.Distribution) -> str:
    told = one.metadata.get_all("License-Expression") or one.metadata.get_all("License") or [""]
    text = str(told[0]).strip()
    if text and "\n" not in text and len(text) <= _LONGEST:
        return text
    classifiers = one.metadata.get_all("Classifier") or []
    names = [each.rpartition(" :: ")[2] for each in classifiers if each.startswith(_CLASSIFIER)]
    return ", ".join(names) or "see its files"


def _home(one: metadata.Distribution) -> str:
    """Its address, https alone; empty if it names none."""
    urls = [text.partition(",")[2].strip() for text in one.metadata.get_all("Project-URL") or ()]
    named = [*(one.metadata.get_all("Home-page") or ()), *urls]
    return next((url for url in named if url.startswith("https://")), "")
