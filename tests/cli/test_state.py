"""From heartbeat and counts to the one state that everything shows."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import mapdr
from mapdr.node.plan import Plan
from mapdr.operate.brief import state_line
from mapdr.operate.configuration import examine
from mapdr.operate.events import SENTENCES, event_line
from mapdr.operate.facts import NOTHING, Facts
from mapdr.operate.model import Attention, Counted, Counts, Destination, NodeState
from mapdr.operate.rates import Rates
from mapdr.operate.state import compose
from mapdr.store.index.commands import Heartbeat
from mapdr.store.index.counts import Queue
from mapdr.store.messages import HookQueue
from mapdr_cli.render.live import follow, follow_plain
from mapdr_cli.render.terminal import THEME
from paper import nodes, states

NOW = 1_800_000_000.0


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    path: Path = tmp_path_factory.mktemp("node") / "mapdr.toml"
    path.write_text(nodes.CONFIG)
    found = examine(path).plan
    assert found is not None
    return found


def _facts(*, age: float = 0.5, counters: dict[str, Any] | None = None, **facts: Any) -> Facts:
    beat = Heartbeat("clinic-north", NOW - age, NOW - 600, 1, counters or {"state": "running"})
    values = {"today": NOTHING, "pending": 0, "parked": 0, "unrouted": 0, "heartbeat": beat, **facts}
    return Facts(NOW, **values)


def _queue(**numbers: Any) -> Queue:
    values = {"pending": 0, "leased": 0, "held": 0, "parked": 0, "oldest": None, "next_due": None}
    return Queue("telepacs", **{**values, **numbers})


def _telepacs(state: NodeState) -> Destination:
    (row,) = [row for row in state.destinations if row.name == "telepacs"]
    return row


@pytest.mark.parametrize(
    ("facts", "state"),
    [
        ({"heartbeat": None}, "stopped"),
        ({"counters": {"state": "stopped"}}, "stopped"),
        ({"counters": {"state": "draining"}}, "draining"),
        ({"age": 60.0}, "silent"),
        ({}, "running"),
    ],
)
def test_how_the_node_stands(plan: Plan, facts: dict[str, Any], state: str) -> None:
    composed = compose(plan, _facts(**facts), Rates())
    assert composed.node.state == state
    assert any("no sign of life" in item.text for item in composed.attention) == (state == "silent")


UNTRIED = {"telepacs": {"state": "closed", "tried": False}}
ONE = {"images": 1, "studies": 1, "repeats": 0, "versions": 0}
REJECTED = {
    "state": "open",
    "reason": "association-rejected",
    "comment": "the peer rejected the association for good: called AE title not recognized",
    "failures": 1,
    "retry_at": NOW + 10,
    "tried": True,
}
OPEN = {"state": "open", "comment": "connection refused", "failures": 3, "retry_at": NOW + 40}


@pytest.mark.parametrize(
    ("facts", "state", "why"),
    [
        ({}, "idle", ""),
        ({"counters": {"state": "running", "destinations": UNTRIED}}, "untried", "not tried yet"),
        (
            {
                "counters": {"state": "running", "destinations": UNTRIED},
                "today": {"received": {}, "delivered": {"telepacs": {"CT": ONE}}},
            },
            "idle",
            "",
        ),
        ({"queues": [_queue(pending=5)]}, "waiting", ""),
        ({"queues": [_queue(leased=5)]}, "sending", ""),
        (
            {"queues": [_queue(pending=1, next_due=NOW + 30)]},
            "waiting",
            "tried and put off; next try in 30 s",
        ),
        (
            {"queues": [_queue(pending=1)], "held": {"telepacs": NOW - 7}},
            "held",
            "held by the operator for 7 s",
        ),
        (
            {
                "queues": [_queue(pending=1)],
                "counters": {"state": "running", "destinations": {"telepacs": OPEN}},
            },
            "down",
            "connection refused, 3 times, next try in 40 s",
        ),
        ({"queues": [_queue(pending=1)], "age": 60.0}, "stopped", "the node does not run"),
        (
            {"age": 60.0, "counters": {"state": "running", "destinations": {"telepacs": OPEN}}},
            "stopped",
            "the node does not run",
        ),
        (
            {"counters": {"state": "running", "destinations": {"telepacs": {**OPEN, "status": 0xA700}}}},
            "down",
            "it answers: out of resources (0xA700), 3 times, next try in 40 s",
        ),
    ],
)
def test_how_a_destination_stands_and_why(plan: Plan, facts: dict[str, Any], state: str, why: str) -> None:
    row = _telepacs(compose(plan, _facts(**facts), Rates()))
    assert (row.state, row.comment) == (state, why)


def test_a_destination_that_left_the_configuration_is_still_owed_and_shown(plan: Plan) -> None:
    gone = Queue("old", 3, 0, 0, 0, NOW - 60, None)
    rows = compose(plan, _facts(queues=[gone]), Rates()).destinations
    assert [row.name for row in rows] == ["telepacs", "archive", "old"]
    assert rows[-1].oldest_seconds == 60.0


def test_what_a_person_should_look_at_is_worst_first(plan: Plan) -> None:
    facts = _facts(
        queues=[_queue(parked=2)],
        reasons={"telepacs": {"refused": 2}},
        unrouted=3,
        webhooks=[HookQueue("ris", 61, 1, "answered 500", NOW + 40)],
        disk_free=10,
        counters={"state": "running", "destinations": {"archive": OPEN}},
    )
    attention = compose(plan, facts, Rates()).attention
    assert [item.level for item in attention] == ["bad", "bad", "bad", "bad", "bad", "warn"]
    assert attention[0].text == "images are REFUSED: 10 B free, 64.0 MB kept in reserve"
    assert attention[1].text.startswith("archive is down: connection refused")
    assert attention[2].text == "2 images parked for telepacs: refused (2)"
    assert [item.text for item in attention if item.kind == "webhook"] == [
        "webhook ris: answered 500, 61 waiting, next try in 40 s",
        "webhook ris: 1 message given up; mapdr retry --webhooks tries again",
    ]


def test_a_rejection_for_good_needs_attention_at_once(plan: Plan) -> None:
    facts = _facts(counters={"state": "running", "destinations": {"telepacs": REJECTED}})
    composed = compose(plan, facts, Rates())
    assert [item.text for item in composed.attention] == [
        "telepacs is down: the peer rejected the association for good: called AE title not recognized, "
        "next try in 10 s"
    ]
    assert _telepacs(composed).reason == "association-rejected"


@pytest.mark.parametrize("waiting", [0, 60])
def test_a_destination_whose_own_program_fails_needs_attention(plan: Plan, waiting: int) -> None:
    told = {"state": "closed", "fault": "FileNotFoundError: No such file or directory", "tried": True}
    facts = _facts(
        counters={"state": "running", "destinations": {"telepacs": told}},
        queues=[_queue(pending=waiting, next_due=NOW + 60)],
    )
    composed = compose(plan, facts, Rates())
    assert [(item.kind, item.level, item.text) for item in composed.attention] == [
        (
            "failing",
            "bad",
            "telepacs: sending failed by a fault of this destination's program"
            " (FileNotFoundError: No such file or directory): 60 images waiting",
        )
    ] * bool(waiting)
    assert _telepacs(composed).fault == told["fault"]


def test_a_destination_that_waits_for_our_own_fault_is_not_down(plan: Plan) -> None:
    waits = {**REJECTED, "reason": "own-fault", "comment": "no connection can be opened here: no more files"}
    composed = compose(
        plan, _facts(counters={"state": "running", "destinations": {"telepacs": waits}}), Rates()
    )
    assert [(item.kind, item.level, item.text) for item in composed.attention] == [
        (
            "own-fault",
            "bad",
            "telepacs waits by a fault of this node: no connection can be opened here: no more files, "
            "next try in 10 s",
        )
    ]
    row = _telepacs(composed)
    assert (row.state, row.reason) == ("waiting", "own-fault")
    facts = {"destination": "pacs", "reason": "own-fault", "comment": "no more files"}
    told = event_line({"at": NOW, "kind": "destination.waits", **facts})
    assert told.text == "pacs waits by a fault of this node: no more files"


def test_a_compression_that_a_destination_refuses_needs_attention(plan: Plan) -> None:
    counters = {"state": "running", "counters": {"deliver.telepacs.uncompressed": 3}}
    attention = compose(plan, _facts(counters=counters), Rates()).attention
    assert [(item.kind, item.level) for item in attention] == [("uncompressed", "warn")]
    assert attention[0].text.startswith("3 images sent without the compression of the rule: telepacs refuses")


@pytest.mark.parametrize(
    ("facts", "state", "said"),
    [
        ({"age": 60.0, "alive": True}, "silent", "gives no sign of life: its log says why"),
        (
            {"age": 60.0, "alive": True, "unwritable": "locked by another program"},
            "silent",
            "no sign of life: its index cannot be written (locked by another program)",
        ),
        ({"age": 60.0, "alive": True, "disk_free": 0}, "silent", "cannot be written, for the disk is full"),
        ({"age": 1.0, "alive": False}, "stopped", "the node ended without a word (last seen "),
        (
            {"age": 60.0, "alive": True, "trouble": "locked", "as_of": NOW - 9},
            "unknown",
            "counts are those of",
        ),
        ({"age": 60.0, "trouble": "locked"}, "unknown", "no counts are known"),
        ({"heartbeat": None, "alive": True, "lost": True}, "silent", "index.db was removed or replaced"),
    ],
)
def test_what_is_said_of_a_node_that_says_nothing(
    plan: Plan, facts: dict[str, Any], state: str, said: str
) -> None:
    composed = compose(plan, _facts(**facts), Rates())
    assert composed.node.state == state
    assert any(said in item.text for item in composed.attention)
    row = _telepacs(composed)
    there = state != "stopped"
    assert row.state == ("unknown" if there else "stopped")


def test_what_the_store_says_of_itself_needs_attention(plan: Plan) -> None:
    health = {"refusing": "the index cannot be written: database or disk is full", "set_aside": 2}
    told = compose(plan, _facts(counters={"state": "running", "store": health}), Rates()).attention
    assert [item.text for item in told] == [
        "images are REFUSED: the index cannot be written: database or disk is full",
        "2 images are safe in the spool, but the index does not take them; see the log",
    ]
    assert not compose(plan, _facts(counters={"state": "running", "store": {}}), Rates()).attention


def test_a_journal_that_is_not_in_use_needs_attention_of_a_node_that_runs(plan: Plan) -> None:
    sign = {"state": "running", "store": {"without_journal": "it was removed; a restart makes another one"}}
    (told,) = compose(plan, _facts(counters=sign), Rates()).attention
    assert (told.kind, told.level) == ("journal", "warn")
    assert "the journal is not in use" in told.text
    assert told.text.endswith("it was removed; a restart makes another one")
    assert not compose(plan, _facts(counters={**sign, "state": "stopped"}), Rates()).attention


def test_a_spool_that_cannot_be_written_to_and_little_room_are_said(plan: Plan) -> None:
    told = compose(plan, _facts(writable=False, disk_free=96_000_000), Rates()).attention
    assert "images are REFUSED: " in told[0].text
    assert "cannot be written to" in told[0].text
    assert told[1] == Attention(
        "disk", "warn", "the disk is nearly full: 96.0 MB free, 64.0 MB kept in reserve"
    )


def test_images_that_the_store_lost_hold_of_are_said_before_all_else(plan: Plan) -> None:
    health = {"refusing": "the index cannot be written: database or disk is full", "set_aside": 2}
    told = {"state": "running", "store": health}
    facts = _facts(
        counters=told,
        queues=[_queue(parked=4)],
        reasons={"telepacs": {"damaged": 1, "missing": 2, "refused": 1}},
    )
    lines = [item.text for item in compose(plan, facts, Rates()).attention]
    assert lines[:3] == [
        "images are REFUSED: the index cannot be written: database or disk is full",
        "2 images are safe in the spool, but the index does not take them; see the log",
        "the spool does NOT hold what was received: damaged (1), missing (2); push these images again",
    ]


def test_today_counts_images_and_studies_and_keeps_repeats_beside(plan: Plan) -> None:
    numbers = {"images": 5, "studies": 1, "repeats": 2, "versions": 1}
    only_repeats = {"images": 0, "studies": 0, "repeats": 4, "versions": 0}
    today = {
        "received": {"CT": numbers, "MR": only_repeats},
        "delivered": {"telepacs": {"CT": numbers}, "x": {}},
    }
    composed = compose(plan, _facts(today=today), Rates())
    counted = {"CT": Counted(5, 1)}
    assert composed.today == Counts(counted, {"telepacs": counted})
    assert composed.repeats.received == 6


def test_rates_are_taken_over_a_window_and_survive_a_restart() -> None:
    rates = Rates()
    assert rates.of("in") is None
    for second in range(20):
        rates.add(float(second), {"in": 10.0 * second})
    assert rates.of("in") == pytest.approx(10.0)
    rates.add(20.0, {"in": 0.0})
    assert rates.of("in") is None
    rates.add(22.0, {"in": 10.0})
    assert rates.of("in") == pytest.approx(5.0)
    assert len(rates.history("in")) == 22


def test_every_known_event_reads_well_and_an_unknown_one_is_shown() -> None:
    for kind, known in SENTENCES.items():
        told = event_line({"at": NOW, "kind": kind, "images": 1})
        assert told.level == known.level
        assert told.text
        assert "1 images" not in told.text
    told = event_line({"at": NOW, "kind": "destination.waits", "destination": "pacs", "reason": "no-answer"})
    assert told.text == "pacs is down: no-answer"
    many = event_line({"kind": "association.lost", "receiver": "r", "peer": "CT1", "cause": "x", "times": 9})
    assert many.text == "r: the association of CT1 was lost: x (9 times)"
    assert event_line({"kind": "new.kind", "number": 3}).text == "new.kind: number 3"
    assert "\x1b" not in event_line({"kind": "association.rejected", "cause": "\x1b[2J"}).text


def test_every_sentence_belongs_to_an_event_that_the_node_emits() -> None:
    root = Path(mapdr.__file__).parent
    source = "".join(path.read_text(encoding="utf-8") for path in root.rglob("*.py"))
    for kind in SENTENCES:
        association = kind.startswith("association.")
        assert f'"{kind}"' in source or (association and f'"{kind.partition(".")[2]}"' in source), kind


def test_plain_lines_come_only_when_something_changed() -> None:
    told = [states.quiet(), states.quiet(), states.busy()]
    waiting = iter([replace(state, attention=[]) for state in told])
    left = iter([False, False, False, True])
    file = io.StringIO()
    follow_plain(Console(file=file), lambda: next(waiting), lambda: next(left), pause=0.001)
    assert file.getvalue().splitlines() == [
        "10:42:07 received 0; delivered 0; waiting 0",
        "10:42:07 received 16,285; delivered 27,110; waiting 1,906; parked 5; unrouted 73",
    ]


def test_more_lines_stand_behind_a_plain_line_and_below_the_dashboard() -> None:
    state = replace(states.quiet(), attention=[])
    left = iter([False, False, True])
    file = io.StringIO()
    more = ["tags         right", "RIS          told"]
    follow_plain(Console(file=file), lambda: state, lambda: next(left), pause=0.001, more=lambda: more)
    assert file.getvalue() == "10:42:07 received 0; delivered 0; waiting 0; tags right; RIS told\n"

    left = iter([False, True])
    screen = Console(file=io.StringIO(), record=True, width=80, height=24, force_terminal=True, theme=THEME)
    follow(screen, lambda: state, lambda: next(left), pause=0.001, more=lambda: more)
    lines = [each.rstrip() for each in screen.export_text().splitlines()]
    assert lines.index(more[1]) == lines.index(more[0]) + 1 == 22
    assert any("destination " in one for one in lines[:21])


def test_a_node_that_does_not_run_is_named_again_every_minute() -> None:
    stopped = replace(states.quiet(), node=replace(states.quiet().node, state="stopped"))
    waiting = iter([replace(stopped, at=stopped.at + number * 30) for number in range(4)])
    left = iter([False] * 4 + [True])
    file = io.StringIO()
    follow_plain(Console(file=file), lambda: next(waiting), lambda: next(left), pause=0.001)
    assert file.getvalue().splitlines() == [
        f"{clock} the node is stopped; received 0; delivered 0; waiting 0"
        for clock in ("10:42:07", "10:43:07")
    ]


def test_a_line_names_what_is_broken() -> None:
    assert "archive is down: connection refused" in state_line(states.busy())


@pytest.mark.parametrize(
    ("step", "level", "said"),
    [
        ("enough", "", ""),
        ("low", "warn", "the disk is nearly full: "),
        ("purging", "warn", "the disk is filling, and what was delivered is purged before its time: "),
        ("no-bulk", "bad", "bulk images are REFUSED: "),
        ("stat-only", "bad", "all images but stat ones are REFUSED: "),
        ("full", "bad", "images are REFUSED: "),
    ],
)
def test_each_step_of_a_filling_disk_is_shown(plan: Plan, step: str, level: str, said: str) -> None:
    facts = _facts(disk_free=96_000_000, counters={"state": "running", "store": {"disk": step}})
    state = compose(plan, facts, Rates())
    assert state.node.disk_step == step
    shown = [(item.level, item.text) for item in state.attention if item.kind == "disk"]
    assert shown == ([(level, f"{said}96.0 MB free, 64.0 MB kept in reserve")] if level else [])
    told = {"at": NOW, "kind": "disk.step", "step": step, "free": 96_000_000, "share": 0.0125}
    line = event_line(told)
    assert line.text.endswith(": 96.0 MB free, 1.2% of it")
    assert line.level == (level or "good")


def test_unrouted_images_that_go_soon_are_said(plan: Plan) -> None:
    told = {"state": "running", "store": {"expiring": {"images": 2, "at": NOW + 86400}}}
    attention = compose(plan, _facts(unrouted=3, counters=told), Rates()).attention
    (text,) = [item.text for item in attention if item.kind == "expiring"]
    assert text.startswith("2 unrouted images will be purged, the first on ")
    assert text.endswith("; correct the rules, then mapdr reroute --state unrouted")
