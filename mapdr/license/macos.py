"""Facts of a Mac, out of the registry of its hardware (`ioreg`)."""

from __future__ import annotations

import re
import subprocess
import uuid
from functools import cache

_SECONDS = 10.0


def firmware_words() -> str:
    """Maker and model."""
    return f"{_value('manufacturer')} {_value('model')}"


@cache
def _registry() -> str:
    command = ["/usr/sbin/ioreg", "-rd1", "-c", "IOPlatformExpertDevice"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=_SECONDS)  # noqa: S603
    return done.stdout


def _value(key: str) -> str:
    try:
        found = re.search(rf'"{key}" = <?"([^"]*)"', _registry())
    except subprocess.SubprocessError as error:
        raise OSError("ioreg does not answer") from error
    if found is None:
        raise LookupError(key)
    return found[1]


def _network() -> str:
    number = uuid.getnode()
    if number >> 40 & 1:
        raise LookupError("a random number stands for an address")
    return f"{number:012x}"


READERS = {
    "machine": lambda: _value("IOPlatformUUID"),
    "firmware": lambda: _value("IOPlatformSerialNumber"),
    "board": lambda: f"{_value('board-id')} {_value('model')}",
    "network": _network,
}
