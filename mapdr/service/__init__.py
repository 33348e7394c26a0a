"""A node as a service of the system, which runs when nobody is logged in: by systemd, or by Windows itself.

`mapdr.operate.service` chooses the manager of this system. Each is a `Manager`; what they run is the program
`mapdr` with a configuration, a `Service`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

DESCRIPTION = "MAPDR, a DICOM router"
DRAIN = 30.0
"""Seconds that a node has to finish what runs; what `mapdr run` takes without another word."""


@dataclass(frozen=True, slots=True)
class Service:
    """What runs as a service.

    `program`: the command that is `mapdr` here, its first word an absolute path. `config` is absolute too.
    `data` is made for the service's account; `folders` are others that the node writes to. `low_port`: it
    listens at a port below 1024.
    """

    program: tuple[str, ...]
    config: Path
    data: Path
    folders: tuple[Path, ...]
    low_port: bool


@dataclass(frozen=True, slots=True)
class State:
    """How the service stands: `state` is "not installed", "stopped", "starting", "running", "stopping" or
    "failed"; `process` its process id, `at_boot` whether it starts with the system."""

    state: str
    process: int | None = None
    at_boot: bool = False
    account: str = ""


class Manager(Protocol):
    """A system's service manager. Each method raises MapdrError in the system's words."""

    def install(self, service: Service) -> None:
        """Have the system run it from its next start on, as an account of its own; it is not started."""

    def remove(self) -> None:
        """Stop it, and have the system forget it. Configuration and data stay."""

    def start(self) -> None:
        """Start it, and wait until its node runs."""

    def stop(self) -> None:
        """Have its node drain, and wait until it has ended."""

    def status(self) -> State:
        """How it stands."""

    def logs(self, lines: int) -> Iterator[str]:
        """The last lines of its log."""
