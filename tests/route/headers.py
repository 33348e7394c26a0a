"""A header and a sender for tests of the rules."""

from __future__ import annotations

from collections.abc import Mapping

from mapdr.dicom.path import parse_path
from mapdr.kernel.item import Source, TagPath


class FakeHeader:
    """`values` by tag as written; an empty tuple is an element without a value."""

    pixel_offset = None

    def __init__(self, values: Mapping[str, tuple[str, ...]]) -> None:
        self._values: dict[TagPath, tuple[str, ...]] = {parse_path(key): each for key, each in values.items()}

    def texts(self, path: TagPath) -> tuple[str, ...]:
        return self._values.get(path, ())

    def text(self, path: TagPath) -> str:
        return next(iter(self.texts(path)), "")

    def has(self, path: TagPath) -> bool:
        return path in self._values


def sender(
    receiver: str = "modalities", calling: str = "CT1", called: str = "MAPDR", address: str = "10.1.2.3"
) -> Source:
    return Source(receiver, calling, called, address)
