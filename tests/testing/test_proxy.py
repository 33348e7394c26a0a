"""The bad network of the tests does what its plan says, at the byte that it names."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from mapdr.testing.peer import Line, Listener
from mapdr.testing.proxy import CLEAN, Fate, Plan, Proxy, Way, What, seeded
from mapdr.testing.wait import until

DATA = bytes(range(256)) * 40


def always(fate: Fate) -> Plan:
    return lambda number: fate


class Target:
    """Answers each byte that comes with one, and remembers what came of each connection."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(0.05)
        self.port = int(self._socket.getsockname()[1])
        self.came: list[bytearray] = []
        self.ends: list[str] = []
        self.sizes: list[int] = []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                connection, _ = self._socket.accept()
            except TimeoutError:
                continue
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        came = bytearray()
        self.came.append(came)
        with connection:
            connection.settimeout(10)
            try:
                while data := connection.recv(65536):
                    came += data
                    self.sizes.append(len(data))
                    connection.sendall(data)
                self.ends.append("end")
            except OSError:
                self.ends.append("reset")

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(10)
        self._socket.close()


@pytest.fixture
def target() -> Iterator[Target]:
    made = Target()
    yield made
    made.stop()


def readable(line: Line) -> bool:
    return bool(select.select([line.sock], [], [], 0)[0])


def turned_away(port: int) -> bool:
    """Whether a connection ends without a byte; the reset may come while it is still being made."""
    try:
        with Line.connect(port) as line:
            return line.closed() == b""
    except ConnectionError:
        return True


@pytest.mark.parametrize("piece", [0, 1, 7, 1460])
def test_a_good_network_passes_everything_both_ways_and_the_ends_of_streams(
    target: Target, piece: int
) -> None:
    with Proxy(target.port, always(Fate(piece=piece))) as proxy, Line.connect(proxy.port) as line:
        line.send(DATA)
        assert line.read(len(DATA)) == DATA
        line.sock.shutdown(socket.SHUT_WR)
        assert line.closed() == b""
        until(lambda: target.ends == ["end"], 5, "the end at the target")
        assert bytes(target.came[0]) == DATA
        assert not proxy.met


def test_pieces_are_no_longer_than_the_plan_says(target: Target) -> None:
    with Proxy(target.port, always(Fate(piece=1))) as proxy, Line.connect(proxy.port) as line:
        for byte in DATA[:50]:
            line.send(bytes((byte,)))
            assert line.read(1) == bytes((byte,))
    assert target.sizes == [1] * 50


@pytest.mark.parametrize("after", [0, 1, 1000])
def test_after_so_many_bytes_both_ends_are_closed(target: Target, after: int) -> None:
    with Proxy(target.port, always(Fate(What.FIN, Way.UP, after))) as proxy:
        with Line.connect(proxy.port) as line:
            line.send(DATA[:after])
            assert len(line.closed()) <= after
        until(lambda: len(target.ends) == 1, 5, "the end at the target")
        assert bytes(target.came[0]) == DATA[:after]
        assert proxy.met == {What.FIN: 1}


def test_no_byte_more_than_the_plan_says_passes_before_a_cut(target: Target) -> None:
    with Proxy(target.port, always(Fate(What.RESET, Way.UP, 5000))) as proxy:
        with Line.connect(proxy.port) as line:
            line.send(DATA)
            line.closed()
        until(lambda: target.ends == ["reset"], 5, "the reset at the target")
        assert DATA[:5000].startswith(target.came[0])


def test_a_cut_on_the_way_back(target: Target) -> None:
    with Proxy(target.port, always(Fate(What.FIN, Way.DOWN, 10))) as proxy, Line.connect(proxy.port) as line:
        line.send(DATA[:10])
        assert line.closed() == DATA[:10]
        until(lambda: len(target.ends) == 1, 5, "the end at the target")


def test_a_half_close_leaves_the_other_direction_open(target: Target) -> None:
    with Proxy(target.port, always(Fate(What.HALF_CLOSE, Way.UP, 100))) as proxy:
        with Line.connect(proxy.port) as line:
            line.send(DATA)
            assert line.closed() == DATA[:100]
        until(lambda: target.ends == ["end"], 5, "the end at the target")
        assert bytes(target.came[0]) == DATA[:100]


