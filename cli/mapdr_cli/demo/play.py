"""One run of the demo, from the first study to the balance."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import date

from rich.console import Console

from mapdr.operate.access import Access
from mapdr.operate.counts import counts
from mapdr.operate.model import Counted
from mapdr.operate.view import NodeView
from mapdr.testing.modality import Modality
from mapdr_cli.demo.balance import Books, so_far
from mapdr_cli.demo.site import AE_TITLE, EDITED, MAX_ERROR, Site, edits
from mapdr_cli.render.live import follow, follow_plain
from mapdr_cli.render.terminal import waiting

MODALITIES = (("CT", "CT1", 6.0), ("MR", "MR1", 10.0), ("US", "US1", 3.0))
"""Kind, AE title and images per second: what a slow machine without compiled extensions keeps up with."""


NONE = Counted(0, 0)


class Demo:
    """One run on a site that is set up."""

    def __init__(self, site: Site, seconds: float, images: int, patience: float) -> None:
        self._site = site
        self._seconds = seconds
        self._patience = patience
        self._books = Books(edits, MAX_ERROR)
        self._modalities = [
            Modality(
                kind, title, site.node.port, AE_TITLE, images, pace, 1 + number * 10_000, self._books.sent
            )
            for number, (kind, title, pace) in enumerate(MODALITIES)
        ]
        self._access = Access.of(site.node.config)
        self._view = NodeView(self._access)
        self._progress = (0, time.monotonic())
        self._over = threading.Event()

    def run(self, out: Console, plain: bool) -> Books:
        """Send, wait until all has arrived, stop the node, and draw up the balance."""
        began = time.monotonic()
        started_on = date.today()
        for modality in self._modalities:
            modality.start()
        auditor = threading.Thread(target=self._audit, name="auditor", daemon=True)
        auditor.start()
        done = self._until(began)
        try:
            (follow_plain if plain else follow)(out, self._view.look, done, more=self._so_far)
        except KeyboardInterrupt:
            out.print("Ending the demo: the last images are on their way (Ctrl-C again to leave).")
            self._seconds = 0.0
            follow_plain(out, self._view.look, done, more=self._so_far)
        self._over.set()
        with waiting(out, "Stopping the node and drawing up the balance ...", plain=plain):
            auditor.join()
            self._close_the_books(started_on)
        return self._books

    def _so_far(self) -> list[str]:
        return so_far(self._books, EDITED, len(self._reported()))

    def _until(self, began: float) -> Callable[[], bool]:
        def done() -> bool:
            self._site.node.check()
            if time.monotonic() - began < self._seconds and not self._faults():
                return False
            for modality in self._modalities:
                modality.finish()
            return self._settled() or self._stuck()

        return done

    def _faults(self) -> list[str]:
        return [problem for modality in self._modalities for problem in modality.problems]

    def _settled(self) -> bool:
        """Whether everything that was sent has arrived, was compared, and the RIS knows of every study."""
        busy = any(modality.busy for modality in self._modalities)
        return not busy and not self._books.waiting and len(self._reported()) >= len(self._books.studies)

    def _stuck(self) -> bool:
        """Whether nothing has moved for too long."""
        moved = self._books.waiting + len(self._site.ris.calls) + self._books.images
        if moved != self._progress[0]:
            self._progress = (moved, time.monotonic())
        return time.monotonic() - self._progress[1] > self._patience

    def _audit(self) -> None:
        while not self._over.wait(0.1):
            self._books.audit(self._site.pacs)

    def _reported(self) -> set[str]:
        """The studies whose complete delivery the RIS was told, with the right number and accession."""
        found = set()
        for call in self._site.ris.answered():
            told = call.json
            modality, accession, images = self._books.studies.get(told.get("study", ""), ("", "", -1))
            right = {
                "event": "study.delivered",
                "accession": accession,
                "modality": modality,
                "images": images,
            }
            if all(told.get(key) == value for key, value in right.items()):
                found.add(told["study"])
        return found

    def _close_the_books(self, started_on: date) -> None:
        books, site = self._books, self._site
        books.faults += self._faults()
        books.answered = len(self._reported())
        books.unsigned = sum(not signed(call.headers, call.body, site.secret) for call in site.ris.answered())
        counted = counts(self._access, started_on, date.today())
        for modality, account in books.accounts.items():
            account.received = counted.received.get(modality, NONE).images
            account.delivered = counted.delivered.get("pacs", {}).get(modality, NONE).images
        books.stored = sum(1 for _ in (site.folder / "data" / "spool").rglob("*.dcm"))
        self._access.close()
        status = site.node.stop()
        if status != 0:
            books.faults.append(f"the node ended with status {status}")


def signed(headers: dict[str, str], body: bytes, secret: str) -> bool:
    """Whether a webhook carries a valid signature (standardwebhooks)."""
    from standardwebhooks.webhooks import Webhook, WebhookVerificationError

    try:
        Webhook(secret).verify(body, headers)
    except WebhookVerificationError:
        return False
    return True
