"""What may be printed: nothing that a data set holds.

Libraries quote values in their warnings and log records, and a foreign exception may in its text. None of it
reaches a log or standard error: `protect` sees to that at the start of a process, and whoever tells of an
exception asks `in_words`.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
import types
import warnings
from typing import TextIO

from mapdr.kernel.errors import MapdrError

log = logging.getLogger("mapdr")

QUOTING = ("pydicom", "pynetdicom", "watchfiles")
"""Loggers whose records quote the bytes, values and file names that they are about; MAPDR says itself what is
wrong."""


def in_words(error: BaseException, *, places: bool = True) -> str:
    """An exception without a value of an image: ours and the system's in their words, others by type.

    `places` adds the file that the system names and the line of code that raised. Without them it may stand
    with a ledger row: the same trouble has the same words, wherever MAPDR and its data are.
    """
    if isinstance(error, MapdrError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        if not places:
            return f"{type(error).__name__}: {error.strerror}"
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return f"internal error: {place(error)}" if places else type(error).__name__


def system_says(error: OSError) -> str:
    """What the system says of an error, without a path; the error's type where it says nothing."""
    return error.strerror or type(error).__name__


def place(error: BaseException) -> str:
    """An unexpected error without its message, which may hold a value: its type and where it came from."""
    return f"{type(error).__name__}{_at(error.__traceback__)}"


def protect() -> None:
    """Keep values of data sets out of what this process prints. Safe twice."""
    for name in QUOTING:
        logger = logging.getLogger(name)
        # Not by its level, which pydicom sets anew when it is imported.
        logger.propagate = False
        logger.handlers[:] = [logging.NullHandler()]
    warnings.showwarning = _warned
    sys.excepthook = _raised
    threading.excepthook = _thread_ended
    sys.unraisablehook = _unraisable


def _warned(  # noqa: PLR0917  as `warnings` calls it
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    log.debug("%s at %s:%d", category.__name__, _short(filename), lineno)


def _raised(kind: type[BaseException], error: BaseException, trace: types.TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    log.critical("the program ends: %s", in_words(error))


def _thread_ended(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is None or args.exc_type is SystemExit:
        return
    name = args.thread.name if args.thread else "a thread"
    log.error("thread %s ended: %s", name, in_words(args.exc_value))


def _unraisable(args: sys.UnraisableHookArgs) -> None:
    kind = args.exc_type.__name__ if args.exc_type else "an error"
    log.error("internal error: %s while something was given back%s", kind, _at(args.exc_traceback))


def _at(trace: types.TracebackType | None) -> str:
    frames = traceback.extract_tb(trace)
    return f" at {_short(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""


def _short(filename: str) -> str:
    """The last two parts of a file's path: where it is installed is nobody's business."""
    return "/".join(filename.replace("\\", "/").split("/")[-2:])
