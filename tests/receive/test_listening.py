"""A DIMSE receiver's port, its threads and its end, with sockets and associations that are not there."""

from __future__ import annotations

import threading
from collections import deque
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mapdr.kernel.errors import ConfigurationError
from mapdr.kernel.stage import Rejection, Settings
from mapdr.kernel.watch import Watch
from mapdr.receive.dicom import receiver as module
from mapdr.receive.dicom.config import DimseReceiveConfig
from mapdr.receive.dicom.doorkeeper import CAUSES
from mapdr.receive.dicom.receiver import ACCEPT_TICK, LATE, DimseReceiver
from mapdr.testing.wait import until
from mapdr.wire import acceptor
from receive.fakes import FakeIntake
from receive.ports import ANY_PORT, Ports, Socket

NOW = 1000.0
REFUSED = Rejection("10.1.2.3", "CT1", "OURS", CAUSES[acceptor.CALLED_AE_UNKNOWN], "a cure", 3, 5.0)


class Connections:
    """Waits until it is woken; then for nothing."""

    def __init__(self, listener: Socket) -> None:
        self.listener, self.closed = listener, False
        self.woken = threading.Event()

    def wait(self, seconds: float | None) -> None:
        assert self.woken.wait(5)

    def wake(self) -> None:
        self.woken.set()

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def ports(monkeypatch: pytest.MonkeyPatch) -> Ports:
    found = Ports()
    monkeypatch.setattr(module, "listen", found.listen)
    monkeypatch.setattr(module, "Connections", Connections)
    return found


def receiver(tmp_path: Path, name: str = "modalities", **options: Any) -> DimseReceiver:
    config = DimseReceiveConfig.model_validate({"host": "127.0.0.1", "port": 104, **options})
    return DimseReceiver(Settings(name, "node", tmp_path, bytes(32), Watch()), config, FakeIntake())


def socket_of(made: DimseReceiver) -> Any:
    return made._listener


def hears(made: DimseReceiver) -> bool:
    thread = made._thread
    listens = thread is not None and thread.is_alive() and made._listener is not None
    return listens and not made._stopping.is_set()


def test_the_port_is_taken_once_and_given_back(tmp_path: Path, ports: Ports) -> None:
    made = receiver(tmp_path, port=0)
    assert made.port == 0
    made.acquire()
    listener = socket_of(made)
    assert made.port == ANY_PORT
    made.start()
    assert (ports.asked, listener.patience, hears(made)) == ([("127.0.0.1", 0)], ACCEPT_TICK, True)
    connections: Any = made._connections
    assert connections.listener is listener
    made.stop(0.0)
    assert (listener.closed, connections.closed, hears(made), made.port) == (True, True, False, 0)
    made.stop(0.0)
    made.start()
    assert (len(ports.asked), hears(made)) == (2, True), "it may begin anew"
    made._listener.close()  # type: ignore[union-attr]
    assert made.port == 0, "closed by another thread just now"
    made.stop(0.0)


