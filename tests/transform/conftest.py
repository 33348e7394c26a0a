"""The decoder processes of the node end with each module that started some."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mapdr.transform.codecs.foreign import close_decoders


@pytest.fixture
def decoders(no_leaks: None) -> Iterator[None]:
    """For tests that decompress: the node's decoder processes end with the test."""
    yield
    close_decoders()
