"""The spool: where images are safe. The order in which an object becomes safe, and nothing else does:

    peer ──bytes──▶ <id>.part ──▶ <id>.part ──▶ <id>.dcm ──▶ <id>.dcm ──▶ index ──▶ deliver
                    │ 1 write     │ 3 rename    │ 4 fsync    │ 5 fsync    │ 7 commit of the row
                    │ 2 scan,     │             │   (file)   │  (folder)  │
                    │   seal      └─────────────┴────────────┴─ 6 submit, then Success to the peer
                    └─ refused: unlinked, nothing is left

    1  the File Meta group and the data set's bytes as received go to `<id>.part`
    2  the header is scanned; an object that cannot be read, is known to be incomplete, or has no UIDs, is
       refused (`mapdr.dicom.gate`); the file is sealed with the digest of the data set
    3  it gets its final name `<id>.dcm`
    4  the file is flushed to the device                                  } under "power-loss"; left to the
    5  the folder is flushed, which finds little left to do               } system under "process-crash"
       With a journal (`mapdr.store.spool.journal`) 4 and 5 come later, and in their place, for all but
       large objects, the file's bytes are appended to the journal, whose one flush many share
    6  the arrival is handed to the writer, which blocks while too many wait; then Success may be answered
    7  the writer commits the row and its deliveries; only then may anything be sent

A crash before 3 leaves a `.part`, which was never answered: recovery removes it. A crash between 3 and 7
leaves a `.dcm` that the index does not know: recovery flushes it and indexes it, once, by its id, if its
bytes give the digest of its seal. An object that was refused after 3 is unlinked before the refusal is
answered; if a crash prevents that, it is indexed like any other and the peer, which got no Success, pushes it
again: a repeat, never a loss. (On Windows 4 comes before 3: an open file cannot be renamed there.) After a
flush that failed, but for want of room, nothing is taken until the next start (docs/decisions/0090).
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import xxhash

from mapdr._fast import RunQueue, RunReceiver
from mapdr.dicom import gate
from mapdr.dicom.scan import ScannedHeader
from mapdr.kernel.durable import Durability, FlushFailed, publish, sync_folder
from mapdr.kernel.errors import LessUrgent, Permanent, Refused
from mapdr.kernel.item import Arrival, Header, Priority, Routing, Source
from mapdr.kernel.status import CANNOT_UNDERSTAND, OUT_OF_RESOURCES
from mapdr.store.spool import filemeta
from mapdr.store.spool.durable import make_folder, refusal
from mapdr.store.spool.folder import FINAL, PART, SpoolFolder
from mapdr.store.spool.headers import (
    PREFIX,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    Reading,
    identity,
    is_cut,
    read_header,
)
from mapdr.store.spool.ids import Ids, hour_of
from mapdr.store.spool.journal.journal import Journal
from mapdr.store.spool.journal.record import Image
from mapdr.store.spool.room import DiskStep, Room
from mapdr.store.spool.runs import Contexts, Lane
from mapdr.store.spool.trust import DiskTrust

log = logging.getLogger("mapdr.store")

MOST_WAITING = 2000
"""Images that are safe and not yet in the index; more delay Success."""

Route = Callable[[Header, Source], Routing]

_OPEN = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_REHASH = 1 << 20
_MOST_REMARKS = 1000  # peers and their oddities that are said
_ROOM_BYTES = 32 << 20  # after how many bytes of one object it is measured again


class Spool(SpoolFolder):
    """One node's folder and the way into it; implements `mapdr.kernel.stage.Intake`.

    `submit` is given each object that is safe, except for those that are taken in runs: they wait in `runs`,
    and `on_lane` is called when an association begins to take them. `min_free` bytes stay free on the disk:
    below that, objects are refused with 0xA700 before they begin, and so they are while `refusing` says why
    the index cannot be written. Between `low_free` and `min_free` those that are less urgent are refused
    (`mapdr.store.spool.room`), once their header was read and the rules have said how urgent they are.
    """

    def __init__(
        self,
        data: Path,
        node: str,
        durability: Durability = "power-loss",
        *,
        min_free: int = 0,
        low_free: int = 0,
        submit: Callable[[Arrival], None],
        runs: RunQueue | None = None,
        on_lane: Callable[[], None] = lambda: None,
        refusing: Callable[[], str] = lambda: "",
    ) -> None:
        super().__init__(data, node)
        self.durability = durability
        self.reading = Reading()
        self.route: Route | None = None
        self.submit = submit
        self.runs = RunQueue(MOST_WAITING) if runs is None else runs
        self.room = Room(data, min_free, low_free)
        self.journal: Journal | None = None
        """Where images of usual size are made safe, if not by a flush of each file (docs/decisions/0091)."""
        self.trust = DiskTrust(self.runs.end_runs)
        self._on_lane = on_lane
        self._refusing = refusing
        self._ids = Ids()
        self._lock = threading.Lock()
        self._hours: set[str] = set()
        self._told: set[tuple[str, str, str, str]] = set()

    def use(self, reading: Reading, route: Route | None = None) -> None:
        """Read this of each header from the next object on; runs under way end before their next message.

        `route` says how urgent an object is, where that decides whether it is taken; without it all are
        routine.
        """
        self.reading, self.route = reading, route
        self.runs.end_runs()

    def keep_free(self, min_free: int, low_free: int = 0) -> None:
        """Keep so many bytes of the disk free from now on."""
        self.room.keep(min_free, low_free)

    @property
    def by_priority(self) -> bool:
        """Whether it depends on an object's priority whether it is taken: then runs take none."""
        return DiskStep.NO_BULK <= self.room.figures.step < DiskStep.FULL

    def begin(
        self, source: Source, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str
    ) -> SpoolFile:
        """Open a spool file for one object, with the UIDs that its command set or File Meta group gives.

        Raises Refused: 0xA700 when there is no room, 0x0117 or 0x0118 for a UID that is none.
        """
        against = gate.uid_objection(sop_class_uid, sop_instance_uid)
        if against is not None:
            raise Refused(*against)
        self.check_room()
        id_ = self._ids.next()
        hour = hour_of(id_)
        uids = (sop_class_uid, sop_instance_uid)
        try:
            folder = self.make_hour(hour)
            try:
                return SpoolFile(self, id_, folder, source=source, uids=uids, syntax=transfer_syntax_uid)
            except FileNotFoundError:  # somebody has removed it: then it is made again
                folder = self.make_hour(hour, again=True)
                return SpoolFile(self, id_, folder, source=source, uids=uids, syntax=transfer_syntax_uid)
        except OSError as error:
            raise self.refused(error) from error

    def refused(self, error: OSError) -> Refused:
        """What a receiver answers to an object that the spool could not take."""
        if isinstance(error, FlushFailed):
            self.distrust()
        return refusal(error)

    def distrust(self) -> None:
        """A flush failed: take nothing more, whatever later flushes say. Safe twice."""
        self.trust.lose("a flush to the disk failed")

    def lane(self, source: Source, contexts: Contexts) -> Lane | None:
        """A way in for runs of one association; None without the compiled code. To be closed at its end."""
        if not RunReceiver.possible:
            return None
        lane = Lane(self, self.runs, source, contexts)
        self._on_lane()  # when the lane is known: who hears it begins to look
        return lane

    def block(self, count: int) -> int:
        """The first of `count` ids that follow each other, as a number."""
        return self._ids.block(count)

    def make_hour(self, hour: str, *, again: bool = False) -> Path:
        """The folder of an hour, made if it is not there; `again`: it is known to be gone. Raises OSError."""
        path = self.folder / hour
        if again or hour not in self._hours:
            make_folder(path, self.durability, within=self.data)
            with self._lock:
                self._hours.add(hour)
        return path

    def after(self, id_: str) -> None:
        """Make every later id greater than `id_`, and than every id in this node's folder."""
        self._ids = Ids(floor=self.newest(id_))

    def remove_hour(self, hour: str) -> None:
        """Remove an hour's folder if it is empty and not the current one."""
        if hour != hour_of(self._ids.next()):
            with self._lock:
                self._hours.discard(hour)
            with contextlib.suppress(OSError):  # not empty: then it stays
                (self.folder / hour).rmdir()

    def check_room(self) -> None:
        """Raise Refused(0xA700) when a flush has failed, index or journal take nothing, less than `min_free`
        bytes are free, or nobody knows how many.

        Free space is measured twice a second (`Room`).
        """
        self.trust.check()
        refusing = self._refusing()
        if refusing:
            raise Refused(OUT_OF_RESOURCES, f"the index cannot be written: {refusing}")
        if self.journal is not None:
            self.journal.check()
        try:
            step = self.room.look()
        except OSError as error:  # a share that is away, say
            raise refusal(error) from error
        if step is DiskStep.FULL:
            raise Refused(OUT_OF_RESOURCES, "less disk space is free than the node keeps in reserve")

    def remark(self, source: Source, remarks: tuple[str, ...]) -> None:
        """Log what is odd about the data sets of a peer, each oddity once."""
        for each in remarks:
            told = (source.receiver, source.calling_ae, source.address, each)
            if told not in self._told and len(self._told) < _MOST_REMARKS:
                self._told.add(told)
                log.warning(
                    "%s: %s at %s sends data sets with an oddity, kept as it is: %s",
                    source.receiver,
                    source.calling_ae or "somebody",
                    source.address or "this machine",
                    each,
                )


