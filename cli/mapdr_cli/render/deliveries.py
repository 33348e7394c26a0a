"""Deliveries for a terminal, as rows of a listing."""

from __future__ import annotations

from mapdr.kernel.status import code
from mapdr.operate import words
from mapdr.operate.deliveries import Delivery
from mapdr_cli.render import tables
from mapdr_cli.render.tables import PATIENT, TAGS, WIDE, Column, field, moment, number, short_name, uid


def delivery_columns(width: int, identify: bool) -> list[Column]:
    """What fits; on a narrow terminal what tells rows apart, and the answer below each row."""
    wide = width >= WIDE
    when = moment("received_at", "received", wide=wide)
    to = Column("to", lambda row: short_name(row.destination))
    modality = Column("type", lambda row: words.modality(row.modality))
    state = Column("state", tables.state)
    if not wide:
        facts = [PATIENT] if identify else [when, modality]
        image = Column("image", lambda row: f"..{words.plain(row.sop_instance_uid[-6:])}")
        return [*facts, image, to, state, Column("status", _status), Column("", _words, below=True)]
    study = uid("study_instance_uid", "study")
    image = uid("sop_instance_uid", "image")
    tries = Column("tries", number("tries"), right=True)
    done = Column("done as", field("treatment"))
    size = Column("size", lambda row: words.size(row.bytes), right=True)
    answer = Column("answer", _answer, fold=True)
    return [when, *(TAGS if identify else ()), study, image, modality, to, state, tries, done, size, answer]


def _status(row: Delivery) -> str:
    """The receiver's own status."""
    return "-" if row.status is None else code(row.status)


def _words(row: Delivery) -> str:
    """Its priority if not routine, why there is no status or why it is not the end, and what was said."""
    said = words.plain(row.comment or row.last_comment)
    if row.status is not None:
        said = said.removesuffix(f" ({code(row.status)})")
    ended = row.state in ("delivered", "superseded", "dismissed")
    urgency = "" if ended or row.priority == "routine" else row.priority
    return ": ".join(part for part in (urgency, words.plain(row.reason), said) if part)


def _answer(row: Delivery) -> str:
    """Status, reason and words."""
    status, said = "" if row.status is None else _status(row), _words(row)
    text = (f"{status} {said}" if row.reason else ": ".join(filter(None, (status, said)))).strip()
    made = row.compression.told if row.compression is not None else ""
    return "; ".join(filter(None, (text, made, _proved(row)))) or "-"


def _proved(row: Delivery) -> str:
    """Which certificate the receiver showed: its name, and the beginning of its fingerprint."""
    name, _, fingerprint = words.plain(row.credential).removeprefix("certificate:").rpartition(" sha256:")
    return f"by {name} (certificate {fingerprint[:8]})" if fingerprint else words.plain(row.credential)
