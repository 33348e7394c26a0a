"""The process that Windows' service control manager starts: it reports to the manager, and runs a node.

By pywin32's `servicemanager`, whose dispatcher has the main thread; the node has one that Windows makes. A
stop, and the system's shutdown, ask the node to drain; until it has, the manager is told of progress.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Protocol

from mapdr.kernel.errors import ConfigurationError, MapdrError
from mapdr.kernel.guard import GuardedThread
from mapdr.kernel.privacy import in_words
from mapdr.service.windows import NAME, module

HINT_MS = 30_000
"""Milliseconds within which the manager may expect the next sign of progress ..."""
REPORT = 5.0
"""... and seconds after which it gets one."""
FAILED = 1066
"""ERROR_SERVICE_SPECIFIC_ERROR: the service says itself what it was, by a number of its own."""
STOP, SHUTDOWN, INTERROGATE, PRESHUTDOWN = 1, 5, 4, 15
"""Controls (winsvc.h)."""
ACCEPT_STOP, ACCEPT_PRESHUTDOWN = 0x1, 0x100
STOPPED, START_PENDING, STOP_PENDING, RUNNING = 1, 2, 3, 4
OWN_PROCESS = 0x10
CALL_NOT_IMPLEMENTED = 120


class Work(Protocol):
    """Runs a node until `end` is set; calls `running` once it runs."""

    def __call__(self, *, end: threading.Event, running: Callable[[], None]) -> None:
        """May raise whatever it likes."""


class Host:
    """One service in this process: between the manager, which sends controls, and the node's work.

    `report(state, accepted, exit_code, own_code, check_point, hint_ms)` tells the manager; `log(text, bad)`
    writes into the event log.
    """

    def __init__(self, report: Callable[..., None], log: Callable[[str, bool], None]) -> None:
        self._report = report
        self._log = log
        self._lock = threading.Lock()
        self._state = START_PENDING
        self._check_point = 0
        self._end = threading.Event()
        self._over = threading.Event()

    def control(self, control: int) -> int:
        """Obey the manager; 0, or the error of a control that this service does not know."""
        if control in (STOP, SHUTDOWN, PRESHUTDOWN):
            self._enter(STOP_PENDING)
            self._end.set()
        elif control == INTERROGATE:
            self._tell()
        else:
            return CALL_NOT_IMPLEMENTED
        return 0

    def run(self, work: Work) -> bool:
        """Do the work, and tell the manager how it goes; whether it ended as it should.

        After an error Windows starts it again, but not after a wrong configuration, which does not become
        right by another start (as with systemd, `mapdr.service.unit`).
        """
        self._tell()
        progress = GuardedThread(self._progress, "service", goes_on=lambda: not self._over.is_set())
        progress.start()
        trouble, again = "", False
        try:
            work(end=self._end, running=self._runs)
        except ConfigurationError as error:
            trouble = in_words(error)
        except BaseException as error:  # noqa: BLE001  whatever it was: Windows is told that it failed
            trouble, again = in_words(error), True
        self._over.set()
        progress.join()
        if trouble:
            self._log(f"{NAME}: {trouble}", True)
        else:
            self._log(f"{NAME} has drained and stopped.", False)
        with self._lock:
            self._state = STOPPED
            self._report(STOPPED, 0, FAILED if again else 0, 1 if again else 0, 0, 0)
        return not trouble

    def _runs(self) -> None:
        """The node runs; unless it was told to end meanwhile."""
        with self._lock:
            if self._state == START_PENDING:
                self._state = RUNNING
        self._tell()
        self._log(f"{NAME} runs.", False)

    def _enter(self, state: int) -> None:
        with self._lock:
            if self._state != STOPPED:
                self._state = state
        self._tell()

    def _progress(self) -> None:
        """While it starts or drains, a sign of life for the manager."""
        while not self._over.wait(REPORT):
            if self._state in (START_PENDING, STOP_PENDING):
                self._tell()

    def _tell(self) -> None:
        with self._lock:
            if self._state == STOPPED:
                return  # Windows has been told, and takes no more of a service that has ended
            pending = self._state in (START_PENDING, STOP_PENDING)
            self._check_point = self._check_point + 1 if pending else 0
            accepted = ACCEPT_STOP | ACCEPT_PRESHUTDOWN if self._state == RUNNING else 0
            hint = HINT_MS if pending else 0
            self._report(self._state, accepted, 0, 0, self._check_point, hint)


def host(work: Work) -> None:  # pragma: no cover  Windows calls it back; tried under wine
    """Be the service NAME in this process, until it has ended.

    Windows waits half a minute for this call after it has started the process, on a busy machine too: what
    takes long to import, `work` imports.

    Raises MapdrError if it was not Windows that started the process.
    """
    manager, api = module("servicemanager"), module("win32service")

    class Framework:
        """What `servicemanager` builds in the thread of the service, and calls."""

        _svc_name_ = NAME

        def __init__(self, args: Any) -> None:
            handle = manager.RegisterServiceCtrlHandler(args[0], self.control, True)
            manager.SetEventSourceName(NAME)
            self.host = Host(lambda *status: api.SetServiceStatus(handle, (OWN_PROCESS, *status)), _event)

        def control(self, control: int, kind: int, data: Any) -> int:
            return self.host.control(control)

        def SvcRun(self) -> None:  # noqa: N802  as pywin32 calls it
            self.host.run(work)

    def _event(text: str, bad: bool) -> None:
        (manager.LogErrorMsg if bad else manager.LogInfoMsg)(text)

    manager.Initialize(NAME, manager.__file__)
    manager.PrepareToHostSingle(Framework)
    try:
        manager.StartServiceCtrlDispatcher()
    except Exception as error:
        number = getattr(error, "winerror", None)
        if number == NOT_STARTED_BY_WINDOWS:
            raise MapdrError("this command is for Windows' service manager: `mapdr service start`") from error
        raise


NOT_STARTED_BY_WINDOWS = 1063
"""ERROR_FAILED_SERVICE_CONTROLLER_CONNECT."""
