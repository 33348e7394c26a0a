"""A DICOMDIR in each study's folder (PS3.10, section 8), so that it can be a medium as it is.

Folders and files of a study then have names that a medium allows, made of a hash of their UIDs. The DICOMDIR
is written when no image of its study has come for a while, over the one before; after a crash, the next start
finds the studies whose files are newer. pydicom's FileSet makes the records: of the headers, for it would
write the images anew, and an image leaves as it is. That takes private names of pydicom; a test names them.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import threading
import time
from base64 import b32encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

from mapdr.dicom import tags
from mapdr.dicom.gate import SOP_INSTANCE_UID, STUDY_INSTANCE_UID
from mapdr.egress.folder.layout import safe_name
from mapdr.kernel.durable import Durability, flush_file
from mapdr.kernel.guard import GuardedThread, Trouble
from mapdr.kernel.item import TagPath
from mapdr.kernel.privacy import in_words, system_says
from mapdr.kernel.watch import Watch

log = logging.getLogger("mapdr.egress")

QUIET = 10.0
"""Seconds without an image until a study's DICOMDIR is written."""
TICK = 0.5

NAME = "DICOMDIR"
SERIES_INSTANCE_UID: TagPath = (tags.SERIES_INSTANCE_UID,)

_COMPONENT = re.compile(r"[A-Z0-9_]{1,8}")
_MISSING = {
    "PatientID": "UNKNOWN",
    "StudyDate": "19000101",
    "StudyTime": "000000",
    "StudyID": "1",
    "Modality": "OT",
    "SeriesNumber": 1,
}
"""What stands in a record for what the image does not say and a DICOMDIR must (PS3.3, annex F.5)."""


class MediumLayout:
    """The names of a study's folder, and in it of folders and files as PS3.10 section 8.5 allows them."""

    paths = frozenset((STUDY_INSTANCE_UID, SERIES_INSTANCE_UID))

    def render(self, lookup: Callable[[TagPath], str]) -> tuple[str, ...]:
        """As `Layout.render`."""
        study = re.sub(r"[^0-9A-Za-z.]", "_", lookup(STUDY_INSTANCE_UID))
        return safe_name(study), _file_id(lookup(SERIES_INSTANCE_UID)), _file_id(lookup(SOP_INSTANCE_UID))


def _file_id(uid: str) -> str:
    """Eight characters, others for another UID: of 10,000 in a folder two are alike once in 20,000 times, and
    then the second one is parked."""
    return b32encode(blake2b(uid.encode(), digest_size=5).digest()).decode()


class Dicomdirs:
    """Keeps the DICOMDIR of each study's folder in `path`; `work` is for what is half written."""

    def __init__(self, name: str, path: Path, work: Path, durability: Durability, watch: Watch) -> None:
        self._name = name
        self._path = path
        self._work = work
        self._durability = durability
        self._watch = watch
        self._lock = threading.Lock()
        self._due: dict[str, float] = {}
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._trouble = Trouble(log)

    def start(self) -> None:
        """Begin; safe twice."""
        with self._lock:
            if self._thread is not None or self._stopping.is_set():
                return
            self._thread = GuardedThread(
                self._run,
                f"{self._name}-dicomdir",
                goes_on=lambda: not self._stopping.is_set(),
                watch=self._watch,
            )
            self._thread.start()

    def stop(self, deadline: float) -> None:
        """Finish the one in hand; what is due is found by the next start. Safe twice, and without `start`."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(max(0.0, deadline - time.monotonic()))

    def finish(self) -> None:
        """Write those that are due, without waiting for more images. Raises OSError."""
        with self._lock:
            due, self._due = list(self._due), {}
        for study in due:
            self._write(study)

    def written(self, study: str) -> None:
        """An image was written into the study's folder of this name."""
        with self._lock:
            self._due[study] = time.monotonic() + QUIET

    def _run(self) -> None:
        for study in self._stale():
            self.written(study)
        while not self._stopping.wait(TICK):
            with self._lock:
                due = [study for study, at in self._due.items() if at <= time.monotonic()]
            for study in due:
                if self._stopping.is_set():
                    return
                with self._lock:
                    del self._due[study]
                try:
                    self._write(study)
                except OSError as error:
                    self._trouble.tell(f"{self._name}: a DICOMDIR cannot be written: {system_says(error)}")
                    with self._lock:
                        self._due.setdefault(study, time.monotonic() + QUIET)
                except Exception as error:  # noqa: BLE001  the library's, over this study: others go on
                    log.error("%s: the DICOMDIR of a study cannot be made: %s", self._name, in_words(error))
                else:
                    self._trouble.over(f"{self._name}: DICOMDIRs are written again")

    def _stale(self) -> Iterator[str]:
        """Studies whose folders have changed since their DICOMDIR was written."""
        with suppress(OSError):  # a folder that cannot be read has its own troubles
            for study in self._path.iterdir():
                if study.name.startswith(".") or not study.is_dir():
                    continue
                changed = max(
                    (each.stat().st_mtime_ns for each in study.iterdir() if each.is_dir()), default=0
                )
                directory = study / NAME
                if changed and (not directory.exists() or directory.stat().st_mtime_ns < changed):
                    yield study.name

    def _write(self, study: str) -> None:
        folder = self._path / study
        if not folder.is_dir():
            return  # somebody has taken it away
        part = self._work / f"{secrets.token_hex(16)}.part"
        try:
            left_out = write_dicomdir(folder, part, flush=self._durability == "power-loss")
            os.replace(part, folder / NAME)
        finally:
            part.unlink(missing_ok=True)
        if left_out:
            log.warning("%s: %d files of a study are not in its DICOMDIR", self._name, left_out)


def write_dicomdir(folder: Path, target: Path, *, flush: bool) -> int:
    """Write the DICOMDIR of the files in `folder` to `target`; how many files could not be named in it.

    Raises OSError.
    """
    from pydicom.filebase import DicomFileLike  # here: not every node writes media
    from pydicom.fileset import FileSet

    files = FileSet()
    try:
        left_out = _name_files(folder, files)
        with target.open("w+b") as file:
            files._write_dicomdir(DicomFileLike(file))
            if flush:
                flush_file(file)
    finally:
        files._stage["t"].cleanup()  # the headers, in the system's folder for such files
    return left_out


def _name_files(folder: Path, files: Any) -> int:
    """Add the files in `folder` to a FileSet, by the names that they have; how many could not be."""
    from pydicom import dcmread

    names, left_out = dict[str, list[str]](), 0
    for path in sorted(folder.glob("*/*")):
        components = list(path.relative_to(folder).parts)
        if not all(_COMPONENT.fullmatch(each) for each in components):
            continue
        try:
            header = dcmread(path, stop_before_pixels=True)
            header.remove_private_tags()
            for keyword, value in (*_MISSING.items(), ("InstanceNumber", len(names) + 1)):
                if header.get(keyword) in (None, ""):
                    setattr(header, keyword, value)
            names[str(header.SOPInstanceUID)] = components
            files.add(header)
        except OSError:
            raise
        except Exception:  # noqa: BLE001  the library's own troubles with an odd header; told by their number
            left_out += 1
    for instance in files:
        instance.node._record.ReferencedFileID = names[str(instance.SOPInstanceUID)]
    return left_out
