"""A whole conversation with a receiver over a real spool, with runs or without, and what came of it."""

from __future__ import annotations

import contextlib
import ipaddress
import shutil
import socket
import ssl
import struct
import tempfile
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mapdr._fast import RunQueue
from mapdr.kernel.item import Arrival, Source, TagPath
from mapdr.kernel.stage import Intake
from mapdr.kernel.watch import Watch
from mapdr.receive.dicom.config import DimseReceiveConfig
from mapdr.receive.dicom.doorkeeper import Doorkeeper
from mapdr.receive.dicom.session import Session
from mapdr.receive.rejections import Rejections
from mapdr.store.spool import filemeta
from mapdr.store.spool.files import Spool, SpoolFile
from mapdr.store.spool.headers import INDEX_TAGS, Reading
from mapdr.store.spool.runs import gather
from mapdr.testing import peer
from mapdr.wire import dimse, pdu
from mapdr.wire.link import Limits

HANGING_PROTOCOL = "1.2.840.10008.5.1.4.38.1"
PRIVATE = "1.2.826.0.1.3680043.2.1143.99"
CONTEXTS = (
    pdu.Context(1, peer.VERIFICATION, (peer.IMPLICIT,)),
    pdu.Context(3, peer.CT, (peer.EXPLICIT,)),
    pdu.Context(5, peer.CT, (peer.IMPLICIT,)),
    pdu.Context(7, peer.CT, ("1.2.840.10008.1.2.1.99",)),
    pdu.Context(9, "1.2.840.10008.5.1.4.1.1.4", ("1.2.840.10008.1.2.4.90",)),
    pdu.Context(13, peer.CT, ("1.2.840.10008.1.2.2",)),
    pdu.Context(15, HANGING_PROTOCOL, (peer.EXPLICIT,)),
    pdu.Context(17, PRIVATE, (peer.EXPLICIT,)),
)
NESTED = (0x00400275, 0x00400009)


class Ordinary:
    """A spool that has no lanes."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    def begin(self, *facts: Any) -> SpoolFile:
        return self._spool.begin(*facts)


@dataclass(frozen=True)
class Came:
    """What came of a conversation: the receiver's bytes, what was kept, and how much of it in runs."""

    answers: bytes
    kept: tuple[Any, ...]
    counters: dict[str, float]
    in_runs: int

    @property
    def commands(self) -> list[dimse.Command]:
        """The command sets among the answers, each in a P-DATA of its own."""
        found: list[dimse.Command] = []
        at = 0
        while at < len(self.answers):
            kind, length = struct.unpack_from(">BxL", self.answers, at)
            if kind == pdu.P_DATA:
                found.append(dimse.parse(self.answers[at + 12 : at + 6 + length]))
            at += 6 + length
        return found


Tls = tuple[ssl.SSLContext, ssl.SSLContext]
"""The receiver's context and the sender's."""


def converse(
    pieces: Sequence[bytes],
    *,
    runs: bool,
    nested: bool = False,
    more: Collection[TagPath] = (),
    tls: Tls | None = None,
) -> Came:
    """Send `pieces` behind an association request that is accepted, and listen until the receiver closes."""
    folder = Path(tempfile.mkdtemp(prefix="conversation-"))
    try:
        wanted = {*more, *((NESTED,) if nested else ())}
        return _converse(folder, [peer.request(contexts=CONTEXTS), *pieces], runs, wanted, tls)
    finally:
        shutil.rmtree(folder)


