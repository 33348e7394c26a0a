"""A sender that puts a file's own data set on the wire, unchanged, whatever it holds."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from types import TracebackType
from typing import TypeVar

from peers import pdu
from peers.part10 import SentObject

CONTEXTS_PER_ASSOCIATION = 128

Sent = TypeVar("Sent", bound=SentObject)


class RawSender:
    """One association. Raises ConnectionError or TimeoutError when the other side ends it."""

    def __init__(
        self,
        port: int,
        contexts: Sequence[tuple[str, str]],
        *,
        calling: str = "RAWSENDER",
        called: str = "MAPDR",
        host: str = "127.0.0.1",
        timeout: float = 30,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        proposed = {2 * index + 1: (abstract, [syntax]) for index, (abstract, syntax) in enumerate(contexts)}
        self._messages = count(1)
        self.connection = socket.create_connection((host, port), timeout)
        try:
            if tls is not None:
                self.connection = tls.wrap_socket(self.connection, server_hostname=host)
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pdu.send(self.connection, pdu.ASSOCIATE_RQ, pdu.associate_rq(called, calling, proposed, 1 << 18))
            kind, body = pdu.receive(self.connection)
            if kind != pdu.ASSOCIATE_AC:
                raise ConnectionRefusedError(f"answered with PDU type {kind}: {body.hex()}")
        except BaseException:
            self.connection.close()
            raise
        answer = pdu.parse_associate(body)
        self.max_pdu = min(answer.max_pdu or 1 << 18, 1 << 18)
        self.accepted = {
            (proposed[number][0], syntaxes[0]): number
            for number, (result, _, syntaxes) in answer.contexts.items()
            if result == 0
        }

    def echo(self) -> int:
        """C-ECHO; the status."""
        context = self.accepted[(pdu.VERIFICATION, "1.2.840.10008.1.2")]
        message = next(self._messages) & 0xFFFF
        command = {
            0x00000002: pdu.VERIFICATION,
            0x00000100: pdu.C_ECHO_RQ,
            0x00000110: message,
            0x00000800: pdu.NO_DATA_SET,
        }
        self._send_command(context, command)
        return self._response(message)

    def store(self, item: SentObject) -> int:
        """C-STORE of the object's own bytes; the status."""
        return self.store_bytes(
            item.sop_class_uid, item.sop_instance_uid, item.transfer_syntax_uid, item.data_set()
        )

    def store_bytes(self, sop_class: str, instance: str, syntax: str, data: bytes) -> int:
        """C-STORE of these bytes; the status."""
        message = self.begin(sop_class, instance, syntax)
        context = self.accepted[(sop_class, syntax)]
        for fragment, last in fragments(data, self.max_pdu):
            body = pdu.p_data(context, fragment, command=False, last=last)
            pdu.send(self.connection, pdu.P_DATA, body)
        return self._response(message)

    def begin(self, sop_class: str, instance: str, syntax: str) -> int:
        """Only the command of a C-STORE; the message id."""
        message = next(self._messages) & 0xFFFF
        command = {
            0x00000002: sop_class,
            0x00000100: pdu.C_STORE_RQ,
            0x00000110: message,
            0x00000700: 0,
            0x00000800: 0x0001,
            0x00001000: instance,
        }
        self._send_command(self.accepted[(sop_class, syntax)], command)
        return message

    def release(self) -> None:
        pdu.send(self.connection, pdu.RELEASE_RQ, bytes(4))
        kind, _ = pdu.receive(self.connection)
        self.connection.close()
        if kind != pdu.RELEASE_RP:
            raise ConnectionError(f"A-RELEASE-RQ was answered with PDU type {kind}")

    def close(self) -> None:
        self.connection.close()

    def __enter__(self) -> RawSender:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.release()
        finally:
            self.close()

    def _send_command(self, context: int, command: dict[int, int | str]) -> None:
        body = pdu.p_data(context, pdu.command_set(command), command=True, last=True)
        pdu.send(self.connection, pdu.P_DATA, body)

    def _response(self, message: int) -> int:
        data = b""
        while True:
            kind, body = pdu.receive(self.connection)
            if kind != pdu.P_DATA:
                raise ConnectionAbortedError(f"PDU type {kind} instead of a response: {body.hex()}")
            for _, _, last, fragment in pdu.pdvs(body):
                data += fragment
                if last:
                    answer = pdu.parse_command(data)
                    assert answer[0x00000120] == message, "a response to another message"
                    return int(answer[0x00000900])


def fragments(data: bytes, max_pdu: int) -> Iterator[tuple[bytes, bool]]:
    """(fragment, is last) such that each fits a PDU of `max_pdu` bytes; one empty fragment for no data."""
    step = (max_pdu - 6) & ~1
    for start in range(0, max(len(data), 1), step):
        yield data[start : start + step], start + step >= len(data)


def send_all(
    port: int, items: Iterable[Sent], *, calling: str = "RAWSENDER", timeout: float = 30
) -> dict[Sent, int | None]:
    """Every object over as few associations as its presentation contexts allow.

    The status for each; None if its presentation context was refused.
    """
    statuses: dict[Sent, int | None] = {}
    for batch in _batches(items):
        contexts = sorted({(item.sop_class_uid, item.transfer_syntax_uid) for item in batch})
        with RawSender(port, contexts, calling=calling, timeout=timeout) as sender:
            for item in batch:
                known = (item.sop_class_uid, item.transfer_syntax_uid) in sender.accepted
                statuses[item] = sender.store(item) if known else None
    return statuses


def _batches(items: Iterable[Sent]) -> Iterator[list[Sent]]:
    batch: list[Sent] = []
    contexts: set[tuple[str, str]] = set()
    for item in items:
        context = (item.sop_class_uid, item.transfer_syntax_uid)
        if context not in contexts and len(contexts) == CONTEXTS_PER_ASSOCIATION:
            yield batch
            batch, contexts = [], set()
        batch.append(item)
        contexts.add(context)
    if batch:
        yield batch
