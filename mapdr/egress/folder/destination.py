"""Files in a folder (PS3.10), one for each image, for whoever picks them up there.

An image is delivered when its file is whole, has its name, and is as durable as the node makes what it
receives. A folder that takes nothing (a full disk, no rights, gone) is a pause and no image's fault.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from pydantic import Field, ValidationInfo, field_validator

from mapdr.config.units import Duration, LocalPath
from mapdr.dicom.gate import SOP_INSTANCE_UID
from mapdr.egress.folder.dicomdir import Dicomdirs, MediumLayout
from mapdr.egress.folder.examine import examine as examine_folder
from mapdr.egress.folder.files import FolderTrouble, ImageFolder
from mapdr.egress.folder.layout import DEFAULT, Layout, LayoutField
from mapdr.egress.tags import tags_of
from mapdr.kernel.errors import OWN_FAULT, Permanent, is_own_fault
from mapdr.kernel.examine import Examination, PeerFinding, and_test_image
from mapdr.kernel.finding import Finding
from mapdr.kernel.item import TAKEN, Acceptance, Need, Outcome, Pause, Payload, Verdict
from mapdr.kernel.privacy import system_says
from mapdr.kernel.stage import Description, Endpoint, Factory, Settings, StageConfig
from mapdr.net.hours import Hours, HoursField
from mapdr.net.retry import Retry, RetryConfig

PAUSE = 5.0
"""Seconds after which a folder that takes nothing is looked at again; more each time, up to a minute."""

_NO_ROOM = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
_NO_RIGHTS = {errno.EACCES, errno.EPERM, errno.EROFS}
_FILES_OWN = {
    errno.ENAMETOOLONG: "its path is too long for the folder's file system; write a shorter layout",
    errno.EILSEQ: "the folder's file system does not take its name; write another layout",
    errno.EFBIG: "the folder's file system takes no file so large",
}


class FolderEgressConfig(StageConfig):
    """`[egress.NAME]` with `type = "folder"`."""

    path: LocalPath
    layout: LayoutField = DEFAULT
    dicomdir: bool = False
    writers: int = Field(default=4, ge=1, le=64)
    hours: HoursField = None
    wait_for_study: Duration = 0.0
    retry: RetryConfig = RetryConfig()

    @field_validator("dicomdir")
    @classmethod
    def _one_layout(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("layout", DEFAULT) != DEFAULT:
            raise ValueError("gives folders and files the names that media allow; leave out layout")
        return value


class FolderEgress:
    """A destination that is a folder."""

    def __init__(self, settings: Settings, config: FolderEgressConfig) -> None:
        self._config = config
        self._durability = settings.durability
        self._folder = ImageFolder(config.path, settings.durability)
        self._layout = MediumLayout() if config.dicomdir else Layout(config.layout)
        self._dicomdirs: Dicomdirs | None = None
        if config.dicomdir:
            folder = self._folder
            self._dicomdirs = Dicomdirs(
                settings.name, folder.path, folder.work, settings.durability, settings.watch
            )
        self._open: set[FolderSession] = set()

    @property
    def sessions(self) -> int:
        """How many files may be written at once."""
        return self._config.writers

    @property
    def retry(self) -> Retry:
        """The policy of this destination."""
        return self._config.retry.policy()

    @property
    def quiet_seconds(self) -> float:
        """For how long a study must have been quiet before it is sent."""
        return self._config.wait_for_study

    @property
    def hours(self) -> Hours | None:
        """When images may be written there."""
        return self._config.hours

    def describe(self) -> Description:
        """See `mapdr.kernel.stage.Egress`; the peer's host is the folder's path."""
        return Description(str(self._config.path), associations=len(self._open))

    def start(self) -> None:
        """Nothing: a folder that is not there yet is a pause of this destination, and keeps no node from
        receiving."""

    def stop(self, deadline: float) -> None:
        """End what writes DICOMDIRs; sessions belong to whoever opened them."""
        if self._dicomdirs is not None:
            self._dicomdirs.stop(deadline)

    def finish(self) -> None:
        """Write the DICOMDIRs that are due, now, and leave nothing of our own. Raises OSError."""
        if self._dicomdirs is not None:
            self._dicomdirs.finish()
        with suppress(OSError):  # another process writes there
            self._folder.work.rmdir()

    def connect(self, needs: Sequence[Need]) -> FolderSession:
        """A way to write; whether the folder takes anything shows with the first image."""
        self._folder.sweep()
        if self._dicomdirs is not None:
            self._dicomdirs.start()
        session = FolderSession(self._folder, self._layout, self._dicomdirs, self._open.discard)
        self._open.add(session)
        return session

    def probe(self) -> Outcome:
        """Write a small file, and remove it."""
        try:
            self._folder.try_out()
        except FolderTrouble as trouble:
            return _paused(trouble.error)
        return Outcome(Verdict.DELIVERED)

    def examine(self, examination: Examination) -> Iterator[PeerFinding]:
        """See `mapdr.kernel.examine.Examines`."""
        found = examine_folder(self._folder.path, self._folder.work, self._durability)
        return and_test_image(found, self, examination)


class FolderSession:
    """A writer. `send` belongs to one thread."""

    def __init__(
        self,
        folder: ImageFolder,
        layout: Layout | MediumLayout,
        dicomdirs: Dicomdirs | None,
        closed: Callable[[FolderSession], object],
    ) -> None:
        self._folder = folder
        self._layout = layout
        self._dicomdirs = dicomdirs
        self._closed = closed
        self._ended = False

    def acceptance(self, need: Need) -> Acceptance | None:
        """A folder takes every image."""
        return None if self._ended else TAKEN

    def send(self, payload: Payload) -> Outcome:
        """Write one file. Raises what reading the payload raises, and Permanent for an image whose name is
        another file's."""
        if self._ended:
            return Outcome(Verdict.RETRY, comment="the session is closed", peer_fault=True, begun=False)
        header = tags_of(payload, self._layout.paths)
        names = self._layout.render(
            lambda path: payload.sop_instance_uid if path == SOP_INSTANCE_UID else header.text(path)
        )
        try:
            is_new = self._folder.put(payload, names)
        except FolderTrouble as trouble:
            return _outcome(trouble.error)
        if self._dicomdirs is not None:
            self._dicomdirs.written(names[0])
        return Outcome(Verdict.DELIVERED, comment="" if is_new else "a file with the same bytes was there")

    def close(self) -> None:
        """Nothing is held open between two images."""
        self._ended = True
        self._closed(self)


