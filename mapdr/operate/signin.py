"""Who may sign in at the page: one-time links, and users with passwords, in the folder `web` of the data.

A link is a file named by the hash of its token, removed by whoever takes it first. Passwords are kept as
scrypt hashes (RFC 7914). Whoever can write in the data folder can sign in: it is its owner's alone.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from mapdr.kernel.durable import write_durably
from mapdr.kernel.errors import MapdrError
from mapdr.kernel.permissions import make_secret
from mapdr.operate.errors import RequestError

Role = Literal["viewer", "operator"]
"""A viewer looks, without seeing who the patients are; an operator acts, and may see it."""
ROLES: tuple[Role, ...] = get_args(Role)

FOLDER = "web"
LINK_SECONDS = 300.0
"""For how long a link may be used."""
SHORTEST, LONGEST = 10, 1024
"""Characters of a password."""
LONGEST_NAME = 64
_COST = {"n": 2**15, "r": 8, "p": 1}
"""32 MB and some 80 ms for each try."""
_MAXIMUM = 128 * 1024**2


@dataclass(frozen=True, slots=True)
class Grant:
    """What a sign-in gives: who it is, and the role. `stamp` changes with the user's password; empty for a
    link."""

    user: str
    role: Role
    stamp: str = ""


class Doors:
    """The links and users of a node, by its data folder. Any process may ask and change them."""

    def __init__(self, data: Path) -> None:
        self._folder = data / FOLDER
        self._links = self._folder / "links"
        self._file = self._folder / "users.json"

    def make_link(self, user: str, role: Role) -> str:
        """The token of a new link, for one sign-in within LINK_SECONDS. Raises OSError."""
        make_secret(self._folder)
        make_secret(self._links)
        self._forget_old_links()
        token = secrets.token_urlsafe(32)
        told = {"user": user, "role": role, "ends_at": time.time() + LINK_SECONDS}
        _write(self._links / _digest(token), told)
        return token

    def take_link(self, token: str) -> Grant | None:
        """What a link gives, once; None for one that is used, too old or none."""
        path = self._links / _digest(token)
        try:
            told = json.loads(path.read_bytes())
            path.unlink()  # of two who take it, one gets here
        except (OSError, ValueError):
            return None
        if not isinstance(told, dict) or told.get("role") not in ROLES:
            return None
        # One that would hold for much longer than a new one was made before the clock was set back.
        if not 0 <= told["ends_at"] - time.time() <= 2 * LINK_SECONDS:
            return None
        return Grant(str(told["user"]), told["role"])

    def set_password(self, user: str, role: Role, password: str) -> None:
        """Let `user` sign in by this password. Raises RequestError for one that is no password, OSError."""
        if not (0 < len(user) <= LONGEST_NAME and user.isprintable() and user.strip() == user):
            raise RequestError(
                f"is no user's name; use up to {LONGEST_NAME} letters, digits and signs", field="user"
            )
        if not SHORTEST <= len(password) <= LONGEST:
            raise RequestError(f"a password has at least {SHORTEST} characters", field="password")
        make_secret(self._folder)
        salt = secrets.token_bytes(16)
        entry = {**_COST, "salt": salt.hex(), "hash": _scrypt(password, salt, _COST).hex(), "role": role}
        _write(self._file, {"users": {**self._users(), user: entry}})

    def remove(self, user: str) -> None:
        """Let `user` sign in no more. Raises RequestError if there is no such user."""
        users = dict(self._users())
        if users.pop(user, None) is None:
            known = ", ".join(users) or "none"
            raise RequestError(f'there is no user "{user}"; users: {known}', field="user")
        _write(self._file, {"users": users})

    def users(self) -> dict[str, Role]:
        """Who has a password, and in which role. Raises MapdrError if the file cannot be read."""
        return {name: entry["role"] for name, entry in self._users().items()}

    def check(self, user: str, password: str) -> Grant | None:
        """What a user's password gives, None if it is wrong; both take the same time. Raises MapdrError."""
        entry = self._users().get(user)
        known = entry or {**_COST, "salt": "00" * 16, "hash": "00" * 64, "role": "viewer"}
        given = _scrypt(password[:LONGEST], bytes.fromhex(known["salt"]), known)
        if not hmac.compare_digest(given, bytes.fromhex(known["hash"])) or entry is None:
            return None
        return Grant(user, entry["role"], entry["hash"])

    def holds(self, grant: Grant) -> bool:
        """Whether it would still be given: the user is there, with the same password and role."""
        if not grant.stamp:
            return True
        entry = self._users().get(grant.user)
        return entry is not None and (entry["hash"], entry["role"]) == (grant.stamp, grant.role)

    def _users(self) -> Mapping[str, Any]:
        try:
            return dict(json.loads(self._file.read_bytes())["users"])
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise MapdrError(f"{self._file} cannot be read: nobody can sign in by a password") from error

    def _forget_old_links(self) -> None:
        for path in self._links.iterdir():
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > LINK_SECONDS:
                    path.unlink()


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def _scrypt(password: str, salt: bytes, cost: Mapping[str, Any]) -> bytes:
    text = password.encode("utf-8", "surrogatepass")
    return hashlib.scrypt(text, salt=salt, n=cost["n"], r=cost["r"], p=cost["p"], maxmem=_MAXIMUM)


def _write(path: Path, told: object) -> None:
    """Replace the file, whole, readable for nobody else. Raises OSError."""
    write_durably(path, json.dumps(told).encode("utf-8"), 0o600, owned=True)
