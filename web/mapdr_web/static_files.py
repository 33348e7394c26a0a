"""The page's own files, read once: nothing is asked from anywhere else."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources

TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class File:
    """A file as it is sent."""

    body: bytes
    type: str
    etag: str


def read_all() -> dict[str, File]:
    """Every file of the folder `static`, by its name."""
    found: dict[str, File] = {}
    for each in (resources.files("mapdr_web") / "static").iterdir():
        kind = TYPES.get(each.name.rpartition(".")[2])
        if kind is not None:
            body = each.read_bytes()
            found[each.name] = File(body, kind, f'"{hashlib.sha256(body).hexdigest()[:20]}"')
    return found
