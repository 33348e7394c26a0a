"""The operators' page: found by its name when a configuration has a table `[web]`, and never before.

It is a stage like receivers: a `Factory` (kind "page"), built with the node that it shows as `next`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Protocol

from mapdr.kernel.errors import Unavailable
from mapdr.kernel.privacy import in_words
from mapdr.kernel.stage import Description, Factory, Stage

MODULE = "mapdr_web.page"


class Page(Stage, Protocol):
    """The page, once it is built."""

    def describe(self) -> Description:
        """Where it listens, and what it shows of itself. As `Receiver.describe`."""


def page_factory() -> Factory:
    """The page's factory. Raises Unavailable with the reason if this installation has no page."""
    try:
        stage = import_module(MODULE).STAGE
    except ImportError as error:
        raise Unavailable(f"the page is unavailable, because {in_words(error)}") from error
    assert isinstance(stage, Factory)
    return stage