def test_what_is_held_back_passes_when_it_is_told_to(target: Target) -> None:
    with Proxy(target.port, always(Fate(What.STALL, Way.UP, 100))) as proxy, Line.connect(proxy.port) as line:
        line.send(DATA)
        assert line.read(100) == DATA[:100]
        until(lambda: proxy.met == {What.STALL: 1}, 5, "the stall")
        assert not readable(line)
        proxy.release()
        assert line.read(len(DATA) - 100) == DATA[100:]


def test_what_is_held_back_for_a_while_passes_by_itself(target: Target) -> None:
    fate = Fate(What.STALL, Way.DOWN, 100, seconds=0.05)
    with Proxy(target.port, always(fate)) as proxy, Line.connect(proxy.port) as line:
        line.send(DATA)
        line.sock.shutdown(socket.SHUT_WR)
        assert line.closed() == DATA
        assert proxy.met == {What.STALL: 1}


def test_who_leaves_while_it_is_held_back_is_missed_by_the_other(target: Target) -> None:
    with Proxy(target.port, always(Fate(What.STALL, Way.UP, 10))) as proxy:
        with Line.connect(proxy.port) as line:
            line.send(DATA)
            line.read(10)
        until(lambda: target.ends == ["reset"], 5, "the reset at the target")


def test_data_arrives_and_its_answer_does_not(target: Target) -> None:
    with Proxy(target.port, always(Fate(What.SWALLOW, Way.UP, 500))) as proxy:
        with Line.connect(proxy.port) as line:
            line.send(DATA[:200])
            assert line.read(200) == DATA[:200]
            line.send(DATA[200:500])
            assert line.closed() == b""
        assert bytes(target.came[0]) == DATA[:500]
        until(lambda: proxy.met == {What.SWALLOW: 1}, 5, "the answer that is swallowed")


def test_a_deaf_proxy_accepts_and_calls_nobody(target: Target) -> None:
    with Proxy(target.port, always(Fate(What.DEAF))) as proxy:
        with Line.connect(proxy.port) as line:
            line.send(DATA)
            until(lambda: proxy.met == {What.DEAF: 1}, 5, "the connection")
            assert not readable(line)
        assert not target.came


def test_a_target_that_is_not_there_resets_the_caller(free_port: int) -> None:
    with Proxy(free_port) as proxy:
        assert turned_away(proxy.port)


def test_a_target_that_begins_to_listen_later_is_reached(free_port: int) -> None:
    with Proxy(free_port) as proxy:
        assert turned_away(proxy.port)
        with Listener(lambda line: line.send(b"here")) as listener:
            proxy.target = listener.port
            with Line.connect(proxy.port) as line:
                assert line.read(4) == b"here"


def test_everything_is_cut_at_once_and_goes_on_anew(target: Target) -> None:
    with Proxy(target.port) as proxy:
        with Line.connect(proxy.port) as one, Line.connect(proxy.port) as other:
            for line in (one, other):
                line.send(b"x")
                assert line.read(1) == b"x"
            proxy.cut()
            assert one.closed() == other.closed() == b""
        with Line.connect(proxy.port) as line:
            line.send(b"y")
            assert line.read(1) == b"y"
        assert proxy.connections == 3


def test_who_does_not_read_holds_up_nobody_else(target: Target) -> None:
    def deaf(line: Line) -> None:
        over.wait(10)

    over = threading.Event()
    with Listener(deaf) as listener, Proxy(listener.port) as proxy, Line.connect(proxy.port) as stuck:
        stuck.sock.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                stuck.sock.send(bytes(1 << 20))
        proxy.target = target.port
        with Line.connect(proxy.port) as line:
            line.send(DATA)
            assert line.read(len(DATA)) == DATA
        over.set()


def test_a_plan_by_chance_is_the_same_for_the_same_seed_and_ends() -> None:
    one, same, other = (
        [seeded(seed, troubled=200, upto=10_000)(number) for number in range(220)] for seed in (1, 1, 2)
    )
    assert one == same != other
    assert {fate.what for fate in one} == set(What)
    assert one[200:] == [CLEAN] * 20
    half = [seeded(1, troubled=200, upto=9, share=0.5)(number) for number in range(200)]
    assert 50 < half.count(CLEAN) < 150