def test_tls_files_are_read_once_and_before_the_port_is_taken(
    tmp_path: Path, ports: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def files(place: str, config: Any) -> Any:
        if not read:
            read.append(place)
            raise ConfigurationError("key.pem cannot be read")
        read.append(place)
        return SimpleNamespace(look=lambda: None, certificates=(), trouble="its files changed")

    monkeypatch.setattr(module, "RenewingTls", files)
    made = receiver(tmp_path, tls={"cert": "cert.pem", "key": "key.pem"})
    with pytest.raises(ConfigurationError, match=r"^receive\.modalities\.tls: key\.pem cannot be read$"):
        made.acquire()
    assert ports.asked == []
    made.acquire()
    made.stop(0.0)
    made.acquire()
    assert (read, len(ports.asked)) == (["receive.modalities"] * 2, 2)
    assert made.describe().tls_trouble == "its files changed"
    made.stop(0.0)


def test_one_of_the_same_port_that_ends_shares_its_socket(tmp_path: Path, ports: Ports) -> None:
    """No connection is refused between the end of the one and the start of the other."""
    before = receiver(tmp_path, port=105)
    other, same = receiver(tmp_path, "other"), receiver(tmp_path, "same", port=105)
    for each in (other, same):
        each.acquire()
    ports.asked.clear()
    before.acquire(["a folder", receiver(tmp_path, port=105), other, same])
    assert ports.asked == []
    assert socket_of(before) is socket_of(same).copies[0]
    assert not socket_of(same).closed
    elsewhere = receiver(tmp_path, "third", host="127.0.0.2", port=105)
    elsewhere.acquire([same])
    assert ports.asked == [("127.0.0.2", 105)], "at another address it is a port of its own"
    assert len(socket_of(same).copies) == 1


def test_one_at_another_address_of_the_port_is_taken_over(tmp_path: Path, ports: Ports) -> None:
    before = receiver(tmp_path, host="0.0.0.0")
    before.start()
    ports.taken = lambda host, port: host == "127.0.0.1" and before._listener is not None
    now = receiver(tmp_path, host="127.0.0.1")
    now.acquire([before])
    assert not hears(before)
    assert socket_of(now).name == ("127.0.0.1", 104)
    now.stop(0.0)
    assert hears(before), "it never began: who gave up the port for it has it back"
    now = receiver(tmp_path, host="127.0.0.1")
    now.acquire([before])
    now.start()
    now.stop(0.0)
    assert not hears(before), "it had begun"
    now.stop(0.0)
    before.stop(0.0)


def test_a_port_that_cannot_be_taken_over_stays_where_it_was(tmp_path: Path, ports: Ports) -> None:
    before = receiver(tmp_path, host="0.0.0.0")
    before.start()
    ports.taken = lambda host, port: host == "127.0.0.1"
    now = receiver(tmp_path, host="127.0.0.1")
    with pytest.raises(OSError, match="in use"):
        now.acquire([before])
    assert hears(before)
    now.stop(0.0)
    assert hears(before)
    with pytest.raises(OSError, match="in use"):
        now.acquire()
    assert now._listener is None
    before.stop(0.0)


@pytest.mark.parametrize(
    ("names", "known"),
    [(("modalities", "other"), True), (("other", "modalities"), True), (("other",), False)],
)
def test_whom_the_one_of_its_name_did_not_let_in_is_known(
    tmp_path: Path, ports: Ports, names: tuple[str, ...], known: bool
) -> None:
    before = [receiver(tmp_path, name, port=104 + place) for place, name in enumerate(names)]
    for each in before:
        each.acquire()
        if each._settings.name == "modalities":
            each._rejections.carry_over([REFUSED])
    now = receiver(tmp_path, port=200)
    now.acquire(before)
    now.start()
    assert [each.calling_ae for each in now.describe().rejected] == ["CT1"] * known
    now.stop(0.0)


def test_whom_the_one_of_its_port_did_not_let_in_is_known_where_none_has_its_name(
    tmp_path: Path, ports: Ports
) -> None:
    before = receiver(tmp_path, "other")
    before.acquire()
    before._rejections.carry_over([REFUSED])
    here = receiver(tmp_path)
    here.acquire([before])
    here.start()
    assert [each.times for each in here.describe().rejected] == [3]
    here.stop(0.0)
    here.start()
    assert [each.times for each in here.describe().rejected] == [3], "carried over once"
    here.stop(0.0)


class Listener:
    """Gives what is in `comes`: connections, and errors; then it ends its receiver."""

    def __init__(self, made: DimseReceiver, *comes: Any) -> None:
        self.made, self.comes = made, deque(comes)

    def accept(self) -> tuple[Any, tuple[str, int]]:
        come = self.comes.popleft()
        if not self.comes:
            self.made._stopping.set()
        if isinstance(come, Exception):
            raise come
        return come, ("10.1.2.3", 4000)


class Clocked:
    """The clock that the receiver looks at; each look takes `step` seconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step: float = 0.0) -> None:
        self.now, self.step = NOW, step
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=self.tick, time=lambda: NOW))

    def tick(self) -> float:
        self.now += self.step
        return self.now


@pytest.mark.parametrize(("step", "cuts"), [(0.0, 1), (ACCEPT_TICK + 0.01, 4), (ACCEPT_TICK * 0.6, 2)])
def test_it_accepts_until_it_ends_and_looks_for_those_that_are_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: float, cuts: int
) -> None:
    made = receiver(tmp_path)
    done: list[Any] = []
    monkeypatch.setattr(made, "_admit", lambda sock, host: done.append((sock, host)))
    monkeypatch.setattr(made, "_cut_late", lambda: done.append("cut late"))
    monkeypatch.setattr(made, "_patience", lambda: 7.0)
    waits: list[float] = []
    connections: Any = SimpleNamespace(wait=waits.append)
    Clocked(monkeypatch, step)
    made._accept(Listener(made, "a", TimeoutError(), "b", "c"), connections)  # type: ignore[arg-type]
    assert [each for each in done if each != "cut late"] == [(each, "10.1.2.3") for each in "abc"]
    assert done.count("cut late") == cuts
    assert waits == [7.0] * 5


def test_a_connection_that_cannot_be_accepted_is_told_once_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = receiver(tmp_path)
    admitted: list[Any] = []
    monkeypatch.setattr(made, "_admit", lambda sock, host: admitted.append(sock))
    pauses: list[float] = []
    monkeypatch.setattr(made._stopping, "wait", pauses.append)
    connections: Any = SimpleNamespace(wait=lambda seconds: None)
    full = [OSError(24, "no more files") for _ in range(3)]
    made._accept(Listener(made, *full, "a"), connections)  # type: ignore[arg-type]
    assert (admitted, pauses) == (["a"], [1.0] * 3)
    told = [each for each in caplog.records if "cannot accept" in each.getMessage()]
    assert len(told) == 1


class Association:
    """In the place of a session: runs until it is let go, or ended."""

    made: list[Association] = []  # noqa: RUF012  emptied by each test

    def __init__(self, sock: Any, address: Any, **options: Any) -> None:
        self.sock, self.address, self.options = sock, address, options
        self.ends = threading.Event()
        self.done: list[str] = []
        self.deaf = False
        self.associated, self.since, self.expired = False, NOW, ""
        self.error: Exception | None = None
        Association.made.append(self)

    def run(self) -> None:
        assert self.ends.wait(5)
        if self.error:
            raise self.error

    def interrupt(self) -> None:
        self.done.append("interrupted")
        if not self.deaf:
            self.ends.set()

    def kill(self) -> None:
        self.done.append("killed")
        self.ends.set()


@pytest.fixture
def associations(monkeypatch: pytest.MonkeyPatch) -> list[Association]:
    Association.made = []
    monkeypatch.setattr(module, "Session", Association)
    return Association.made


def open_now(made: DimseReceiver) -> int:
    return made._settings.watch.counters().get("receive.modalities.open", -1)


def test_each_connection_gets_a_thread_and_is_counted_until_it_ends(
    tmp_path: Path, associations: list[Association]
) -> None:
    made = receiver(tmp_path)
    for number, host in enumerate(("10.1.2.3", "10.1.2.4"), 1):
        made._admit(Socket(), host)  # type: ignore[arg-type]
        assert (made.associations, open_now(made)) == (number, number)
    first, second = associations
    assert [str(each.address) for each in associations] == ["10.1.2.3", "10.1.2.4"]
    assert [each.options["serial"] for each in associations] == [1, 2]
    told = first.options
    assert (told["receiver"], told["tls"], told["limits"]) == ("modalities", None, made._config.limits)
    assert told["has_room"](first)
    assert first.associated
    first.ends.set()
    until(lambda: made.associations == 1, 5)
    second.error = ValueError("a fault of ours")
    second.ends.set()
    until(lambda: made.associations == 0 and open_now(made) == 0, 5)


def test_a_connection_without_a_thread_is_closed_and_forgotten(
    tmp_path: Path,
    associations: list[Association],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def no_more(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    made, sock = receiver(tmp_path), Socket()
    monkeypatch.setattr(module.GuardedThread, "start", no_more)
    made._admit(sock, "10.1.2.3")  # type: ignore[arg-type]
    assert (sock.closed, made.associations) == (True, 0)
    assert "no more threads" in caplog.text


def test_a_stop_lets_messages_end_until_its_deadline(
    tmp_path: Path, associations: list[Association], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = receiver(tmp_path)
    for _ in range(3):
        made._admit(Socket(), "10.1.2.3")  # type: ignore[arg-type]
    associations[1].deaf = True
    Clocked(monkeypatch)
    made.stop(NOW + 0.05)
    assert [each.done for each in associations] == [
        ["interrupted"],
        ["interrupted", "killed"],
        ["interrupted"],
    ]
    assert made.associations == 0
    made._admit(Socket(), "10.1.2.3")  # type: ignore[arg-type]
    associations[3].deaf = True
    made.stop(NOW - 5)
    assert associations[3].done == ["interrupted", "killed"], "its time is over"


def test_it_waits_for_the_connection_that_is_late_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = receiver(tmp_path, acse_timeout=10)
    Clocked(monkeypatch)
    assert made._patience() is None
    associated, longest, shortest = (Association(None, None) for _ in range(3))
    associated.since, longest.since, shortest.since = NOW - 9, NOW - 7, NOW - 3
    associated.associated = True
    made._sessions = dict.fromkeys((associated, shortest, longest))  # type: ignore[arg-type]
    assert made._patience() == 10 + LATE - 7
    longest.since = NOW - 50
    assert made._patience() == ACCEPT_TICK
