"""A receiver that does what its script says: any status, slow, silent, gone in the middle.

It takes every presentation context unless told otherwise, and remembers what it was sent.
"""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType

from peers import pdu
from peers.part10 import Identity

MAX_PDU = 1 << 17


@dataclass(frozen=True)
class Received:
    """One C-STORE request that arrived whole."""

    number: int
    calling: str
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    digest: str
    data: bytes = field(repr=False)

    @property
    def identity(self) -> Identity:
        return (self.sop_class_uid, self.sop_instance_uid, self.transfer_syntax_uid, self.digest)


@dataclass(frozen=True)
class Answer:
    """What to do with one request: wait, then answer with `status`; None never answers.

    `hang_up` ends the connection instead, "reset" without a word, "abort" with an A-ABORT. `release` asks for
    the association's release behind the answer. `others` are elements of the response, by tag, that are
    other than they should be; `twice` sends it twice.
    """

    status: int | None = 0x0000
    after: float = 0.0
    hang_up: str = ""
    release: bool = False
    comment: str = ""
    others: Mapping[int, int | str] = field(default_factory=dict)
    twice: bool = False


Script = Callable[[Received], Answer]
Choice = Callable[[str, Sequence[str]], str | None]


class RawSink:
    """A receiver on a free port of loopback, from `start` to `stop`; `serial`: one association at a time."""

    def __init__(
        self,
        script: Script | None = None,
        *,
        choose: Choice | None = None,
        keep_data: bool = True,
        port: int = 0,
        cut_after: int | None = None,
        reject: bytes | None = None,
        serial: bool = False,
        results: Mapping[str, int] | None = None,
        max_pdu: int = MAX_PDU,
    ) -> None:
        self.script: Script = script or (lambda request: Answer())
        self.choose: Choice = choose or (lambda abstract, syntaxes: syntaxes[0])
        self.keep_data = keep_data
        self.cut_after = cut_after
        self.reject = reject
        self.serial = serial
        self.results = {} if results is None else results
        self.max_pdu = max_pdu
        self.received: list[Received] = []
        self.answered: list[tuple[Received, int]] = []
        self.associations = 0
        self.proposals: list[list[tuple[str, list[str]]]] = []
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", port))
        self._listener.listen(64)
        self.port = int(self._listener.getsockname()[1])

    def start(self) -> RawSink:
        self._run(self._accept)
        return self

    def stop(self) -> None:
        self._stopping.set()
        for connection in (self._listener, *self._snapshot()):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive(), "a thread of the sink does not end"

    def __enter__(self) -> RawSink:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def count(self) -> int:
        """How many requests were answered with success or a warning."""
        with self._lock:
            return sum(1 for _, status in self.answered if status == 0 or status >> 12 == 0xB)

    def identities(self) -> list[Identity]:
        """What arrived, in order, repeats included."""
        with self._lock:
            return [item.identity for item in self.received]

    def _snapshot(self) -> list[socket.socket]:
        with self._lock:
            return list(self._open)

    def _run(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, name="rawsink", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._open.add(connection)
            if self._stopping.is_set():  # `stop` may have looked before
                connection.close()
                return
            if self.serial:
                self._serve(connection)
            else:
                self._run(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._associate(connection)
        except OSError:
            # The other side, or stop(), ended the connection: what arrived whole is on record.
            pass
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()

    def _associate(self, connection: socket.socket) -> None:
        kind, body = pdu.receive(connection)
        if kind != pdu.ASSOCIATE_RQ:
            return
        if self.reject is not None:
            pdu.send(connection, pdu.ASSOCIATE_RJ, self.reject)
            return
        wanted = pdu.parse_associate(body)
        with self._lock:
            self.associations += 1
            self.proposals.append(
                [(abstract, syntaxes) for _, abstract, syntaxes in wanted.contexts.values()]
            )
        chosen = {
            number: self.choose(abstract, syntaxes)
            for number, (_, abstract, syntaxes) in wanted.contexts.items()
        }
        results = {
            number: self.results.get(syntaxes[0], 0) for number, (_, _, syntaxes) in wanted.contexts.items()
        }
        answer = pdu.associate_ac(wanted.called, wanted.calling, chosen, self.max_pdu, results)
        pdu.send(connection, pdu.ASSOCIATE_AC, answer)
        self._messages(connection, wanted, chosen)

    def _messages(
        self, connection: socket.socket, wanted: pdu.Association, chosen: dict[int, str | None]
    ) -> None:
        command, data, request = bytearray(), bytearray(), {}
        while True:
            kind, body = pdu.receive(connection)
            if kind == pdu.RELEASE_RQ:
                pdu.send(connection, pdu.RELEASE_RP, bytes(4))
                return
            if kind != pdu.P_DATA:
                return
            for context, is_command, last, fragment in pdu.pdvs(body):
                (command if is_command else data).extend(fragment)
                if self.cut_after is not None and len(data) >= self.cut_after:
                    return
                if not last:
                    continue
                if is_command:
                    request = pdu.parse_command(bytes(command))
                    command.clear()
                if not is_command or request[0x00000800] == pdu.NO_DATA_SET:
                    going_on = self._answer(
                        connection, context, request, wanted, chosen[context] or "", bytes(data)
                    )
                    data.clear()
                    if not going_on:
                        return

    def _answer(
        self,
        connection: socket.socket,
        context: int,
        request: dict[int, int | str],
        wanted: pdu.Association,
        syntax: str,
        data: bytes,
    ) -> bool:
        answer, received = Answer(), None
        if request[0x00000100] == pdu.C_STORE_RQ:
            with self._lock:
                received = Received(
                    len(self.received),
                    wanted.calling,
                    str(request[0x00000002]),
                    str(request[0x00001000]),
                    syntax,
                    hashlib.sha256(data).hexdigest(),
                    data if self.keep_data else b"",
                )
                self.received.append(received)
            answer = self.script(received)
        if answer.after and self._stopping.wait(answer.after):
            return False
        if answer.hang_up == "abort":
            pdu.send(connection, pdu.ABORT, bytes((0, 0, 2, 0)))
        if answer.hang_up:
            return False
        if answer.status is None:
            self._stopping.wait()
            return False
        response = {
            0x00000002: request[0x00000002],
            0x00000100: int(request[0x00000100]) | 0x8000,
            0x00000120: request[0x00000110],
            0x00000800: pdu.NO_DATA_SET,
            0x00000900: answer.status,
        }
        if answer.comment:
            response[0x00000902] = answer.comment
        if received:
            response[0x00001000] = received.sop_instance_uid
            with self._lock:
                # Counted before it is sent: who sees the answer may look at the count at once.
                self.answered.append((received, answer.status))
        message = pdu.p_data(context, pdu.command_set({**response, **answer.others}), command=True, last=True)
        for _ in range(1 + answer.twice):
            pdu.send(connection, pdu.P_DATA, message)
        if answer.release:
            pdu.send(connection, pdu.RELEASE_RQ, bytes(4))
            pdu.receive(connection)
            return False
        return True
