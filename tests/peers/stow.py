"""STOW-RS servers of the tests, and what a request holds, as the standard library and pydicom read it."""

from __future__ import annotations

import email
import hashlib
import json
import ssl
import threading
from email.message import Message
from io import BytesIO
from typing import Any

import pydicom
from pydicom.dataset import FileMetaDataset

from peers.httpd import Asked, Httpd, Said
from peers.rawsink import Received


def files_of(asked: Asked) -> list[bytes]:
    """The DICOM files in a request's parts."""
    head = f"Content-Type: {asked.headers['content-type']}\r\n\r\n".encode()
    message = email.message_from_bytes(head + asked.body)
    assert message.get_content_type() == "multipart/related"
    parts = message.get_payload()
    if not isinstance(parts, list):
        return []  # no delimiter but the last: a request without a part
    found = []
    for part in parts:
        assert isinstance(part, Message)
        data = part.get_payload(decode=True)
        assert isinstance(data, bytes)
        found.append(data)
    return found


def uids_of(asked: Asked) -> list[str]:
    """The SOP Instance UIDs in a request, by the File Meta of each part."""
    return [str(_meta(data).MediaStorageSOPInstanceUID) for data in files_of(asked)]


def syntax_of(asked: Asked) -> str:
    """The transfer syntax of the files in a request; empty without one."""
    found = {str(_meta(data).TransferSyntaxUID) for data in files_of(asked)}
    assert len(found) < 2, "a request has one transfer syntax"
    return found.pop() if found else ""


def _meta(data: bytes) -> FileMetaDataset:
    return pydicom.dcmread(BytesIO(data), specific_tags=[]).file_meta


class StowSink:
    """A STOW-RS server that takes all, after `after` seconds; `received` is what it has answered to have.

    It answers in a thread for each connection, and says that it has an image only when that is in `received`.
    """

    def __init__(self, after: float = 0.0, tls: ssl.SSLContext | None = None) -> None:
        self._after = after
        self._lock = threading.Lock()
        self.received: list[Received] = []
        self._server = Httpd(self._take, tls)
        self.port = self._server.port
        self.url = self._server.url + "/dicom-web"

    def _take(self, asked: Asked) -> Said:
        if asked.method != "POST" or asked.path != "/dicom-web/studies":
            return Said(404)
        threading.Event().wait(self._after)
        entries = []
        for data in files_of(asked):
            item = self._keep(data)
            # What Orthanc says: DICOM JSON with the sequence.
            entries.append(
                {
                    "00081150": {"vr": "UI", "Value": [item.sop_class_uid]},
                    "00081155": {"vr": "UI", "Value": [item.sop_instance_uid]},
                }
            )
        body = json.dumps({"00081199": {"vr": "SQ", "Value": entries}}).encode()
        return Said(200, body, {"Content-Type": "application/dicom+json"})

    def _keep(self, data: bytes) -> Received:
        meta = _meta(data)
        # The File Meta group says its own length (PS3.10, section 7.1).
        offset = 144 + int(meta.FileMetaInformationGroupLength)
        with self._lock:
            item = Received(
                len(self.received),
                "STOW-RS",
                str(meta.MediaStorageSOPClassUID),
                str(meta.MediaStorageSOPInstanceUID),
                str(meta.TransferSyntaxUID),
                hashlib.sha256(data[offset:]).hexdigest(),
                data[offset:],
            )
            self.received.append(item)
        return item

    def __enter__(self) -> StowSink:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()


def stow_destination(url: str, **extra: Any) -> dict[str, Any]:
    """An egress table for a STOW-RS server that retries soon."""
    retry = {"first": "200 ms", "factor": 1.5, "max": "1 s"}
    return {"type": "dicomweb", "url": url, "retry": retry, **extra}
