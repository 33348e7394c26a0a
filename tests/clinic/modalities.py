"""The devices of a clinic as they send: until each image is answered, with a record of every answer.

A device gives up nothing: what was refused, or not answered because the line was cut, it sends again later.
"""

from __future__ import annotations

import io
import ssl
import threading
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from http.client import HTTPException
from pathlib import Path

from clinic.workload import Device, Image, Study
from peers.rawsender import RawSender
from peers.stow_client import bearer, store

PATIENCE = 0.1
"""Seconds until a device that was refused, or found nobody, tries again."""
PER_REQUEST = 10
"""Images of a STOW-RS request, and of an archive."""


class Sender:
    """One device at work on one day, a thread of its own from `start` to `join`.

    It sends no more than `allowed` of its images (a part of 1), so that there is work left when something
    happens. `answers` counts every answer of C-STORE and every failure reason, `taken` holds what was
    answered with Success, `cut` counts lines that ended early.
    """

    def __init__(self, device: Device, studies: Sequence[Study]) -> None:
        self.device = device
        self.images = [image for study in studies for image in study.images]
        self.allowed = 1.0
        self.taken: set[str] = set()
        self.answers: Counter[int] = Counter()
        self.sent: Counter[str] = Counter()
        self.associations = 0
        self.cut = 0
        self.error: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=device.name)

    def start(self) -> None:
        self._thread.start()

    def join(self, seconds: float) -> None:
        """Until it has sent everything. Raises what its thread raised, or AssertionError if it is late."""
        self._thread.join(seconds)
        late = self._thread.is_alive()
        self.stop()
        if self.error is not None:
            raise self.error
        assert not late, f"{self.device.name}: {len(self.taken)} of {len(self.images)} images, {self.answers}"

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def done(self) -> bool:
        return len(self.taken) == len(self.images)

    def _run(self) -> None:
        try:
            while not self.done and not self._stop.is_set():
                if not self._due():
                    self._stop.wait(0.01)
                    continue
                before = len(self.taken)
                try:
                    self._send()
                except (OSError, HTTPException):
                    self.cut += 1
                if len(self.taken) == before:
                    self._stop.wait(PATIENCE)
        except BaseException as error:
            self.error = error

    def _due(self) -> list[Image]:
        """What may be sent now and was not taken."""
        here = self.images[: int(len(self.images) * self.allowed)]
        return [image for image in here if image.uid not in self.taken]

    def _send(self) -> None:
        raise NotImplementedError

    def _answered(self, image: Image, status: int) -> None:
        self.answers[status] += 1
        if status == 0:
            self.taken.add(image.uid)


class Scanner(Sender):
    """Pushes by C-STORE, a day in one association; every tenth image it pushes twice."""

    def __init__(
        self, device: Device, studies: Sequence[Study], port: int, tls: ssl.SSLContext | None = None
    ) -> None:
        super().__init__(device, studies)
        self._port, self._tls = port, tls

    def _send(self) -> None:
        items = [image.item for image in self.images]
        contexts = sorted({(item.sop_class_uid, item.transfer_syntax_uid) for item in items})
        self.associations += 1
        with RawSender(self._port, contexts, calling=self.device.name, timeout=60, tls=self._tls) as sender:
            while not self.done and not self._stop.is_set():
                before = len(self.taken)
                for image in self._due():
                    if self._stop.is_set():
                        return
                    for _ in range(1 + (image.number % 10 == 4)):
                        self.sent[image.uid] += 1
                        self._answered(image, sender.store(image.item))
                if len(self.taken) == before:
                    self._stop.wait(PATIENCE)


class WebSender(Sender):
    """Pushes by STOW-RS, some images in each request."""

    def __init__(self, device: Device, studies: Sequence[Study], port: int, token: str) -> None:
        super().__init__(device, studies)
        self._port, self._headers = port, bearer(token)

    def _send(self) -> None:
        batch = self._due()[:PER_REQUEST]
        self.sent.update(image.uid for image in batch)
        answer = store(self._port, [image.part10() for image in batch], headers=self._headers, timeout=60)
        known = {image.uid: image for image in batch}
        if answer.status not in (200, 202, 409):
            self.answers[answer.status] += 1
            return
        for uid in answer.stored:
            self._answered(known[uid], 0)
        for uid, reason in answer.failed.items():
            self._answered(known[uid], reason)


class Dropper(Sender):
    """Copies files into the watched folder, in turn one alone and an archive; taken is what is in done/."""

    def __init__(self, device: Device, studies: Sequence[Study], folder: Path) -> None:
        super().__init__(device, studies)
        self._folder = folder
        self._names: dict[str, list[Image]] = {}

    def _send(self) -> None:
        dropped = {image.uid for batch in self._names.values() for image in batch}
        waiting = [image for image in self._due() if image.uid not in dropped]
        packed = len(self._names) % 2 == 1
        batch = waiting[: PER_REQUEST if packed else 1]
        if batch:
            name = f"{batch[0].uid}.{'zip' if packed else 'dcm'}"
            self._copy(name, zipped(batch) if packed else batch[0].part10())
            self._names[name] = batch
            self.sent.update(image.uid for image in batch)
        for name, images in self._names.items():
            if (self._folder / "done" / name).exists():
                for image in images:
                    if image.uid not in self.taken:
                        self._answered(image, 0)

    def _copy(self, name: str, content: bytes) -> None:
        partial = self._folder / f"{name}.part"
        partial.write_bytes(content)
        partial.rename(self._folder / name)


def zipped(images: Sequence[Image]) -> bytes:
    """An archive of files."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for image in images:
            archive.writestr(f"IMAGES/{image.number}", image.part10())
    return file.getvalue()


Making = Callable[[Device, Sequence[Study]], Sender]


def shift(day: Sequence[Study], make: Making) -> list[Sender]:
    """The devices that work on a day."""
    devices = {study.device.name: study.device for study in day}
    return [make(device, [study for study in day if study.device == device]) for device in devices.values()]
