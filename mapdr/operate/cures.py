"""What helps a delivery that is parked, in a sentence: one list for all faces."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_AGAIN = "then retry"
_RULES = "correct the rule, then mapdr reroute --state parked"
_DECODE = (
    "its pixels cannot be decoded or encoded as the rule wants: relay such images without compression "
    f"({_RULES}), or ask who made them"
)
_FILE = "its file in the spool is not what was received: push the image again from where it came, and dismiss"
_OBJECT = (
    "the image itself is not as DICOM demands: mapdr explain shows where; have the sender mend it, or dismiss"
)
_VALUE = f"a value that the rule makes does not fit its element: {_RULES}"

CURES: Mapping[str, str] = MappingProxyType(
    {
        "refused": (
            "the receiver says no to the image itself: its status in the timeline says why; "
            f"have it mended there, {_AGAIN}"
        ),
        "failed": f"the receiver answers what DICOM does not define: ask its administrator, {_AGAIN}",
        "duplicate": (
            "the receiver has another image of this SOP Instance UID: compare the two, and dismiss the one "
            "that is wrong"
        ),
        "syntax-refused": (
            "the receiver accepts no transfer syntax that there is: mapdr doctor peer shows which it takes; "
            f"set syntaxes or compress, {_AGAIN}"
        ),
        "not-accepted": f"the receiver accepts no such SOP class: have it enabled there, {_AGAIN}",
        "no-answer": (
            "the receiver hung up on this image again and again, and took others: look into its log, "
            f"{_AGAIN}, or dismiss"
        ),
        "gave-up": f"the time of give_up is over: mapdr doctor peer says why none was taken, {_AGAIN}",
        "unexpected": f"a fault of this node, which its log names: report it, {_AGAIN} after an update",
        "out-of-memory": (
            "this machine had no memory for it, even with nothing else at work: see what else runs there, "
            f"or lower [node] memory, {_AGAIN}"
        ),
        "unnamed": f"the server's answer never named the image: ask its administrator, {_AGAIN}",
        "unconfirmed": f"the server never confirmed it: ask its administrator, {_AGAIN}",
        "deadly": (
            "the node died several times with this image in hand: report it; retry when nobody needs the node"
        ),
        "memory": f"it needs more than all of [node] memory: raise that, restart the node, {_AGAIN}",
        "recipe-missing": f"the recipe that it was promised is not known: {_RULES}",
        "recipe": f"the recipe cannot be carried out here: mapdr check; {_RULES}",
        "unavailable": f"a part that the recipe needs is not installed here: install it, {_AGAIN}",
        "transform": f"a transform of the rule failed: its log line says how; {_RULES}",
        "quality": f"the encoder cannot keep what the rule asks of quality: {_RULES}",
        "codec": _DECODE,
        "codec-crash": _DECODE,
        "codec-mismatch": (
            "what was encoded did not decode to what it was made of, so it was not sent: report it; "
            f"without compression it goes ({_RULES})"
        ),
        "fragments": _DECODE,
        "pixels": _DECODE,
        "uncovered": (
            "no entry of the rule's regions says what to blank in it: add one for this device, or let "
            'such images pass (uncovered = "pass"), then mapdr reroute --state parked'
        ),
        "burned-in-text": (
            "its pixels may show who the patient is, so it is not sent de-identified: look at it and dismiss "
            "it, or send it by another rule to who may see that"
        ),
        "pseudonym": f"the rule's file of pseudonyms does not have the patient: add a line there, {_AGAIN}",
        "key": f"the rule's key cannot be read, or is another one now: put it back as it was, {_AGAIN}",
        "directory": "a DICOMDIR cannot be de-identified: dismiss it, the images go without it",
        "sequence": _OBJECT,
        "damaged": _FILE,
        "missing": _FILE,
        "spool-file": _FILE,
        "bad-value": _VALUE,
        "character-set": _VALUE,
        "not-in-table": (
            f"the rule's table has no entry for the value: add it, mapdr reload, {_AGAIN}; or set otherwise"
        ),
        "pattern-too-slow": f"the rule's pattern takes too long on a value of the image: {_RULES}",
        "table-changed": (
            f"a line of the rule's table is another one now: put it back, mapdr reload, {_AGAIN}; or mapdr "
            "reroute --state parked, which goes by the table of now"
        ),
        "table": f"the file of the rule's table cannot be used: mapdr check, mapdr reload, {_AGAIN}",
        "secret": f"a key of the rule cannot be had: mapdr check, mapdr reload, {_AGAIN}",
        "secret-too-short": f"a key of the rule can be guessed: make a longer one, mapdr reload, {_AGAIN}",
        "empty-value": f"the rule needs a value that the image has not: {_RULES}, or have the sender fill it",
        "value-too-long": _VALUE,
        "too-long": _VALUE,
        "vr": _VALUE,
        "uid": _VALUE,
        "syntax": _OBJECT,
        "odd-length": _OBJECT,
        "odd-form": _OBJECT,
        "codestream": _OBJECT,
        "not-dicom": _OBJECT,
        "no-such-item": _OBJECT,
        "too-deep": _OBJECT,
        "truncated": _OBJECT,
    }
)
"""Reason to what helps. A plug-in's stages may add words of their own."""

OTHERWISE = f"its timeline and the node's log say what went wrong: mend that, {_AGAIN}, or dismiss it"
"""What helps where the reason is nobody's that is known here."""


def cure(reason: str) -> str:
    """What helps what is parked for a reason, in a sentence without its full stop."""
    return CURES.get(reason, OTHERWISE)
