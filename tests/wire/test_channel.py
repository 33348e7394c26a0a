"""The P-DATA path, on every backend: messages in and out, in every fragmentation, and wrong bytes."""

from __future__ import annotations

import socket
import struct
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapdr import _fast
from mapdr._fast import _pdata_py
from mapdr._fast.pdata_signals import EndOfStream, Interrupted, OtherPdu, Signal, TimedOut
from mapdr.kernel.errors import RemoteProtocolError
from mapdr.kernel.item import FileSlice
from mapdr.testing import peer
from mapdr.testing.wait import until
from mapdr.wire import dimse, pdu
from wire.streams import Tape, ways

COMMAND = dimse.store_request(1, peer.CT, "1.2.3.4")
MAX = 1 << 14
SLICES = Path()
Channel = _fast.Channel


def channel(pieces: list[bytes], **options: int) -> tuple[Channel, Tape]:
    tape = Tape(pieces)
    return Channel(tape, max_receive=MAX, grace=5.0, tick=0.02, **options), tape


def message(command: bytes, data: bytes, cuts: tuple[int, int, int]) -> bytes:
    """A message in fragments of `cuts` bytes (command, data), `cuts[2]` PDVs to a P-DATA."""
    size_command, size_data, group = cuts
    pdvs = []
    for control, size, whole in ((1, size_command, command), (0, size_data, data)):
        pieces = [whole[i : i + size] for i in range(0, len(whole), size)] or [b""]
        pdvs += [(3, control | (2 if i == len(pieces) - 1 else 0), piece) for i, piece in enumerate(pieces)]
    return b"".join(peer.p_data(*pdvs[i : i + group]) for i in range(0, len(pdvs), group))


@settings(max_examples=60)
@given(
    st.binary(max_size=600),
    st.tuples(st.integers(1, 120), st.integers(1, 700), st.integers(1, 9)),
    st.integers(4096, 5000),
)
def test_a_message_in_any_fragments_comes_out_whole(
    data: bytes, cuts: tuple[int, int, int], buffer: int
) -> None:
    encoded = message(COMMAND, data, cuts)
    after = pdu.RELEASE_RQ_BYTES
    for pieces in ways(encoded, after):
        line, tape = channel(pieces, buffer=buffer)
        with tape:
            assert line.read_command(5) == (3, COMMAND)
            taken = bytearray()
            assert line.read_data(3, taken.extend) == len(data)
            assert taken == data
            with pytest.raises(OtherPdu) as other:
                line.read_command(5)
            assert other.value.head == after[:6]
            assert line.read_body(4) == after[6:]


def test_data_sets_larger_than_the_buffer_pass_through_it() -> None:
    data = bytes(range(256)) * 300
    line, tape = channel([message(COMMAND, data, (500, 10000, 1))], buffer=4096)
    with tape:
        line.read_command(5)
        sizes: list[int] = []
        taken = bytearray()

        def write(piece: memoryview | bytes) -> None:
            sizes.append(len(piece))
            taken.extend(piece)

        assert line.read_data(3, write) == len(data)
        assert taken == data
        assert max(sizes) <= 4096


@pytest.mark.parametrize("fail_at", [1, 2, 5, 19])
def test_the_rest_of_a_refused_data_set_can_be_skipped(fail_at: int) -> None:
    data = bytes(20 * 400)
    encoded = message(COMMAND, data, (500, 400, 1))
    line, tape = channel([encoded[i : i + 412] for i in range(0, len(encoded), 412)] + [encoded])
    with tape:
        line.read_command(5)
        calls = 0

        def write(_: memoryview | bytes) -> None:
            nonlocal calls
            calls += 1
            if calls == fail_at:
                raise OSError("full")

        with pytest.raises(OSError, match="full"):
            line.read_data(3, write)
        line.skip_data(3)
        assert line.read_command(5) == (3, COMMAND)


