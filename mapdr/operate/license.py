"""The license of an installation, for people: its request code, how it stands, and installing one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

from mapdr.kernel.errors import MapdrError
from mapdr.kernel.permissions import make_private
from mapdr.license import gate
from mapdr.license.code import fingerprint, written
from mapdr.license.facts import machine
from mapdr.license.standing import Standing
from mapdr.license.token import FEWEST, License, WrongToken
from mapdr.license.told import told as told_of
from mapdr.node import licensing
from mapdr.operate.access import Access
from mapdr.operate.license_words import license_said

NO_FOLDER = "this build needs a license; how it stands is known by a configuration: --config FILE"


class LicenseError(MapdrError):
    """No code or license is to be had here: this build needs none, the machine tells too little of itself, or
    the token would not hold. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a license allows; `expires` is its last day, null for ever; null for a limit is any number."""

    id: str
    customer: str
    issued: str
    expires: str | None
    features: Sequence[str]
    sources: int | None
    destinations: int | None
    images_a_day: int | None


@dataclass(frozen=True, slots=True)
class LicenseState:
    """How the license stands: `state` is unneeded, licensed, trial, grace, over, or unknown without a
    configuration; `comment` says it to a person. `until_at` is when that ends, null for never.

    `same`, `other` and `unreadable` are kinds of facts of this machine, as the license compares with them.
    """

    state: str
    comment: str
    reason: str
    until_at: float | None
    set_back: bool
    license: Allowed | None
    same: Sequence[str]
    other: Sequence[str]
    unreadable: Sequence[str]


@dataclass(frozen=True, slots=True)
class Request:
    """A request code, and the same as a QR code: the rows of its modules, "#" for a dark one, and as SVG
    with the margin that a camera needs."""

    code: str
    qr: Sequence[str]
    svg: str


def request() -> Request:
    """A new request code of this machine: any that it gave can be answered. Raises LicenseError."""
    if not gate.needed():
        raise LicenseError("this build needs no license")
    found = fingerprint(machine().facts)
    if len(found.hashes) < FEWEST:
        raise LicenseError("this machine tells too little of itself: no license can be bound to it")
    return _request(written(found))


def license_state(data: Path | None) -> LicenseState:
    """How the license in this data folder stands, by this machine; without a folder only whether one is
    needed."""
    if gate.needed() and data is None:
        return LicenseState("unknown", NO_FOLDER, "", None, False, None, (), (), ())
    standing = Standing("unneeded") if data is None else licensing.standing_in(data)
    return _state(standing)


def license_of(opened: Access) -> LicenseState:
    """How the license of a node stands."""
    return license_state(opened.plan.node.data)


def verify(token: str) -> Allowed:
    """What a token allows, if the vendor of this build has signed it; nothing is installed. Raises
    `mapdr.license.token.WrongToken`."""
    return _allowed(gate.verify(token))


def install(opened: Access, token: str) -> LicenseState:
    """Install a token: a running node sees it within a second. Raises LicenseError if no license would hold
    by it, and all stays as it was; AuditError, OSError."""
    data = opened.plan.node.data
    try:
        gate.verify(token)
    except WrongToken as error:
        raise LicenseError(str(error)) from error
    text = "".join(token.split())
    standing, _ = gate.judge(text, machine().facts, datetime.now(UTC), licensing.read_record(data))
    if standing.kind != "licensed":
        raise LicenseError(f"{standing.reason}: nothing was installed")
    make_private(data)
    opened.audit.acted(opened.actor, "license install", number=1, of="licenses", to={}, chosen={})
    licensing.keep_token(data, text)
    return _state(standing)


def _state(standing: Standing) -> LicenseState:
    told, compared = told_of(standing) or {"kind": "unneeded"}, standing.match
    return LicenseState(
        state=standing.kind,
        comment=license_said(told),
        reason=standing.reason,
        until_at=told.get("until"),
        set_back=standing.set_back,
        license=None if standing.license is None else _allowed(standing.license),
        same=sorted(compared.same) if compared else (),
        other=sorted(compared.other) if compared else (),
        unreadable=sorted(compared.unreadable) if compared else (),
    )


def _allowed(allowed: License) -> Allowed:
    return Allowed(
        id=allowed.id,
        customer=allowed.customer,
        issued=allowed.issued.isoformat(),
        expires=None if allowed.expires is None else allowed.expires.isoformat(),
        features=list(allowed.features),
        sources=allowed.sources,
        destinations=allowed.destinations,
        images_a_day=allowed.images_a_day,
    )


def _request(code: str) -> Request:
    import segno  # only where one is asked for

    made = segno.make(code, error="m", micro=False)
    rows = ["".join("#" if module else " " for module in row) for row in made.matrix_iter(border=2)]
    picture = BytesIO()
    made.save(picture, kind="svg", border=4, xmldecl=False, omitsize=True, dark="#000", light="#fff")
    return Request(code, rows, picture.getvalue().decode())
