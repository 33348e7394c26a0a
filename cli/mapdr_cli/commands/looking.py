"""The way to a node for commands that look, hold and release: a configuration with problems is in no way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mapdr.operate.access import ACTING, Access, access
from mapdr_cli.render.problems import show_warnings
from mapdr_cli.render.terminal import console


@contextmanager
def looking(config: Path, *, busy: float = ACTING) -> Iterator[Access]:
    """The access without rules (`mapdr.operate.access.access`); what is wrong with the file is a warning."""
    with access(config, busy=busy) as opened:
        if opened.problems:
            show_warnings(opened.problems)
            what = "the configuration file has problems; what follows is by the one that the node used last"
            console(stderr=True).print(f"mapdr: {what}", style="warn", soft_wrap=True)
        yield opened
