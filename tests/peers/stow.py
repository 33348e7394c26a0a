"""What a STOW-RS request holds, read by the standard library's parser and pydicom."""

from __future__ import annotations

import email
from email.message import Message
from io import BytesIO

import pydicom
from pydicom.dataset import FileMetaDataset

from peers.httpd import Asked


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
