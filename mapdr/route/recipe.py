"""What a rule does to an image, as plain data under a hash.

A recipe is `{"steps": [{"type": ..., "config": ...}, ...]}`, in the order of the transforms, with
`"assume_character_set"` beside it where the receiver assumes one (`assuming`). Equal recipes
have equal hashes, so destinations share one result; the ledger keeps recipes by hash, so that a changed
configuration never changes what was promised.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from mapdr.kernel.character_set import AssumedSet


def recipe(steps: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """The recipe of (transform type, JSON-able configuration) pairs, already in order."""
    return {"steps": [{"type": type_, "config": config} for type_, config in steps]}


def assuming(recipe: dict[str, Any], sets: Sequence[AssumedSet]) -> dict[str, Any]:
    """The recipe for images of a receiver that assumes these character sets."""
    return {**recipe, "assume_character_set": [list(one) for one in sets]}


def canonical(recipe: dict[str, Any]) -> str:
    """The recipe as one JSON text: sorted keys, no spaces. Raises TypeError or ValueError if that fails."""
    return json.dumps(recipe, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def recipe_hash(recipe: dict[str, Any]) -> str:
    """32 hex digits: the first half of SHA-256 over the canonical text."""
    return hashlib.sha256(canonical(recipe).encode()).hexdigest()[:32]
