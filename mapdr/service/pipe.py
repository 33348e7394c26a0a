"""Sign-in links for members of a local group of Windows, by a named pipe of the service's.

The data folder is the service's own and administrators': an ordinary user can make no link there. Whoever may
open the pipe, by its access list, asks with one line and is answered with one:

    client ── "link" ──▶ service       the service learns from Windows who asks, for the audit
    client ◀── a URL, or "!" and why not ──

The client asks Windows which process answers, and takes no link from one that is not the service's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

from mapdr.kernel.errors import MapdrError
from mapdr.kernel.privacy import in_words
from mapdr.service.windows import module

PIPE = r"\\.\pipe\MAPDR-sign-in"
GROUP = "MAPDR Operators"
ASK = b"link\n"
LONGEST = 4096
"""Bytes of an answer."""
PATIENCE = 5.0
"""Seconds that either side waits for the other's line."""
PAUSE = 0.05

DUPLEX, FIRST_INSTANCE, REJECT_REMOTE = 0x3, 0x80000, 0x8
READ_WRITE, OPEN_EXISTING, IDENTIFICATION = 0xC0000000, 3, 0x110000
"""GENERIC_READ and GENERIC_WRITE; SECURITY_SQOS_PRESENT: the service may learn who asks, not act as them."""
TOKEN_QUERY, TOKEN_USER, SDDL_REVISION = 0x8, 1, 1
NOT_FOUND, DENIED, BUSY, CONNECTED, NO_SUCH_NAME = 2, 5, 231, 535, 1332
"""Errors of Windows (winerror.h)."""

MODULES = ("win32api", "win32file", "win32pipe", "win32security")

_EVERYTHING = "D:P(A;;GA;;;SY)(A;;GA;;;BA)(A;;GA;;;OW)"
"""For the system, administrators and the service's account; nobody inherits anything (SDDL)."""


class LinkPipe:
    """Answers at PIPE until it is closed. `make_link` gives a URL for a user's name, or raises in words."""

    def __init__(self, make_link: Callable[[str], str], windows: Any = None) -> None:
        self._make_link = make_link
        self._windows = windows or _modules()
        self._closed = threading.Event()
        self._ended = threading.Event()
        self._pipe = self._windows.win32pipe.CreateNamedPipe(
            PIPE,
            DUPLEX | FIRST_INSTANCE,  # nobody has made one of this name before: he would be asked instead
            REJECT_REMOTE,
            1,
            LONGEST,
            LONGEST,
            0,
            self._access_list(),
        )

    def serve(self) -> None:
        """Answer one after the other."""
        try:
            self._serve()
        finally:
            self._ended.set()

    def _serve(self) -> None:
        while not self._closed.is_set():
            self._connect()
            try:
                if not self._closed.is_set():
                    self._windows.win32file.WriteFile(self._pipe, self._answer().encode("utf-8") + b"\n")
                    self._wait_until_read()
            except Exception as error:
                if getattr(error, "winerror", None) is None:
                    raise
                # Whoever asked is gone.
            finally:
                self._windows.win32pipe.DisconnectNamedPipe(self._pipe)

    def close(self) -> None:
        """Answer no more: `serve` comes back."""
        self._closed.set()
        with suppress(MapdrError):  # it is not waiting for anybody
            self._windows.win32api.CloseHandle(_open(self._windows, self._ended.is_set))

    def _connect(self) -> None:
        try:
            self._windows.win32pipe.ConnectNamedPipe(self._pipe, None)
        except Exception as error:
            if getattr(error, "winerror", None) != CONNECTED:
                raise

    def _wait_until_read(self) -> None:
        """Until the client has gone, which raises: what it has not read by then is lost."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            self._windows.win32pipe.PeekNamedPipe(self._pipe, 0)
            time.sleep(PAUSE)

    def _answer(self) -> str:
        """The line that a client gets."""
        if _line(self._windows, self._pipe, ASK[-1:]) != ASK:
            return "!this is not a request for a link"
        try:
            return self._make_link(self._asking())
        except Exception as error:  # noqa: BLE001  whoever asks is told why; the next one may be answered
            return f"!{in_words(error)}"

    def _asking(self) -> str:
        """The name of the user at the other end, as Windows has it."""
        security, api = self._windows.win32security, self._windows.win32api
        security.ImpersonateNamedPipeClient(self._pipe)
        try:
            token = security.OpenThreadToken(api.GetCurrentThread(), TOKEN_QUERY, True)
        finally:
            security.RevertToSelf()
        sid = security.GetTokenInformation(token, TOKEN_USER)[0]
        return str(security.LookupAccountSid(None, sid)[0])

    def _access_list(self) -> Any:
        security = self._windows.win32security
        members = ""
        try:
            sid = security.LookupAccountName(None, GROUP)[0]
            members = f"(A;;GRGW;;;{security.ConvertSidToStringSid(sid)})"
        except Exception as error:
            if getattr(error, "winerror", None) != NO_SUCH_NAME:
                raise
            # Installed without the installer: administrators alone may ask.
        attributes = security.SECURITY_ATTRIBUTES()
        attributes.SECURITY_DESCRIPTOR = security.ConvertStringSecurityDescriptorToSecurityDescriptor(
            _EVERYTHING + members, SDDL_REVISION
        )
        return attributes


def ask(process: int | None, windows: Any = None) -> str:
    """The URL of a link from the service, which runs as `process`. Raises MapdrError in words."""
    windows = windows or _modules()
    pipe = _open(windows)
    try:
        if process is None or windows.win32pipe.GetNamedPipeServerProcessId(pipe) != process:
            raise MapdrError("another program answers in the place of the service; nothing was asked of it")
        windows.win32file.WriteFile(pipe, ASK)
        answer = _line(windows, pipe, b"\n").decode("utf-8", "replace").strip()
    finally:
        windows.win32api.CloseHandle(pipe)
    if not answer or answer.startswith("!"):
        raise MapdrError(answer[1:] or "the service gave no link")
    return answer


def _modules() -> Any:
    """What this needs of pywin32, by module. Raises MapdrError where it is not installed."""
    return SimpleNamespace(**{name: module(name) for name in MODULES})


def _open(windows: Any, is_over: Callable[[], bool] = lambda: False) -> Any:
    """The client's end, once the service listens: within PATIENCE seconds, or until `is_over`."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return windows.win32file.CreateFile(
                PIPE, READ_WRITE, 0, None, OPEN_EXISTING, IDENTIFICATION, None
            )
        except Exception as error:
            number = getattr(error, "winerror", None)
            if number == DENIED:
                raise MapdrError(
                    f'only members of "{GROUP}" and administrators may ask for a link'
                ) from error
            if number == NOT_FOUND:
                raise MapdrError("the service gives no links: it does not run, or has no page") from error
            if number != BUSY or time.monotonic() > deadline or is_over():
                raise MapdrError(f"the service cannot be asked for a link: error {number}") from error
        time.sleep(PAUSE)  # another one is being answered


def _line(windows: Any, pipe: Any, end: bytes) -> bytes:
    """What the other side writes, up to `end`; what came of it after PATIENCE seconds."""
    found, deadline = b"", time.monotonic() + PATIENCE
    while not found.endswith(end) and len(found) < LONGEST and time.monotonic() < deadline:
        if waiting := windows.win32pipe.PeekNamedPipe(pipe, 0)[1]:
            found += bytes(windows.win32file.ReadFile(pipe, min(waiting, LONGEST))[1])
        else:
            time.sleep(PAUSE)
    return found