def _outcome(error: OSError) -> Outcome:
    """What became of an image that could not be written."""
    cause = _FILES_OWN.get(error.errno or 0)
    if cause is not None:
        raise Permanent(cause, reason="file-name" if error.errno != errno.EFBIG else "too-large")
    return _paused(error)


def _paused(error: OSError) -> Outcome:
    """The folder takes nothing now, whatever it is: its destination waits; no image's tries are used up."""
    if is_own_fault(error):
        reason, words = OWN_FAULT, "this process has no files or memory left"
    elif error.errno in _NO_ROOM:
        reason, words = "no-room", "the disk of the folder is full"
    elif error.errno in _NO_RIGHTS:
        reason, words = "read-only", f"the folder cannot be written to: {system_says(error)}"
    elif error.errno in (errno.ENOENT, errno.ENOTDIR):
        reason, words = "no-folder", "the folder is not there (any more); is its drive mounted?"
    else:
        reason, words = "no-folder", f"the folder cannot be used: {system_says(error)}"
    return Outcome(Verdict.RETRY, comment=words, peer_fault=True, pause=Pause(reason, PAUSE))


def _build(settings: Settings, config: FolderEgressConfig, next_: None) -> FolderEgress:
    return FolderEgress(settings, config)


def _faults(config: FolderEgressConfig) -> Iterator[Finding]:
    if os.path.lexists(config.path) and not config.path.is_dir():
        yield Finding(("path",), "is not a folder", "name another one")
    elif config.path.is_dir() and not os.access(config.path, os.W_OK | os.X_OK):
        yield Finding(
            ("path",), "cannot be written to", "let who runs mapdr write there, or name another one"
        )


def _peer(config: FolderEgressConfig) -> Endpoint:
    return Endpoint(str(config.path))


def _resources(config: FolderEgressConfig) -> tuple[str, ...]:
    return (f"folder:{os.path.normcase(os.path.abspath(config.path))}",)


STAGE = Factory(
    "egress", "folder", FolderEgressConfig, _build, resources=_resources, faults=_faults, peer=_peer
)
