"""A DICOM peer that follows a script, byte by byte where needed: for what well-behaved peers never do.

`Line` is one connection on which a test sends any bytes and reads PDUs. `Line.connect` calls a receiver;
`Listener` waits for a requestor and runs a script with the line that comes in.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable
from types import TracebackType

from mapdr.dicom import uids
from mapdr.wire import dimse, pdu

CT = uids.CT_IMAGE_STORAGE
VERIFICATION = uids.VERIFICATION
IMPLICIT = uids.IMPLICIT_VR_LITTLE_ENDIAN
EXPLICIT = uids.EXPLICIT_VR_LITTLE_ENDIAN
CONTEXTS = (pdu.Context(1, VERIFICATION, (IMPLICIT,)), pdu.Context(3, CT, (EXPLICIT,)))

Script = Callable[["Line"], None]


def request(
    calling: str = "PEER",
    called: str = "MAPDR",
    contexts: tuple[pdu.Context, ...] = CONTEXTS,
    max_length: int = 16384,
) -> bytes:
    """An A-ASSOCIATE-RQ."""
    return pdu.encode(pdu.AssociateRequest(calling, called, contexts, max_length))


def p_data(*pdvs: tuple[int, int, bytes]) -> bytes:
    """A P-DATA of (context id, message control header, data) each; control 1 is command, 2 is last."""
    body = b"".join(
        struct.pack(">LBB", len(data) + 2, context, control) + data for context, control, data in pdvs
    )
    return struct.pack(">BxL", pdu.P_DATA, len(body)) + body


def store(
    data: bytes, message_id: int = 1, context: int = 3, sop_class: str = CT, sop_instance: str = "1.2.3.4"
) -> bytes:
    """A whole C-STORE-RQ, its command set and data set in one P-DATA each."""
    command = dimse.store_request(message_id, sop_class, sop_instance)
    return p_data((context, 3, command)) + p_data((context, 2, data))


def command(field: int, message_id: int = 1, *, data_set: bool = False, sop_class: str = CT) -> bytes:
    """A command set with any command field."""
    elements = b"".join(
        struct.pack("<HHL", 0, element, len(value)) + value
        for element, value in (
            (dimse.AFFECTED_SOP_CLASS_UID, dimse.padded(sop_class)),
            (dimse.COMMAND_FIELD, struct.pack("<H", field)),
            (
                dimse.MESSAGE_ID_RESPONDED_TO
                if field & dimse.RESPONSE or field == dimse.C_CANCEL_RQ
                else dimse.MESSAGE_ID,
                struct.pack("<H", message_id),
            ),
            (dimse.DATA_SET_TYPE, struct.pack("<H", 1 if data_set else dimse.NO_DATA_SET)),
            *(((dimse.STATUS, b"\0\0"),) if field & dimse.RESPONSE else ()),
        )
    )
    return struct.pack("<HHLL", 0, 0, 4, len(elements)) + elements


class Line:
    """One connection. Every wait ends after `seconds`."""

    def __init__(self, sock: socket.socket, seconds: float = 10.0) -> None:
        self.sock = sock
        self.seconds = seconds
        sock.settimeout(seconds)
        with contextlib.suppress(OSError):  # a socket pair has no Nagle's algorithm to switch off
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @classmethod
    def connect(cls, port: int, seconds: float = 10.0, receive_buffer: int | None = None) -> Line:
        """Call a receiver on loopback; `receive_buffer` bytes limit what it can send without our reading."""
        sock = socket.socket()
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(seconds)
        try:
            sock.connect(("127.0.0.1", port))
        except OSError:
            sock.close()
            raise
        return cls(sock, seconds)

    @classmethod
    def associated(cls, port: int, **facts: object) -> Line:
        """Call a receiver and open an association with `request(**facts)`."""
        line = cls.connect(port)
        line.send(request(**facts))  # type: ignore[arg-type]
        kind, _ = line.read_pdu()
        if kind != pdu.ASSOCIATE_AC:
            line.close()
            raise AssertionError(f"the association was answered with a PDU of type {kind}")
        return line

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.sock.sendall(data)

    def trickle(self, data: bytes, pause: float = 0.0) -> None:
        """Send a byte at a time, with `pause` seconds between; ends early when the other side has closed."""
        for byte in data:
            try:
                self.sock.sendall(bytes((byte,)))
            except OSError:
                return
            if pause:
                time.sleep(pause)

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes. Raises EOFError when the stream ends before."""
        data = bytearray()
        while len(data) < size:
            piece = self.sock.recv(size - len(data))
            if not piece:
                raise EOFError(f"the stream ended after {len(data)} of {size} bytes")
            data += piece
        return bytes(data)

    def read_pdu(self) -> tuple[int, bytes]:
        """Type and body of the next PDU."""
        kind, length = struct.unpack(">BxL", self.read(6))
        return kind, self.read(length)

    def decoded(self) -> pdu.Pdu:
        """The next PDU, which is not P-DATA."""
        return pdu.decode(*self.read_pdu())

    def response(self) -> dimse.Command:
        """The next message's command set."""
        fragments = b""
        while True:
            kind, body = self.read_pdu()
            if kind != pdu.P_DATA:
                raise AssertionError(f"a PDU of type {kind} came instead of a response")
            at = 0
            while at < len(body):
                length, _, control = struct.unpack_from(">LBB", body, at)
                fragments += body[at + 6 : at + 4 + length]
                at += 4 + length
                if control & 2:
                    return dimse.parse(fragments)

    def closed(self) -> bytes:
        """Wait for the other side to close; what came before that. A reset counts as a close."""
        data = bytearray()
        try:
            while piece := self.sock.recv(65536):
                data += piece
        except ConnectionError:
            return bytes(data)
        return bytes(data)

    def close(self) -> None:
        """Close this side."""
        self.sock.close()

    def __enter__(self) -> Line:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Listener:
    """Waits on a port of loopback and runs `script` with each connection that comes, one at a time.

    What a script raises is raised again by `stop`.
    """

    def __init__(self, script: Script) -> None:
        self._script = script
        self._sock = socket.create_server(("127.0.0.1", 0))
        self._sock.settimeout(0.05)
        self._stopping = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="scripted-peer", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._sock.getsockname()[1])

    def stop(self) -> None:
        """Stop listening; raises what the script raised."""
        self._stopping.set()
        self._thread.join()
        self._sock.close()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                sock, _ = self._sock.accept()
            except TimeoutError:
                continue
            with Line(sock) as line:
                try:
                    self._script(line)
                except BaseException as error:  # noqa: BLE001  kept, and raised by `stop`
                    self._error = error
                    return

    def __enter__(self) -> Listener:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def accept(line: Line, *, max_length: int = 16384, refuse: tuple[str, ...] = ()) -> pdu.AssociateRequest:
    """Answer an association request: every context with its first transfer syntax, but for `refuse`."""
    asked = line.decoded()
    assert isinstance(asked, pdu.AssociateRequest)
    results = tuple(
        pdu.ContextResult(
            context.id, 3 if context.abstract_syntax in refuse else 0, context.transfer_syntaxes[0]
        )
        for context in asked.contexts
    )
    line.send(pdu.encode(pdu.AssociateAccept(asked.calling_ae, asked.called_ae, results, max_length)))
    return asked


def read_message(line: Line) -> tuple[int, dimse.Command, bytes, list[int]]:
    """Context id, command, data set and the length of each of its PDVs of the next message."""
    parts: dict[int, bytes] = {0: b"", 1: b""}
    lengths: list[int] = []
    told: dimse.Command | None = None
    while True:
        kind, body = line.read_pdu()
        assert kind == pdu.P_DATA, kind
        at = 0
        while at < len(body):
            length, context, control = struct.unpack_from(">LBB", body, at)
            parts[control & 1] += body[at + 6 : at + 4 + length]
            if not control & 1:
                lengths.append(length)
            at += 4 + length
            if control & 3 == 3:
                told = dimse.parse(parts[1])
            if told is not None and (not told.has_data_set or control & 3 == 2):
                return context, told, parts[0], lengths
