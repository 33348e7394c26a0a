"""The first configuration of a node, from the three things that a clinic knows.

How modalities call this machine, the receiver that images go to, and how they are sent: nothing else is
asked. The file is that of `mapdr init`, changed by the code of the forms, and checked before it is written.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from mapdr.config.problem import Problem
from mapdr.config.read import read_text
from mapdr.config.starter import DATA, PAGE_PORT, starter
from mapdr.kernel.durable import fresh_name, sync_folder, write_durably
from mapdr.kernel.errors import MapdrError
from mapdr.kernel.privacy import system_says
from mapdr.kernel.registry import Registry
from mapdr.node.configuration import examine
from mapdr.node.plan import make_plan
from mapdr.operate import license as licenses
from mapdr.operate.access import access
from mapdr.operate.destination_form import Echoed
from mapdr.operate.echo import echo_one
from mapdr.operate.errors import RequestError
from mapdr.operate.rule_form import Compression, RuleForm, edited
from mapdr.operate.settings import FieldProblem

PACS = "pacs"
"""The name of the first destination."""
_RECEIVER, _EGRESS, _RULE = "receive.modalities", f"egress.{PACS}", "rule"
_FIELDS = {
    f"{_RECEIVER}.ae_title": "ae_title",
    f"{_RECEIVER}.port": "port",
    f"{_EGRESS}.ae_title": "pacs_ae_title",
    f"{_EGRESS}.host": "pacs_host",
    f"{_EGRESS}.port": "pacs_port",
}
"""The form's field by the key that a problem is about."""
_PAGE_PORTS = range(PAGE_PORT, PAGE_PORT + 20)
_OUTSIDE = ("192.0.2.1", 9)
"""An address that nobody has (RFC 5737): asked for the way there, and sent nothing."""


@dataclass(frozen=True, slots=True)
class FirstForm:
    """What is asked. `ae_title` and `port` are this node's, those with `pacs_` the receiver's; `ratio` counts
    where `compress` is "lossy"."""

    ae_title: str
    port: int
    pacs_ae_title: str
    pacs_host: str
    pacs_port: int
    compress: Compression
    ratio: float


def node_name(name: str | None = None) -> str:
    """A node's name: as given, otherwise this machine's, in the characters that a name may have."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name or socket.gethostname().split(".")[0]).strip("-") or "node"


def own_addresses() -> list[str]:
    """This machine's IPv4 addresses as others call it, that towards other networks first; no loopback."""
    found: list[str] = []
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
        way.connect(_OUTSIDE)
        found.append(way.getsockname()[0])
    with suppress(OSError, UnicodeError):
        known = socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET, socket.SOCK_STREAM)
        found += [str(each[4][0]) for each in known]
    usual = (each for each in dict.fromkeys(found) if not ipaddress.ip_address(each).is_loopback)
    return [each for each in usual if each != "0.0.0.0"]  # noqa: S104  compared, not bound


def port_trouble(port: int, host: str = "") -> str:
    """Why nothing can listen at a port of this machine now, empty if it can; nobody is let in by asking."""
    try:
        with socket.socket() as probe:
            exclusive = getattr(socket, "SO_EXCLUSIVEADDRUSE", None)
            option = socket.SO_REUSEADDR if exclusive is None else exclusive
            probe.setsockopt(socket.SOL_SOCKET, option, 1)
            probe.bind((host, port))
            probe.listen(1)
    except PermissionError:
        return "this account may not listen at that port; take one above 1023, 11112 is usual"
    except OSError:
        return "another program uses this port; take another one, or end that program"
    except OverflowError:
        return "a port is a number from 1 to 65535"
    return ""


def echo_first(form: FirstForm, path: Path) -> Echoed:
    """Ask the receiver of the form whether it is there, by C-ECHO as this node; nothing is written."""
    registry = Registry()
    loaded = read_text(_text(form), registry, file=path.name, base=path.parent, rules=False)
    about = _problems(each for each in loaded.problems if each.path.startswith(_EGRESS))
    if about or loaded.config is None:
        return Echoed(problems=about)
    return Echoed(echo=echo_one(make_plan(loaded.config, registry), PACS))


def first_license(path: Path) -> licenses.LicenseState:
    """How the license stands of a node whose configuration is to be written at `path`. Raises OSError."""
    return licenses.license_state(path.parent / DATA)


def write_first(form: FirstForm, path: Path, token: str = "") -> Sequence[FieldProblem]:
    """Write the configuration with the page, if nothing is wrong with it; what is, by field. With `token` a
    license is installed before; one that would not hold is a problem of the field "token".

    Raises RequestError if there is such a file already, and MapdrError if it cannot be written.
    """
    if path.exists():
        raise RequestError(f"there is a configuration already: {path}")
    if trouble := port_trouble(form.port):
        return [FieldProblem("port", trouble, "")]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with fresh_name(path) as fresh:
            write_durably(fresh, _text(form).encode())
            problems = examine(fresh, resolve=True, surroundings=True).problems
            if problems:
                return _problems(problems)
            if token:
                with access(fresh) as opened:
                    licenses.install(opened, token)
            os.replace(fresh, path)
        sync_folder(path.parent)
    except licenses.LicenseError as error:
        return [FieldProblem("token", str(error), "")]
    except OSError as error:
        what = system_says(error)
        raise MapdrError(f"the configuration cannot be written in {path.parent} ({what})") from error
    return ()


def _text(form: FirstForm) -> str:
    """The configuration. Raises RequestError for a compression that there is not."""
    page = next((port for port in _PAGE_PORTS if not port_trouble(port, "127.0.0.1")), PAGE_PORT)
    text = starter(
        name=node_name(),
        ae_title=form.ae_title,
        port=form.port,
        to=PACS,
        to_ae=form.pacs_ae_title,
        to_host=form.pacs_host,
        to_port=form.pacs_port,
        page_port=page,
    )
    rule = RuleForm(f"everything to {PACS}", (), "", "", "", form.compress, form.ratio, [PACS])
    return edited(text, place=("rule", 0), rule=rule, new=False)


def _problems(problems: Iterable[Problem]) -> list[FieldProblem]:
    found = []
    for each in problems:
        field = next((name for key, name in _FIELDS.items() if each.path.startswith(key)), "")
        if each.path.startswith(_RULE) and "compress" in each.path:
            field = "ratio"
        problem = FieldProblem(field, each.what if field else f"{each.path}: {each.what}", each.cure)
        found.append(problem if each.path else replace(problem, what=each.what))
    return found
