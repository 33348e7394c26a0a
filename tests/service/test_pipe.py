"""Sign-in links over a named pipe of Windows, by pipes of its kind: who may ask, who answers, what goes."""

# ruff: noqa: N802  the pipes' functions have the names of pywin32's
from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from queue import Queue
from types import SimpleNamespace
from typing import Any

import pytest

from mapdr.kernel.errors import MapdrError
from mapdr.service import pipe as pipes
from mapdr.service.pipe import GROUP, PIPE, LinkPipe, ask

SERVICE, STRANGER = 4711, 666
MARK = "QXNAMEQX"


class Refused(Exception):
    def __init__(self, winerror: int) -> None:
        super().__init__(winerror, "Function", "refused")
        self.winerror = winerror


class End:
    """One end of a connection: what the other one wrote."""

    def __init__(self) -> None:
        self.came = bytearray()
        self.other: End | None = None


class Pipes:
    """Named pipes of one machine, as pywin32 speaks of them; the server's end waits in ConnectNamedPipe."""

    def __init__(self, *, server: int = SERVICE, group: bool = True) -> None:
        self.server, self.group = server, group
        self.made: tuple[Any, ...] | None = None
        self.clients: Queue[End] = Queue()
        self.listening = threading.Event()
        self.user = "ann"
        self.acted_as: list[str] = []
        self.denied = False
        self.end = End()

    # win32pipe
    def CreateNamedPipe(self, name: str, *more: Any) -> str:
        if self.made is not None:
            raise Refused(5)
        self.made = (name, *more)
        return "server"

    def ConnectNamedPipe(self, handle: str, overlapped: None) -> None:
        self.listening.set()
        self.end = End()
        client = self.clients.get(timeout=20)
        self.listening.clear()
        self.end.other, client.other = client, self.end

    def DisconnectNamedPipe(self, handle: str) -> None:
        if self.end.other is not None:
            self.end.other.other = None
        self.end = End()

    def GetNamedPipeServerProcessId(self, handle: End) -> int:
        return self.server

    def PeekNamedPipe(self, handle: Any, size: int) -> tuple[bytes, int, int]:
        end = self._end(handle)
        if end.other is None and not end.came:
            raise Refused(109)
        return b"", len(end.came), 0

    # win32file
    def CreateFile(self, name: str, *more: Any) -> End:
        if self.made is None:
            raise Refused(2)
        if self.denied:
            raise Refused(5)
        if not self.listening.wait(0.05):
            raise Refused(231)
        assert name == PIPE
        end = End()
        self.clients.put(end)
        deadline = threading.Event()
        while end.other is None and not deadline.wait(0.01):
            pass
        return end

    def WriteFile(self, handle: Any, data: bytes) -> None:
        other = self._end(handle).other
        if other is None:
            raise Refused(232)
        other.came += data

    def ReadFile(self, handle: Any, size: int) -> tuple[int, bytes]:
        came = self._end(handle).came
        found = bytes(came[:size])
        del came[:size]
        return 0, found

    # win32api
    def CloseHandle(self, handle: End) -> None:
        if handle.other is not None:
            handle.other.other = None
            handle.other = None

    def GetCurrentThread(self) -> int:
        return -2

    # win32security
    def SECURITY_ATTRIBUTES(self) -> Any:
        return SimpleNamespace(SECURITY_DESCRIPTOR=None)

    def LookupAccountName(self, machine: None, name: str) -> tuple[str]:
        if not self.group:
            raise Refused(1332)
        assert name == GROUP
        return ("S-1-5-21-1-2-3-1001",)

    def ConvertSidToStringSid(self, sid: str) -> str:
        return sid

    def ConvertStringSecurityDescriptorToSecurityDescriptor(self, text: str, revision: int) -> str:
        return text

    def ImpersonateNamedPipeClient(self, handle: str) -> None:
        self.acted_as.append("client")

    def RevertToSelf(self) -> None:
        self.acted_as.append("self")

    def OpenThreadToken(self, thread: int, access: int, as_self: bool) -> str:
        assert self.acted_as[-1] == "client"
        assert as_self
        return "token"

    def GetTokenInformation(self, token: str, what: int) -> tuple[str, int]:
        return ("sid", 0)

    def LookupAccountSid(self, machine: None, sid: str) -> tuple[str, str, int]:
        assert self.acted_as[-1] == "self"
        return (self.user, "CLINIC", 1)

    def _end(self, handle: Any) -> End:
        return self.end if handle == "server" else handle