def test_skipping_also_works_when_the_last_piece_was_refused() -> None:
    line, tape = channel([peer.store(b"abcd") * 2])
    with tape:
        line.read_command(5)
        with pytest.raises(ZeroDivisionError):
            line.read_data(3, lambda piece: 1 // 0)
        assert line.skip_data(3) == 0
        assert line.read_command(5)[0] == 3


@pytest.mark.parametrize(
    ("data", "words", "reason"),
    [
        (b"\4\0\xff\xff\xff\xff", "claims 4294967295 bytes", 6),
        (b"\4\0\0\0\0\0", "claims 0 bytes", 6),
        (b"\4\0" + struct.pack(">L", MAX + 13) + bytes(20), "were agreed", 6),
        (b"\4\0\0\0\0\x06" + b"\0\0\0\1\3\3", "a PDV claims 1 bytes", 6),
        (b"\4\0\0\0\0\x06" + b"\0\0\0\3\3\3", "a PDV claims 3 bytes", 6),
        (b"\4\0\0\0\0\x06" + b"\xff\xff\xff\xff\3\3", "a PDV claims 4294967295 bytes", 6),
        (b"\4\0\0\0\0\x08" + b"\0\0\0\2\3\1" + b"\0\0" + bytes(20), "ends inside a PDV's header", 6),
        (peer.p_data((3, 2, b"data")), "where a command set was due", 5),
        (peer.p_data((3, 1, b"com"), (5, 3, b"mand")), "changes its presentation context", 5),
        (peer.p_data((3, 1, bytes(9000))) * 8, "a command set exceeds 65536 bytes", 6),
        (peer.p_data((3, 1, b"")) * 12000, "a command set exceeds 65536 bytes", 6),
    ],
)
def test_wrong_p_data_is_named(data: bytes, words: str, reason: int) -> None:
    for pieces in ways(data)[:1] if len(data) > 5000 else ways(data):
        line, tape = channel(pieces)
        with tape, pytest.raises(RemoteProtocolError, match=words) as caught:
            line.read_command(5)
        assert caught.value.abort_reason == reason


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (peer.p_data((3, 0, b"ab"), (5, 2, b"cd")), "changes its presentation context"),
        (peer.p_data((3, 0, b"ab"), (3, 3, COMMAND)), "inside a data set"),
    ],
)
def test_a_wrong_data_set_is_named(data: bytes, words: str) -> None:
    for pieces in ways(peer.p_data((3, 3, COMMAND)) + data):
        line, tape = channel(pieces)
        with tape:
            line.read_command(5)
            with pytest.raises(RemoteProtocolError, match=words):
                line.read_data(3, len)


@pytest.mark.parametrize("extra", [6, 12])
def test_headers_counted_or_not_in_the_maximum_length_are_tolerated(extra: int) -> None:
    data = bytes(MAX + extra - 6)
    line, tape = channel([peer.p_data((3, 3, COMMAND)), peer.p_data((3, 2, data))])
    with tape:
        line.read_command(5)
        assert line.read_data(3, len) == len(data)


pdvs = st.builds(
    lambda context, control, data: (context, control, data),
    st.sampled_from([3, 3, 3, 5]),
    st.sampled_from([0, 1, 2, 3, 3, 2, 255]),
    st.binary(max_size=40) | st.just(COMMAND),
)
pdus = st.one_of(
    st.lists(pdvs, min_size=1, max_size=4).map(lambda some: peer.p_data(*some)),
    st.binary(max_size=30),
    st.just(peer.store(b"data")),
    st.sampled_from([pdu.RELEASE_RQ_BYTES, pdu.encode(pdu.Abort(0, 0))]),
)


@settings(max_examples=150)
@given(st.lists(pdus, max_size=6), st.data())
def test_any_bytes_are_messages_signals_or_the_peers_fault(some: list[bytes], data: st.DataObject) -> None:
    stream = bytearray(b"".join(some))
    for _ in range(data.draw(st.integers(0, 3)) if stream else 0):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    outcomes = set()
    for pieces in ways(bytes(stream)):
        line, tape = channel(pieces)
        taken = []
        with tape:
            try:
                while True:
                    context, command = line.read_command(5)
                    taken.append(command)
                    if dimse.parse(command).has_data_set:
                        piece = bytearray()
                        line.read_data(context, piece.extend)
                        taken.append(bytes(piece))
            except (Signal, RemoteProtocolError) as end:
                taken.append(type(end).__name__.encode())
        outcomes.add(tuple(taken))
    assert len(outcomes) == 1, "the pieces that a stream comes in must not matter"


