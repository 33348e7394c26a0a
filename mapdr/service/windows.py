"""A node as a service of Windows: what its service control manager is asked, by pywin32.

The program that it starts is `mapdr service run` (`mapdr.service.host`), as the virtual account of the
service itself, NT SERVICE\\MAPDR: it needs no password, and is given rights where a node writes.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from mapdr.kernel.errors import MapdrError
from mapdr.kernel.permissions import make_private
from mapdr.service import DESCRIPTION, DRAIN, Service, State

NAME = "MAPDR"
TITLE = "MAPDR DICOM router"
ACCOUNT = rf"NT SERVICE\{NAME}"

RESTART_MS = 5_000
"""Milliseconds until a node that crashed is started again, every time."""
FORGET_SECONDS = 86_400
"""After so long without one, Windows begins to count crashes anew."""
PRESHUTDOWN_MS = int((DRAIN + 60) * 1000)
"""How long the system's shutdown waits for the drain: Windows' own would be three minutes."""
PATIENCE = 60.0
"""Seconds without progress, as the service itself reports it, after which it is waited for no more."""
PAUSE = 0.25
CONFIG = "--config"
"""The last option of what Windows starts; the configuration follows."""

DENIED, RUNNING_ALREADY, NO_SUCH_SERVICE, TAKES_NO_CONTROL, NOT_ACTIVE = 5, 1056, 1060, 1061, 1062
MARKED_FOR_DELETE, EXISTS, NEVER_STARTED = 1072, 1073, 1077
"""Errors of Windows (winerror.h). TAKES_NO_CONTROL: a service that starts or stops is given none."""

_STATES = {1: "stopped", 2: "starting", 3: "stopping", 4: "running"}
"""SERVICE_STOPPED and so on (winsvc.h), in the words of `State`."""

_SAID = {
    NO_SUCH_SERVICE: "the service is not installed",
    EXISTS: "the service is installed already; `mapdr service remove` removes it",
    DENIED: "only an administrator may do this; open the command line as administrator",
    RUNNING_ALREADY: "the service runs already",
    MARKED_FOR_DELETE: (
        "the service was removed, and is gone once no program looks at it any more: close Windows' list of "
        "services, and try again"
    ),
}


class ServiceHangs(MapdrError):
    """The service neither starts nor ends."""


class WindowsServices:
    """The service control manager of this machine.

    `log_of` gives the log of a node by its configuration; `api` is pywin32's module `win32service`.
    """

    def __init__(self, log_of: Callable[[Path], Path], api: Any = None) -> None:
        self._log_of = log_of
        self._api = api or module("win32service")

    def install(self, service: Service) -> None:
        """See `Manager`."""
        api = self._api
        with _in_words(), self._manager(api.SC_MANAGER_CONNECT | api.SC_MANAGER_CREATE_SERVICE) as scm:
            handle = api.CreateService(
                scm,
                NAME,
                TITLE,
                api.SERVICE_ALL_ACCESS,
                api.SERVICE_WIN32_OWN_PROCESS,
                api.SERVICE_AUTO_START,
                api.SERVICE_ERROR_NORMAL,
                subprocess.list2cmdline([*service.program, "service", "run", CONFIG, str(service.config)]),
                None,
                0,
                None,
                ACCOUNT,
                None,
            )
            try:
                self._describe(handle)
                make_private(service.data)
                _grant(service)
            except BaseException:
                api.DeleteService(handle)
                raise
            finally:
                api.CloseServiceHandle(handle)

    def _describe(self, handle: Any) -> None:
        """What CreateService does not take: a start after others, another after a crash, time to drain."""
        api = self._api
        restart = [(api.SC_ACTION_RESTART, RESTART_MS)] * 3
        failures = {"ResetPeriod": FORGET_SECONDS, "RebootMsg": "", "Command": "", "Actions": restart}
        for kind, value in (
            (api.SERVICE_CONFIG_DESCRIPTION, DESCRIPTION),
            (api.SERVICE_CONFIG_DELAYED_AUTO_START_INFO, True),
            (api.SERVICE_CONFIG_FAILURE_ACTIONS, failures),
            # An end with an error counts as a crash as well.
            (api.SERVICE_CONFIG_FAILURE_ACTIONS_FLAG, True),
            (api.SERVICE_CONFIG_PRESHUTDOWN_INFO, PRESHUTDOWN_MS),
        ):
            api.ChangeServiceConfig2(handle, kind, value)

    def remove(self) -> None:
        """See `Manager`. One that hangs is ended, which loses no acknowledged image."""
        hangs = False
        try:
            self.stop()
        except ServiceHangs:
            hangs = True
        with _in_words(), self._service(self._api.SERVICE_ALL_ACCESS) as handle:
            process = self._api.QueryServiceStatusEx(handle)["ProcessId"]
            # First: Windows does not start again what it is to forget.
            self._api.DeleteService(handle)
        if hangs and process:
            _end(process)

    def start(self) -> None:
        """See `Manager`."""
        with _in_words(), self._service(self._api.SERVICE_START | self._api.SERVICE_QUERY_STATUS) as handle:
            self._api.StartService(handle, None)
            if self._wait(handle, "starting") != "running":
                raise MapdrError("the service has ended at once; `mapdr service logs` says why")

    def stop(self) -> None:
        """See `Manager`. Raises ServiceHangs for one that starts, or ends, without coming to an end of it."""
        with _in_words(), self._service(self._api.SERVICE_STOP | self._api.SERVICE_QUERY_STATUS) as handle:
            deadline = time.monotonic() + PATIENCE
            while not self._takes_stop(handle):
                # Not by its progress, which it reports for as long as its process lives.
                if time.monotonic() > deadline:
                    raise ServiceHangs(
                        f"the service is starting, and does not run yet after {PATIENCE:.0f} seconds: "
                        "ask again later"
                    )
                time.sleep(PAUSE)
            self._wait(handle, "stopping", "running")

    def _takes_stop(self, handle: Any) -> bool:
        """Whether the service stops, or has stopped; not one that starts, which takes no control."""
        try:
            self._api.ControlService(handle, self._api.SERVICE_CONTROL_STOP)
        except Exception as error:
            number = getattr(error, "winerror", None)
            if number == TAKES_NO_CONTROL:
                return self._state(handle) == "stopping"
            if number != NOT_ACTIVE:
                raise
        return True

    def status(self) -> State:
        """See `Manager`."""
        api = self._api
        try:
            with self._service(api.SERVICE_QUERY_STATUS | api.SERVICE_QUERY_CONFIG) as handle:
                now = api.QueryServiceStatusEx(handle)
                config = api.QueryServiceConfig(handle)
        except Exception as error:
            if getattr(error, "winerror", None) == NO_SUCH_SERVICE:
                return State("not installed")
            with _in_words():
                raise
        state = _STATES.get(now["CurrentState"], "stopped")
        if state == "stopped" and now["Win32ExitCode"] not in (0, NEVER_STARTED):
            state = "failed"
        return State(state, now["ProcessId"] or None, config[1] == api.SERVICE_AUTO_START, config[7])

    def logs(self, lines: int) -> Iterator[str]:
        """The last lines of the file in the data folder that the service writes."""
        with _in_words(), self._service(self._api.SERVICE_QUERY_CONFIG) as handle:
            command = self._api.QueryServiceConfig(handle)[3]
        config = command.rpartition(f" {CONFIG} ")[2].strip('"')
        yield from last_lines(self._log_of(Path(config)), lines)

    @contextmanager
    def _manager(self, access: int) -> Iterator[Any]:
        scm = self._api.OpenSCManager(None, None, access)
        try:
            yield scm
        finally:
            self._api.CloseServiceHandle(scm)

    @contextmanager
    def _service(self, access: int) -> Iterator[Any]:
        with self._manager(self._api.SC_MANAGER_CONNECT) as scm:
            handle = self._api.OpenService(scm, NAME, access)
            try:
                yield handle
            finally:
                self._api.CloseServiceHandle(handle)

    def _wait(self, handle: Any, *passing: str) -> str:
        """The state that follows those that pass; as long as the service reports progress."""
        seen, deadline = None, time.monotonic() + PATIENCE
        while True:
            now = self._api.QueryServiceStatusEx(handle)
            state = _STATES.get(now["CurrentState"], "stopped")
            if state not in passing:
                return state
            if (progress := (state, now["CheckPoint"])) != seen:
                seen, deadline = progress, time.monotonic() + PATIENCE
            if time.monotonic() > deadline:
                raise ServiceHangs(
                    f"the service is {state}, and has made no progress for {PATIENCE:.0f} seconds"
                )
            time.sleep(PAUSE)

    def _state(self, handle: Any) -> str:
        return _STATES.get(self._api.QueryServiceStatusEx(handle)["CurrentState"], "stopped")


def module(name: str) -> Any:
    """A module of pywin32. Raises MapdrError where it is not installed."""
    try:
        return import_module(name)
    except ImportError as error:
        raise MapdrError("services of Windows need pywin32: pip install mapdr[service]") from error


@contextmanager
def _in_words() -> Iterator[None]:
    """Raise what Windows refuses as a MapdrError in its words, or in ours where those help more."""
    try:
        yield
    except MapdrError:
        raise
    except Exception as error:
        number = getattr(error, "winerror", None)
        if number is None:
            raise
        raise MapdrError(
            _SAID.get(number) or f"Windows refuses it: {getattr(error, 'strerror', number)}"
        ) from error


def _end(process: int) -> None:
    """End a process and those that it has started. Raises MapdrError."""
    words = [_of_system("taskkill.exe"), "/f", "/t", "/pid", str(process)]
    done = subprocess.run(words, capture_output=True, check=False)  # noqa: S603  a program of the system
    if done.returncode:
        raise MapdrError(
            f"the service is removed, and its process {process} hangs: end it, or start the machine again "
            f"(taskkill ended with {done.returncode})"
        )


def _of_system(program: str) -> str:
    """A program of Windows by its path: what stands first in PATH may be anybody's."""
    return str(Path(os.environ.get("SYSTEMROOT", r"C:\Windows")) / "System32" / program)


def _grant(service: Service) -> None:
    """Let the service's account write where its node does. Raises MapdrError."""
    for folder in dict.fromkeys((service.data, service.config.parent, *service.folders)):
        if not folder.is_dir():
            continue  # one on a disk that is not there now; its rights are given by hand
        words = [_of_system("icacls.exe"), str(folder), "/grant", f"{ACCOUNT}:(OI)(CI)M", "/q"]
        done = subprocess.run(words, capture_output=True, check=False)  # noqa: S603  a program of the system
        if done.returncode:
            raise MapdrError(
                f"{ACCOUNT} cannot be given rights to write to {folder}: icacls ended with {done.returncode}"
            )


def last_lines(file: Path, lines: int) -> Iterator[str]:
    """The last lines of a log, which another process writes. Raises MapdrError if there is none."""
    try:
        with file.open(encoding="utf-8", errors="replace") as text:
            yield from (line.rstrip("\n") for line in deque(text, maxlen=lines))
    except FileNotFoundError as error:
        raise MapdrError(f"there is no log yet: {file}") from error
