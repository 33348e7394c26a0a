"""The demo's balance: what was sent against what was received, stored, delivered, arrived and compared."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mapdr.operate import words
from mapdr.testing.generator import GeneratedImage
from mapdr.testing.sink import Sink, Stored, kept
from mapdr_cli.demo.compare import Compared, compare, original_uid, read
from mapdr_cli.render.terminal import Glyphs


@dataclass
class Account:
    """What is known of one modality's images."""

    sent: int = 0
    studies: int = 0
    received: int = 0
    delivered: int = 0
    exact: int = 0
    lossy: int = 0
    faulty: int = 0
    max_error: int = 0
    sent_bytes: int = 0
    compared_bytes: int = 0
    """Of the images that have arrived, as they were sent; `arrived_bytes` as they arrived."""
    arrived_bytes: int = 0

    @property
    def compared(self) -> int:
        """Images that arrived and were found to be right."""
        return self.exact + self.lossy


@dataclass
class Books:
    """Keeps the accounts while the demo runs: images are compared as they arrive, and then forgotten.

    `edits` gives the values that the rules must have written into an image; `max_error` is what the rules
    allow a lossy pixel to differ. Thread-safe.
    """

    edits: Callable[[GeneratedImage], Mapping[str, str]]
    max_error: int
    accounts: dict[str, Account] = field(default_factory=dict)
    studies: dict[str, tuple[str, str, int]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    repeats: int = 0
    stored: int = 0
    answered: int = 0
    unsigned: int = 0
    _open: dict[str, GeneratedImage] = field(default_factory=dict)
    _done: set[str] = field(default_factory=set)
    _seen: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def sent(self, image: GeneratedImage) -> None:
        """A modality had this image acknowledged."""
        with self._lock:
            account = self.accounts.setdefault(image.modality, Account())
            account.sent += 1
            account.sent_bytes += len(image.dataset)
            modality, accession, number = self.studies.get(
                image.study_instance_uid, (image.modality, image.accession_number, 0)
            )
            account.studies += number == 0
            self.studies[image.study_instance_uid] = (modality, accession, number + 1)
            self._open[image.sop_instance_uid] = image

    @property
    def images(self) -> int:
        """How many images were sent."""
        return sum(account.sent for account in self.accounts.values())

    @property
    def waiting(self) -> int:
        """How many images were sent and have not been compared."""
        return len(self._open)

    def audit(self, sink: Sink) -> None:
        """Compare what has arrived since the last time."""
        arrived = sink.requests[self._seen :]
        for stored in arrived:
            if kept(stored.status) and not self._compare(stored):
                break
            self._seen += 1

    def _compare(self, stored: Stored) -> bool:
        """Whether this one is dealt with; False if its sender has not yet said that it was sent."""
        dataset = stored.dataset
        try:
            uid = original_uid(read(dataset, stored.transfer_syntax_uid))
            image = self._open.get(uid)
            if image is None:
                return self._another(uid)
            result = compare(
                (image.dataset, image.transfer_syntax_uid),
                (dataset, stored.transfer_syntax_uid),
                edits=self.edits(image),
                max_error=self.max_error,
            )
        except Exception as error:  # noqa: BLE001  bytes that cannot even be read are a fault of the delivery
            self._fault(f"an image arrived that cannot be read ({type(error).__name__})")
            return True
        self._enter(image, result)
        if stored.path:
            stored.path.unlink(missing_ok=True)
        return True

    def _another(self, uid: str) -> bool:
        if uid in self._done:
            self.repeats += 1
            return True
        return False

    def _enter(self, image: GeneratedImage, result: Compared) -> None:
        with self._lock:
            account = self.accounts[image.modality]
            del self._open[image.sop_instance_uid]
            self._done.add(image.sop_instance_uid)
            account.compared_bytes += len(image.dataset)
            account.arrived_bytes += result.arrived_bytes
            account.max_error = max(account.max_error, result.max_error)
            if result.faults:
                account.faulty += 1
            elif result.way == "lossy":
                account.lossy += 1
            else:
                account.exact += 1
        for fault in result.faults:
            self._fault(f"a {image.modality} image: {fault}")

    def _fault(self, text: str) -> None:
        with self._lock:
            self.faults.append(text)

    def missing(self) -> list[str]:
        """What the balance lacks, in words; empty when all is well."""
        found = []
        for modality, account in sorted(self.accounts.items()):
            for word in ("received", "delivered", "compared"):
                lack = account.sent - getattr(account, word)
                if lack:
                    found.append(f"{modality}: sent {account.sent}, {word} {getattr(account, word)}")
        if self.stored != self.images:
            found.append(f"sent {self.images}, in the spool {self.stored}")
        if self.answered != len(self.studies):
            found.append(f"{len(self.studies)} studies sent, {self.answered} reported to the RIS")
        if self.unsigned:
            found.append(f"{words.many(self.unsigned, 'webhook')} without a valid signature")
        if not self.images:
            found.append("nothing was sent")
        return [*found, *dict.fromkeys(self.faults)]


def so_far(books: Books, edited: str, reported: int) -> list[str]:
    """What the rules have done to the images that have arrived, a line each for tags, compression and RIS.

    `edited` says which tags they change; `reported` counts the studies that the RIS was told to be complete.
    """
    accounts = [
        (modality, account) for modality, account in sorted(books.accounts.items()) if account.compared
    ]
    ways = [f"{modality} {_ratio(account)}{_loss(account)}" for modality, account in accounts]
    compared = sum(account.compared for _, account in accounts)
    faulty = sum(account.faulty for account in books.accounts.values())
    wrong = f", wrong in {words.count(faulty)}" if faulty else ""
    studies = words.many(len(books.studies), "study", "studies")
    return [
        f"tags         {edited}: right in {words.many(compared, 'image')}{wrong}",
        f"compression  {', '.join(ways) or '-'}",
        f"RIS          told that {reported} of {studies} have arrived",
    ]


def _loss(account: Account) -> str:
    return f" (largest error {account.max_error})" if account.lossy else " lossless"


def balance_table(books: Books, glyphs: Glyphs) -> RenderableType:
    """The balance as a table, and below it what it lacks or that it lacks nothing."""
    table = Table(
        title="Balance",
        title_style="head",
        title_justify="left",
        header_style="faint",
        box=None,
        pad_edge=False,
        show_footer=True,
    )
    accounts = sorted(books.accounts.items())

    def column(title: str, values: list[str], total: str = "", style: str = "") -> None:
        table.add_column(title, footer=total, justify="right" if title else "left", style=style, no_wrap=True)
        cells.append(values)

    cells: list[list[str]] = []
    column("", [modality for modality, _ in accounts], "all", "name")
    for title in ("studies", "sent", "received", "delivered", "exact", "lossy"):
        numbers = [getattr(account, title) for _, account in accounts]
        column(title, [words.count(number) for number in numbers], words.count(sum(numbers)))
    column("max error", [str(account.max_error) for _, account in accounts])
    column("size", [_ratio(account) for _, account in accounts])
    for row in zip(*cells, strict=True):
        table.add_row(*row)
    return Group(table, *_verdict(books, glyphs))


def _ratio(account: Account) -> str:
    return f"{account.compared_bytes / account.arrived_bytes:.1f}:1" if account.arrived_bytes else "-"


def _verdict(books: Books, glyphs: Glyphs) -> list[Text]:
    lines = [
        Text(f"stored      {words.many(books.stored, 'image')} in the spool"),
        Text(
            f"pixels      {words.count(sum(a.compared for a in books.accounts.values()))} of "
            f"{words.many(books.images, 'image')} compared with what was sent, every tag with them"
        ),
        Text(
            f"webhooks    {books.answered} of {words.many(len(books.studies), 'study', 'studies')} "
            "reported to the RIS, signed and answered"
        ),
    ]
    if books.repeats:
        lines.append(
            Text(f"repeats     {words.many(books.repeats, 'image')} delivered more than once", "warn")
        )
    missing = books.missing()
    if missing:
        lines += [Text(f"{glyphs.cross} {words.plain(text)}", "bad") for text in missing]
        lines.append(Text("The balance does not hold.", "bad"))
    else:
        lines.append(
            Text(f"{glyphs.check} sent = received = stored = delivered; nothing is missing.", "good")
        )
    return lines


def as_json(books: Books) -> dict[str, Any]:
    """The balance for scripts."""
    return {
        "modalities": {
            modality: {
                key: getattr(account, key)
                for key in ("studies", "sent", "received", "delivered", "exact", "lossy", "max_error")
            }
            for modality, account in sorted(books.accounts.items())
        },
        "stored": books.stored,
        "webhooks": books.answered,
        "repeats": books.repeats,
        "missing": books.missing(),
    }
