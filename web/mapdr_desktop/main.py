"""The program `mapdr-desktop`: the first one of a user opens, another one has it come to the front."""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import sys
from pathlib import Path

import mapdr
from mapdr.kernel.errors import MapdrError
from mapdr.kernel.privacy import in_words, protect
from mapdr.node.process import log_to
from mapdr_desktop.instance import Instance, ask, runtime_folder
from mapdr_desktop.opening import Opening, find_configuration
from mapdr_desktop.program import Program
from mapdr_desktop.tray import make_tray

log = logging.getLogger("mapdr.desktop")


def main() -> None:
    """The entry point. Exits 1 if something failed, which its log says (`desktop.log` without a terminal)."""
    multiprocessing.freeze_support()
    protect()
    given = _options().parse_args()
    folder = runtime_folder()
    try:
        first = Instance.take(folder)
        log_to(folder / "desktop.log", verbose=False)
        if first is None:
            ask(folder, "quit" if given.quit else "open")
        elif given.quit:
            first.end()
        else:
            _run(first, given.config)
    except (MapdrError, OSError) as error:
        log.error("%s", in_words(error))
        sys.exit(1)


def _run(first: Instance, config: Path | None) -> None:
    try:
        program = Program(Opening(find_configuration(config)), make_tray)
        first.listen(program.obey)
        program.run()
    finally:
        first.end()


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("mapdr-desktop", description="MAPDR in a window of its own.")
    parser.add_argument("--version", action="version", version=f"mapdr-desktop {mapdr.__version__}")
    parser.add_argument("--config", type=Path, metavar="FILE", help="the configuration to work by")
    parser.add_argument("--quit", action="store_true", help="end the one that runs")
    return parser