@settings(max_examples=60)
@given(
    st.lists(st.binary(max_size=300), max_size=5),
    st.integers(128, 400),
    st.lists(st.booleans(), min_size=5, max_size=5),
)
def test_what_is_sent_is_what_is_read(parts: list[bytes], length: int, files: list[bool]) -> None:
    path = SLICES / "slices"
    path.write_bytes(b"head" + b"".join(parts) + b"tail")
    offset = 4
    mixed: list[bytes | FileSlice] = []
    for part, as_file in zip(parts, files, strict=False):
        mixed.append(FileSlice(path, offset, len(part)) if as_file else part)
        offset += len(part)
    data = b"".join(parts)
    out, tape = channel([])
    with tape:
        out.send_message(3, COMMAND, mixed, len(data), length)
        assert not out.unfinished
    sent = bytes(tape.sent)
    at = 0
    while at < len(sent):
        kind, size = struct.unpack_from(">BxL", sent, at)
        assert (kind, size <= length) == (pdu.P_DATA, True)
        pdv = struct.unpack_from(">L", sent, at + 6)[0]
        assert pdv == size - 4
        assert pdv % 2 == 0 or len(data) % 2
        at += 6 + size
    back, tape = channel([sent])
    with tape:
        assert back.read_command(5) == (3, COMMAND)
        taken = bytearray()
        assert back.read_data(3, taken.extend) == len(data)
        assert taken == data


@pytest.fixture(
    autouse=True, scope="module", params=sorted({_pdata_py.Channel, _fast.Channel}, key=str), ids=str
)
def _backend(request: pytest.FixtureRequest) -> None:
    """Every test runs with the plain twin, and with the compiled one where it was built."""
    global Channel  # noqa: PLW0603  not a fixture's value: Hypothesis's tests use it, too
    Channel = request.param


@pytest.fixture(autouse=True, scope="module")
def _slices(tmp_path_factory: pytest.TempPathFactory) -> None:
    global SLICES  # noqa: PLW0603  Hypothesis calls a test many times, a folder is needed once
    SLICES = tmp_path_factory.mktemp("slices")


def test_a_small_message_is_one_write() -> None:
    writes: list[int] = []

    class Counting(Tape):
        def send(self, data: bytes, *_: int) -> int:  # type: ignore[override]
            writes.append(len(data))
            return len(data)

    with Counting([]) as tape:
        out = Channel(tape, max_receive=MAX, grace=5)
        out.send_message(3, COMMAND, (bytes(9000),), 9000, 16384)
        out.send_command(3, COMMAND, 16384)
    assert len(writes) == 2


def test_pace_hears_of_every_byte() -> None:
    out, tape = channel([])
    heard: list[int] = []
    with tape:
        out.send_message(3, COMMAND, (bytes(1_000_000),), 1_000_000, 1 << 16, heard.append)
    assert sum(heard) == len(tape.sent)
    assert len(heard) > 3


def test_a_file_that_is_missing_sends_nothing(tmp_path: Path) -> None:
    out, tape = channel([])
    with tape:
        with pytest.raises(FileNotFoundError):
            out.send_message(3, COMMAND, (FileSlice(tmp_path / "gone", 0, 8),), 8, MAX)
        assert not out.unfinished
        assert not tape.sent


def test_a_file_that_ends_early_leaves_the_message_unfinished(tmp_path: Path) -> None:
    (tmp_path / "short").write_bytes(bytes(600_000))
    out, tape = channel([])
    with tape:
        with pytest.raises(EOFError, match="400000 bytes early"):
            out.send_message(3, COMMAND, (FileSlice(tmp_path / "short", 0, 1_000_000),), 1_000_000, MAX)
        assert out.unfinished


