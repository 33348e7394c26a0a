"""The program `mapdr-desktop`: the first one of a user opens, another one has it come to the front."""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import signal
from pathlib import Path

import mapdr
from mapdr.kernel.permissions import FOLDER_MODE
from mapdr.kernel.privacy import in_words, protect
from mapdr.node.process import log_to
from mapdr_desktop.instance import Instance, runtime_folder, take_or_ask
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
    status = 0
    try:
        folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        log_to(folder / "desktop.log", verbose=False)
        first = take_or_ask(folder, "quit" if given.quit else "open")
        if first is not None and given.quit:
            first.end()
        elif first is not None:
            _run(first, given.config)
    except Exception as error:  # noqa: BLE001  without a terminal the log alone can say it
        log.error("%s", in_words(error))
        status = 1
    # Not by `sys.exit`: pywebview leaves threads that wait for ever for a window that is gone.
    logging.shutdown()
    os._exit(status)


def _run(first: Instance, config: Path | None) -> None:
    try:
        program = Program(Opening(find_configuration(config)), make_tray)
        first.listen(program.obey)
        for name in ("SIGTERM", "SIGHUP"):  # a session ends; SIGHUP is not of Windows
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) != signal.SIG_IGN:  # nohup's stays
                signal.signal(number, lambda number, frame: program.obey("quit"))
        program.run()
    finally:
        first.end()


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("mapdr-desktop", description="MAPDR in a window of its own.")
    parser.add_argument("--version", action="version", version=f"mapdr-desktop {mapdr.__version__}")
    parser.add_argument("--config", type=Path, metavar="FILE", help="the configuration to work by")
    parser.add_argument("--quit", action="store_true", help="end the one that runs")
    return parser
