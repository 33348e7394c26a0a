"""An intake that keeps everything in memory, and fails where it is told to."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from mapdr.kernel.item import Source


@dataclass
class Kept:
    """One object that was committed."""

    source: Source
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data: bytes


@dataclass
class FakeIntake:
    """Every error field is raised at its phase, once per object. `gate` holds commits until it is set."""

    begin_error: Exception | None = None
    write_error: Exception | None = None
    commit_error: Exception | None = None
    gate: threading.Event | None = None
    kept: list[Kept] = field(default_factory=list)
    begun: int = 0
    aborted: int = 0
    committing: threading.Event = field(default_factory=threading.Event)

    def begin(
        self, source: Source, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str
    ) -> FakeIncoming:
        if self.begin_error:
            raise self.begin_error
        self.begun += 1
        return FakeIncoming(self, Kept(source, sop_class_uid, sop_instance_uid, transfer_syntax_uid, b""))


class FakeIncoming:
    """Collects the bytes it is given."""

    id = "0" * 32

    def __init__(self, intake: FakeIntake, kept: Kept) -> None:
        self._intake = intake
        self._kept = kept
        self._data = bytearray()
        self._done = False

    def fileno(self) -> int:
        return -1

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._intake.write_error and len(self._data) + len(data) > 1000:
            raise self._intake.write_error
        self._data += data

    def commit(self) -> None:
        self._intake.committing.set()
        if self._intake.gate:
            assert self._intake.gate.wait(10)
        if self._intake.commit_error:
            raise self._intake.commit_error
        self._kept.data = bytes(self._data)
        self._intake.kept.append(self._kept)
        self._done = True

    def abort(self) -> None:
        if not self._done:
            self._done = True
            self._intake.aborted += 1
