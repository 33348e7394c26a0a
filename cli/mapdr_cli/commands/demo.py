"""`mapdr demo`: a router, three modalities, a PACS and a RIS on this machine alone, and a checked balance."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import click
from click.exceptions import Exit
from rich.console import Console

from mapdr_cli import words
from mapdr_cli.access import Access
from mapdr_cli.demo import balance
from mapdr_cli.demo.balance import Books, balance_table
from mapdr_cli.demo.simulate import Modality
from mapdr_cli.demo.stage import AE_TITLE, MAX_ERROR, Stage, edits, set_up
from mapdr_cli.options import json_option, print_json
from mapdr_cli.render.live import follow, follow_plain
from mapdr_cli.render.terminal import console, glyphs

MODALITIES = (("CT", "CT1", 6.0), ("MR", "MR1", 10.0), ("US", "US1", 3.0))
"""Kind, AE title and images per second: what a slow machine without compiled extensions keeps up with."""


@click.command(short_help="See it all at work on this machine alone.")
@click.option(
    "--seconds",
    default=20.0,
    show_default=True,
    type=click.FloatRange(0, 86400),
    help="How long modalities begin new studies.",
)
@click.option(
    "--images",
    default=12,
    show_default=True,
    type=click.IntRange(1, 2000),
    help="How many images a study has.",
)
@click.option(
    "--patience",
    default=60.0,
    show_default=True,
    type=click.FloatRange(0, 86400),
    help="How many seconds the last deliveries may take without progress.",
)
@click.option("--plain", is_flag=True, help="Print lines instead of drawing.")
@click.option(
    "--keep",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep configuration, spool, index and log in this folder.",
)
@json_option
def demo(
    *, seconds: float, images: int, patience: float, plain: bool, keep: Path | None, as_json: bool
) -> None:
    """See MAPDR at work, without any configuration: everything happens on this machine and is then removed.

    Three modalities (CT, MR, US) send generated studies to a node of its own. Its rules change tags and
    compress CT 10:1 and MR losslessly with JPEG 2000. A receiving PACS and a RIS take what comes. It ends
    with a balance: sent = received = stored = delivered, every image compared with what was sent. Exits 1
    if anything is missing.
    """
    out = console(stderr=as_json)
    with set_up(keep) as stage:
        books = Demo(stage, seconds, images, patience).run(out, plain or as_json or not out.is_terminal)
    if as_json:
        print_json(balance.as_json(books))
    else:
        out.print(balance_table(books, glyphs(out)))
    if keep is not None:
        out.print(f"Everything is kept in {keep}", soft_wrap=True)
    if books.missing():
        raise Exit(1)


class Demo:
    """One run on a stage that is set up."""

    def __init__(self, stage: Stage, seconds: float, images: int, patience: float) -> None:
        self._stage = stage
        self._seconds = seconds
        self._patience = patience
        self._books = Books(edits, MAX_ERROR)
        self._modalities = [
            Modality(
                kind, title, stage.node.port, AE_TITLE, images, pace, 1 + number * 10_000, self._books.sent
            )
            for number, (kind, title, pace) in enumerate(MODALITIES)
        ]
        self._access = Access.of(stage.node.config)
        self._progress = (0, time.monotonic())
        self._over = threading.Event()

    def run(self, out: Console, plain: bool) -> Books:
        """Send, wait until all has arrived, stop the node, and draw up the balance."""
        began = time.monotonic()
        started_on = words.date(time.time())
        for modality in self._modalities:
            modality.start()
        auditor = threading.Thread(target=self._audit, name="auditor", daemon=True)
        auditor.start()
        done = self._until(began)
        try:
            (follow_plain if plain else follow)(out, self._access.look, done)
        except KeyboardInterrupt:
            out.print("Ending the demo: the last images are on their way (Ctrl-C again to leave).")
            self._seconds = 0.0
            follow_plain(out, self._access.look, done)
        self._over.set()
        auditor.join()
        self._close_the_books(started_on)
        return self._books

    def _until(self, began: float) -> Callable[[], bool]:
        def done() -> bool:
            self._stage.node.check()
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
        moved = self._books.waiting + len(self._stage.ris.calls) + self._books.images
        if moved != self._progress[0]:
            self._progress = (moved, time.monotonic())
        return time.monotonic() - self._progress[1] > self._patience

    def _audit(self) -> None:
        while not self._over.wait(0.1):
            self._books.audit(self._stage.pacs)

    def _reported(self) -> set[str]:
        """The studies whose complete delivery the RIS was told, with the right number and accession."""
        found = set()
        for call in self._stage.ris.answered():
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

    def _close_the_books(self, started_on: str) -> None:
        books, stage = self._books, self._stage
        books.faults += self._faults()
        books.answered = len(self._reported())
        books.unsigned = sum(
            not signed(call.headers, call.body, stage.secret) for call in stage.ris.answered()
        )
        counts = self._access.counts_since(started_on)
        for modality, account in books.accounts.items():
            account.received = counts["received"].get(modality, {}).get("images", 0)
            account.delivered = counts["delivered"].get("pacs", {}).get(modality, {}).get("images", 0)
        books.stored = sum(1 for _ in (stage.folder / "data" / "spool").rglob("*.dcm"))
        self._access.close()
        status = stage.node.stop()
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