def modules(machine: Pipes) -> Any:
    return SimpleNamespace(**dict.fromkeys(pipes.MODULES, machine))


@pytest.fixture
def machine() -> Pipes:
    return Pipes()


@pytest.fixture
def asked(machine: Pipes) -> Iterator[list[str]]:
    """A service that gives links; the users that asked for one."""
    users: list[str] = []

    def make(user: str) -> str:
        users.append(user)
        if user == "eve":
            raise ValueError(MARK)
        if user == "bob":
            raise MapdrError("the node runs without its page")
        return f"http://127.0.0.1:8080/#token={len(users)}"

    served = LinkPipe(make, modules(machine))
    thread = threading.Thread(target=served.serve)
    thread.start()
    yield users
    began = time.monotonic()
    served.close()
    thread.join(10)
    assert not thread.is_alive()
    assert time.monotonic() - began < pipes.PATIENCE - 1, "one that has answered just now waits for nobody"


def test_who_may_open_it_gets_a_link_under_his_own_name(machine: Pipes, asked: list[str]) -> None:
    assert ask(SERVICE, modules(machine)) == "http://127.0.0.1:8080/#token=1"
    assert ask(SERVICE, modules(machine)) == "http://127.0.0.1:8080/#token=2"
    assert asked == ["ann", "ann"]
    assert machine.acted_as == ["client", "self"] * 2


def test_a_pipe_of_another_program_is_asked_nothing(machine: Pipes, asked: list[str]) -> None:
    for process in (STRANGER, None):
        with pytest.raises(MapdrError, match="another program"):
            ask(process, modules(machine))
    assert asked == []


def test_why_there_is_no_link_is_said_and_quotes_nothing(machine: Pipes, asked: list[str]) -> None:
    machine.user = "bob"
    with pytest.raises(MapdrError, match="without its page"):
        ask(SERVICE, modules(machine))
    machine.user = "eve"
    with pytest.raises(MapdrError, match="internal error: ValueError") as caught:
        ask(SERVICE, modules(machine))
    assert MARK not in str(caught.value)
    machine.user = "ann"
    assert ask(SERVICE, modules(machine))


@pytest.mark.parametrize("line", [b"", b"link", b"give me all\n", b"\xff" * 5000])
def test_who_says_something_else_is_not_waited_for(
    machine: Pipes, asked: list[str], line: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipes, "PATIENCE", 0.2)
    end = pipes._open(modules(machine))
    machine.WriteFile(end, line)
    found = pipes._line(modules(machine), end, b"\n")
    assert found in (b"", b"!this is not a request for a link\n")
    machine.CloseHandle(end)
    monkeypatch.setattr(pipes, "PATIENCE", 5.0)
    assert ask(SERVICE, modules(machine))
    assert asked == ["ann"]


def test_who_goes_at_once_ends_nothing(machine: Pipes, asked: list[str]) -> None:
    machine.CloseHandle(pipes._open(modules(machine)))
    assert ask(SERVICE, modules(machine))


def test_its_access_list_lets_the_group_in_and_nobody_else(machine: Pipes) -> None:
    LinkPipe(str, modules(machine))
    assert machine.made is not None
    name, mode, kind, *_, attributes = machine.made
    assert name == PIPE
    assert mode & pipes.FIRST_INSTANCE
    assert kind & pipes.REJECT_REMOTE
    assert attributes.SECURITY_DESCRIPTOR == (
        "D:P(A;;GA;;;SY)(A;;GA;;;BA)(A;;GA;;;OW)(A;;GRGW;;;S-1-5-21-1-2-3-1001)"
    )
    without = Pipes(group=False)
    LinkPipe(str, modules(without))
    assert without.made is not None
    assert without.made[-1].SECURITY_DESCRIPTOR == "D:P(A;;GA;;;SY)(A;;GA;;;BA)(A;;GA;;;OW)"


def test_a_client_is_told_why_it_cannot_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipes, "PATIENCE", 0.1)
    machine = Pipes()
    with pytest.raises(MapdrError, match="does not run, or has no page"):
        ask(SERVICE, modules(machine))
    LinkPipe(str, modules(machine))
    with pytest.raises(MapdrError, match="error 231"):
        ask(SERVICE, modules(machine))
    machine.denied = True
    with pytest.raises(MapdrError, match='members of "MAPDR Operators"'):
        ask(SERVICE, modules(machine))
