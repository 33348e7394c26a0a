"""A bandwidth is what goes over the line: measured there, in the bytes of all associations together."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from egress.test_dimse import NEED, make, payload
from mapdr.config.units import parse_bandwidth
from mapdr.kernel.item import Payload, Verdict
from mapdr.kernel.stage import EgressSession
from mapdr.net.rate import Bandwidth
from mapdr.testing import peer
from mapdr.testing.wait import until
from mapdr.wire import dimse
from peers.certificates import self_signed as certified
from peers.rawsink import RawSink


class Meter:
    """A relay on loopback that notes when the bytes of each connection came to it."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._lines: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.came: list[tuple[float, int]] = []

    def serve(self) -> None:
        while True:
            try:
                near = self._listener.accept()[0]
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._to))
            self._lines += [near, far]
            for source, sink, noted in ((near, far, True), (far, near, False)):
                thread = threading.Thread(target=self._carry, args=(source, sink, noted))
                self._threads.append(thread)
                thread.start()

    def _carry(self, source: socket.socket, sink: socket.socket, noted: bool) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if noted:
                    self.came.append((time.monotonic(), len(data)))
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def refuse(self) -> None:
        """End `serve`."""
        # Windows shuts down no socket that is not connected; there closing it wakes `accept`.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def close(self) -> None:
        """End what `serve`, which has ended, has begun."""
        for line in self._lines:
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
            line.close()
        for thread in self._threads:
            thread.join(10)

    def within(self, begin: float, seconds: float) -> int:
        """The bytes that came from `begin` on."""
        return sum(size for at, size in self.came.copy() if begin <= at < begin + seconds)


@contextmanager
def metering(port: int) -> Iterator[Meter]:
    """A relay to this port."""
    meter = Meter(port)
    thread = threading.Thread(target=meter.serve)
    thread.start()
    try:
        yield meter
    finally:
        meter.refuse()
        thread.join(10)
        meter.close()


@contextmanager
def metered() -> Iterator[Meter]:
    with RawSink(keep_data=False) as sink, metering(sink.port) as meter:
        yield meter


def sending(session: EgressSession, images: Sequence[Payload], stop: threading.Event) -> None:
    """Send these images over and over."""
    while not stop.is_set():
        for image in images:
            session.send(image)
            if stop.is_set():
                return


MIXED = [payload("1.1", 9_000), payload("1.2", 300_000), payload("1.3", 500), payload("1.4", 60_001)]


def assert_met(meters: Mapping[str, Meter], begin: float, seconds: float) -> None:
    """Each bandwidth is met within a twentieth over so many seconds, the first since `begin` in which this
    machine keeps up with all of them; and until then none is exceeded."""

    def met() -> float:
        end = time.monotonic()
        each = (
            meter.within(end - seconds, seconds) == pytest.approx(parse_bandwidth(rate) * seconds, rel=0.05)
            for rate, meter in meters.items()
        )
        return end if end > begin + seconds and all(each) else 0.0

    end = until(met, 60, "seconds in which every bandwidth is met")
    for rate, meter in meters.items():
        assert meter.within(begin, end - begin) <= parse_bandwidth(rate) * (end - begin) * 1.05, rate


LINES = {"64 kbit/s": 1, "512 kbit/s": 3, "20 Mbit/s": 2, "300 Mbit/s": 4}


def test_over_ten_seconds_a_bandwidth_is_met_within_a_twentieth() -> None:
    """Four destinations at once, of the lowest bandwidth and of higher ones, with images of all sizes."""
    seconds, stop = 10.0, threading.Event()
    with ExitStack() as stack:
        meters = {rate: stack.enter_context(metered()) for rate in LINES}
        pool = stack.enter_context(ThreadPoolExecutor(sum(LINES.values())))
        sessions: list[EgressSession] = []
        stack.callback(lambda: [session.close() for session in sessions])
        stack.callback(stop.set)
        for rate, number in LINES.items():
            egress = make(meters[rate].port, bandwidth=rate, associations=number)
            sessions += [egress.connect([NEED]) for _ in range(number)]
        for session in sessions:
            pool.submit(sending, session, MIXED, stop)
        begin = time.monotonic() + 0.5
        assert_met(meters, begin, seconds)


def test_what_is_stat_passes_the_bandwidth_and_takes_nothing_of_it() -> None:
    with metered() as meter:
        egress = make(meter.port, bandwidth="64 kbit/s")
        slow, urgent = egress.connect([NEED]), egress.connect([NEED])
        with ThreadPoolExecutor(1) as pool:
            under_way = pool.submit(slow.send, payload("1.1", 24_000))  # three seconds
            until(lambda: sum(size for _, size in meter.came.copy()) > 2_000, 5)
            begin = time.monotonic()
            for number in range(3):
                image = replace(payload(f"1.2.{number}", 400_000), stat=True)  # two and a half minutes
                assert urgent.send(image).verdict is Verdict.DELIVERED
            assert time.monotonic() - begin < 2.0
            assert under_way.result(10).verdict is Verdict.DELIVERED
            assert time.monotonic() - begin < 4.0
        ordinary = time.monotonic()
        assert urgent.send(payload("1.3", 8_000)).verdict is Verdict.DELIVERED
        assert time.monotonic() - ordinary > 0.7, "the next one keeps to it again"
        for session in (slow, urgent):
            session.close()


def test_a_session_that_is_closed_waits_no_longer_for_its_share_of_the_line() -> None:
    with metered() as meter:
        session = make(meter.port, bandwidth="64 kbit/s").connect([NEED])
        with ThreadPoolExecutor(1) as pool:
            under_way = pool.submit(session.send, payload("1.1", 1_000_000))
            until(lambda: len(meter.came) > 2, 5)
            session.close()
            assert under_way.result(5).verdict is Verdict.RETRY


def test_a_bandwidth_holds_over_tls_too(tmp_path: Path) -> None:
    cert, key = certified(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)

    def script(line: peer.Line) -> None:
        with peer.Line(context.wrap_socket(line.sock, server_side=True)) as inner:
            peer.accept(inner)
            number, command, _, _ = peer.read_message(inner)
            inner.send(peer.p_data((number, 3, dimse.response(command, 0))))

    with peer.Listener(script) as listener:
        egress = make(listener.port, bandwidth="800 kbit/s", tls={"ca": str(cert)})
        egress.start()
        session = egress.connect([NEED])
        begin = time.monotonic()
        assert session.send(payload("1.1", 150_000)).verdict is Verdict.DELIVERED
        assert 1.3 < time.monotonic() - begin < 3.0
        session.close()


def test_pieces_are_as_large_as_the_rate_allows() -> None:
    assert [Bandwidth(rate).piece for rate in (8_000, 2_500_000, 1e9)] == [1 << 10, 50_000, 1 << 18]
