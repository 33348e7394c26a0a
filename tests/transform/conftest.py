"""Decoder processes for the tests that decompress; which images followed others for those that compress."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mapdr.dicom import uids
from mapdr.kernel.codec import FrameFormat
from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import Payload
from mapdr.transform.codecs import foreign
from mapdr.transform.codecs.worker import Job
from mapdr.transform.encode.compress import CompressStep

from .helpers import CODECS


@pytest.fixture(scope="module")
def decoders() -> Iterator[None]:
    """The node's pool, with one decoder that has begun: it lasts for a file, since to start it takes half a
    second, longer than most of what it is asked."""
    job = Job(CODECS.decoder(uids.RLE_LOSSLESS), FrameFormat(1, 1, 1, 8, 8, False, "MONOCHROME2"))
    with pytest.raises(Permanent):
        foreign.decoders(1).decode(job, b"no codestream")
    yield
    foreign.close_decoders()


@pytest.fixture
def own_decoders(no_leaks: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """For a test whose decoders must not be those of others: a pool that begins and ends with it."""
    monkeypatch.setattr(foreign, "_shared", [])
    yield
    foreign.close_decoders()


@pytest.fixture
def followed(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each image that was prepared followed another."""
    found: list[bool] = []
    follow = CompressStep.follow

    def noting(self: CompressStep, *arguments: Any) -> Payload | None:
        made = follow(self, *arguments)
        found.append(made is not None)
        return made

    monkeypatch.setattr(CompressStep, "follow", noting)
    return found
