"""What holds at a node is told once, through restarts: the looks, and whole nodes with real peers."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mapdr.config.model import EVENTS, WebhookConfig
from mapdr.kernel.alarm import CERTIFICATE, DESTINATION, DISK, SILENCE
from mapdr.kernel.status import HttpStatus, to_facts
from mapdr.kernel.watch import Watch
from mapdr.node.alarms import NodeAlarms
from mapdr.node.assembly import Node
from mapdr.node.upkeep import Upkeep
from mapdr.notify.alarms import Alarms
from mapdr.operate.access import Access
from mapdr.operate.doctor import examine
from mapdr.operate.view import node_state
from mapdr.receive.dicom.config import DimseReceiveConfig
from mapdr.store import Store
from mapdr.store.spool import room
from mapdr.testing import generator
from mapdr.testing.modality import payload
from mapdr.testing.ris import Ris
from mapdr.testing.sink import Sink
from mapdr.testing.wait import until
from mapdr.wire.link import Limits
from mapdr.wire.requestor import Requestor
from node.conftest import Start
from peers.processes import free_port
from peers.stow_client import store
from store.world import To, push

NOW = 1_796_000_000.0
HOUR, DAY = 3600.0, 86400.0
CLOSED = {"state": "closed", "tried": False, "reason": "", "comment": "", "status": None}
TRIED = CLOSED | {"tried": True}
AWAY = {"state": "open", "tried": True, "reason": "unreachable", "comment": "refused", "status": None}
BUSY = AWAY | {"reason": "busy", "comment": "DOE^JANE is too much", "status": 0xA700}


class World:
    """A store, and a node that is looked at; `restart` forgets all that is not in the index."""

    def __init__(self, folder: Path) -> None:
        self.store = Store.open(folder / "data", "north", durability="process-crash")
        self.store.use("rev1", To(), {})
        self.store.start()
        self.watch = Watch()
        node = SimpleNamespace(data=folder / "data", min_free=0)
        self.plan: Any = SimpleNamespace(
            node=node, destinations={"pacs": None, "archive": None}, receivers={}
        )
        self.restart()

    def restart(self) -> None:
        hooks = {"ris": WebhookConfig(url="http://127.0.0.1:9/", on=EVENTS)}
        self.told = Alarms(self.store.alarms, lambda: hooks, self.watch, node="north")
        self.alarms = NodeAlarms(self.told, self.store)

    def look(self, at: float = 0.0, **counters: Any) -> None:
        self.alarms.look(self.plan, counters, NOW + at)

    def destination(self, facts: dict[str, Any], at: float = 0.0, name: str = "pacs") -> None:
        self.look(at, destinations={name: facts})

    def messages(self) -> list[tuple[str, dict[str, Any]]]:
        """Event and data of what is in the outbox, the oldest first."""
        return [
            (message.kind, dict(message.payload["data"])) for message in reversed(self.store.outbox.list())
        ]

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.messages()]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.store.close()


def test_a_destination_is_told_when_it_goes_and_when_it_comes(world: World) -> None:
    for at, facts in enumerate([CLOSED, TRIED, AWAY, AWAY, BUSY, AWAY | {"state": "trial"}, TRIED, TRIED]):
        world.destination(facts, at)
    assert world.kinds() == ["destination.waits", "destination.back"]
    (_, waits), (_, back) = world.messages()
    assert (waits["destination"], waits["reason"], waits["comment"]) == ("pacs", "unreachable", "refused")
    assert (back["destination"], back["seconds"]) == ("pacs", 4.0)


def test_the_words_of_a_receiver_are_not_passed_on(world: World) -> None:
    world.destination(BUSY)
    ((_, facts),) = world.messages()
    assert (facts["status"], facts["status_protocol"], facts["comment"]) == (0xA700, "DIMSE", "")


def test_a_status_says_whose_it_is(world: World) -> None:
    world.destination(BUSY | to_facts(HttpStatus(503)))
    ((_, facts),) = world.messages()
    assert (facts["status"], facts["status_protocol"]) == (503, "HTTP")


def test_one_that_is_away_before_and_after_a_restart_is_told_once(world: World) -> None:
    world.destination(AWAY)
    world.restart()
    for at, facts in enumerate([CLOSED, CLOSED, AWAY, AWAY | {"state": "trial"}, AWAY]):
        world.destination(facts, at)
    assert world.kinds() == ["destination.waits"]
    world.destination(TRIED, 60.0)
    assert world.kinds() == ["destination.waits", "destination.back"]


def test_one_that_came_back_while_the_node_was_down_is_told_once_it_is_known(world: World) -> None:
    world.destination(AWAY)
    world.restart()
    world.destination(CLOSED, 2 * HOUR)  # nobody has spoken to it yet
    assert world.kinds() == ["destination.waits"]
    world.destination(TRIED, 2 * HOUR + 1)
    assert world.kinds() == ["destination.waits", "destination.back"]
    assert world.messages()[1][1]["seconds"] == 2 * HOUR + 1
    world.restart()
    world.destination(TRIED, 3 * HOUR)
    assert len(world.kinds()) == 2


def test_one_that_was_removed_is_forgotten(world: World) -> None:
    world.destination(AWAY)
    world.destination(AWAY, name="archive")
    world.plan.destinations = {"archive": None}
    world.look(1.0)
    assert list(world.told.holding(DESTINATION)) == ["archive"]
    assert world.kinds() == ["destination.waits"] * 2


def certificates(days: float, name: str = "mapdr", whose: str = "own") -> dict[str, Any]:
    facts = {"whose": whose, "name": name, "fingerprint": "9f" * 32, "expires_at": NOW + days * DAY}
    return {"receivers": {"modalities": {"certificates": [facts], "tls_trouble": ""}}}


def test_a_certificate_is_told_of_in_time_and_not_every_day(world: World) -> None:
    for day in range(40):
        world.look(day * DAY, **certificates(35.5))
        world.look(day * DAY + 1, **certificates(35.5))
        world.restart()
    told = [facts["days"] for kind, facts in world.messages() if kind == "certificate.ends"]
    assert told == [29.5, 6.5, 0.5, -0.5]
    _, facts = world.messages()[0]
    assert (facts["stage"], facts["whose"], facts["name"]) == ("receive.modalities", "own", "mapdr")


def test_a_certificate_of_a_peer_is_told_once_although_it_is_shown_anew(world: World) -> None:
    world.look(0.0, **certificates(20.5, "ct1", "peer"))
    world.restart()
    world.look(60.0)
    world.look(120.0, **certificates(20.5, "ct1", "peer"))
    assert world.kinds() == ["certificate.ends"]
    world.look(60 * DAY)
    assert not world.told.holding(CERTIFICATE)
    assert world.kinds() == ["certificate.ends"]


def test_one_that_is_in_use_long_after_its_end_is_not_told_again(world: World) -> None:
    for at in range(3):
        world.look(90 * DAY + at, **certificates(20.0))
    assert world.kinds() == ["certificate.ends"]


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets how many bytes are free on a disk of 1,000, of which 100 are kept in reserve."""

    def be(number: int) -> None:
        usage = SimpleNamespace(free=number, total=1000)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
        monkeypatch.setattr(room, "MEASURED_FOR", -1.0)

    return be


