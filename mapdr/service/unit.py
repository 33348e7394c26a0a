"""The unit file of systemd for a node (systemd.service(5), systemd.exec(5)).

The node may write to its data, its configuration's folder (the page changes the configuration) and the
folders of its receivers and destinations; all else is read-only or out of sight.
"""

from __future__ import annotations

import re
from pathlib import Path

from mapdr.kernel.errors import MapdrError
from mapdr.service import DESCRIPTION, DRAIN, Service

NAME = "mapdr.service"
STOP = DRAIN + 60
"""Seconds until systemd kills a node that was asked to end and does not say itself how long it needs."""
WATCHDOG = 60
"""Seconds without a sign of the interpreter after which systemd starts the node anew."""

_PLAIN = re.compile(r"[A-Za-z0-9_@:=+,./-]+")


def quoted(word: str) -> str:
    """A word of a unit's command or list of paths (systemd.syntax(7), "Quoting").

    Raises MapdrError for control characters, which no path of a service has a use for.
    """
    if not word.isprintable():
        raise MapdrError("a path with control characters cannot stand in a unit of systemd")
    word = word.replace("%", "%%")
    if _PLAIN.fullmatch(word):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def command(words: tuple[str, ...]) -> str:
    """A command line of a unit, in which a dollar sign would name a variable."""
    return " ".join(quoted(word).replace("$", "$$") for word in words)


def unit(service: Service, account: str) -> str:
    """The whole file. Raises MapdrError as `quoted` does."""
    config = ("--config", str(service.config))
    # A dash: what is missing, such as an unmounted disk, keeps no node from starting.
    writes = " ".join(
        quoted(prefix + str(path))
        for prefix, path in (
            ("", service.data),
            ("-", service.config.parent),
            *(("-", each) for each in service.folders),
        )
    )
    needed = (service.data, service.config, *service.folders, *map(Path, service.program[:1]))
    homes = any(_in_a_home(path) for path in needed)
    capabilities = "CAP_NET_BIND_SERVICE" if service.low_port else ""
    return f"""\
# Written by `mapdr service install`, and by its next one anew: changes go into `systemctl edit mapdr`.
[Unit]
Description={DESCRIPTION}
Wants=network-online.target
After=network-online.target local-fs.target remote-fs.target
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
User={account}
ExecStart={command((*service.program, "run", "--plain", *config))}
ExecReload={command((*service.program, "reload", *config))}
Restart=on-failure
RestartSec=5
# A wrong configuration does not become right by another start.
RestartPreventExitStatus=2
# What a crash left is put in order first, however long that takes.
TimeoutStartSec=infinity
TimeoutStopSec={STOP:.0f}
WatchdogSec={WATCHDOG}
# Decoder processes are ended by the node.
KillMode=mixed
LimitNOFILE=65536
UMask=0027

ProtectSystem=strict
ReadWritePaths={writes}
ProtectHome={"read-only" if homes else "yes"}
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
NoNewPrivileges=yes
CapabilityBoundingSet={capabilities}
AmbientCapabilities={capabilities}
LockPersonality=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RemoveIPC=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""


def _in_a_home(path: Path) -> bool:
    return any(path.is_relative_to(home) for home in ("/home", "/root", "/run/user"))
