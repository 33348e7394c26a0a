"""What the rules would do to a file that somebody gives to the running node: looked at in another process.

A file may come from anywhere. What a decoder does with it (crash, hang, take all memory) happens to that
process, and the node's own decoders are not touched.
"""

from __future__ import annotations

import multiprocessing
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

from mapdr.kernel.errors import MapdrError
from mapdr.kernel.privacy import in_words
from mapdr.operate.access import Access
from mapdr.operate.configuration import load
from mapdr.operate.errors import RequestError
from mapdr.operate.explain import Explanation, explain

PATIENCE = 120.0
"""Seconds after which the process is ended."""


def try_file(opened: Access, file: Path, *, name: str = "", calling_ae: str = "") -> Explanation:
    """What the rules of the configuration file would do to a file, as if `calling_ae` had sent it; nothing is
    kept or sent. `name` is what the answer calls the file.

    The answer quotes values of the file, which the audit is told. Raises RequestError where the file is no
    DICOM, the node would refuse it, or looking at it ended the process; MapdrError.
    """
    if opened.config is None:
        raise MapdrError("it is not known which file the configuration is in")
    opened.audit.viewed(opened.actor, "tried file", {})
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_look, args=(there, opened.config, file, calling_ae), name="mapdr-try")
    process.start()
    there.close()
    try:
        if not here.poll(PATIENCE):
            raise RequestError(f"it took longer than {PATIENCE:.0f} s, and was ended")
        told: Explanation | str = here.recv()
    except EOFError:
        raise RequestError("it ended the process that looked at it; the node would park it") from None
    finally:
        here.close()
        process.kill()
        process.join()
        process.close()
    if isinstance(told, str):
        raise RequestError(told)
    return replace(told, file=name)


def _look(answer: Connection, config: Path, file: Path, calling_ae: str) -> None:
    """In the other process: the explanation, or why there is none."""
    try:
        told: Explanation | str = explain(file, load(config), calling_ae=calling_ae, identify=True)
    except MapdrError as error:
        told = str(error)
    except Exception as error:  # noqa: BLE001  told; values of the file stay out of it
        told = f"it cannot be looked at: {in_words(error)}"
    with suppress(BrokenPipeError):  # nobody waits any more
        answer.send(told)
    answer.close()
