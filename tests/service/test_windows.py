"""The service of Windows against a manager of its kind: what is asked of it, what it is told meanwhile."""

# ruff: noqa: N802  the manager's methods have the names of pywin32's
from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.exceptions import Exit
from click.testing import CliRunner

from mapdr.kernel.errors import ConfigurationError, MapdrError
from mapdr.operate import service as operated
from mapdr.service import Service, State, host, windows
from mapdr.service.host import Host
from mapdr.service.windows import WindowsServices, last_lines
from mapdr.testing.wait import until
from mapdr_cli.commands import run as running
from mapdr_cli.commands import service as commands
from mapdr_cli.main import main

MARK = "QXNAMEQX"


class Refused(Exception):
    """pywin32's `error`."""

    def __init__(self, winerror: int, strerror: str = "refused") -> None:
        super().__init__(winerror, "Function", strerror)
        self.winerror = winerror
        self.strerror = strerror


class Scm:
    """A service control manager with the one service, as pywin32 speaks of it (`win32service`)."""

    def __init__(self) -> None:
        self.service: dict[str, Any] | None = None
        self.levels: dict[str, Any] = {}
        self.state, self.exit_code, self.check_point = 1, 1077, 0
        self.after: list[Callable[[], None]] = []
        self.open = 0
        self.fail: dict[str, int] = {}

    def __getattr__(self, name: str) -> Any:
        # Constants: the names of access rights add up, the others are looked at by name.
        numbers = {"SERVICE_AUTO_START": 2, "SERVICE_CONTROL_STOP": 1, "SC_ACTION_RESTART": 1}
        if name.startswith("SERVICE_CONFIG_"):
            return name
        if name.startswith(("SERVICE_", "SC_")):
            return numbers.get(name, 0)
        raise AttributeError(name)

    def _may(self, name: str) -> None:
        if name in self.fail:
            raise Refused(self.fail[name])

    def OpenSCManager(self, machine: None, database: None, access: int) -> str:
        self._may("OpenSCManager")
        self.open += 1
        return "scm"

    def CloseServiceHandle(self, handle: str) -> None:
        self.open -= 1

    def CreateService(self, scm: str, name: str, title: str, *more: Any) -> str:
        if self.service is not None:
            raise Refused(1073)
        self.service = {"name": name, "command": more[4], "account": more[8], "password": more[9]}
        self.open += 1
        return "service"

    def ChangeServiceConfig2(self, handle: str, level: str, value: Any) -> None:
        self._may("ChangeServiceConfig2")
        self.levels[level.removeprefix("SERVICE_CONFIG_")] = value

    def OpenService(self, scm: str, name: str, access: int) -> str:
        if self.service is None:
            raise Refused(1060)
        assert name == self.service["name"]
        self.open += 1
        return "service"

    def DeleteService(self, handle: str) -> None:
        self.service = None

    def StartService(self, handle: str, args: None) -> None:
        if self.state == 4:
            raise Refused(1056)
        self.state, self.exit_code = 2, 0

    def ControlService(self, handle: str, control: int) -> None:
        if self.state != 4:
            raise Refused(1062 if self.state == 1 else 1061)
        self.state = 3

    def QueryServiceStatusEx(self, handle: str) -> dict[str, int]:
        if self.after and self.state in (2, 3):
            self.after.pop(0)()
        process = 42 if self.state != 1 else 0
        return {
            "CurrentState": self.state,
            "Win32ExitCode": self.exit_code,
            "ProcessId": process,
            "CheckPoint": self.check_point,
        }

    def QueryServiceConfig(self, handle: str) -> tuple[Any, ...]:
        assert self.service is not None
        command, account = self.service["command"], self.service["account"]
        return (16, 2, 1, command, "", 0, (), account, "MAPDR DICOM router")


@pytest.fixture
def scm(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scm]:
    found = Scm()
    monkeypatch.setattr(windows, "PAUSE", 0.0)
    monkeypatch.setattr(windows.subprocess, "run", lambda *args, **more: SimpleNamespace(returncode=0))
    yield found
    assert found.open == 0, "every handle is given back"


@pytest.fixture
def services(scm: Scm, tmp_path: Path) -> WindowsServices:
    return WindowsServices(lambda config: config.with_name("mapdr.log"), scm)


