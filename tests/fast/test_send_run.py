"""The compiled run of C-STORE messages against its plain Python twin: the same bytes, the same answers."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fast.test_twins import compiled, outcome
from mapdr import _fast
from mapdr._fast import _pdata_py, _send_run_py
from mapdr._fast._send_run_py import LONGEST_ANSWER, Message, examine
from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import FileSlice
from mapdr.kernel.proof import Proof
from mapdr.testing import peer
from mapdr.wire import dimse

TWINS = ("_send_run", "_send_run_py")
ME = Path(_fast.__file__)


def answer(
    message_id: int,
    status: int = 0,
    comment: bytes = b"",
    context: int = 3,
    *,
    sop_class: bytes = b"1.2.840.10008.5.1.4.1.1.2\0",
    instance: bytes = b"1.2.3\0",
) -> bytes:
    """A C-STORE-RSP as one P-DATA."""
    extra = ((0x0902, comment),) if comment else ()
    command = response(message_id, status, *extra, sop_class=sop_class, instance=instance)
    return peer.p_data((context, 3, command))


def response(
    message_id: int,
    status: int = 0,
    *extra: tuple[int, bytes],
    sop_class: bytes = b"1.2.840.10008.5.1.4.1.1.2\0",
    instance: bytes = b"1.2.3\0",
) -> bytes:
    elements = [
        (0x0002, sop_class),
        (0x0100, b"\x01\x80"),
        (0x0120, struct.pack("<H", message_id)),
        (0x0800, b"\x01\x01"),
        (0x0900, struct.pack("<H", status)),
        *extra,
        (0x1000, instance),
    ]
    return b"".join(struct.pack("<HHL", 0, number, len(value)) + value for number, value in elements)


def message(number: int, *parts: bytes | FileSlice) -> Message:
    length = sum(len(part) if isinstance(part, bytes) else part.length for part in parts)
    command = dimse.store_request(number, CLASS, INSTANCE)
    return Message(3, number, command, parts, length, CLASS.encode(), INSTANCE.encode())


CLASS, INSTANCE = "1.2.840.10008.5.1.4.1.1.2", "1.2.3"
Answers = Sequence[bytes]


class Peer:
    """The other end of a channel: after each whole message it sends the next of its answers, then closes.

    `early`: it answers the first message as soon as its command set is here.
    """

    def __init__(self, answers: Answers, *, close: bool, early: bool = False) -> None:
        self.ours, self.theirs = socket.socketpair()
        self._answers = list(answers)
        self._close = close
        self._early = early
        self.read = bytearray()
        self._thread = threading.Thread(target=self._drain)
        self._thread.start()

    def _drain(self) -> None:
        at = 0
        self._rest()
        while piece := self.theirs.recv(1 << 16):
            self.read += piece
            while len(self.read) - at >= 12:
                end = at + 6 + int.from_bytes(self.read[at + 2 : at + 6], "big")
                control = self.read[at + 11]
                if len(self.read) < end:
                    break
                at = end
                if control == (3 if self._early else 2):
                    self._early = False
                    self._answer()

    def _answer(self) -> None:
        with suppress(OSError):
            if self._answers:
                self.theirs.sendall(self._answers.pop(0))
            self._rest()

    def _rest(self) -> None:
        if self._close and not self._answers:
            self.theirs.shutdown(socket.SHUT_WR)

    def end(self) -> bytes:
        """Everything that was sent."""
        self.ours.close()
        self._thread.join(10)
        self.theirs.close()
        return bytes(self.read)


@contextmanager
def channel(
    name: str, answers: Answers, *, close: bool = True, early: bool = False, tick: float = 0.1
) -> Iterator[tuple[Any, Peer]]:
    """A channel of the same kind as the twin `name`, with a peer that has `answers`.

    A run waits for an answer for `tick` seconds: long where every answer comes, short where none does.
    """
    module: ModuleType = _pdata_py if name.endswith("_py") else compiled("_pdata")
    other = Peer(answers, close=close, early=early)
    try:
        yield module.Channel(other.ours, max_receive=4096, grace=5.0, tick=tick, buffer=4096), other
    finally:
        other.end()


def attempt(function: Callable[..., Any], *args: Any) -> Any:
    """As `outcome`, for files that cannot be read, too."""
    try:
        return outcome(function, *args)
    except (OSError, EOFError) as error:
        return (type(error).__name__,)


def run(
    name: str,
    messages: Sequence[Message],
    answers: Answers,
    *,
    max_length: int = 4096,
    seconds: float = 60.0,
    close: bool = True,
    early: bool = False,
    tick: float = 0.1,
    patience: float = 0.1,
) -> tuple[Any, ...]:
    """How a run ended, what was answered, what is read next, whether a message is unfinished, the bytes.

    What is read next is waited for `patience` seconds.
    """
    module = _send_run_py if name.endswith("_py") else compiled(name)
    told: list[tuple[int, float]] = []
    with channel(name, answers, close=close, early=early, tick=tick) as (made, other):
        ended = attempt(module.send_run, made, messages, max_length, seconds, told)
        left = outcome(made.read_command, patience)
        unfinished = made.unfinished
        sent = other.end()
    assert all(took >= 0 for _, took in told)
    return ended, [status for status, _ in told], left, unfinished, sent


def of_twins(
    messages: Sequence[Message], answers: Answers, *, max_length: int = 4096
) -> list[tuple[Any, ...]]:
    """How the run of each twin ended. Where they ended otherwise they get more time, as on a busy machine."""
    results: list[tuple[Any, ...]] = []
    for seconds in (0.05, 5.0):
        results = [
            run(name, messages, answers, max_length=max_length, tick=seconds, patience=seconds)
            for name in TWINS
        ]
        if results[0][:3] == results[1][:3]:
            break
    return results


statuses = st.sampled_from([0, 0, 0, 0, 0, 0xB000, 0xB007, 0xBFFF, 0xC000, 0xA700, 0x0001, 0xFFFF])
odd = st.one_of(
    st.binary(max_size=40),
    st.builds(answer, st.integers(1, 3), statuses, st.binary(max_size=8), st.sampled_from([1, 3])),
    st.sampled_from([b"\x07\0\0\0\0\x04\0\0\0\0", b"\x05\0\0\0\0\x04\0\0\0\0"]),
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(st.binary(max_size=600), min_size=1, max_size=3), min_size=1, max_size=4),
    st.lists(statuses, max_size=4),
    odd,
    st.integers(0, 30),
    st.integers(128, 1 << 13),
)
def test_runs_go_alike(
    payloads: list[list[bytes]], said: list[int], tail: bytes, cut: int, max_length: int
) -> None:
    slice_ = FileSlice(ME, 2, 500)
    messages = [message(number, *parts, slice_) for number, parts in enumerate(payloads, 1)]
    answers = [answer(number, status) for number, status in enumerate(said, 1)] or [b""]
    answers[-1] += tail
    answers[-1] = answers[-1][: max(0, len(answers[-1]) - cut)]
    fast, plain = of_twins(messages, answers, max_length=max_length)
    assert fast == plain


elements = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 0, 0, 0, 8]),
        st.sampled_from([0x0000, 0x0002, 0x0100, 0x0120, 0x0800, 0x0900, 0x0901, 0x0902, 0x1000]),
        st.sampled_from(
            [
                *(b"", b"\x01\x80", b"\x01\x00", b"\x01\x01", b"\0\0", b"\0", b"abcd"),
                *(b"1.2.3\0", b"1.2.3 \0", b"1.2.30", CLASS.encode(), CLASS.encode() + b"\0"),
            ]
        ),
        st.sampled_from([0, 0, 0, 1, 1 << 31, (1 << 32) - 12]),
    ),
    max_size=8,
)
right = [(0x0100, b"\x01\x80"), (0x0120, b"\x01\x00"), (0x0800, b"\x01\x01"), (0x0900, b"\0\0")]


@settings(max_examples=300, deadline=None)
@given(elements, st.booleans(), st.sampled_from([3, 2, 1, 0, 0xFF]), st.integers(-3, 3), st.integers(-3, 3))
def test_no_answer_is_regular_for_one_twin_only(
    some: list[tuple[int, int, bytes, int]], sane: bool, control: int, outer: int, inner: int
) -> None:
    parts = [(0, number, value, 0) for number, value in right] * sane + some
    body = b"".join(
        struct.pack("<HHL", group, tag, (len(value) + more) & 0xFFFFFFFF) + value
        for group, tag, value, more in parts
    )
    size = len(body)
    pdu = struct.pack(">BxLLBB", 4, max(0, size + 6 + outer), max(0, size + 2 + inner), 3, control) + body
    fast, plain = of_twins([message(1, b"ab")], [pdu])
    assert fast[:3] == plain[:3]


@pytest.mark.parametrize("name", TWINS)
def test_a_run_ends_at_the_first_status_that_gives_reason_to_think(name: str) -> None:
    messages = [message(number, b"ab") for number in range(1, 5)]
    answers = [answer(number, status) for number, status in enumerate((0, 0xB000, 0xA700, 0), 1)]
    ended, told, _, _, sent = run(name, messages, answers, close=False)
    assert (ended, told) == (False, [0, 0xB000, 0xA700])
    assert sent.count(messages[0].command[-14:]) == 3


@pytest.mark.parametrize("name", TWINS)
def test_a_run_sends_one_message_however_little_time_it_has(name: str) -> None:
    messages = [message(number, b"ab") for number in range(1, 3)]
    ended, told, *_ = run(name, messages, [answer(1), answer(2)], seconds=0.0)
    assert (ended, told) == (False, [0])


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize(
    ("second", "left"),
    [
        (answer(7), "a wrong message id"),
        (answer(2, comment=b"full"), "an error comment"),
        (answer(2, context=5), "another context"),
        (peer.p_data((3, 1, response(2)[:10]), (3, 3, response(2)[10:])), "two fragments"),
        (peer.p_data((3, 3, response(2) + bytes(LONGEST_ANSWER // 8 * 8))), "a long one"),
        (answer(2, instance=b"1.2.4\0"), "another SOP instance"),
        (answer(2, instance=b"1.2.3.4\0"), "a longer SOP instance"),
        (answer(2, sop_class=b"1.2.840.10008.5.1.4.1.1.4\0"), "another SOP class"),
        (peer.p_data((3, 3, response(2, 0, (0x0900, b"\0\0")))), "two status elements"),
        (peer.p_data((3, 3, response(2, 0, (0x1000, b"1.2.3\0")))), "two SOP instances"),
    ],
)
def test_what_is_not_regular_is_left_for_the_ordinary_way(name: str, second: bytes, left: str) -> None:
    messages = [message(number, b"ab") for number in range(1, 4)]
    ended, told, read, unfinished, sent = run(name, messages, [answer(1), second])
    assert (ended, told, unfinished) == (True, [0], False)
    assert read[0] in (3, 5), left
    assert sent.count(messages[0].command[-14:]) == 2


@pytest.mark.parametrize("name", TWINS)
def test_an_answer_may_come_in_any_pieces(name: str) -> None:
    whole = answer(1)
    module = _send_run_py if name.endswith("_py") else compiled(name)
    with channel(name, (), close=False) as (made, other):

        def trickle() -> None:
            for at in range(len(whole)):
                other.theirs.sendall(whole[at : at + 1])

        told: list[tuple[int, float]] = []
        thread = threading.Thread(target=trickle)
        thread.start()
        unread = module.send_run(made, [message(1, b"ab")], 4096, 60.0, told)
        thread.join()
        # A piece may come later than the socket waits: then the ordinary way takes it up in its middle.
        assert [status for status, _ in told] == [0] if not unread else made.read_command(5.0)[0] == 3


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("max_length", [128, 16384, 1 << 18])
def test_a_message_may_be_longer_than_the_buffer(name: str, max_length: int, tmp_path: Path) -> None:
    content = bytes(range(256)) * 3000
    (tmp_path / "image").write_bytes(content)
    parts = (b"head", FileSlice(tmp_path / "image", 4, len(content) - 4))
    ended, told, _, unfinished, sent = run(
        name, [message(1, *parts), message(2, b"cd")], [answer(1), answer(2)], max_length=max_length, tick=5.0
    )
    assert (ended, told, unfinished) == (False, [0, 0], False)
    reference = run("_send_run_py", [message(1, *parts), message(2, b"cd")], [answer(1), answer(2)],
                    max_length=max_length, tick=5.0)  # fmt: skip
    assert sent == reference[-1]


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("short", [False, True])
def test_a_file_that_is_gone_costs_nothing_that_went_before(name: str, short: bool, tmp_path: Path) -> None:
    (tmp_path / "short").write_bytes(bytes(50))
    bad = FileSlice(tmp_path / ("short" if short else "gone"), 0, 100)
    ended, told, _, unfinished, sent = run(
        name, [message(1, b"ab"), message(2, bad), message(3, b"ef")], [answer(1)]
    )
    assert ended[0] == ("EOFError" if short else "FileNotFoundError")
    assert (told, unfinished) == ([0], False)
    assert sent.count(message(1).command[-14:]) == 1


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("proved", [False, True])
@pytest.mark.parametrize("size", [100, 100_000])
@pytest.mark.parametrize("damage", ["short", "gone"])
def test_only_a_file_of_the_spool_is_said_to_be_damaged_or_missing(
    name: str, proved: bool, size: int, damage: str, tmp_path: Path
) -> None:
    """One that has a proof, be it given before the file went."""
    (tmp_path / "short").write_bytes(bytes(size - 1))
    proof = Proof(tmp_path / damage, 0, size, bytes(16))
    proof.proved = proved
    bad = FileSlice(tmp_path / damage, 0, size, proof)
    reason = "missing" if damage == "gone" else "damaged"
    module = _send_run_py if name.endswith("_py") else compiled(name)
    with channel(name, []) as (made, _):
        with pytest.raises(Permanent) as caught:
            module.send_run(made, [message(1, b"ab", bad)], 16384, 5.0, [])
        assert caught.value.reason == reason
    with channel(name, []) as (made, _):
        with pytest.raises(Permanent) as caught:
            made.send_message(1, b"command", (b"ab", bad), size + 2, 16384)
        assert caught.value.reason == reason


@pytest.mark.parametrize("name", TWINS)
def test_a_file_that_ends_within_a_message_leaves_it_unfinished(name: str, tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(bytes(600_000))
    ended, told, _, unfinished, _ = run(name, [message(1, FileSlice(tmp_path / "image", 0, 700_000))], [])
    assert ended[0] == "EOFError"
    assert (told, unfinished) == ([], True)


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize(
    ("sop_class", "instance"),
    [(b"", b""), (b"1.2.840.10008.5.1.4.1.1.2", b"1.2.3"), (b"1.2.840.10008.5.1.4.1.1.2 ", b"1.2.3\0\0\0")],
)
def test_an_answer_may_name_what_it_answers_with_any_padding_or_not_at_all(
    name: str, sop_class: bytes, instance: bytes
) -> None:
    said = answer(1, sop_class=sop_class, instance=instance)
    assert run(name, [message(1, b"ab")], [said])[:2] == (False, [0])


@pytest.mark.parametrize("name", TWINS)
def test_a_run_does_not_go_on_past_what_nobody_asked_for(name: str) -> None:
    messages = [message(number, b"ab") for number in range(1, 4)]
    ended, told, read, _, sent = run(name, messages, [answer(1) + answer(2)])
    assert (ended, told) == (False, [0])
    assert read[0] == 3, "what came behind the answer is unread"
    assert sent.count(messages[0].command[-14:]) == 1


@pytest.mark.parametrize("name", TWINS)
def test_an_answer_that_comes_before_the_data_set_is_out_is_left_for_the_ordinary_way(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / "image").write_bytes(bytes(8_000_000))
    large = message(1, FileSlice(tmp_path / "image", 0, 8_000_000))
    module = _send_run_py if name.endswith("_py") else compiled(name)
    told: list[tuple[int, float]] = []
    with channel(name, [answer(1)], close=False, early=True) as (made, _):
        assert module.send_run(made, [large, message(2, b"cd")], 16384, 60.0, told)
        assert made.spoke_early
        assert made.read_command(5.0)[0] == 3
    assert told == []


def test_a_regular_answer_is_known_by_its_first_bytes() -> None:
    whole, asked = answer(9, 0xB000), message(9, b"ab")
    for size in range(len(whole)):
        assert examine(whole[:size], asked, LONGEST_ANSWER) == (0, None)
    assert examine(whole + b"more", asked, LONGEST_ANSWER) == (len(whole), 0xB000)
    assert examine(whole, asked, len(whole) - 7) == (-1, None)
