"""What to show when the program opens: the page of a node that runs, or what has to be done first."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from mapdr.config.starter import PAGE_PORT
from mapdr.kernel.errors import MapdrError
from mapdr.operate.page import make_link
from mapdr.operate.places import NAME, site_folder, user_folder
from mapdr.operate.service import link_of_service
from mapdr_desktop.own_node import OwnNode

log = logging.getLogger("mapdr.desktop")


@dataclass(frozen=True, slots=True)
class Where:
    """The configuration to work by. `of_service`: it is the machine's; `readable`: this user may read it."""

    config: Path
    of_service: bool
    readable: bool

    @property
    def is_new(self) -> bool:
        """Whether it is still to be written."""
        return self.readable and not self.config.is_file()


def find_configuration(
    named: Path | None = None, *, site: Path | None = None, user: Path | None = None
) -> Where:
    """The configuration that is named; otherwise that of the machine, which a service runs by; otherwise the
    user's own, which need not be there. `site` and `user` are their folders."""
    if named is not None:
        return Where(named.absolute(), of_service=False, readable=True)
    shared = (site or site_folder()) / NAME
    try:
        shared.stat()
        return Where(shared, of_service=True, readable=os.access(shared, os.R_OK))
    except FileNotFoundError:
        return Where((user or user_folder()) / NAME, of_service=False, readable=True)
    except PermissionError:  # its folder is for the service and administrators
        return Where(shared, of_service=True, readable=False)


class Opening:
    """The way from a configuration to an address that signs in."""

    def __init__(self, where: Where) -> None:
        self.where = where
        self._node = OwnNode()

    def url(self) -> str:
        """The page's address, with a link that signs in. The node is started if none runs and it is no
        service's.

        Who may not read the service's configuration asks the service for a link, or signs in by a password.
        Raises MapdrError, OSError.
        """
        if not self.where.readable:
            try:
                return link_of_service()
            except MapdrError as error:
                log.info("a password is needed: %s", error)
                return f"http://127.0.0.1:{PAGE_PORT}/"
        if not self.where.of_service:
            self._node.ensure(self.where.config)
        return make_link(self.where.config, "operator").url

    @property
    def ends_node(self) -> bool:
        """Whether `end` ends a node."""
        return self._node.runs

    def end(self) -> None:
        """End the node if this program has started it. Raises MapdrError."""
        self._node.end(self.where.config)