def service(tmp_path: Path) -> Service:
    folder = tmp_path / "of the clinic"
    folder.mkdir(exist_ok=True)
    return Service((r"C:\Program Files\MAPDR\mapdr.exe",), folder / "mapdr.toml", folder / "data", (), False)


def test_a_service_is_installed_as_it_should_run(
    services: WindowsServices, scm: Scm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    granted: list[list[str]] = []

    def run(words: list[str], **options: Any) -> Any:
        granted.append(words)
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(windows.subprocess, "run", run)
    wanted = service(tmp_path)
    services.install(wanted)
    assert scm.service == {
        "name": "MAPDR",
        "command": rf'"C:\Program Files\MAPDR\mapdr.exe" service run --config "{wanted.config}"',
        "account": r"NT SERVICE\MAPDR",
        "password": None,
    }
    assert scm.levels == {
        "DESCRIPTION": "MAPDR, a DICOM router",
        "DELAYED_AUTO_START_INFO": True,
        "FAILURE_ACTIONS": {
            "ResetPeriod": 86_400,
            "RebootMsg": "",
            "Command": "",
            "Actions": [(1, 5000), (1, 5000), (1, 5000)],
        },
        "FAILURE_ACTIONS_FLAG": True,
        "PRESHUTDOWN_INFO": 90_000,
    }
    assert [words[1:4] for words in granted] == [
        [str(folder), "/grant", r"NT SERVICE\MAPDR:(OI)(CI)M"]
        for folder in (wanted.data, wanted.config.parent)
    ]
    with pytest.raises(MapdrError, match="installed already"):
        services.install(wanted)


@pytest.mark.parametrize("what", ["rights", "levels"])
def test_what_cannot_be_set_up_wholly_is_not_installed(
    services: WindowsServices, scm: Scm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    if what == "rights":
        monkeypatch.setattr(windows.subprocess, "run", lambda *args, **more: SimpleNamespace(returncode=5))
    else:
        scm.fail["ChangeServiceConfig2"] = 87
    with pytest.raises(MapdrError, match="icacls ended with 5" if what == "rights" else "Windows refuses it"):
        services.install(service(tmp_path))
    assert scm.service is None


def test_only_an_administrator_may(services: WindowsServices, scm: Scm, tmp_path: Path) -> None:
    scm.fail["OpenSCManager"] = 5
    with pytest.raises(MapdrError, match="only an administrator"):
        services.install(service(tmp_path))


def test_start_and_stop_wait_for_the_node(services: WindowsServices, scm: Scm, tmp_path: Path) -> None:
    services.install(service(tmp_path))
    assert services.status() == State("stopped", None, True, r"NT SERVICE\MAPDR")
    scm.after = [lambda: None, lambda: setattr(scm, "state", 4)]
    services.start()
    assert services.status() == State("running", 42, True, r"NT SERVICE\MAPDR")
    with pytest.raises(MapdrError, match="runs already"):
        services.start()
    scm.after = [lambda: None, lambda: setattr(scm, "check_point", 1), lambda: setattr(scm, "state", 1)]
    services.stop()
    assert not scm.after, "it was waited for"
    assert services.status().state == "stopped"
    services.stop()
    services.remove()
    assert services.status() == State("not installed")
    for act in (services.start, services.stop, services.remove):
        with pytest.raises(MapdrError, match="is not installed"):
            act()


def test_a_service_that_ends_at_once_is_told(services: WindowsServices, scm: Scm, tmp_path: Path) -> None:
    services.install(service(tmp_path))
    scm.after = [lambda: (setattr(scm, "state", 1), setattr(scm, "exit_code", 1066))]  # type: ignore[list-item]
    with pytest.raises(MapdrError, match="has ended at once"):
        services.start()
    assert services.status().state == "failed"


def test_a_service_that_makes_no_progress_is_not_waited_for_for_ever(
    services: WindowsServices, scm: Scm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services.install(service(tmp_path))
    monkeypatch.setattr(windows, "PATIENCE", 0.0)
    scm.state = 4
    with pytest.raises(MapdrError, match="the service is stopping, and has made no progress"):
        services.stop()


def test_a_stop_waits_for_a_start_and_for_a_stop_that_is_under_way(
    services: WindowsServices, scm: Scm, tmp_path: Path
) -> None:
    services.install(service(tmp_path))
    scm.state = 2
    scm.after = [lambda: None, lambda: setattr(scm, "state", 4), lambda: setattr(scm, "state", 1)]
    services.stop()
    assert (scm.state, scm.after) == (1, [])
    scm.state = 3
    scm.after = [lambda: None, lambda: setattr(scm, "state", 1)]
    services.stop()
    assert (scm.state, scm.after) == (1, [])


@pytest.mark.parametrize("state", [2, 4])
def test_a_service_that_hangs_is_ended_when_it_is_removed(
    services: WindowsServices, scm: Scm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: int
) -> None:
    services.install(service(tmp_path))
    monkeypatch.setattr(windows, "PATIENCE", 0.0)
    scm.state = state
    with pytest.raises(MapdrError, match="does not run yet" if state == 2 else "no progress"):
        services.stop()
    ended: list[list[str]] = []

    def run(words: list[str], **options: Any) -> Any:
        assert scm.service is None, "it would be started again"
        ended.append(words)
        return SimpleNamespace(returncode=128)

    monkeypatch.setattr(windows.subprocess, "run", run)
    with pytest.raises(MapdrError, match="its process 42 hangs"):
        services.remove()
    assert [words[1:] for words in ended] == [["/f", "/t", "/pid", "42"]]
    assert services.status() == State("not installed")


def test_the_log_is_that_of_its_configuration(services: WindowsServices, tmp_path: Path) -> None:
    wanted = service(tmp_path)
    services.install(wanted)
    with pytest.raises(MapdrError, match="there is no log yet"):
        list(services.logs(2))
    wanted.config.with_name("mapdr.log").write_text("one\ntwo\nthree\n")
    assert list(services.logs(2)) == ["two", "three"]
    assert list(last_lines(wanted.config.with_name("mapdr.log"), 9)) == ["one", "two", "three"]


def test_without_pywin32_it_is_said_how_to_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "win32service", None)
    with pytest.raises(MapdrError, match=r"pip install mapdr\[service\]"):
        WindowsServices(lambda config: config)


def test_the_commands_ask_the_manager(
    services: WindowsServices, scm: Scm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "manager", lambda: services)
    monkeypatch.setattr(commands, "service_of", lambda config: service(tmp_path))
    (tmp_path / "mapdr.toml").write_text("")

    def mapdr(*words: str) -> Any:
        return CliRunner().invoke(main, ["service", *words])

    assert mapdr("install", "--config", str(tmp_path / "mapdr.toml")).exit_code == 0
    assert mapdr("status").exit_code == 1
    scm.after = [lambda: setattr(scm, "state", 4)]
    assert mapdr("start").output == "The service runs.\n"
    assert mapdr("status").exit_code == 0
    scm.after = [lambda: setattr(scm, "state", 1)]
    assert mapdr("remove").exit_code == 0
    assert "not installed" in mapdr("status").output


# --- the process that Windows starts --------------------------------------------------------------------


class Told:
    """What a host tells the manager, and the event log."""

    def __init__(self) -> None:
        self.statuses: list[tuple[int, ...]] = []
        self.events: list[tuple[str, bool]] = []
        self.host = Host(
            lambda *status: self.statuses.append(status), lambda *event: self.events.append(event)
        )

    @property
    def states(self) -> list[int]:
        """The states, each once in a row."""
        found = [status[0] for status in self.statuses]
        return [state for at, state in enumerate(found) if at == 0 or found[at - 1] != state]


@pytest.mark.parametrize("control", [host.STOP, host.SHUTDOWN, host.PRESHUTDOWN])
def test_a_stop_drains_and_the_manager_is_told_meanwhile(
    control: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "REPORT", 0.01)
    told, drains, drained = Told(), threading.Event(), threading.Event()

    def work(*, end: threading.Event, running: Callable[[], None]) -> None:
        running()
        assert end.wait(10)
        drains.set()
        assert drained.wait(10)

    ends: list[bool] = []
    node = threading.Thread(target=lambda: ends.append(told.host.run(work)))
    node.start()
    until(lambda: told.statuses and told.statuses[-1][0] == host.RUNNING, 10, "the node's start")
    assert told.statuses[-1][1] == host.ACCEPT_STOP | host.ACCEPT_PRESHUTDOWN
    assert told.host.control(host.INTERROGATE) == 0
    assert told.statuses[-1][0] == host.RUNNING
    assert told.host.control(99) == host.CALL_NOT_IMPLEMENTED
    assert told.host.control(control) == 0
    assert drains.wait(10)
    until(lambda: told.statuses[-1][4] > 3, 10, "signs of progress")
    assert told.statuses[-1][0] == host.STOP_PENDING
    assert told.statuses[-1][1] == 0, "who ends takes no more controls"
    drained.set()
    node.join(10)
    assert ends == [True]
    assert told.states == [host.START_PENDING, host.RUNNING, host.STOP_PENDING, host.STOPPED]
    assert told.statuses[-1] == (host.STOPPED, 0, 0, 0, 0, 0)
    assert [bad for _, bad in told.events] == [False, False]


def test_a_stop_during_the_start_is_not_forgotten() -> None:
    told = Told()

    def work(*, end: threading.Event, running: Callable[[], None]) -> None:
        told.host.control(host.STOP)
        running()
        assert end.is_set()

    assert told.host.run(work)
    assert told.states == [host.START_PENDING, host.STOP_PENDING, host.STOPPED]


def test_a_node_that_fails_is_started_again_and_quotes_nothing() -> None:
    told = Told()

    def work(*, end: threading.Event, running: Callable[[], None]) -> None:
        raise ValueError(MARK)

    assert not told.host.run(work)
    assert told.statuses[-1] == (host.STOPPED, 0, host.FAILED, 1, 0, 0)
    (text, bad), *_ = told.events
    assert bad
    assert "internal error: ValueError" in text
    assert MARK not in text


def test_a_wrong_configuration_is_not_started_again() -> None:
    told = Told()

    def work(*, end: threading.Event, running: Callable[[], None]) -> None:
        raise ConfigurationError("the configuration has problems")

    assert not told.host.run(work)
    assert told.statuses[-1] == (host.STOPPED, 0, 0, 0, 0, 0)
    assert told.events == [("MAPDR: the configuration has problems", True)]


def test_a_control_after_the_end_tells_nothing_more() -> None:
    told = Told()
    assert told.host.run(lambda *, end, running: running())
    told.host.control(host.STOP)
    told.host.control(host.INTERROGATE)
    assert told.states[-1] == host.STOPPED


def test_what_windows_starts_runs_the_node_until_it_is_told_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, told, works = tmp_path / "mapdr.toml", Told(), SimpleNamespace(ended=threading.Event())
    config.write_text("")

    def run_node(path: Path, *, to_file: bool, started: Callable[[Any], None]) -> None:
        assert (path, to_file) == (config, True), "a service has no standard output"
        started(works)
        told.host.control(host.STOP)
        assert works.ended.wait(10)

    monkeypatch.setattr(running, "run_node", run_node)
    monkeypatch.setattr(commands, "host", told.host.run)
    assert CliRunner().invoke(main, ["service", "run", "--config", str(config)]).exit_code == 0
    assert told.states == [host.START_PENDING, host.RUNNING, host.STOP_PENDING, host.STOPPED]

    def wrong(path: Path, **more: Any) -> None:
        raise Exit(2)

    told = Told()
    monkeypatch.setattr(running, "run_node", wrong)
    monkeypatch.setattr(commands, "host", told.host.run)
    CliRunner().invoke(main, ["service", "run", "--config", str(config)])
    assert "the configuration has problems; see: mapdr check" in told.events[0][0]
    assert told.statuses[-1][2] == 0, "not to be started again"


def test_each_system_has_its_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "win32service", Scm())  # type: ignore[arg-type]
    monkeypatch.setattr(operated.sys, "platform", "win32")
    assert isinstance(operated.manager(), WindowsServices)
    monkeypatch.setattr(operated.sys, "platform", "darwin")
    with pytest.raises(MapdrError, match=r"systemd.*Windows"):
        operated.manager()
    monkeypatch.setattr(operated.sys, "frozen", True, raising=False)
    assert operated.program() == (sys.executable,)


def test_what_windows_waits_for_is_imported_quickly() -> None:
    heavy = ("pydantic", "pydicom", "numpy", "mapdr.node.assembly")
    code = f"import sys, mapdr_cli.commands.service; sys.exit(any(name in sys.modules for name in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
