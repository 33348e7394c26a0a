"""Whether a machine is the one that a license was made for: most facts match, and not too few."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mapdr.license.code import fingerprint, read
from mapdr.license.token import FEWEST, License


@dataclass(frozen=True, slots=True)
class Match:
    """How the facts of a machine compare with a license's: each kind is among one of the three.

    `unreadable` are facts that the machine had when the license was made and that cannot be read now: they
    count for neither side.
    """

    same: frozenset[str]
    other: frozenset[str]
    unreadable: frozenset[str]
    needed: int

    @property
    def holds(self) -> bool:
        """Whether it is the same machine."""
        return len(self.same) >= self.needed and len(self.same) > len(self.other)


def match(allowed: License, facts: Mapping[str, str]) -> Match:
    """Compare the facts of this machine (kind to value) with those of a license."""
    wanted = read(allowed.request)
    found = fingerprint(facts, wanted.salt).hashes
    readable = wanted.hashes.keys() & found.keys()
    same = frozenset(kind for kind in readable if wanted.hashes[kind] == found[kind])
    unreadable = frozenset(wanted.hashes.keys() - found.keys())
    needed = min(max(FEWEST, allowed.matches), len(wanted.hashes))
    return Match(same, frozenset(readable) - same, unreadable, needed)
