"""The receivers of a clinic, each with its own log of what it got and answered.

    PACS        C-STORE, a process of its own that can be killed; answers 0x0111 to what it has already
    tele-PACS   C-STORE over TLS in both directions; takes a changed certificate with the next association
    cloud       STOW-RS         (`peers.stow.StowSink`)
    bucket      PUT of files    (`peers.webserver.WebServer`)
    archive     a folder

`python -m clinic.receivers PORT FOLDER` is the PACS.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import ssl
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from peers import pdu
from peers.certificates import Pair
from peers.part10 import received as read_file
from peers.processes import Process
from peers.rawsink import Answer, RawSink, Received
from peers.webserver import WebServer

NO_ROOM, DUPLICATE = 0xA700, 0x0111
TAKEN = {0x0000, DUPLICATE, 200, 201, None}
"""What a receiver of these answers when it has the image; a folder answers nothing."""


@dataclass(frozen=True)
class Entry:
    """One image that came whole to a receiver, and its answer."""

    uid: str
    transfer_syntax_uid: str
    digest: str
    status: int | None
    data: bytes = field(repr=False)


class Pacs:
    """The local PACS: a process that writes each image to its log before it answers."""

    def __init__(self, folder: Path, port: int) -> None:
        folder.mkdir()
        self._folder, self.port = folder, port
        self._process: Process | None = None

    def start(self) -> Pacs:
        command: list[str | Path] = [sys.executable, "-m", "clinic.receivers", str(self.port), self._folder]
        path = {"PYTHONPATH": str(Path(__file__).parents[1])}
        self._process = Process(command, self._folder / "output", path)
        self._process.wait_for_port(self.port)
        return self

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()

    def stop(self) -> None:
        if self._process is not None:
            self._process.end()

    def log(self) -> list[Entry]:
        return list(entries(self._folder))


def entries(folder: Path) -> Iterator[Entry]:
    """What the PACS has written."""
    with (folder / "images").open("rb") as images, (folder / "log").open(encoding="ascii") as lines:
        for line in lines:
            said = json.loads(line)
            images.seek(said["at"])
            data = images.read(said["size"])
            yield Entry(said["uid"], said["syntax"], said["digest"], said["status"], data)


def serve(port: int, folder: Path) -> None:
    """Be the PACS until the process ends."""
    log = os.open(folder / "log", os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
    images = os.open(folder / "images", os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
    lock = threading.Lock()
    known = {entry.uid for entry in entries(folder)}

    def take(request: Received) -> Answer:
        with lock:
            status = DUPLICATE if request.sop_instance_uid in known else 0
            at = os.lseek(images, 0, os.SEEK_END)
            os.write(images, request.data)
            said = {
                "uid": request.sop_instance_uid,
                "syntax": request.transfer_syntax_uid,
                "digest": request.digest,
                "status": status,
                "at": at,
                "size": len(request.data),
            }
            os.write(log, json.dumps(said).encode() + b"\n")
            known.add(request.sop_instance_uid)
            sink.received.clear()
        return Answer(status)

    with RawSink(take, port=port) as sink:
        threading.Event().wait()


class TelePacs(RawSink):
    """The tele-PACS: speaks TLS only, asks for a certificate, and refuses everything while it is `full`."""

    def __init__(self, own: Pair, ca: Path) -> None:
        super().__init__(self._take)
        self._own, self._ca = own, ca
        self.full = False
        self.certificates: set[str] = set()
        """SHA-256 of what its peers have shown."""
        self.cut = 0
        """Associations that ended without a release."""

    def _take(self, request: Received) -> Answer:
        return Answer(NO_ROOM if self.full else 0)

    def _serve(self, connection: socket.socket) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._own.cert, self._own.key)
        context.load_verify_locations(self._ca)
        context.verify_mode = ssl.CERT_REQUIRED
        connection.settimeout(10)
        try:
            secured = context.wrap_socket(connection, server_side=True)
        except OSError:
            connection.close()  # who does not prove itself, or only looks whether somebody listens
            return
        secured.settimeout(None)
        shown = secured.getpeercert(binary_form=True)
        assert shown is not None
        with self._lock:
            self.certificates.add(hashlib.sha256(shown).hexdigest())
            self._open.discard(connection)
            self._open.add(secured)
        super()._serve(secured)

    def _messages(
        self, connection: socket.socket, wanted: pdu.Association, chosen: dict[int, str | None]
    ) -> None:
        try:
            super()._messages(connection, wanted, chosen)
        except OSError:
            with self._lock:
                self.cut += 1
            raise


def of_sink(sink: RawSink) -> list[Entry]:
    """The log of a DICOM receiver in this process."""
    with sink._lock:
        return [_entry(request, status) for request, status in sink.answered]


def of_stow(received: Iterable[Received]) -> list[Entry]:
    """The log of a STOW-RS server, which answered 200 to all it has."""
    return [_entry(request, 200) for request in received]


def of_web(server: WebServer, folder: Path) -> list[Entry]:
    """The log of a web server: an entry for each time that it answered 201."""
    folder.mkdir()
    read = {}
    for number, (name, content) in enumerate(server.files.items()):
        path = folder / f"{number}.dcm"
        path.write_bytes(content)
        read[name] = _of_file(path, 201)
    return [read[name] for name in server.puts]


def of_folder(folder: Path) -> list[Entry]:
    """The log of a folder: what is in it."""
    return [_of_file(path, None) for path in sorted(folder.rglob("*.dcm")) if ".mapdr" not in path.parts]


def _of_file(path: Path, status: int | None) -> Entry:
    read = read_file(path)
    _, uid, syntax, digest = read.identity
    return Entry(uid, syntax, digest, status, read.data_set())


def _entry(request: Received, status: int) -> Entry:
    return Entry(request.sop_instance_uid, request.transfer_syntax_uid, request.digest, status, request.data)


if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]))
