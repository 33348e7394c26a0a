"""Simulated modalities: each sends one generated study after the other, as a scanner does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from mapdr.kernel.errors import MapdrError
from mapdr.kernel.item import Payload
from mapdr.testing import generator
from mapdr.testing.generator import GeneratedImage
from mapdr.testing.sink import kept
from mapdr.wire.link import Limits
from mapdr.wire.requestor import Requestor


@dataclass
class Modality:
    """A scanner that calls `called_ae` on loopback until it is told to stop; then it ends its study.

    `pace` is in images per second, `sent` is called with each image that was answered with success.
    `problems` says what went wrong, one line each.
    """

    kind: str
    ae_title: str
    port: int
    called_ae: str
    images: int
    pace: float
    first_seed: int
    sent: Callable[[GeneratedImage], None]
    studies: int = 0
    problems: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin the first study."""
        self._thread = threading.Thread(target=self._run, name=self.ae_title, daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Begin no other study."""
        self._stop.set()

    @property
    def busy(self) -> bool:
        """Whether a study is still being sent."""
        return self._thread is not None and self._thread.is_alive()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._study(self.first_seed + self.studies)
            except (MapdrError, OSError) as error:
                self.problems.append(f"{self.ae_title} could not send: {error}")
                return
            self.studies += 1

    def _study(self, seed: int) -> None:
        due = time.monotonic()
        link: Requestor | None = None
        for image in generator.study(self.kind, seed=seed, images=self.images):
            if link is None:
                link = self._call(image)
            due = max(due + 1 / self.pace, time.monotonic() - 1)
            # A scanner that is told to stop ends its study at once instead of at its pace.
            self._stop.wait(max(0.0, due - time.monotonic()))
            answer = link.c_store(payload(image))
            if kept(answer.status):
                self.sent(image)
            else:
                self.problems.append(f"{self.ae_title} was answered 0x{answer.status:04X}")
        if link is not None:
            link.release()

    def _call(self, image: GeneratedImage) -> Requestor:
        return Requestor.connect(
            "127.0.0.1",
            self.port,
            calling_ae=self.ae_title,
            called_ae=self.called_ae,
            proposals=[(image.sop_class_uid, (image.transfer_syntax_uid,))],
            limits=Limits(),
        )


def payload(image: GeneratedImage) -> Payload:
    """The image as an egress takes it."""
    return Payload(
        image.sop_class_uid,
        image.sop_instance_uid,
        image.transfer_syntax_uid,
        (image.dataset,),
        len(image.dataset),
    )