class SpoolFile:
    """One object on its way into the spool; implements `mapdr.kernel.stage.Incoming`.

    Bytes may come through `write` or straight to `fileno`; the digest is taken on the way in the first
    case and read back from the system's cache in the second.
    """

    def __init__(
        self,
        spool: Spool,
        id_: str,
        folder: Path,
        *,
        source: Source,
        uids: tuple[str, str],
        syntax: str,
    ) -> None:
        self.id = id_
        self.received_at = time.time()
        self._spool = spool
        self._reading = spool.reading
        self._route = spool.route
        self._folder = folder
        self._source = source
        self._class_uid, self._instance_uid = uids
        self._syntax = syntax
        stem = f"{folder}{os.sep}{id_}"
        self._part, self._final = stem + PART, stem + FINAL
        self._meta = filemeta.encode(
            source, *uids, syntax, revision=self._reading.revision, received_at=self.received_at
        )
        self._hash = xxhash.xxh3_128()
        self._written = 0
        self._begun = b""
        self._measured = 0
        self._meta_written = False
        self._handed_out = False
        self._open = False
        self._done = False
        self._file = os.open(self._part, _OPEN, 0o640)
        self._open = True

    def fileno(self) -> int:
        """The open spool file, positioned where the data set's next byte belongs."""
        if not self._meta_written:
            self._put(self._meta)
            self._meta_written = True
        self._handed_out = True
        return self._file

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append bytes of the data set, as received. Raises Refused when the disk is full."""
        if self._meta_written:
            self._put(data)
        else:
            self._put(self._meta + data)  # one write for the many objects that come in one piece
            self._meta_written = True
        self._hash.update(data)
        if self._written < PREFIX:
            self._begun += data[: PREFIX - self._written]
        self._written += len(data)
        if self._written - self._measured > _ROOM_BYTES:
            self._measured = self._written
            self._check_room()

    def commit(self) -> None:
        """Make the object safe at the configured durability; only then may Success be answered.

        Blocks while the index is too far behind. Raises Refused; the object is then gone.
        """
        try:
            arrival = self._finish()
            self._spool.submit(arrival)
        except OSError as error:
            self.abort()
            raise self._spool.refused(error) from error
        except BaseException:
            self.abort()
            raise
        self._done = True

    def abort(self) -> None:
        """Forget the object. Safe after commit (does nothing) and twice."""
        if self._done:
            return
        self._done = True
        self._close()
        for path in (self._part, self._final):
            try:
                os.unlink(path)
            except FileNotFoundError:
                continue
            except OSError as error:
                log.warning("%s: could not be removed (%s)", self.id, error.strerror)
                # Sealed, it would be an image after the next start, and its sender was told that it is none.
                with contextlib.suppress(OSError):
                    os.truncate(path, 0)

    def _finish(self) -> Arrival:
        """Scan, seal, rename and flush (steps 2 to 5 above). Raises Refused, OSError."""
        offset = len(self._meta)
        size = self._written
        if self._handed_out or not self._meta_written:
            size = os.fstat(self.fileno()).st_size - offset
        if size != self._written:
            self._read_back(offset)
        header = self._scan(offset, size)
        if self._spool.by_priority:
            self._check_urgency(header)
        class_uid = self._identity(header.text(SOP_CLASS_UID), self._class_uid, "SOP class")
        instance_uid = self._identity(header.text(SOP_INSTANCE_UID), self._instance_uid, "SOP instance")
        digest = self._hash.digest()
        os.lseek(self._file, offset - filemeta.SEAL_FROM_END, os.SEEK_SET)
        self._put(filemeta.seal(digest))
        self._make_safe(offset, size, digest)
        return Arrival(
            id=self.id,
            source=self._source,
            sop_class_uid=class_uid,
            sop_instance_uid=instance_uid,
            transfer_syntax_uid=self._syntax,
            data_offset=offset,
            size=size,
            digest=digest,
            received_at=self.received_at,
            revision=self._reading.revision,
            header=header,
        )

    def _make_safe(self, offset: int, size: int, digest: bytes) -> None:
        """Give it its final name and make it safe (steps 3 to 5). Raises Refused, OSError."""
        self._publish(offset, size, digest)
        # A flush that failed meanwhile, of whatever: what this one has said is not to be believed either.
        self._spool.trust.check()

    def _publish(self, offset: int, size: int, digest: bytes) -> None:
        journal, durability = self._spool.journal, self._spool.durability
        self._spool.trust.check()
        if journal is not None and size <= journal.largest:
            image = self._image(offset, size, digest)
            self._open = False
            publish(self._file, self._part, self._final, "process-crash")
            journal.append(Path(self._final), image)
            return
        self._open = False
        publish(self._file, self._part, self._final, durability)
        if durability == "power-loss":
            sync_folder(self._folder)

    def _image(self, offset: int, size: int, digest: bytes) -> Image:
        """What the journal is given: what `write` has kept of a small object, else the file, which the
        system still holds in its cache. Raises OSError.
        """
        if size <= PREFIX and not self._handed_out:
            before = self._meta[: -filemeta.SEAL_FROM_END] + filemeta.seal(digest)
            return Image(self.id, before + self._meta[len(before) :], self._begun, digest)
        os.lseek(self._file, 0, os.SEEK_SET)
        whole = memoryview(_read(self._file, offset + size))
        return Image(self.id, bytes(whole[:offset]), whole[offset:], digest)

    def _scan(self, offset: int, size: int) -> ScannedHeader:
        """The header of the data set. Raises Refused(0xC000) for one that cannot be read or is incomplete."""
        wanted = self._reading.wanted
        try:
            header = read_header(
                self._file, offset, size, self._begun, transfer_syntax_uid=self._syntax, wanted=wanted
            )
            cut = is_cut(self._file, offset, size, header, self._syntax)
        except Permanent as error:
            raise Refused(CANNOT_UNDERSTAND, f"the data set cannot be read: {error}") from error
        against = gate.objection(header, self._class_uid, cut=cut)
        if against:
            raise Refused(CANNOT_UNDERSTAND, against)
        if header.remarks:
            self._spool.remark(self._source, header.remarks)
        return header

    def _check_urgency(self, header: ScannedHeader) -> None:
        """Raise LessUrgent(0xA700) for an object that is less urgent than what a filling disk still takes."""
        try:
            routing = Routing() if self._route is None else self._route(header, self._source)
        except Exception:  # noqa: BLE001  kept as unrouted and logged by the index's writer, where it is taken
            routing = Routing()
        urgency = min(
            (routing.priorities.get(name, Priority.ROUTINE) for name, _ in routing.deliveries),
            default=Priority.ROUTINE,
        )
        if urgency is Priority.BULK:
            raise LessUrgent(OUT_OF_RESOURCES, "the disk is filling: bulk images are not taken")
        if urgency is not Priority.STAT and self._spool.room.figures.step >= DiskStep.STAT_ONLY:
            raise LessUrgent(OUT_OF_RESOURCES, "the disk is filling: only stat images are taken")

    def _identity(self, found: str, said: str, what: str) -> str:
        """The data set's UID, or the command's where that is none (docs/decisions/0003)."""
        uid = identity(found, said)
        if not uid:
            raise Refused(
                CANNOT_UNDERSTAND, f"neither the data set nor its command or File Meta has an {what} UID"
            )
        if found and said and found != said:
            log.info("%s: the data set's %s UID is not that of its command or File Meta", self.id, what)
        return uid

    def _read_back(self, offset: int) -> None:
        # Bytes that went straight to the descriptor were not seen: take the digest from the file.
        os.lseek(self._file, offset, os.SEEK_SET)
        self._hash = xxhash.xxh3_128()
        self._begun = b""
        while data := os.read(self._file, _REHASH):
            self._hash.update(data)
            if not self._begun:
                self._begun = data[:PREFIX]

    def _put(self, data: bytes | bytearray | memoryview) -> None:
        try:
            done = os.write(self._file, data)
            while done < len(data):
                done += os.write(self._file, memoryview(data)[done:])
        except OSError as error:
            self.abort()
            raise refusal(error) from error

    def _check_room(self) -> None:
        try:
            self._spool.check_room()
        except Refused:
            self.abort()
            raise

    def _close(self) -> None:
        if self._open:
            self._open = False
            os.close(self._file)


def _read(file: int, count: int) -> bytes:
    """So many bytes of a file from where it stands. Raises OSError."""
    data = os.read(file, count)
    while len(data) < count:
        more = os.read(file, count - len(data))
        if not more:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        data += more
    return data
