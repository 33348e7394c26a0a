"""STOW-RS answers of every kind, in JSON and XML, with what has to be read in them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any
from xml.sax.saxutils import escape, quoteattr

REFERENCED, FAILED, OTHER, WRONG = "00081199", "00081198", "0008119A", "0008114A"


@dataclass(frozen=True)
class Entry:
    """An item of one of the sequences; what is None is not written."""

    sequence: str
    uid: str | None
    warning: Any = None
    failure: Any = None
    url: str | None = None


def in_json(entries: Sequence[Entry], **outer: Any) -> bytes:
    """A Store Instances Response Module in DICOM JSON."""
    data_set: dict[str, Any] = dict(outer)
    for entry in entries:
        item: dict[str, Any] = {"00081150": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.2"]}}
        for tag, vr, value in _elements(entry):
            item[tag] = {"vr": vr, "Value": [value]}
        data_set.setdefault(entry.sequence, {"vr": "SQ", "Value": []})["Value"].append(item)
    return json.dumps(data_set).encode()


def in_xml(entries: Sequence[Entry], namespace: str = "", prefix: str = "") -> bytes:
    """The same as a native DICOM model."""
    name = f"{prefix}:" if prefix else ""
    declared = f' xmlns{":" + prefix if prefix else ""}="{namespace}"' if namespace else ""
    sequences: dict[str, list[str]] = {}
    for entry in entries:
        inner = "".join(
            f"<{name}DicomAttribute tag={quoteattr(tag)} vr={quoteattr(vr)}>"
            f'<{name}Value number="1">{escape(str(value))}</{name}Value></{name}DicomAttribute>'
            for tag, vr, value in _elements(entry)
        )
        sequences.setdefault(entry.sequence, []).append(inner)
    text = "".join(
        f'<{name}DicomAttribute tag="{tag}" vr="SQ" keyword="X">'
        + "".join(f'<{name}Item number="{at}">\n  {item}</{name}Item>\n' for at, item in enumerate(items, 1))
        + f"</{name}DicomAttribute>"
        for tag, items in sequences.items()
    )
    document = f"<{name}NativeDicomModel{declared}>{text}</{name}NativeDicomModel>"
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{document}'.encode()


def _elements(entry: Entry) -> list[tuple[str, str, Any]]:
    found = [
        ("00081155", "UI", entry.uid),
        ("00081190", "UR", entry.url),
        ("00081196", "US", entry.warning),
        ("00081197", "US", entry.failure),
    ]
    return [each for each in found if each[2] is not None]


def draw(chance: Random) -> bytes:
    """An answer that has the structure, with what servers get wrong in it."""
    entries = []
    for _ in range(chance.randint(0, 6)):
        uid = f"1.2.{chance.randint(1, 4)}"
        entries.append(
            Entry(
                chance.choice((REFERENCED, REFERENCED, FAILED, OTHER, WRONG)),
                chance.choice((uid, uid, uid + " ", "", None, "x", "1." * 40)),
                chance.choice((None, None, 0xB000, "45056", -1)),
                chance.choice((None, None, 0x0110, 0xA700, "272", 0, 1 << 70, 2.5)),
                chance.choice((None, f"https://pacs/studies/1/series/2/instances/{uid}", "https://pacs")),
            )
        )
    if chance.random() < 0.5:
        return in_xml(entries, chance.choice(("", "http://dicom.nema.org/PS3.19/models/NativeDICOM")))
    body = in_json(entries)
    return b"[" + body + b"," + in_json(entries[:1]) + b"]" if chance.random() < 0.3 else body