def test_a_disk_is_told_at_each_step_and_when_there_is_room(
    world: World, free: Callable[[int], None]
) -> None:
    world.store.spool.keep_free(100, 200)
    for at, number in enumerate([500, 199, 198, 205, 99, 98, 140, 140, 500, 500]):
        free(number)
        world.look(float(at))
        if number == 205:
            world.restart()
    assert [(kind, facts.get("step"), facts["free"]) for kind, facts in world.messages()] == [
        ("disk.low", "low", 199),
        ("disk.low", "full", 99),
        ("disk.low", "no-bulk", 140),
        ("disk.back", None, 500),
    ]
    last = world.messages()[-1][1]
    assert (last["share"], last["seconds"]) == (0.5, 7.0)
    assert not world.told.holding(DISK)


def test_without_a_reserve_no_disk_is_low(world: World, free: Callable[[int], None]) -> None:
    free(0)
    world.look()
    assert world.kinds() == []


def test_images_that_expire_are_told_of_each_day_and_not_twice_after_a_crash(world: World) -> None:
    world.alarms.tell_expiring(120, NOW + 7 * DAY, NOW)
    world.restart()
    world.alarms.tell_expiring(120, NOW + 7 * DAY, NOW + 2)
    world.alarms.tell_expiring(130, NOW + 7 * DAY, NOW + DAY)
    world.alarms.tell_expiring(0, 0.0, NOW + 2 * DAY)
    assert [facts["images"] for _, facts in world.messages()] == [120, 130]
    assert world.messages()[0][1]["purge_at"] == "2026-12-07T00:53:20+00:00"
    assert world.kinds() == ["images.expiring"] * 2


