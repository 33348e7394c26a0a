"""Presentation contexts: what an acceptor takes of a proposal (PS3.8, section 7.1.1.13; PS3.7, annex D.3).

Storage is open: any abstract syntax that is not known to be something else is taken for a storage SOP class,
private and future ones too, in any transfer syntax that was proposed for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from mapdr.kernel.item import is_uid
from mapdr.kernel.uids import EXPLICIT_VR_BIG_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, VERIFICATION
from mapdr.wire.pdu import Context, ContextResult

ACCEPTANCE = 0
USER_REJECTION = 1
NO_REASON = 2
ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
TRANSFER_SYNTAXES_NOT_SUPPORTED = 4

REJECTIONS = {
    USER_REJECTION: "the receiver rejects the presentation context now (user rejection)",
    NO_REASON: "the receiver rejects the presentation context now (no reason given)",
    ABSTRACT_SYNTAX_NOT_SUPPORTED: "the receiver does not support the SOP class",
    TRANSFER_SYNTAXES_NOT_SUPPORTED: "the receiver does not support the transfer syntax",
}
"""Results of presentation contexts in words (PS3.8, table 9-18)."""

MAY_PASS = frozenset((USER_REJECTION, NO_REASON))
"""Results that name no lack of the receiver: it may take the same context another time."""

_NOT_OBJECTS = ("Storage Commitment", "Stored Print Storage", "Media Storage Directory")


@lru_cache(maxsize=2048)
def is_storage(abstract_syntax: str) -> bool:
    """Whether objects of this SOP class may be stored: it is unknown, or known as a storage SOP class."""
    if not is_uid(abstract_syntax):
        return False
    from pydicom.uid import UID  # here: commands that speak to nobody need no dictionary

    uid = UID(abstract_syntax)
    if uid.name == abstract_syntax:
        return True
    if uid.type != "SOP Class" or uid.name.startswith(_NOT_OBJECTS):
        return False
    return "Storage" in uid.name


@lru_cache(maxsize=2048)
def is_transfer_syntax(uid: str) -> bool:
    """Whether this can be a transfer syntax: unknown (private ones exist), or known as one."""
    if not is_uid(uid):
        return False
    from pydicom.uid import UID

    known = UID(uid)
    return bool(known.name == uid or known.type == "Transfer Syntax")


def choose(transfer_syntaxes: Sequence[str]) -> str | None:
    """The transfer syntax to accept for one context: the requestor's first.

    The requestor's order is its preference. Explicit VR Big Endian, which is retired, is taken only if
    nothing else is offered.
    """
    usable = [uid for uid in transfer_syntaxes if is_transfer_syntax(uid)]
    modern = [uid for uid in usable if uid != EXPLICIT_VR_BIG_ENDIAN]
    return next(iter(modern or usable), None)


def negotiate(proposed: Sequence[Context]) -> tuple[ContextResult, ...]:
    """The acceptor's answer to every proposed context, in order: Verification and all storage."""
    return tuple(_answer(context) for context in proposed)


def _answer(context: Context) -> ContextResult:
    if context.abstract_syntax != VERIFICATION and not is_storage(context.abstract_syntax):
        return ContextResult(context.id, ABSTRACT_SYNTAX_NOT_SUPPORTED, IMPLICIT_VR_LITTLE_ENDIAN)
    syntax = choose(context.transfer_syntaxes)
    if syntax is None:
        return ContextResult(context.id, TRANSFER_SYNTAXES_NOT_SUPPORTED, IMPLICIT_VR_LITTLE_ENDIAN)
    return ContextResult(context.id, ACCEPTANCE, syntax)


def answer_roles(proposed: Mapping[str, tuple[bool, bool]]) -> dict[str, tuple[bool, bool]]:
    """The acceptor's role items (PS3.7, annex D.3.3.4): the requestor may be SCU, never SCP."""
    return {uid: (scu, False) for uid, (scu, _) in proposed.items()}
