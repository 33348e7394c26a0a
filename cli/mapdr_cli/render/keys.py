"""Keys that are pressed on a terminal, one at a time and without Enter, by name.

A key that writes something is that character; the others are called up, down, left, right, enter, esc, tab,
backtab, backspace, delete, home, end, pgup and pgdn.
"""

from __future__ import annotations

import codecs
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

TICK = 0.03
"""Seconds between two looks at a Windows console, which cannot be waited for."""

ESCAPE_SECONDS = 0.05
"""Within so many seconds, what follows an escape character belongs to it."""

_PLAIN = MappingProxyType({"\r": "enter", "\n": "enter", "\t": "tab", "\x1b": "esc", "\x7f": "backspace"})
_SEQUENCES = MappingProxyType(
    {
        **dict(zip("ABCDHFZ", ("up", "down", "right", "left", "home", "end", "backtab"), strict=True)),
        "1~": "home",
        "7~": "home",
        "4~": "end",
        "8~": "end",
        "3~": "delete",
        "5~": "pgup",
        "6~": "pgdn",
    }
)
"""What follows ESC [ or ESC O (ECMA-48, and xterm's own)."""
SCANNED: Mapping[str, str] = MappingProxyType(
    dict(
        zip(
            "HPKMGOIQS",
            ("up", "down", "left", "right", "home", "end", "pgup", "pgdn", "delete"),
            strict=True,
        )
    )
)
"""The second character of a key that a Windows console gives in two."""
_SEQUENCE = re.compile(r"\x1b(?:\[([0-9;]*)([A-Za-z~])|O([A-Za-z]))")
_BEGUN = re.compile(r"\x1b(?:\[[0-9;]*|O)?")


def split(text: str, *, whole: bool) -> tuple[list[str], str]:
    """What a terminal has sent as keys, and what is left that may be the beginning of one.

    `whole`: nothing more has come for a while, so an escape character alone is the key.
    """
    found: list[str] = []
    while text:
        sequence = _SEQUENCE.match(text)
        if sequence is not None:
            number, end, short = sequence.groups()
            name = _SEQUENCES.get(short or (f"{number}~" if end == "~" else end))
            found += [name] if name else []
            text = text[sequence.end() :]
        elif text[0] == "\x1b" and not whole and _BEGUN.fullmatch(text):
            break
        else:
            found += [_named(text[0])] if _named(text[0]) else []
            text = text[1:]
    return found, text


def _named(character: str) -> str:
    """The key that writes a character; "" for a control character that is none of ours."""
    if character in ("\x08", "\x7f"):
        return "backspace"
    return _PLAIN.get(character) or (character if character.isprintable() else "")


class Keys:
    """The keys of standard input; none where that is no terminal. `ended`: there will be none any more."""

    def __init__(self, *, there: bool) -> None:
        self.ended = not there
        self._waiting: list[str] = []
        self._begun = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def within(self, seconds: float) -> str:
        """The key that is pressed within so many seconds, "" for none; the pause is over with it."""
        if self._waiting:
            return self._waiting.pop(0)
        if self.ended:
            time.sleep(seconds)
            return ""
        self._waiting, self._begun = self._read(seconds)
        return self._waiting.pop(0) if self._waiting else ""

    def _read(self, seconds: float) -> tuple[list[str], str]:
        some = read(min(seconds, ESCAPE_SECONDS) if self._begun else seconds)
        if some is None:
            self.ended = True
            return split(self._begun, whole=True)
        text = self._begun + self._decoder.decode(some)
        found, begun = split(text, whole=not some)
        if begun and not found and some:  # the rest of it comes at once, or never
            more = read(ESCAPE_SECONDS) or b""
            return split(begun + self._decoder.decode(more), whole=not more)
        return found, begun


@contextmanager
def keys() -> Iterator[Keys]:
    """The keys, while the block runs; the terminal is as it was afterwards."""
    if sys.stdin is None or not sys.stdin.isatty():
        yield Keys(there=False)
        return
    with _unbuffered():
        yield Keys(there=True)


if sys.platform == "win32":
    import msvcrt

    _SENT = {name: f"\x1b[{end}".encode() for end, name in _SEQUENCES.items()}

    @contextmanager
    def _unbuffered() -> Iterator[None]:
        """A console gives single keys as it is."""
        yield

    def read(seconds: float) -> bytes | None:
        """What was typed, as another terminal would send it; empty for nothing, None if there is no more."""
        end = time.monotonic() + seconds
        while not msvcrt.kbhit():
            if time.monotonic() >= end:
                return b""
            time.sleep(TICK)
        character = msvcrt.getwch()
        if character == "\x03":
            raise KeyboardInterrupt
        if character in ("\x00", "\xe0") and msvcrt.kbhit():
            return _SENT.get(SCANNED.get(msvcrt.getwch(), ""), b"")
        return character.encode("utf-8", "surrogatepass")

else:
    import os
    import select
    import termios
    import tty

    @contextmanager
    def _unbuffered() -> Iterator[None]:
        """Single keys, unseen; Ctrl-C stays what it is."""
        terminal = sys.stdin.fileno()
        before = termios.tcgetattr(terminal)
        tty.setcbreak(terminal)
        try:
            yield
        finally:
            termios.tcsetattr(terminal, termios.TCSADRAIN, before)

    def read(seconds: float) -> bytes | None:
        """What was typed within so many seconds; empty for nothing, None if there will be no more."""
        terminal = sys.stdin.fileno()
        if not select.select([terminal], [], [], seconds)[0]:
            return b""
        return os.read(terminal, 1024) or None
