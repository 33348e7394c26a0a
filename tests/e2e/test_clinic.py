"""A week of a clinic: eight devices, six receivers and a RIS, and all that goes wrong in a week.

    day 1   nothing happens
    day 2   the PACS dies, and comes back in the evening
    day 3   both sides' certificates change; then the tele-PACS is full (0xA700) until the evening
    day 4   the disk of the node is full: it refuses, and the devices push again
    day 5   a reload adds a destination
    day 6   the node is restarted
    day 7   the node is killed

At the end nothing is owed, and nothing was sent that was not to be: by the logs of the receivers, against
what the devices were answered and the rules as a person reads them (`clinic.balance`). Only then MAPDR is
asked.
"""

from __future__ import annotations

import hashlib
import json
import socket
import ssl
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import tomlkit

from clinic import balance, receivers
from clinic.disk import SmallDisk, small_disk
from clinic.modalities import PER_REQUEST, Dropper, Scanner, Sender, WebSender, shift
from clinic.receivers import NO_ROOM, Pacs, TelePacs
from clinic.workload import DEVICES, Device, Image, Study, week
from mapdr.testing.ris import Ris
from mapdr.testing.wait import until
from peers.certificates import Authority
from peers.node import MAPDR, ORPHAN, Node, destination, images
from peers.processes import LOOPBACK, free_port, listens, run
from peers.rawsender import send_all
from peers.rawsink import RawSink
from peers.stow import StowSink, stow_destination
from peers.webserver import WebServer

BACKUP_SINCE = 4
"""The day of the reload, counted from 0."""
TOKEN = "a-token-of-sixteen-signs"
RETRY = {"first": "200 ms", "factor": 1.5, "max": "1 s"}
MIN_FREE, ALL = "8 MB", "1000000 GB"
PREFIX = {"prefix": "AccessionNumber", "with": balance.PREFIX}
TO_TELERADIOLOGY = {
    "tags": [PREFIX, {"remove": "OtherPatientIDs"}],
    "compress": {"to": "jpeg2000", "ratio": balance.RATIO, "max_error": balance.MAX_ERROR},
    "send_to": ["telepacs"],
}
RULES: list[Mapping[str, Any]] = [
    {"name": "emergency", "when": {"StationName": "ER*"}, "priority": "stat", **TO_TELERADIOLOGY},
    {"name": "teleradiology", "when": {"Modality": ["CT", "MR"]}, **TO_TELERADIOLOGY},
    {
        "name": "what the old CR means",
        "when": {"calling_ae": "OLD_CR"},
        "tags": [
            {"set_if_missing": "SpecificCharacterSet", "to": "ISO_IR 100"},
            {"set": "InstitutionName", "to": balance.CLINIC},
        ],
        "send_to": ["pacs", "bucket"],
    },
    {"name": "local", "when": {"Modality": ["CT", "MR", "US", "CR"]}, "send_to": ["pacs"]},
    {"name": "cloud", "when": {"Modality": ["MR", "US"]}, "tags": [PREFIX], "send_to": ["cloud"]},
    {"name": "long term", "when": {"Modality": "CT"}, "send_to": ["archive"]},
]
BACKUP_RULE = {"name": "backup", "when": {"Modality": "MR"}, "send_to": ["backup"]}

Happening = Callable[[Sequence[Sender]], AbstractContextManager[None]]


