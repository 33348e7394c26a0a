"""How things fail in MAPDR, by type.

`Temporary` may succeed when tried again, `Permanent` will not: the type is the retry policy. Messages
never hold a value that may identify a patient: internal ids, tags, lengths and status codes only.
"""

import errno
import socket

OWN_FAULT = "own-fault"
"""Why a destination waits that could not be asked, by a fault of this side."""

_EXHAUSTED = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS))


class MapdrError(Exception):
    """The root of every error that MAPDR raises on purpose."""


class Temporary(MapdrError):
    """The same input may succeed later: a peer is down, a disk is full."""


class OwnFault(Temporary):
    """This side has no files, memory or buffers left for it now: no peer's fault."""


class Permanent(MapdrError):
    """The same input fails again: a value does not fit, a codec refuses the pixels.

    `reason` is a short stable word for tables and tests; the message says what and the cure.
    """

    def __init__(self, message: str, *, reason: str = "permanent") -> None:
        super().__init__(message)
        self.reason = reason


class Unavailable(Permanent):
    """A part that is not installed here; the message says what is missing."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="unavailable")


class ConfigurationError(MapdrError):
    """A configuration that cannot be used; the message says what and the cure."""


class LocalProtocolError(MapdrError):
    """MAPDR was about to break the protocol: a fault of ours."""


class RemoteProtocolError(MapdrError):
    """The peer broke the protocol: the only error that a peer's bytes may raise.

    `abort_reason` is the A-ABORT provider reason to answer with (PS3.8, table 9-26).
    """

    def __init__(self, message: str, *, abort_reason: int = 0) -> None:
        super().__init__(message)
        self.abort_reason = abort_reason


class Refused(MapdrError):
    """An object that is not taken; answered with `status` (PS3.4, table B.2-1), never with Success."""

    def __init__(self, status: int, comment: str) -> None:
        super().__init__(f"0x{status:04X}: {comment}")
        self.status = status
        self.comment = comment


class LessUrgent(Refused):
    """An object that is not taken now, where others that are more urgent are."""


def is_own_fault(error: BaseException) -> bool:
    """Whether a connection failed because this side has no files, memory or buffers left."""
    if isinstance(error, socket.gaierror):
        return error.errno == socket.EAI_MEMORY  # its numbers are those of getaddrinfo, not of errno
    return isinstance(error, OwnFault) or (isinstance(error, OSError) and error.errno in _EXHAUSTED)
