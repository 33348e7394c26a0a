"""One program for each user: the second start has the first do what it is asked for, and ends.

desktop.lock   the first one has it locked, and so it ends with its process
desktop.json   where the first one listens (loopback), and the secret that those who may speak to it know
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import platformdirs

from mapdr.kernel.errors import MapdrError
from mapdr.kernel.guard import GuardedThread
from mapdr.kernel.permissions import FOLDER_MODE, private_opener

if sys.platform == "win32":  # pragma: no cover
    import msvcrt

    def _lock(file: int) -> None:
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


PATIENCE = 10.0
"""Seconds in which the first program answers."""
LONGEST = 200
"""Bytes of a request."""
WORDS = ("open", "quit")


def runtime_folder() -> Path:
    """Where this user's programs meet while they run."""
    return platformdirs.user_runtime_path("mapdr", appauthor=False)


class Instance:
    """The user's first program: it has the lock, and listens."""

    def __init__(self, folder: Path, lock: int) -> None:
        self._folder = folder
        self._lock = lock
        self._secret = secrets.token_hex(16)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ended = False
        self._thread: GuardedThread | None = None

    @classmethod
    def take(cls, folder: Path) -> Instance | None:
        """The instance if there is no other one of this user. Raises OSError."""
        folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        file = os.open(folder / "desktop.lock", os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            _lock(file)
        except OSError:
            os.close(file)
            return None
        instance = cls(folder, file)
        where = {"port": instance._listener.getsockname()[1], "secret": instance._secret}
        # Who reads half of it asks again. It is not replaced: Windows refuses that while another one reads.
        with open(folder / "desktop.json", "w", encoding="utf-8", opener=private_opener) as out:
            json.dump(where, out)
        return instance

    def listen(self, obey: Callable[[str], bool]) -> None:
        """From now on, `obey` is called with what another start asks for, one of WORDS. It says whether that
        will be done; one that ends has the other start wait for its place."""
        self._thread = GuardedThread(lambda: self._run(obey), "instance", goes_on=lambda: not self._ended)
        self._thread.start()

    def _run(self, obey: Callable[[str], bool]) -> None:
        while not self._ended:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                if self._ended:
                    return
                raise
            with connection, suppress(OSError):  # who asks and goes away has asked for nothing
                connection.settimeout(2.0)
                said, _, word = connection.recv(LONGEST).decode("ascii", "replace").partition(" ")
                if secrets.compare_digest(said.encode(), self._secret.encode()) and word in WORDS:
                    connection.sendall(b"ok" if obey(word) else b"no")

    def end(self) -> None:
        """Give the place to the next one."""
        self._ended = True
        with suppress(OSError):  # wakes `accept`
            socket.create_connection(self._listener.getsockname(), 1.0).close()
        if self._thread is not None:
            self._thread.join(5.0)
        self._listener.close()
        with suppress(OSError):  # on Windows another start may read it just now; the lock is what counts
            (self._folder / "desktop.json").unlink()
        os.close(self._lock)


def take_or_ask(folder: Path, word: str) -> Instance | None:
    """The instance if there is no other one of this user; None when the other one does what `word` says.

    Raises OSError, and MapdrError if the other one neither answers nor ends.
    """
    deadline = time.monotonic() + PATIENCE
    while (first := Instance.take(folder)) is None:
        answer = _answer(folder, word)
        if answer == b"ok":
            return None
        if answer == b"no":  # it ends: its node may have to send what it has
            deadline = time.monotonic() + PATIENCE
        if time.monotonic() > deadline:
            raise MapdrError("MAPDR runs already, and does not answer; end it, and start it again")
        time.sleep(0.1)
    return first


def _answer(folder: Path, word: str) -> bytes:
    """What the program that runs says: `ok`, `no` if it ends, nothing if it has just begun or has ended."""
    try:
        where = json.loads((folder / "desktop.json").read_bytes())
        with socket.create_connection(("127.0.0.1", int(where["port"])), 2.0) as connection:
            connection.settimeout(2.0)
            connection.sendall(f"{where['secret']} {word}".encode())
            return connection.recv(2)
    except (OSError, ValueError, LookupError):
        return b""