class Clinic:
    """The node between devices and receivers; all that was begun ends with `stack`."""

    def __init__(
        self,
        folder: Path,
        make_node: Callable[..., Node],
        disk: SmallDisk | None,
        days: list[list[Study]],
        stack: ExitStack,
    ) -> None:
        self.folder, self.disk, self.days = folder, disk, days
        self.taken: dict[str, Image] = {}
        self.sent = self.acknowledged = self.refusals = self.cut = 0
        self.authority = Authority(folder / "tls")
        self.own = self.authority.sign("mapdr")
        self.modality = self.authority.sign("modality")
        tele = self.authority.sign("telepacs")
        self.certificates = {"mapdr": [self.own.fingerprint], "telepacs": [tele.fingerprint]}
        self.telepacs = TelePacs(tele, self.authority.path)
        stack.enter_context(self.telepacs)
        self.pacs = Pacs(folder / "pacs", free_port()).start()
        stack.callback(self.pacs.stop)
        self.cloud = stack.enter_context(StowSink())
        self.bucket = stack.enter_context(WebServer())
        self.backup = stack.enter_context(RawSink())
        self.ris = stack.enter_context(Ris())
        self.ports = {"tls": free_port(), "stow": free_port()}
        self.node = self._node(make_node)
        stack.callback(self.node.stop)  # before its disk goes

    def _node(self, make_node: Callable[..., Node]) -> Node:
        (self.folder / "token").write_text(TOKEN)
        (self.folder / "cd").mkdir()
        node: dict[str, Any] = {"study_quiet": "3 s", "repeats": "absorb", "min_free": MIN_FREE}
        if self.disk is not None:
            node["data"] = str(self.disk.folder / "data")
        return make_node(
            node=node,
            receivers={
                "secured": {
                    "type": "dicom",
                    "host": LOOPBACK,
                    "port": self.ports["tls"],
                    "tls": self.own.table(self.authority.path),
                },
                "web": {
                    "type": "dicomweb",
                    "port": self.ports["stow"],
                    "tokens": {"mr2": f"file:{self.folder / 'token'}"},
                },
                "cd": {
                    "type": "folder",
                    "path": str(self.folder / "cd"),
                    "peer": "CD",
                    "quiet": "200 ms",
                    "scan_every": "1 s",
                },
            },
            egress={
                "telepacs": destination(self.telepacs.port, tls=self.own.table(self.authority.path)),
                "pacs": destination(self.pacs.port),
                "cloud": stow_destination(self.cloud.url),
                "archive": {"type": "folder", "path": str(self.folder / "archive"), "retry": RETRY},
                "bucket": {"type": "https", "url": self.bucket.url + "/{SOPInstanceUID}.dcm", "retry": RETRY},
            },
            rules=RULES,
            webhook={
                "ris": {
                    "url": self.ris.url,
                    "on": ["study.received", "study.updated", "study.delivered", "delivery.parked"],
                    "payload": {
                        "event": "{event}",
                        "study": "{StudyInstanceUID}",
                        "destination": "{destination}",
                        "images": "{images}",
                    },
                }
            },
        )

    def start(self) -> None:
        """Start the node, and wait for all of its receivers."""
        self.node.start()
        for port in self.ports.values():
            until(lambda port=port: listens(port), 20, "a receiver")  # type: ignore[misc]

    def sender(self, device: Device, studies: Sequence[Study]) -> Sender:
        """A device that pushes these studies."""
        if device.way == "stow":
            return WebSender(device, studies, self.ports["stow"], TOKEN)
        if device.way == "folder":
            return Dropper(device, studies, self.folder / "cd")
        if device.way == "tls":
            return Scanner(device, studies, self.ports["tls"], self.trusting())
        return Scanner(device, studies, self.node.port)

    def trusting(self) -> ssl.SSLContext:
        """The TLS of the clinic's devices."""
        context = ssl.create_default_context(cafile=self.authority.path)
        context.verify_flags &= ~ssl.VerifyFlags.VERIFY_X509_STRICT
        context.load_cert_chain(self.modality.cert, self.modality.key)
        return context

    def day(self, number: int, happening: Happening) -> None:
        """All studies of a day are pushed; when half of their images are taken, something happens."""
        senders = shift(self.days[number], self.sender)
        everything = sum(len(sender.images) for sender in senders)
        for sender in senders:
            sender.allowed = 0.6
            sender.start()
        try:
            until(lambda: 2 * sum(len(sender.taken) for sender in senders) >= everything, 300, "half a day")
            with happening(senders):
                go_on(senders)
                for sender in senders:
                    sender.join(300)
        finally:
            for sender in senders:
                sender.stop()
        for sender in senders:
            assert not sender.answers.keys() - {0, NO_ROOM, 503}, f"{sender.device.name}: {sender.answers}"
            self.taken.update({image.uid: image for image in sender.images if image.uid in sender.taken})
            self.sent += sender.sent.total()
            self.acknowledged += sender.answers[0]
            self.refusals += sender.answers[NO_ROOM] + sender.answers[503]
            self.cut += sender.cut

    @contextmanager
    def nothing_happens(self, senders: Sequence[Sender]) -> Iterator[None]:
        yield
        assert_undisturbed(senders)

    @contextmanager
    def the_pacs_dies(self, senders: Sequence[Sender]) -> Iterator[None]:
        self.pacs.kill()
        yield
        assert_undisturbed(senders)
        self.node.when(lambda status: self.state_of("pacs", status) == "down", 60, "a PACS that is down")
        self.pacs.start()

    @contextmanager
    def certificates_change(self, senders: Sequence[Sender]) -> Iterator[None]:
        for name, fingerprints in self.certificates.items():
            fingerprints.append(self.authority.sign(name).fingerprint)
        until(lambda: self.node.log.read_text().count("changed TLS files are in use") >= 2, 30, "both uses")
        assert self.shown() == self.certificates["mapdr"][-1]
        before = self.telepacs.cut
        (secured,) = [sender for sender in senders if sender.device.way == "tls"]
        secured.allowed = 1.0  # the others have images left for the full tele-PACS
        until(lambda: secured.done, 120, "the rest of an association that began before")
        assert (secured.associations, secured.cut) == (1, 0)
        assert self.telepacs.cut == before
        self.telepacs.full = True
        yield
        assert_undisturbed(senders)
        self.node.when(lambda status: self.state_of("telepacs", status) == "down", 60, "a full tele-PACS")
        self.telepacs.full = False

    @contextmanager
    def the_disk_is_full(self, senders: Sequence[Sender]) -> Iterator[None]:
        pushing = [sender for sender in senders if isinstance(sender, Scanner)]
        if self.disk is None:
            self.configure(lambda document: document["node"].update(min_free=ALL))
        else:
            self.disk.fill(4_000_000)
        first = next(sender for sender in pushing if sender.device.way == "plain")
        repeat = next(image for image in first.images if image.uid in first.taken).item

        def refused() -> bool:
            self.sent += 1
            return send_all(self.node.port, [repeat], calling=first.device.name) == {repeat: NO_ROOM}

        until(refused, 20, "a refusal")
        go_on(senders)
        self.until_refused(pushing)
        if self.disk is None:
            print("no file system of its own here: the disk was full by `min_free` alone")
            self.configure(lambda document: document["node"].update(min_free=MIN_FREE))
        else:
            self.disk.fill(0)
            self.until_refused(pushing)
            self.disk.clear()
        yield

    @staticmethod
    def until_refused(senders: Sequence[Sender]) -> None:
        """Until each device that has images left was refused, and refused again."""
        before = {sender: sender.answers[NO_ROOM] for sender in senders}
        until(
            lambda: all(each.done or each.answers[NO_ROOM] > count + 5 for each, count in before.items()),
            60,
            "refusals",
        )
        assert any(not sender.done for sender in senders)

    @contextmanager
    def the_node_restarts(self, senders: Sequence[Sender]) -> Iterator[None]:
        go_on(senders)
        assert self.node.stop(60) == 0
        self.start()
        yield

    @contextmanager
    def the_node_is_killed(self, senders: Sequence[Sender]) -> Iterator[None]:
        go_on(senders)
        self.node.kill()
        self.start()
        yield

    def a_destination_is_added(self) -> None:
        def add(document: Any) -> None:
            document["egress"]["backup"] = destination(self.backup.port)
            document["rule"].append(BACKUP_RULE)

        self.configure(add)

    def configure(self, change: Callable[[Any], None]) -> None:
        """Change the configuration, and have the running node read it."""
        document = tomlkit.parse(self.node.config.read_text())
        change(document)
        self.node.config.write_text(tomlkit.dumps(document))
        self.node.command("reload")

    def shown(self) -> str:
        """SHA-256 of the certificate that the node's receiver shows now."""
        with (
            socket.create_connection((LOOPBACK, self.ports["tls"]), 10) as plain,
            self.trusting().wrap_socket(plain, server_hostname=LOOPBACK) as secured,
        ):
            return hashlib.sha256(secured.getpeercert(binary_form=True) or b"").hexdigest()

    @staticmethod
    def state_of(name: str, status: Mapping[str, Any]) -> str:
        (found,) = [each["state"] for each in status["destinations"] if each["name"] == name]
        return str(found)

    def settled(self, seconds: float) -> dict[str, Any]:
        """The status when nothing is owed any more, and the RIS knows."""
        number = sum(len(study.images) for day in self.days for study in day)

        def ready(status: Mapping[str, Any]) -> bool:
            here = images(status["today"]["received"]) == number
            return here and not status["pending"] and not status["webhooks"]["pending"]

        status = self.node.when(ready, seconds, "the end of the week")
        towards = {
            (image.study_instance_uid, name)
            for image in self.taken.values()
            for name in balance.owed(image, BACKUP_SINCE)
        }
        until(
            lambda: len([key for key in self.told() if key[0] == "study.delivered"]) >= len(towards),
            60,
            "the webhooks",
        )
        return status

    def calls(self) -> list[Mapping[str, Any]]:
        """What the RIS was told: a message that came again says so by its id."""
        return list({call.headers["webhook-id"]: call.json for call in self.ris.answered()}.values())

    def told(self) -> dict[tuple[str, str, str], list[int]]:
        return balance.told(self.calls())

    def logs(self) -> dict[str, dict[str, balance.Arrived]]:
        """What each receiver has, by its own log."""
        found = {
            "telepacs": receivers.of_sink(self.telepacs),
            "pacs": self.pacs.log(),
            "cloud": receivers.of_stow(self.cloud.received),
            "archive": receivers.of_folder(self.folder / "archive"),
            "bucket": receivers.of_web(self.bucket, self.folder / "bucket"),
            "backup": receivers.of_sink(self.backup),
        }
        return {name: balance.arrived(entries, self.taken) for name, entries in found.items()}

    def ledger(self) -> dict[str, dict[str, list[dict[str, Any]]]]:
        """MAPDR's deliveries by destination and SOP Instance UID."""
        words = ("deliveries", "--limit", "1000000", "--attempts", "--json")
        done = run([MAPDR, *words, "--config", self.node.config], seconds=900)
        assert done.returncode == 0, done.stderr
        rows: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
        for row in json.loads(done.stdout)["deliveries"]:
            rows[row["destination"]][row["sop_instance_uid"]].append(row)
        return rows


