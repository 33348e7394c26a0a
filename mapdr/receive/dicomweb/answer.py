"""The Store Instances Response Module (PS3.18, tables 10.5.3-1 and I.1-1), in DICOM JSON and in XML."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from mapdr.kernel.errors import RemoteProtocolError
from mapdr.kernel.status import OUT_OF_RESOURCES
from mapdr.net.media_type import media_type
from mapdr.receive.dicomweb.parts import PartResult

JSON, XML = "application/dicom+json", "application/dicom+xml"

_OFFERED = {
    JSON: JSON,
    "application/json": JSON,
    XML: XML,
    "application/xml": XML,
    "text/xml": XML,
    "*/*": JSON,
    "application/*": JSON,
    "text/*": XML,
}
_KEYWORDS = {
    "00081150": ("UI", "ReferencedSOPClassUID"),
    "00081155": ("UI", "ReferencedSOPInstanceUID"),
    "00081190": ("UR", "RetrieveURL"),
    "00081197": ("US", "FailureReason"),
    "00081198": ("SQ", "FailedSOPSequence"),
    "00081199": ("SQ", "ReferencedSOPSequence"),
    "0008119A": ("SQ", "OtherFailuresSequence"),
}
_RESOURCES = range(OUT_OF_RESOURCES, OUT_OF_RESOURCES + 0x100)

Item = dict[str, list[Any]]
"""A data set: values by tag; those of a sequence are data sets."""


def acceptable(accept: str) -> str:
    """Which of the two media types an `Accept` prefers; JSON if it is empty, "" if it takes neither."""
    best, chosen = 0.0, ""
    for each in accept.split(",") if accept.strip() else (JSON,):
        try:
            wanted = media_type(each)
            weight = float(wanted.parameters.get("q", "1"))
        except (RemoteProtocolError, ValueError):
            continue
        inner = wanted.parameters.get("type", "") if wanted.essence == "multipart/related" else ""
        offered = _OFFERED.get(inner or wanted.essence, "")
        if offered and weight > best:
            best, chosen = weight, offered
    return chosen


def status_of(results: Sequence[PartResult], *, broken: int = 0) -> int:
    """The HTTP status of an answer (PS3.18, table 10.5.3-1).

    200 if all is stored, 202 if some is; if nothing is: `broken` (the status of what was wrong with the
    request as a whole, 0 if nothing was), 503 if it was for want of resources, else 409.
    """
    stored = sum(each.reason is None for each in results)
    if stored:
        return 202 if broken or stored < len(results) else 200
    if broken:
        return broken
    return 503 if all(each.reason in _RESOURCES for each in results) else 409


def response_module(results: Sequence[PartResult]) -> Item:
    """What became of each part. Retrieve URL is empty: there is nothing to retrieve from here."""
    stored, failed, others = list[Item](), list[Item](), list[Item]()
    for each in results:
        named: Item = {}
        if each.sop_class_uid:
            named["00081150"] = [each.sop_class_uid]
        if each.sop_instance_uid:
            named["00081155"] = [each.sop_instance_uid]
        if each.reason is None:
            stored.append({**named, "00081190": []})
        elif each.sop_instance_uid:
            failed.append({**named, "00081197": [each.reason]})
        else:
            others.append({"00081197": [each.reason]})
    module: Item = {"00081190": []}
    sequences = {"00081198": failed, "00081199": stored, "0008119A": others}
    return module | {tag: list[Any](items) for tag, items in sequences.items() if items}


def as_json(module: Item) -> bytes:
    """DICOM JSON (PS3.18, annex F)."""
    return json.dumps(_json(module), separators=(",", ":")).encode()


def _json(item: Item) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for tag, values in item.items():
        vr, _ = _KEYWORDS[tag]
        out[tag] = {"vr": vr}
        if values:
            out[tag]["Value"] = [_json(value) if vr == "SQ" else value for value in values]
    return out


def as_xml(module: Item) -> bytes:
    """The native DICOM model (PS3.19, A.1). All values are UIDs and numbers: none needs escaping."""
    head = '<?xml version="1.0" encoding="UTF-8"?>\n'
    name_space = 'xmlns="http://dicom.nema.org/PS3.19/models/NativeDICOM"'
    model = f'<NativeDicomModel {name_space} xml:space="preserve">{_xml(module)}</NativeDicomModel>'
    return (head + model).encode()


def _xml(item: Item) -> str:
    out = []
    for tag, values in item.items():
        vr, keyword = _KEYWORDS[tag]
        inner = "".join(
            f'<Item number="{number}">{_xml(value)}</Item>'
            if vr == "SQ"
            else f'<Value number="{number}">{value}</Value>'
            for number, value in enumerate(values, 1)
        )
        out.append(f'<DicomAttribute tag="{tag}" vr="{vr}" keyword="{keyword}">{inner}</DicomAttribute>')
    return "".join(out)
