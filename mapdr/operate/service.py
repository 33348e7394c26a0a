"""A node as a service of this system: what it needs by its configuration, and the manager that runs it."""

from __future__ import annotations

import logging
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from mapdr.kernel.errors import MapdrError
from mapdr.kernel.guard import GuardedThread
from mapdr.kernel.privacy import in_words
from mapdr.service import Manager, Service, State
from mapdr.service.host import host
from mapdr.service.pipe import LinkPipe, ask

if TYPE_CHECKING:
    from mapdr.node.plan import Plan

__all__ = ["Manager", "Service", "State", "host", "link_of_service", "manager", "offer_links", "service_of"]

log = logging.getLogger("mapdr.service")

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


def offer_links(config: Path, ended: threading.Event) -> None:
    """Answer at the pipe of sign-in links until `ended`, beside the node that this process runs on Windows.

    A node goes on without it: what keeps it from being there is logged.
    """
    from mapdr.operate.page import make_link  # as above

    try:
        pipe = LinkPipe(lambda user: make_link(config, "operator", user).url)
    except Exception as error:  # noqa: BLE001  Windows refuses it in many ways, and images matter more
        log.warning("users of this machine cannot ask the service for a link: %s", in_words(error))
        return
    GuardedThread(pipe.serve, "links", goes_on=lambda: not ended.is_set()).start()

    def close() -> None:
        ended.wait()
        pipe.close()

    GuardedThread(close, "links-end", goes_on=lambda: False).start()


def link_of_service() -> str:
    """The URL that signs in at the page of Windows' service, for an ordinary user of this machine who is in
    the group for it. Raises MapdrError in words."""
    if sys.platform != "win32":
        raise MapdrError("a service is asked for links on Windows; elsewhere: mapdr web open")
    return ask(manager().status().process)


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
