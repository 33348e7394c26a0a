"""The browser that the tests of a file share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from web.browsing import chromium


@pytest.fixture(scope="module")
def browser_of_the_file() -> Iterator[Browser]:
    """One for all tests of a file: to start one takes longer than many a test."""
    with chromium() as opened:
        yield opened


@pytest.fixture
def browser(browser_of_the_file: Browser) -> Iterator[Browser]:
    """A browser that knows nothing of the tests before: it is left without a tab or a cookie."""
    yield browser_of_the_file
    for context in browser_of_the_file.contexts:
        context.close()