def go_on(senders: Sequence[Sender]) -> None:
    """Let them send the rest of their day."""
    for sender in senders:
        sender.allowed = 1.0


def assert_undisturbed(senders: Sequence[Sender]) -> None:
    """No device was refused or cut off."""
    for sender in senders:
        assert not sender.cut, f"{sender.device.name} was cut off"
        assert sender.answers.keys() == {0}, f"{sender.device.name}: {sender.answers}"


def a_week_of(
    make_node: Callable[..., Node], folder: Path, *, number: int, studies: int, disk: int, seconds: float
) -> None:
    started = time.monotonic()
    days = week(number, studies)
    made = time.monotonic()
    with ExitStack() as stack:
        small = stack.enter_context(small_disk(folder / "disk", disk))
        clinic = Clinic(folder, make_node, small, days, stack)
        clinic.start()
        happenings: tuple[Happening, ...] = (
            *(clinic.nothing_happens, clinic.the_pacs_dies, clinic.certificates_change),
            *(clinic.the_disk_is_full, clinic.nothing_happens),
            *(clinic.the_node_restarts, clinic.the_node_is_killed),
        )
        for day, happening in enumerate(happenings):
            if day == BACKUP_SINCE:
                clinic.a_destination_is_added()
            clinic.day(day, happening)
        pushed = time.monotonic()
        status = clinic.settled(seconds)
        settled = time.monotonic()
        assert {image.device for image in clinic.taken.values()} == set(DEVICES)
        assert len(clinic.taken) == number
        result = assert_the_balance_is_zero(clinic)
        assert_mapdr_counts_the_same(clinic, status)
        assert clinic.node.stop() == 0
        assert "Traceback" not in ORPHAN.sub("", clinic.node.output())
    print(
        f"{number} images of {studies} studies, pushed {clinic.sent} times, {clinic.refusals} refused, "
        f"{clinic.cut} lines cut: made in {made - started:.0f} s, pushed in {pushed - made:.0f} s, "
        f"delivered {settled - pushed:.0f} s later, judged in {time.monotonic() - settled:.0f} s; "
        f"{result}"
    )


