"""The token: what a vendor allows, signed with Ed25519 (RFC 8032).

`payload.signature`, both in base64url without padding. The signature is checked over the bytes before
anything in them is read, and each license has one spelling: another one of the same bytes is refused.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import date
from typing import TYPE_CHECKING, Any

from mapdr.kernel.errors import MapdrError
from mapdr.license.code import WrongCode, read

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

FORM = 1
FEWEST = 2
"""Facts to which a license is bound at least."""
LONGEST = 16384
"""Characters of a token."""
_SIGNED = b"mapdr license 1\0"


class WrongToken(MapdrError):
    """What was given is no license, or none that this vendor has signed."""


@dataclass(frozen=True, slots=True)
class License:
    """What a vendor allows a machine, by its request code.

    `sources`, `destinations` and `images_a_day` bound what is allowed, None allows any number. The license
    holds up to and with the day `expires`, None for ever. `matches` is how many facts have to match at
    least, besides most of them.
    """

    id: str
    customer: str
    request: str
    issued: date
    expires: date | None = None
    features: Sequence[str] = ()
    sources: int | None = None
    destinations: int | None = None
    images_a_day: int | None = None
    matches: int = 2


def sign(allowed: License, key: Ed25519PrivateKey) -> str:
    """The token of a license. Raises WrongCode if its request is none, or tells too little of its machine."""
    if len(read(allowed.request).hashes) < FEWEST:
        raise WrongCode("this machine tells too little of itself: no license can be bound to it")
    told = {"form": FORM, **asdict(allowed), "issued": allowed.issued.isoformat()}
    told["expires"] = allowed.expires.isoformat() if allowed.expires else None
    payload = json.dumps(told, sort_keys=True, separators=(",", ":")).encode()
    return f"{_encoded(payload)}.{_encoded(key.sign(_SIGNED + payload))}"


def verify(token: str, keys: Sequence[bytes]) -> License:
    """The license of a token that one of the vendor's public keys (32 bytes each) has signed.

    Raises WrongToken.
    """
    text = "".join(token.split())
    if len(text) > LONGEST or text.count(".") != 1:
        raise WrongToken("this is no license")
    payload, signature = (_decoded(part) for part in text.split("."))
    if not any(_signed_by(key, signature, payload) for key in keys):
        raise WrongToken("this license was not signed by the vendor of this program, or was changed")
    try:
        return _license(json.loads(payload))
    except (ValueError, TypeError, KeyError, WrongCode) as error:
        raise WrongToken("this license is of another version of MAPDR") from error


def _signed_by(key: bytes, signature: bytes, payload: bytes) -> bool:
    # Here: a build that needs no license does without.
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, _SIGNED + payload)
    except InvalidSignature:
        return False
    return True


def _license(told: Mapping[str, Any]) -> License:
    if told["form"] != FORM or told.keys() != {"form", *(each.name for each in fields(License))}:
        raise ValueError("other keys")
    values = {key: value for key, value in told.items() if key != "form"}
    values["issued"] = date.fromisoformat(told["issued"])
    values["expires"] = None if told["expires"] is None else date.fromisoformat(told["expires"])
    values["features"] = tuple(told["features"])
    read(told["request"])
    return License(**values)


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decoded(text: str) -> bytes:
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise WrongToken("this is no license") from None
    if _encoded(data) != text:
        raise WrongToken("this license was changed")
    return data
