"""The way to the operators' page: its address, a link that signs in, and passwords."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mapdr.kernel.errors import MapdrError
from mapdr.node.plan import Plan
from mapdr.operate.access import Access
from mapdr.operate.actor import system_user
from mapdr.operate.configuration import load
from mapdr.operate.errors import RequestError
from mapdr.operate.signin import LINK_SECONDS, Doors, Role


class PageConfig(Protocol):
    """What the configuration says of where the page is."""

    @property
    def host(self) -> str: ...
    @property
    def hosts(self) -> Sequence[str]: ...
    @property
    def behind_proxy(self) -> bool: ...
    @property
    def tls(self) -> object | None: ...


@dataclass(frozen=True, slots=True)
class Link:
    """Opened once within `seconds`, `url` signs in."""

    url: str
    role: Role
    seconds: float


def page_url(config: PageConfig, port: int) -> str:
    """Where a browser finds the page that listens at `port`."""
    name = config.hosts[0] if config.hosts else config.host
    name = f"[{name}]" if ":" in name else name
    if config.behind_proxy:
        return f"https://{name}/"
    return f"http{'s' if config.tls else ''}://{name}:{port}/"


def make_link(file: Path, role: Role, user: str = "") -> Link:
    """A link to the page of the running node, for the user of this process unless another is named. Raises
    RequestError if there is no page, MapdrError if the node does not run or has no page, and OSError."""
    plan = _plan(file)
    assert plan.page is not None
    opened = Access(plan)
    try:
        beat = opened.running()
    finally:
        opened.close()
    if beat is None:
        raise MapdrError("the node does not run; its page is there while it does: mapdr run")
    told = beat.counters.get("page")
    if not told:
        raise MapdrError("the node runs without its page: mapdr reload opens it, or its log says why not")
    token = Doors(plan.node.data).make_link(user or system_user().user, role)
    return Link(f"{page_url(plan.page.config, int(told['port']))}#token={token}", role, LINK_SECONDS)


def doors(file: Path) -> Doors:
    """Who may sign in, to be asked and changed. Raises RequestError if the configuration has no page, and
    MapdrError before the node has run."""
    plan = _plan(file)
    if not plan.node.data.is_dir():
        raise MapdrError(f"there is no {plan.node.data}: the node has not run yet")
    return Doors(plan.node.data)


def _plan(file: Path) -> Plan:
    plan = load(file, rules=False).plan
    if plan is None or plan.page is None:
        raise RequestError(f"{file} has no page; add a table [web]")
    return plan
