"""Who looks and acts."""

from __future__ import annotations

import getpass
import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something: the user's name, and the address of who came over a network."""

    user: str
    address: str = ""


def system_user() -> Actor:
    """Whom this process works for: the name of the system's user, or its number."""
    try:
        return Actor(getpass.getuser())
    except (OSError, KeyError, ImportError):  # a user without a name; Windows without the variables
        return Actor(f"user {os.getuid()}" if hasattr(os, "getuid") else "an unknown user")
