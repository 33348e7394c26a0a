"""The service of systemd: a unit that systemd itself takes, and what it is asked, word by word."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from mapdr.kernel.errors import MapdrError
from mapdr.operate.service import program, service_of
from mapdr.service import Service, State
from mapdr_cli.main import main
from paper import nodes

if sys.platform == "win32":
    pytest.skip("systemd is of Linux", allow_module_level=True)

from mapdr.service import systemd
from mapdr.service.systemd import Systemd
from mapdr.service.unit import command, quoted, unit

ODD = Path('/etc/mapdr/100% of $HOME/a "b"/mapdr.toml')


def service(**changes: Any) -> Service:
    facts: dict[str, Any] = {
        "program": (sys.executable, "-m", "mapdr_cli"),
        "config": Path("/etc/mapdr/mapdr.toml"),
        "data": Path("/var/lib/mapdr"),
        "folders": (Path("/srv/in box"),),
        "low_port": False,
    }
    return Service(**{**facts, **changes})


@pytest.mark.peer("systemd-analyze")
@pytest.mark.parametrize("changes", [{}, {"config": ODD, "low_port": True, "data": Path("/home") / "x"}])
def test_systemd_takes_the_unit(tmp_path: Path, changes: dict[str, Any]) -> None:
    file = tmp_path / "mapdr.service"
    file.write_text(unit(service(**changes), "root"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(file)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    file.write_text(file.read_text().replace("KillMode=mixed", "KillMode=mixd"))
    wrong = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(file)], capture_output=True, text=True, check=False
    )
    assert "mixd" in wrong.stderr, "systemd does look at the file"


@pytest.mark.peer("systemd-analyze")
def test_systemd_finds_the_unit_little_exposed(tmp_path: Path) -> None:
    file = tmp_path / "mapdr.service"
    file.write_text(unit(service(low_port=True), "mapdr"))
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"exposure level for mapdr\.service: ([0-9.]+)", done.stdout)
    assert found is not None, done.stdout + done.stderr
    assert float(found[1]) < 2.5


def test_words_are_quoted_as_systemd_reads_them() -> None:
    assert quoted("/usr/bin/mapdr") == "/usr/bin/mapdr"
    assert quoted(str(ODD)) == r'"/etc/mapdr/100%% of $HOME/a \"b\"/mapdr.toml"'
    assert command((str(ODD), "run")) == r'"/etc/mapdr/100%% of $$HOME/a \"b\"/mapdr.toml" run'
    with pytest.raises(MapdrError, match="control characters"):
        quoted("/a\nUser=root")


def test_a_unit_lets_the_node_write_where_it_must_and_nowhere_else() -> None:
    lines = unit(service(program=("/opt/mapdr",)), "mapdr").splitlines()
    assert 'ReadWritePaths=/var/lib/mapdr -/etc/mapdr "-/srv/in box"' in lines
    assert "ProtectHome=yes" in lines
    assert "CapabilityBoundingSet=" in lines
    assert "User=mapdr" in lines
    assert "ExecStart=/opt/mapdr run --plain --config /etc/mapdr/mapdr.toml" in lines
    assert "ExecReload=/opt/mapdr reload --config /etc/mapdr/mapdr.toml" in lines
    low = unit(service(low_port=True, data=Path("/home") / "clinic"), "mapdr").splitlines()
    assert "CapabilityBoundingSet=CAP_NET_BIND_SERVICE" in low
    assert "AmbientCapabilities=CAP_NET_BIND_SERVICE" in low
    assert "ProtectHome=read-only" in low


class Called:
    """The programs of the system: what they were called with, and what they answer."""

    def __init__(self) -> None:
        self.words: list[tuple[str, ...]] = []
        self.answers: dict[str, tuple[int, str, str]] = {}

    def __call__(self, words: tuple[str, ...], **options: Any) -> Any:
        self.words.append(words)
        status, out, err = self.answers.get(words[0], (0, "", ""))
        return SimpleNamespace(returncode=status, stdout=out, stderr=err)


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> Called:
    found = Called()
    monkeypatch.setattr(systemd.subprocess, "run", found)
    monkeypatch.setattr(systemd.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(systemd.os, "geteuid", lambda: 0)
    monkeypatch.setattr(systemd.os, "chown", lambda *args: None)
    me = SimpleNamespace(pw_uid=os.getuid(), pw_gid=os.getgid())
    monkeypatch.setattr(systemd.pwd, "getpwnam", lambda name: me)
    return found


def test_installing_checks_as_the_account_before_the_system_is_told(called: Called, tmp_path: Path) -> None:
    wanted = service(data=tmp_path / "data", program=("/opt/mapdr",))
    Systemd(tmp_path).install(wanted)
    assert called.words == [
        ("runuser", "-u", "mapdr", "--", "/opt/mapdr", "check", "--config", "/etc/mapdr/mapdr.toml"),
        ("systemctl", "daemon-reload"),
        ("systemctl", "enable", "--quiet", "mapdr.service"),
    ]
    assert (tmp_path / "mapdr.service").read_text() == unit(wanted, "mapdr")
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
    called.words.clear()
    Systemd(tmp_path).remove()
    assert called.words == [
        ("systemctl", "disable", "--quiet", "--now", "mapdr.service"),
        ("systemctl", "daemon-reload"),
    ]
    assert not (tmp_path / "mapdr.service").exists()
    assert (tmp_path / "data").is_dir()
    with pytest.raises(MapdrError, match="is not installed"):
        Systemd(tmp_path).remove()


def test_what_the_account_cannot_use_is_not_installed(called: Called, tmp_path: Path) -> None:
    called.answers["runuser"] = (2, "", "mapdr: Permission denied: mapdr.toml")
    with pytest.raises(MapdrError, match="Permission denied"):
        Systemd(tmp_path).install(service(data=tmp_path / "data"))
    assert not (tmp_path / "mapdr.service").exists()
    assert [words[0] for words in called.words] == ["runuser"]


def test_a_path_that_no_unit_takes_is_refused_before_anything_is_done(called: Called, tmp_path: Path) -> None:
    with pytest.raises(MapdrError, match="control characters"):
        Systemd(tmp_path).install(service(data=tmp_path / "data\nUser=root"))
    assert called.words == []
    assert not list(tmp_path.iterdir())


def test_the_account_is_made_if_there_is_none(
    called: Called, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known: list[bool] = []

    def getpwnam(name: str) -> Any:
        if not known:
            known.append(True)
            raise KeyError(name)
        return SimpleNamespace(pw_uid=os.getuid(), pw_gid=os.getgid())

    monkeypatch.setattr(systemd.pwd, "getpwnam", getpwnam)
    Systemd(tmp_path).install(service(data=tmp_path / "data"))
    assert called.words[0][0] == "useradd"
    assert called.words[0][-1] == "mapdr"


def test_data_of_another_account_is_not_taken(
    called: Called, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = SimpleNamespace(pw_uid=os.getuid() + 1, pw_gid=os.getgid())
    monkeypatch.setattr(systemd.pwd, "getpwnam", lambda name: other)
    with pytest.raises(MapdrError, match="chown -R mapdr:mapdr"):
        Systemd(tmp_path).install(service(data=tmp_path))
    assert not called.words


@pytest.mark.parametrize("act", ["install", "remove"])
def test_only_root_changes_the_system(
    called: Called, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    monkeypatch.setattr(systemd.os, "geteuid", lambda: 1000)
    manager = Systemd(tmp_path)
    with pytest.raises(MapdrError, match=f"only root may {act} a service"):
        manager.install(service()) if act == "install" else manager.remove()
    assert not called.words


@pytest.mark.parametrize(
    ("told", "state", "status"),
    [
        ("LoadState=not-found\nActiveState=inactive\n", State("not installed"), 1),
        (
            "LoadState=loaded\nActiveState=active\nMainPID=42\nUnitFileState=enabled\nUser=mapdr\n",
            State("running", 42, True, "mapdr"),
            0,
        ),
        ("LoadState=loaded\nActiveState=failed\nMainPID=0\nUnitFileState=disabled\n", State("failed"), 1),
        (
            "LoadState=loaded\nActiveState=deactivating\nMainPID=42\nUnitFileState=enabled\n",
            State("stopping", 42, True),
            1,
        ),
    ],
)
def test_a_state_is_said(called: Called, tmp_path: Path, told: str, state: State, status: int) -> None:
    called.answers["systemctl"] = (0, told, "")
    assert Systemd(tmp_path).status() == state
    done = CliRunner().invoke(main, ["service", "status"])
    assert done.exit_code == status
    assert f"The service is {state.state}" in done.output
    assert ("process 42, as mapdr; starts with the system" in done.output) is (state.account == "mapdr")


def test_what_systemd_says_is_wrong_is_said(called: Called) -> None:
    called.answers["systemctl"] = (5, "", "Failed to start mapdr.service: Unit mapdr.service not found.\n")
    done = CliRunner().invoke(main, ["service", "start"])
    assert done.exit_code == 1
    assert "Unit mapdr.service not found." in done.output
    called.answers.clear()
    assert CliRunner().invoke(main, ["service", "start"]).output == "The service runs.\n"
    assert CliRunner().invoke(main, ["service", "stop"]).output == "The service has stopped.\n"
    assert called.words[-2:] == [
        ("systemctl", "start", "mapdr.service"),
        ("systemctl", "stop", "mapdr.service"),
    ]


def test_the_journal_is_printed(called: Called) -> None:
    called.answers["journalctl"] = (0, "one\ntwo\n", "")
    done = CliRunner().invoke(main, ["service", "logs", "--lines", "2"])
    assert done.output == "one\ntwo\n"
    assert called.words[-1][:5] == ("journalctl", "-u", "mapdr.service", "-n", "2")


def test_a_machine_without_systemd_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd.shutil, "which", lambda name: None)
    with pytest.raises(MapdrError, match="there is no systemd here"):
        Systemd()


def test_a_service_is_what_its_configuration_needs(tmp_path: Path) -> None:
    folder = nodes.new(tmp_path)
    taken, given = tmp_path / "in", tmp_path / "out"
    taken.mkdir()
    text = folder.config.read_text().replace("port = 11112", "port = 104", 1)
    text += f'[receive.films]\ntype = "folder"\npath = "{taken}"\n'
    text += f'[egress.disk]\ntype = "folder"\npath = "{given}"\n'
    folder.config.write_text(text)
    found = service_of(folder.config)
    assert found == Service(
        program(), folder.config.absolute(), (tmp_path / "data").absolute(), (taken, given), low_port=True
    )
    assert shutil.which(found.program[0])
