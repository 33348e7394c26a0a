"""The audit: who has seen what identifies patients, who did what, who signed in, as DICOM Audit Messages.

Each record is an XML document of PS3.15, section A.5, on a line of its own, in `audit/YYYY-MM-DD.log` of the
data folder (local days): every day has a file, any process of the node appends to it, and MAPDR removes none.
What is recorded before it is shown or done: where that cannot be written, it raises, and nothing is shown.

Codes that DICOM has not are those of the scheme 99MAPDR: an action by its name.
"""

from __future__ import annotations

import base64
import errno
import json
import os
import time
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from mapdr.kernel.errors import MapdrError
from mapdr.kernel.permissions import give_to_owner, make_secret
from mapdr.kernel.privacy import system_says
from mapdr.operate.actor import Actor
from mapdr.operate.words import plain

if TYPE_CHECKING:
    from mapdr.config.model import NodeConfig
    from mapdr.node.outline import NodeOutline
    from mapdr.store.index.selection import Selection
    from mapdr.store.messages import MessageSelection

FOLDER = "audit"
LONGEST = 64
"""Characters of a user's name that are recorded: who fails to sign in may claim any."""

_Code = tuple[str, str, str]
ACCESSED: _Code = ("110103", "DICOM Instances Accessed", "DCM")
QUERY: _Code = ("110112", "Query", "DCM")
AUTHENTICATION: _Code = ("110114", "User Authentication", "DCM")
LOGIN: _Code = ("110122", "Login", "DCM")
LOGOUT: _Code = ("110123", "Logout", "DCM")
SUCCESS, MINOR_FAILURE = "0", "4"
_EXECUTE, _UPDATE = "E", "U"


class AuditError(MapdrError):
    """The audit cannot be written: what it would have told of is not shown. An action was done by then."""


class Audit:
    """The records of one node. Thread-safe; several processes may write."""

    def __init__(self, node: NodeConfig | NodeOutline) -> None:
        self._folder = node.data / FOLDER
        self._node = node.name

    def viewed(self, actor: Actor, what: str, chosen: Mapping[str, object]) -> None:
        """Values that identify patients are shown: `what` is the listing, `chosen` what was asked for."""
        message = self._message(QUERY, _EXECUTE, SUCCESS, actor, kind=_own(f"view {what}"))
        _object(message, what, chosen)
        self._write(message)

    def acted(
        self,
        actor: Actor,
        action: str,
        *,
        number: int,
        of: str,
        to: Mapping[str, int],
        chosen: Mapping[str, object],
        done: bool = True,
    ) -> None:
        """An action on `number` of something (`of`: deliveries, images, webhook messages), by destination:
        it was `done`, or is about to be."""
        message = self._message(ACCESSED, _UPDATE, SUCCESS, actor, kind=_own(action))
        _object(message, of, chosen, {"number": number, **{f"to {name}": each for name, each in to.items()}})
        self._write(message, "it was done, and is not recorded" if done else "nothing is done")

    def signed_in(self, actor: Actor, way: str, *, ok: bool) -> None:
        """Somebody signed in, or failed to; `way` is "link" or "password"."""
        outcome = SUCCESS if ok else MINOR_FAILURE
        message = self._message(AUTHENTICATION, _EXECUTE, outcome, actor, kind=LOGIN)
        described = ET.SubElement(message[0], "EventOutcomeDescription")
        described.text = f"by {way}"
        self._write(message)

    def signed_out(self, actor: Actor) -> None:
        """A session was ended by who had it."""
        self._write(self._message(AUTHENTICATION, _EXECUTE, SUCCESS, actor, kind=LOGOUT))

    def _message(self, event: _Code, action: str, outcome: str, actor: Actor, *, kind: _Code) -> ET.Element:
        message = ET.Element("AuditMessage")
        at = datetime.fromtimestamp(time.time(), UTC).astimezone().isoformat(timespec="milliseconds")
        about = {"EventActionCode": action, "EventDateTime": at, "EventOutcomeIndicator": outcome}
        happened = ET.SubElement(message, "EventIdentification", about)
        _code(happened, "EventID", event)
        _code(happened, "EventTypeCode", kind)
        who = {"UserID": plain(actor.user)[:LONGEST], "UserIsRequestor": "true"}
        if actor.address:  # 2: an IP address (A.5.2.3)
            who |= {"NetworkAccessPointID": plain(actor.address), "NetworkAccessPointTypeCode": "2"}
        ET.SubElement(message, "ActiveParticipant", who)
        source = ET.SubElement(message, "AuditSourceIdentification", {"AuditSourceID": self._node})
        ET.SubElement(source, "AuditSourceTypeCode", {"csd-code": "4"})  # an application server
        return message

    def _write(self, message: ET.Element, so: str = "nothing is shown") -> None:
        line = ET.tostring(message, encoding="utf-8", xml_declaration=False) + b"\n"
        path = self._folder / f"{datetime.now():%Y-%m-%d}.log"
        try:
            _append(path, line)
        except OSError as error:
            what = system_says(error)
            raise AuditError(f"the audit cannot be written ({what}: {path}): {so}") from error


def conditions(chosen: Selection | MessageSelection) -> dict[str, object]:
    """What of a selection is set, as the audit keeps it."""
    found = {each.name: getattr(chosen, each.name) for each in fields(chosen)}
    return {name: value for name, value in found.items() if value not in (None, "", (), [])}


def _append(path: Path, line: bytes) -> None:
    """One write at the end of the file, whoever else writes there. Raises OSError."""
    make_secret(path.parent)
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
    file = os.open(path, flags, 0o600)
    try:
        size = os.fstat(file).st_size
        if not size:
            give_to_owner(path)
        elif _last(file, size) != b"\n":
            # A record that was cut off does not spoil the next one. Where it is another process's write that
            # is only half there, an empty line stands between the two.
            line = b"\n" + line
        if os.write(file, line) != len(line):  # the disk has become full within it
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(file)


def _last(file: int, size: int) -> bytes:
    """The last byte of a file of that size."""
    os.lseek(file, size - 1, os.SEEK_SET)
    return os.read(file, 1)


def _own(action: str) -> _Code:
    return action.replace(" ", "-"), action, "99MAPDR"


def _code(parent: ET.Element, name: str, code: _Code) -> None:
    value, meaning, system = code
    ET.SubElement(parent, name, {"csd-code": value, "codeSystemName": system, "originalText": meaning})


def _object(
    message: ET.Element,
    what: str,
    chosen: Mapping[str, object],
    details: Mapping[str, object] | None = None,
) -> None:
    """What it concerns: a query (role 24) of a system object (type 2), with its conditions as JSON."""
    about = {
        "ParticipantObjectID": what,
        "ParticipantObjectTypeCode": "2",
        "ParticipantObjectTypeCodeRole": "24",
    }
    found = ET.SubElement(message, "ParticipantObjectIdentification", about)
    _code(found, "ParticipantObjectIDTypeCode", ("selection", "What was chosen", "99MAPDR"))
    query = ET.SubElement(found, "ParticipantObjectQuery")
    query.text = _base64(json.dumps(chosen, sort_keys=True, default=str))
    for name, value in (details or {}).items():
        ET.SubElement(found, "ParticipantObjectDetail", {"type": name, "value": _base64(str(value))})


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