def test_a_source_is_told_when_it_falls_silent_and_when_it_sends_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sends(uid: str, at: float) -> None:
        monkeypatch.setattr(time, "time", lambda: NOW + at)
        push(world.store, uid)
        assert world.store.writer.flush()

    config = DimseReceiveConfig(silent_after="4 h")
    world.plan.receivers = {"modalities": SimpleNamespace(config=config)}
    world.look(-HOUR)
    sends("1.1", 0.0)
    for at in (1.0, 3.9 * HOUR):
        world.look(at)
    assert (world.kinds(), world.alarms.silent) == ([], [])
    world.look(4 * HOUR + 10)
    world.restart()
    world.look(5 * HOUR)
    assert world.kinds() == ["source.silent"]
    ((_, facts),) = world.messages()
    assert (facts["receiver"], facts["peer"], facts["address"]) == ("modalities", "CT1", "10.1.2.3")
    assert [one["peer"] for one in world.alarms.silent] == ["CT1"]
    sends("1.2", 6 * HOUR)
    world.look(6 * HOUR + 1)
    assert world.kinds() == ["source.silent", "source.back"]
    assert world.alarms.silent == []
    world.look(11 * HOUR)
    assert world.kinds() == ["source.silent", "source.back", "source.silent"]
    world.plan.receivers = {}
    world.look(12 * HOUR)
    assert not world.told.holding(SILENCE)
    assert len(world.kinds()) == 3


def test_a_clock_that_was_set_back_keeps_nobody_from_being_looked_at(world: World) -> None:
    world.plan.receivers = {"modalities": SimpleNamespace(config=DimseReceiveConfig(silent_after="4 h"))}
    world.look(10 * HOUR)
    push(world.store, "1.1")
    assert world.store.writer.flush()
    ((_, at),) = world.store.arrivals.all()
    world.look(at - NOW + 4 * HOUR)
    assert world.kinds() == ["source.silent"]


def test_a_disk_that_cannot_be_asked_hides_no_silence(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: object) -> None:
        raise OSError("no answer")

    world.store.spool.keep_free(100, 200)
    world.plan.receivers = {"modalities": SimpleNamespace(config=DimseReceiveConfig(silent_after="4 h"))}
    push(world.store, "1.1")
    assert world.store.writer.flush()
    ((_, at),) = world.store.arrivals.all()
    monkeypatch.setattr(shutil, "disk_usage", fail)
    monkeypatch.setattr(room, "MEASURED_FOR", -1.0)
    with pytest.raises(OSError, match="no answer"):
        world.look(at - NOW + 4 * HOUR)
    assert world.kinds() == ["source.silent"]


# --- whole nodes ------------------------------------------------------------------------------------------

WHOLE = """
[receive.modalities]
type = "dicom"
host = "127.0.0.1"
port = 0
silent_after = "1 h"

[egress.pacs]
type = "dicom"
ae_title = "PACS"
host = "127.0.0.1"
port = {port}
retry = {{ first = "200 ms", max = "400 ms" }}

[webhook.ris]
url = "{url}"
on = ["destination.waits", "destination.back", "source.silent", "source.back"]

[[rule]]
name = "all"
when = {{}}
send_to = ["pacs"]
"""


def send(node: Node, seed: int) -> None:
    """One small image to the node, as a modality would."""
    (image,) = generator.study("CT", images=1, size=(16, 16), seed=seed)
    link = Requestor.connect(
        "127.0.0.1",
        node.receivers["modalities"].describe().port,
        calling_ae="CT1",
        called_ae="MAPDR",
        proposals=[(image.sop_class_uid, (image.transfer_syntax_uid,))],
        limits=Limits(),
    )
    assert link.c_store(payload(image)).status == 0
    link.release()
    assert node.store.writer.flush()


def told_to(ris: Ris) -> list[str]:
    return [call.json["type"] for call in ris.answered()]