def _converse(
    folder: Path, pieces: Sequence[bytes], runs: bool, wanted: Collection[TagPath], tls: Tls | None
) -> Came:
    arrivals: list[Arrival] = []
    in_runs: list[int] = []

    def gathered() -> None:
        taken = gather(spool.runs)
        in_runs.append(len(taken))
        arrivals.extend(taken)

    def submit(arrival: Arrival) -> None:
        gathered()  # as the writer does, so that the order of the answers is kept
        arrivals.append(arrival)

    spool = open_spool(folder, submit, wanted=wanted)
    watch = Watch()
    ours, theirs = socket.socketpair()
    server, client = tls or (None, None)
    session = session_over(theirs, spool if runs else Ordinary(spool), watch, Limits(linger=0), server)
    receiver = threading.Thread(target=session.run)
    receiver.start()
    if client is not None:
        ours = client.wrap_socket(ours, server_hostname="127.0.0.1", suppress_ragged_eofs=True)
    sender = threading.Thread(target=_say, args=(ours, pieces))
    threads = [receiver, sender]
    sender.start()
    if client is not None:  # OpenSSL does not read in one thread while it writes in another
        sender.join(30)
    answers = _listen(ours)
    for thread in threads:
        thread.join(30)
    ours.close()
    gathered()
    assert not spool.runs.waiting
    assert not spool.runs.in_use, "a receiver of runs is left"
    assert [arrival.id for arrival in arrivals] == sorted(arrival.id for arrival in arrivals)
    kept = tuple(_facts(spool, arrival) for arrival in arrivals)
    assert len(list(folder.rglob("*.dcm"))) == len(arrivals), "a file that nobody tells of"
    assert not list(folder.rglob("*.part"))
    # What was refused is counted with its reason; the connection's end differs by nothing.
    return Came(answers, kept, watch.counters(), sum(in_runs))


def open_spool(
    folder: Path,
    submit: Callable[[Arrival], None],
    *,
    wanted: Collection[TagPath] = (),
    runs: RunQueue | None = None,
) -> Spool:
    """A spool whose runs may begin."""
    spool = Spool(folder, "node", "process-crash", submit=submit, runs=runs)
    spool.use(Reading("revision", INDEX_TAGS | {(0x00100010,), *wanted}))
    spool.runs.open()
    return spool


def session_over(
    sock: socket.socket, intake: Intake, watch: Watch, limits: Limits, tls: ssl.SSLContext | None = None
) -> Session:
    """The receiver's side of a connection."""
    return Session(
        sock,
        ipaddress.IPv4Address("10.1.2.3"),
        serial=1,
        receiver="modalities",
        intake=intake,
        doorkeeper=Doorkeeper(DimseReceiveConfig()),
        limits=limits,
        tls=tls,
        shown=lambda certificate: None,
        watch=watch,
        has_room=lambda session: True,
        rejections=Rejections(),
    )


def _say(sock: socket.socket, pieces: Sequence[bytes]) -> None:
    try:
        for piece in pieces:
            sock.sendall(piece)
        socket.socket.shutdown(sock, socket.SHUT_WR)  # an SSLSocket's own would end its TLS
    except OSError:
        return  # the receiver has closed: what it said before is looked at


def _listen(sock: socket.socket) -> bytes:
    """All that comes until the other side closes; a reset counts as that."""
    sock.settimeout(30)
    data = b""
    with contextlib.suppress(ConnectionError):
        while piece := sock.recv(65536):
            data += piece
    return data


def _facts(spool: Spool, arrival: Arrival) -> tuple[Any, ...]:
    """All of an arrival and its file but the id and the time."""
    path = spool.path(arrival.id)
    with path.open("rb") as file:
        meta = filemeta.decode(file)
    assert meta.received_at == arrival.received_at
    assert meta.digest == arrival.digest
    assert meta.data_offset == arrival.data_offset
    content = path.read_bytes()
    header: Any = arrival.header
    values = {
        tag: header.texts(tag)
        for tag in (*INDEX_TAGS, (0x00100010,), (0xFFFA0010,), NESTED)
        if header.has(tag)
    }
    place = (header.pixel_offset, header.pixel_value, header.pixel_vr, header.pixel_length)
    assert arrival.source == meta.source == Source("modalities", "PEER", "MAPDR", "10.1.2.3")
    return (
        *arrival[2:6],
        arrival.size,
        arrival.digest,
        arrival.revision,
        *(meta.sop_class_uid, meta.sop_instance_uid, meta.transfer_syntax_uid, meta.revision),
        content[: arrival.data_offset - 69],
        content[arrival.data_offset :],
        values,
        place,
        (header.truncated, header.remarks, header.character_set),
    )