def assert_the_balance_is_zero(clinic: Clinic) -> str:
    """By the receivers' logs; MAPDR is only asked how often it has tried."""
    logs, rows = clinic.logs(), clinic.ledger()
    taken = list(clinic.taken.values())
    assert balance.difference(taken, logs, BACKUP_SINCE) == {name: ([], []) for name in logs}
    pixels = {name: balance.assert_content(name, log) for name, log in logs.items()}
    lossy = pixels["telepacs"]
    assert lossy["lossy"] > 0.9 * lossy.total(), lossy
    twice = {name: balance.assert_nothing_twice(name, log, rows[name]) for name, log in logs.items()}
    again = balance.assert_the_ris_knows(clinic.calls(), taken, BACKUP_SINCE)
    for name, log in logs.items():
        balance.assert_the_ledger_agrees(name, log, rows[name])
    assert_stat_and_certificates(clinic, [row for each in rows["telepacs"].values() for row in each])
    counts = {name: len(log) for name, log in logs.items()}
    told = f"told of {len(clinic.calls())} events, {again} studies once more"
    return f"balance 0 of {counts}, sent twice {twice}, pixels {pixels}, {told}"


def assert_stat_and_certificates(clinic: Clinic, rows: Sequence[Mapping[str, Any]]) -> None:
    """What the emergency room sent went as stat; both sides of TLS have seen both certificates."""
    stat = {image.uid for image in clinic.taken.values() if image.device.station}
    assert {row["sop_instance_uid"] for row in rows if row["priority"] == "stat"} == stat
    shown = {row["credential"].rpartition(":")[2] for row in rows}
    assert shown == set(clinic.certificates["telepacs"])
    assert clinic.telepacs.certificates == set(clinic.certificates["mapdr"])


