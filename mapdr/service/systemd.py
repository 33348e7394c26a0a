"""A node as a service of systemd: its unit is written, and `systemctl` is asked for the rest."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from mapdr.kernel.errors import MapdrError
from mapdr.kernel.permissions import make_private
from mapdr.service import Service, State
from mapdr.service.unit import NAME, unit

assert sys.platform != "win32"

import pwd  # noqa: E402  Windows has none

ACCOUNT = "mapdr"
FOLDER = Path("/etc/systemd/system")

_STATES = {
    "active": "running",
    "reloading": "running",
    "activating": "starting",
    "deactivating": "stopping",
    "failed": "failed",
}
"""systemd's ActiveState in the words of `State`; anything else is "stopped"."""


class Systemd:
    """systemd of this machine. `folder` is where units are kept."""

    def __init__(self, folder: Path = FOLDER) -> None:
        if shutil.which("systemctl") is None:
            raise MapdrError("there is no systemd here, and no other service manager of Linux is known")
        self._file = folder / NAME

    def install(self, service: Service) -> None:
        """Make the account and its data folder, write the unit, and enable it."""
        self._only_root("install a service")
        text = unit(service, ACCOUNT)
        self._account()
        self._give_data(service.data)
        as_account = ("runuser", "-u", ACCOUNT, "--")
        # Before the system is told anything: the account may not reach the program or the configuration.
        _call(*as_account, *service.program, "check", "--config", str(service.config))
        self._file.write_text(text, encoding="utf-8")
        _call("systemctl", "daemon-reload")
        _call("systemctl", "enable", "--quiet", NAME)

    def remove(self) -> None:
        """Stop and disable it, and remove its unit."""
        self._only_root("remove a service")
        if not self._file.exists():
            raise MapdrError("the service is not installed")
        _call("systemctl", "disable", "--quiet", "--now", NAME)
        self._file.unlink()
        _call("systemctl", "daemon-reload")

    def start(self) -> None:
        """See `Manager`."""
        _call("systemctl", "start", NAME)

    def stop(self) -> None:
        """See `Manager`."""
        _call("systemctl", "stop", NAME)

    def status(self) -> State:
        """See `Manager`."""
        names = "LoadState,ActiveState,MainPID,UnitFileState,User"
        told = dict(
            line.split("=", 1)
            for line in _call("systemctl", "show", NAME, "-p", names).splitlines()
            if "=" in line
        )
        if told.get("LoadState") != "loaded":
            return State("not installed")
        return State(
            _STATES.get(told.get("ActiveState", ""), "stopped"),
            int(told.get("MainPID") or 0) or None,
            told.get("UnitFileState") == "enabled",
            told.get("User", ""),
        )

    def logs(self, lines: int) -> Iterator[str]:
        """The last lines of the journal about it."""
        yield from _call("journalctl", "-u", NAME, "-n", str(lines), "--no-pager", "-o", "cat").splitlines()

    def _only_root(self, what: str) -> None:
        if os.geteuid() != 0:
            raise MapdrError(f"only root may {what}; say it with sudo")

    def _account(self) -> None:
        try:
            pwd.getpwnam(ACCOUNT)
        except KeyError:
            shell = "/usr/sbin/nologin"
            _call("useradd", "--system", "--user-group", "--no-create-home", "--shell", shell, ACCOUNT)

    def _give_data(self, data: Path) -> None:
        """Make the data folder, or see that the account owns the one that is there."""
        account = pwd.getpwnam(ACCOUNT)
        if not data.exists():
            make_private(data)
            os.chown(data, account.pw_uid, account.pw_gid)
        elif data.stat().st_uid != account.pw_uid:
            raise MapdrError(
                f"{data} is there and does not belong to the account {ACCOUNT}; stop the node that uses it, "
                f"then: chown -R {ACCOUNT}:{ACCOUNT} {data}"
            )


def _call(*words: str) -> str:
    """What a program of the system prints. Raises MapdrError with what it says is wrong."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603  of the system
    except FileNotFoundError as error:
        raise MapdrError(f"{words[0]} is not here") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip() or f"it ended with {done.returncode}"
        raise MapdrError(f"{' '.join(words[:2])}: {said}")
    return done.stdout
