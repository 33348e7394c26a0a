"""Files as they are: where the data set begins, which syntax it is in, what it calls itself.

Written without MAPDR's own scanner, so that the tests have a second opinion.
"""

from __future__ import annotations

import hashlib
import re
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_file_meta_info
from pydicom.tag import Tag

from mapdr.testing.generator import GeneratedImage

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"
PRIVATE_CLASS = "1.2.826.0.1.3680043.2.1143.66"
"""For what has no SOP class of its own: nobody knows whether a study belongs to it."""

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
LONG_VRS = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}


Identity = tuple[str, str, str, str]
"""SOP class, SOP instance, transfer syntax, SHA-256 of the data set."""


@dataclass(frozen=True)
class SentObject:
    """What a sender says of an object."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str

    def data_set(self) -> bytes:
        """The data set's bytes, unchanged."""
        raise NotImplementedError

    @property
    def identity(self) -> Identity:
        digest = hashlib.sha256(self.data_set()).hexdigest()
        return (self.sop_class_uid, self.sop_instance_uid, self.transfer_syntax_uid, digest)


@dataclass(frozen=True)
class StoredObject(SentObject):
    """An object in a file; `offset` is where its data set begins."""

    path: Path
    offset: int

    def data_set(self) -> bytes:
        return self.path.read_bytes()[self.offset :]


@dataclass(frozen=True)
class MemoryObject(SentObject):
    """An object that is in no file."""

    data: bytes = field(repr=False)

    def data_set(self) -> bytes:
        return self.data

    def part10(self) -> bytes:
        """The object as a DICOM file."""
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = self.sop_class_uid
        meta.MediaStorageSOPInstanceUID = self.sop_instance_uid
        meta.TransferSyntaxUID = self.transfer_syntax_uid
        head = DicomBytesIO()
        write_file_meta_info(head, meta, enforce_standard=True)
        return bytes(128) + b"DICM" + head.getvalue() + self.data


def in_memory(image: GeneratedImage) -> MemoryObject:
    """A generated image as a sender takes it."""
    return MemoryObject(image.sop_class_uid, image.sop_instance_uid, image.transfer_syntax_uid, image.dataset)


def read(path: Path) -> StoredObject:
    """A file's facts. UIDs come from the data set, then from the File Meta, then from the file's name."""
    content = path.read_bytes()
    meta, offset = _file_meta(content)
    syntax = _uid(meta.get(0x00020010, b"")) or _guess_syntax(content[offset:])
    sop_class, instance = _own_uids(path)
    meta_class = _uid(meta.get(0x00020002, b""))
    if not sop_class:
        sop_class = PRIVATE_CLASS if meta_class in ("", MEDIA_DIRECTORY) else meta_class
    if not instance:
        instance = _uid(meta.get(0x00020003, b"")) or _named_uid(path)
    return StoredObject(sop_class, instance, syntax, path, offset)


def received(path: Path) -> StoredObject:
    """A file that a receiver wrote, under the UIDs that it was sent with: those in its File Meta."""
    meta, offset = _file_meta(path.read_bytes())
    sop_class, instance, syntax = (_uid(meta[tag]) for tag in (0x00020002, 0x00020003, 0x00020010))
    return StoredObject(sop_class, instance, syntax, path, offset)


def is_incomplete(item: StoredObject) -> bool:
    """Whether pydicom misses a UID that an object needs, finds one that is none, or finds no end."""
    explicit_little = item.transfer_syntax_uid not in (IMPLICIT, BIG_ENDIAN)
    data = item.data_set()
    try:
        if item.transfer_syntax_uid == DEFLATED:
            data = zlib.decompress(data, -zlib.MAX_WBITS)
        found = read_dataset(
            DicomBytesIO(data),
            item.transfer_syntax_uid == IMPLICIT,
            explicit_little or item.transfer_syntax_uid == IMPLICIT,
        )
        elements = list(found.values())
        uids = [str(found[tag].value) for tag in (0x00080016, 0x00080018, 0x0020000D)]
    except Exception:
        # Files are broken on purpose, and pydicom raises whatever it meets.
        return True
    cut = any(isinstance(each, RawDataElement) and _is_cut(each) for each in elements)
    return cut or not all(_UID.fullmatch(uid) and len(uid) <= 64 for uid in uids)


def _is_cut(element: RawDataElement) -> bool:
    return element.length != 0xFFFFFFFF and element.length != len(element.value or b"")


def _file_meta(content: bytes) -> tuple[dict[int, bytes], int]:
    start = 132 if content[128:134] == b"DICM\x02\x00" else 0
    position, found = start, {}
    while content[position : position + 2] == b"\x02\x00":
        group, element, vr, length = struct.unpack_from("<HH2sH", content, position)
        position += 8
        if vr in LONG_VRS:
            (length,) = struct.unpack_from("<I", content, position)
            position += 4
        found[group << 16 | element] = content[position : position + length]
        position += length
    return found, position


def _guess_syntax(data: bytes) -> str:
    if data[4:6].isalpha() and data[4:6].isupper():
        return EXPLICIT if data[0] else BIG_ENDIAN
    return IMPLICIT


def _own_uids(path: Path) -> tuple[str, str]:
    tags = [Tag(0x00080016), Tag(0x00080018)]
    try:
        header = pydicom.dcmread(path, force=True, stop_before_pixels=True, specific_tags=tags)
        return tuple(str(header[tag].value or "").strip() if tag in header else "" for tag in tags)  # type: ignore[return-value]
    except Exception:
        # Files are broken on purpose; one that pydicom cannot read is named by its File Meta.
        return "", ""


def _uid(value: bytes) -> str:
    return value.rstrip(b"\0 ").decode("ascii", "replace")


def _named_uid(path: Path) -> str:
    return f"2.25.{int.from_bytes(hashlib.sha256(str(path).encode()).digest()[:15])}"


def write(path: Path, syntax: str, data: bytes) -> Path:
    """A file with the least File Meta that programs read, and `data` as its data set."""
    padded = syntax.encode() + b"\0" * (len(syntax) % 2)
    element = struct.pack("<HH2sH", 2, 0x10, b"UI", len(padded)) + padded
    length = struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(element))
    path.write_bytes(bytes(128) + b"DICM" + length + element + data)
    return path
