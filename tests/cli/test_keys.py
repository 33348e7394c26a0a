"""Keys as terminals send them: by name, whatever the terminal, and none lost between two reads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mapdr_cli.render import keys
from mapdr_cli.render.keys import Keys, split


@pytest.mark.parametrize(
    ("sent", "named"),
    [
        ("\x1b[A", ["up"]),
        ("\x1bOB", ["down"]),
        ("\x1b[1;5C", ["right"]),
        ("\x1b[5~\x1b[6~", ["pgup", "pgdn"]),
        ("\x1b[H\x1b[4~\x1b[1~", ["home", "end", "home"]),
        ("\x1b[Z\t", ["backtab", "tab"]),
        ("\r\n", ["enter", "enter"]),
        ("\x7f\x08", ["backspace", "backspace"]),
        ("äR", ["ä", "R"]),
        ("\x1b", ["esc"]),
        ("\x1b[", ["esc", "["]),
        ("\x1bq", ["esc", "q"]),
        ("\x01\x1b[99~", []),
    ],
)
def test_what_a_terminal_sends_is_named(sent: str, named: list[str]) -> None:
    assert split(sent, whole=True) == (named, "")


@pytest.mark.parametrize("begun", ["\x1b", "\x1b[", "\x1b[1;5", "\x1bO"])
def test_a_key_that_has_only_begun_waits_for_its_rest(begun: str) -> None:
    assert split(f"a{begun}", whole=False) == (["a"], begun)


def _reads(monkeypatch: pytest.MonkeyPatch, *sent: bytes | None) -> Keys:
    waiting: Iterator[bytes | None] = iter(sent)
    monkeypatch.setattr(keys, "read", lambda seconds: next(waiting))
    return Keys(there=True)


def test_keys_that_come_together_are_given_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    pressed = _reads(monkeypatch, b"r\x1b[By", b"")
    assert [pressed.within(1) for _ in range(4)] == ["r", "down", "y", ""]


def test_a_key_in_two_reads_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    pressed = _reads(monkeypatch, b"\x1b", b"[A", b"\x1b[", b"5~")
    assert [pressed.within(1), pressed.within(1)] == ["up", "pgup"]


def test_a_character_in_two_reads_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    pressed = _reads(monkeypatch, b"\xc3", b"\xa4")
    assert [pressed.within(1), pressed.within(1)] == ["", "ä"]


def test_escape_alone_is_a_key_once_nothing_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    pressed = _reads(monkeypatch, b"\x1b", b"")
    assert pressed.within(1) == "esc"


def test_an_input_that_is_gone_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    pressed = _reads(monkeypatch, None)
    assert pressed.within(0.001) == ""
    assert pressed.ended
    assert pressed.within(0.001) == ""


def test_the_keys_of_a_windows_console_are_the_same_keys() -> None:
    ends = {name: end for end, name in keys._SEQUENCES.items()}
    for name in keys.SCANNED.values():
        assert split(f"\x1b[{ends[name]}", whole=True) == ([name], "")
