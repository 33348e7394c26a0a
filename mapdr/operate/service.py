"""A node as a service of this system: what it needs by its configuration, and the manager that runs it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mapdr.kernel.errors import MapdrError
from mapdr.service import Manager, Service, State
from mapdr.service.host import host

if TYPE_CHECKING:
    from mapdr.node.plan import Plan

__all__ = ["Manager", "Service", "State", "host", "manager", "service_of"]

LOW = 1024
"""Ports below it are for who has the right to them; DICOM's own, 104, is one."""


def service_of(config: Path) -> Service:
    """The service that runs a configuration. Raises WrongConfiguration if it has problems."""
    from mapdr.operate.configuration import load  # the process that Windows starts must not wait for it

    plan = load(config).plan
    return Service(
        program=program(),
        config=config.absolute(),
        data=plan.node.data.absolute(),
        folders=_folders(plan),
        low_port=any(0 < port < LOW for port in _ports(plan)),
    )


def program() -> tuple[str, ...]:
    """The command that is this program: a frozen one is its own, else this Python runs it."""
    if getattr(sys, "frozen", False):
        return (sys.executable,)
    return (sys.executable, "-m", "mapdr_cli")


def manager() -> Manager:
    """The service manager of this system. Raises MapdrError if there is none that is known."""
    if sys.platform == "win32":
        from mapdr.service.windows import WindowsServices

        return WindowsServices(_log_of)
    if sys.platform == "linux":
        from mapdr.service.systemd import Systemd

        return Systemd()
    raise MapdrError("services are known on Linux (systemd) and Windows; elsewhere have it run `mapdr run`")


def _log_of(config: Path) -> Path:
    from mapdr.operate.configuration import load  # as above

    return load(config, rules=False).plan.node.data / "mapdr.log"


def _claims(plan: Plan) -> list[str]:
    pages = [] if plan.page is None else [plan.page]
    stages = (*plan.receivers.values(), *plan.destinations.values(), *pages)
    return [claim for stage in stages for claim in stage.claims]


def _folders(plan: Plan) -> tuple[Path, ...]:
    """Folders of receivers and destinations: files are taken from them, or written."""
    from mapdr.node.plan import FOLDER  # as above

    found = (claim.removeprefix(FOLDER) for claim in _claims(plan) if claim.startswith(FOLDER))
    return tuple(Path(path) for path in dict.fromkeys(found))


def _ports(plan: Plan) -> list[int]:
    return [int(claim.removeprefix("tcp:")) for claim in _claims(plan) if claim.startswith("tcp:")]