def assert_mapdr_counts_the_same(clinic: Clinic, status: Mapping[str, Any]) -> None:
    """MAPDR's counts are those of the devices and receivers."""
    taken = clinic.taken.values()
    here = Counter(image.modality for image in taken)
    assert {name: each["images"] for name, each in status["today"]["received"].items()} == here
    towards: dict[str, Counter[str]] = defaultdict(Counter)
    for image in taken:
        for name in balance.owed(image, BACKUP_SINCE):
            towards[name][image.modality] += 1
    delivered = {
        name: {modality: each["images"] for modality, each in counted.items()}
        for name, counted in status["today"]["delivered"].items()
    }
    assert delivered == towards
    assert (status["parked"], status["versions"]["received"]) == (0, 0)
    assert status["unrouted"] == here["XC"]
    # An archive that was in hand when the node was killed is taken again whole.
    most = clinic.sent - len(taken) + PER_REQUEST
    assert clinic.acknowledged - len(taken) <= status["repeats"]["received"] <= most


@pytest.mark.timeout(300)
def test_a_short_week(make_node: Callable[..., Node], tmp_path: Path) -> None:
    a_week_of(make_node, tmp_path, number=1008, studies=42, disk=128 << 20, seconds=120)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_week(make_node: Callable[..., Node], tmp_path: Path) -> None:
    a_week_of(make_node, tmp_path, number=20_000, studies=200, disk=1 << 30, seconds=1800)