def pair(grace: float = 0.3, tick: float = 0.02) -> tuple[Channel, socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        far = socket.create_connection(server.getsockname())
        near, _ = server.accept()
    return Channel(near, max_receive=MAX, grace=grace, tick=tick), near, far


@settings(max_examples=60)
@given(st.lists(st.tuples(st.binary(max_size=300), st.booleans()), max_size=5), st.integers(128, 4000))
def test_a_socket_gets_what_a_tape_gets(parts: list[tuple[bytes, bool]], length: int) -> None:
    path = SLICES / "sent"
    path.write_bytes(b"".join(part for part, _ in parts))
    mixed: list[bytes | FileSlice] = []
    offset = 0
    for part, as_file in parts:
        mixed.append(FileSlice(path, offset, len(part)) if as_file else part)
        offset += len(part)
    out, tape = channel([])
    line, near, far = pair()
    with tape, near, far:
        for one in (out, line):
            one.send_message(3, COMMAND, mixed, offset, length)
            assert not one.unfinished
        near.shutdown(socket.SHUT_WR)
        received = b"".join(iter(lambda: far.recv(65536), b""))
        assert received == bytes(tape.sent)


@pytest.mark.parametrize("name", ["gone", "short"])
def test_a_small_file_that_cannot_be_read_sends_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / "short").write_bytes(bytes(7))
    line, near, far = pair()
    with near, far:
        with pytest.raises((FileNotFoundError, EOFError)):
            line.send_message(3, COMMAND, (FileSlice(tmp_path / name, 0, 8),), 8, MAX)
        assert not line.unfinished
        near.shutdown(socket.SHUT_WR)
        assert not far.recv(1)


def test_silence_times_out() -> None:
    line, near, far = pair()
    with near, far:
        began = time.monotonic()
        with pytest.raises(TimedOut, match="silent"):
            line.read_command(0.1)
        assert 0.1 <= time.monotonic() - began < 2


def test_a_byte_now_and_then_is_not_progress() -> None:
    line, near, far = pair()
    with near, far:
        stop = threading.Event()

        def drip() -> None:
            for byte in peer.store(bytes(1000)):
                if stop.wait(0.02):
                    return
                far.send(bytes((byte,)))

        thread = threading.Thread(target=drip)
        thread.start()
        began = time.monotonic()
        with pytest.raises(TimedOut, match="nearly stopped"):
            line.read_command(10)
        assert time.monotonic() - began < 2
        stop.set()
        thread.join()


def test_a_fast_beginning_is_no_credit_for_a_stall() -> None:
    line, near, far = pair()
    with near, far:
        data = bytes(4_000_000)
        command = peer.p_data((3, 3, COMMAND))

        def rush() -> None:
            far.sendall(command)
            for at in range(0, len(data), 10000):
                far.sendall(peer.p_data((3, 0, data[at : at + 10000])))

        thread = threading.Thread(target=rush)
        thread.start()
        line.read_command(5)
        began = time.monotonic()
        with pytest.raises(TimedOut, match="middle of a message"):
            line.read_data(3, len)
        assert time.monotonic() - began < 4
        thread.join()


def test_a_peer_that_stops_reading_does_not_hold_us() -> None:
    line, near, far = pair()
    with near, far:
        began = time.monotonic()
        with pytest.raises(TimedOut, match="stopped reading"):
            line.send_message(3, COMMAND, (bytes(50_000_000),), 50_000_000, MAX)
        assert time.monotonic() - began < 5
        assert line.unfinished


def test_the_end_of_the_stream_is_clean_only_between_messages() -> None:
    for data, clean in ((b"", True), (peer.store(b"abcd")[:20], False)):
        line, near, far = pair()
        with near:
            far.sendall(data)
            far.close()
            with pytest.raises(EndOfStream) as end:
                line.read_command(5)
            assert end.value.clean is clean


def test_an_interrupt_waits_for_silence_and_a_kill_does_not() -> None:
    line, near, far = pair(grace=30)
    with near, far:
        line.interrupt()
        with pytest.raises(Interrupted):
            line.read_command(30)
        far.sendall(peer.store(b"abcd")[:20])
        until(lambda: line.readable, 5)
        timer = threading.Timer(0.1, line.kill)
        timer.start()
        with pytest.raises(EndOfStream):
            line.read_command(30)
        timer.join()


def test_a_reset_is_the_end_of_the_stream() -> None:
    line, near, far = pair()
    with near:
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        far.close()
        with pytest.raises(EndOfStream):
            line.read_command(5)
        with pytest.raises(EndOfStream):
            line.send(bytes(1000))