@pytest.fixture
def by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes look at nothing by themselves: the test says at which moment."""

    def _alarms(self: Upkeep) -> None:
        return

    monkeypatch.setattr(Upkeep, "_alarms", _alarms)


def look(node: Node) -> None:
    node.alarms.look(node.plan, node.counters(), time.time())


def test_a_destination_that_is_down_over_restarts_is_told_once_and_told_back(start: Start) -> None:
    port = free_port()
    with Ris(answer=lambda number: 503 if number == 0 else 204) as ris:
        text = WHOLE.format(port=port, url=ris.url)
        first = start(text)
        send(first, 1)
        until(lambda: told_to(ris) == ["destination.waits"], 20, "that it is down")
        first.stop(time.monotonic() + 10)

        second = start(text)
        until(lambda: second.deliverers["pacs"].view().state == "open", 20, "that it is down still")
        look(second)
        second.stop(time.monotonic() + 10)

        with Sink("PACS", port=port) as sink:
            third = start(text)
            until(lambda: "destination.back" in told_to(ris), 20, "that it is back")
            assert sink.count() == 1
            look(third)
            third.stop(time.monotonic() + 10)
            fourth = start(text)
            look(fourth)
            send(fourth, 2)
            until(lambda: sink.count() == 2, 20, "the second image")
            look(fourth)
            assert len(fourth.store.outbox.list()) == 2
    assert told_to(ris) == ["destination.waits", "destination.back"]
    waits, back = (call.json["data"] for call in ris.answered())
    assert (waits["node"], waits["destination"], waits["reason"]) == ("north", "pacs", "unreachable")
    assert back["seconds"] > 0


def test_a_modality_that_falls_silent_is_shown_and_told(start: Start, path: Path, by_hand: None) -> None:
    with Sink("PACS") as sink, Ris() as ris:
        node = start(WHOLE.format(port=sink.port, url=ris.url))
        send(node, 1)
        look(node)
        assert node.counters()["silent"] == []
        node.alarms.look(node.plan, node.counters(), time.time() + 2 * HOUR)
        until(lambda: told_to(ris) == ["source.silent"], 20, "that it is silent")
        assert [one["peer"] for one in node.counters()["silent"]] == ["CT1"]
        assert "source.silent" in [event.kind for event in node.watch.recent()]
        node.store.commands.beat(node.counters())
        opened = Access.of(path)
        try:
            said = [one.text for one in node_state(opened).attention if one.kind == "source-silent"]
        finally:
            opened.close()
        assert len(said) == 1
        assert said[0].startswith("modalities: CT1 is silent: its last image came ")
        found = [one for one in examine(path) if one.part == "sources"]
        assert [(one.level, one.text) for one in found] == [("note", said[0])]
        send(node, 2)
        look(node)
        until(lambda: told_to(ris) == ["source.silent", "source.back"], 20, "that it is back")
        assert node.counters()["silent"] == []


OTHERS = """
[receive.web]
type = "dicomweb"
port = 0
silent_after = "2 h"

[receive.inbox]
type = "folder"
path = "inbox"
peer = "CD reader"
quiet = "50 ms"
scan_every = "100 ms"
silent_after = "3 h"

[[rule]]
name = "none"
when = {}
send_to = []
"""


def test_a_web_receiver_and_a_folder_fall_silent_too(start: Start, path: Path, by_hand: None) -> None:
    node = start(OTHERS)
    first, second = generator.study("CT", images=2, size=(16, 16))
    port = node.receivers["web"].describe().port
    assert store(port, [first]).status == 200
    (path.parent / "inbox" / "one.dcm").write_bytes(second.part10())
    until(lambda: len(node.store.arrivals.all()) == 2, 20, "both images")

    def last() -> dict[str, float]:
        return {source.receiver: at for source, at in node.store.arrivals.all()}

    def silent(hours: float) -> list[object]:
        node.alarms.look(node.plan, node.counters(), time.time() + hours * HOUR)
        return [one["peer"] for one in node.counters()["silent"]]

    assert [silent(hours) for hours in (1.9, 2.1, 3.1)] == [[], ["web"], ["CD reader", "web"]]
    before = last()
    assert store(port, [first]).status == 200  # a repeat is a sign of life
    until(lambda: last()["web"] > before["web"], 20, "the repeat")
    assert last()["inbox"] == before["inbox"]
    assert silent(0.1) == []
