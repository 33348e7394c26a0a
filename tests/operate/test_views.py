"""What is told of a node: the steps of one image, counts of days, and dates as people type them."""

from __future__ import annotations

import re
import time
from collections import Counter
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import mapdr
from mapdr import deliver, egress
from mapdr.operate import selection
from mapdr.operate.access import Access, access
from mapdr.operate.actions import reroute
from mapdr.operate.configuration import examine
from mapdr.operate.counts import count_lines, counts, counts_of_month
from mapdr.operate.cures import CURES, OTHERWISE, cure
from mapdr.operate.deliveries import deliveries, with_waits
from mapdr.operate.destinations import destination, stuck_first
from mapdr.operate.errors import RequestError
from mapdr.operate.facts import Facts
from mapdr.operate.images import images
from mapdr.operate.model import Attention, Counted, Destination, KnownCertificate
from mapdr.operate.parked import parked
from mapdr.operate.rates import Rates
from mapdr.operate.selection import SHOWN, Selection, choose, limited
from mapdr.operate.studies import Confirmed, Order, Standing, confirmed, studies, waits
from mapdr.operate.surroundings import surroundings
from mapdr.operate.timeline import Timeline, timeline
from mapdr.operate.view import node_state
from mapdr.operate.waits import REASONS
from mapdr.store.index import overview
from mapdr.store.index.counts import Queue
from mapdr.testing import generator
from paper.nodes import SOURCE, NodeFolder
from paper.states import AT, IDLE


def test_the_steps_of_an_image_are_in_order(opened: Access) -> None:
    (stuck,) = deliveries(opened, Selection(state="parked"))
    found = timeline(opened, stuck.sop_instance_uid)
    steps = found.steps
    assert {step.instance for step in steps} == {one.instance for one in found.images} == {stuck.instance}
    assert [step.at for step in steps] == sorted(step.at for step in steps)
    assert steps[0].kind == "received"
    assert [(step.kind, step.word, step.destination) for step in steps[1:]] == [
        ("attempt", "refused", "telepacs"),
        ("settled", "parked", "telepacs"),
    ]
    assert (steps[-1].status, steps[-1].reason) == (0xA900, "refused")
    reroute(opened, Selection(sop_instance_uid=stuck.sop_instance_uid, destination="telepacs"))
    again = timeline(opened, stuck.sop_instance_uid)
    assert ("settled", "superseded") in {(step.kind, step.word) for step in again.steps}
    assert timeline(opened, "1.2.3") == Timeline([], [], [])


def test_a_timeline_tells_who_brought_an_image_and_which_rule_promised_what(
    opened: Access, used: NodeFolder
) -> None:
    (stuck,) = deliveries(opened, Selection(state="parked"))
    before = timeline(opened, stuck.sop_instance_uid)
    assert [one.source for one in before.images] == [SOURCE]
    promises = {one.destination: one for one in before.promises}
    assert {name: list(one.rules) for name, one in promises.items()} == {
        "telepacs": ["CT to teleradiology"],
        "archive": ["CT and MR to the archive"],
    }
    assert [one["type"] for one in promises["telepacs"].transforms] == ["tags", "compress"]
    assert promises["archive"].transforms == []
    assert (promises["telepacs"].state, promises["telepacs"].reason) == ("parked", "refused")
    # A changed configuration gives other rules and recipes; what was promised before keeps its own.
    text = used.config.read_text().replace('with = "CN-"', 'with = "X-"')
    used.config.write_text(text.replace("CT to tele", "CT at night to tele"))
    used.beat(revision=examine(used.config).loaded.revision)
    with access(used.config, rules=True) as today:
        reroute(today, Selection(sop_instance_uid=stuck.sop_instance_uid, destination="telepacs"))
        after = timeline(today, stuck.sop_instance_uid)
    told = [one for one in after.promises if one.destination == "telepacs"]
    assert [(one.batch, one.state, list(one.rules)) for one in told] == [
        (0, "superseded", ["CT to teleradiology"]),
        (1, "pending", ["CT at night to teleradiology"]),
    ]


def test_an_image_that_no_rule_took_has_a_timeline_too(opened: Access) -> None:
    (image,) = images(opened, Selection(state="unrouted"))
    found = timeline(opened, image.sop_instance_uid)
    assert (list(found.images), list(found.promises)) == ([image], [])
    assert [(step.kind, step.at) for step in found.steps] == [("received", image.received_at)]


def test_the_images_of_a_study_are_told_with_where_each_stands(opened: Access) -> None:
    (stuck,) = deliveries(opened, Selection(state="parked"))
    found = images(opened, Selection(study_instance_uid=stuck.study_instance_uid))
    assert [one.received_at for one in found] == sorted((one.received_at for one in found), reverse=True)
    stands = Counter((one.destinations["archive"], one.destinations["telepacs"]) for one in found)
    assert stands == {("pending", "delivered"): 2, ("pending", "parked"): 1, ("pending", "pending"): 1}
    assert {(one.modality, one.kind, one.unrouted, one.purged_at) for one in found} == {
        ("CT", "first", False, None)
    }
    assert len({one.series_instance_uid for one in found}) == 1
    assert {one.transfer_syntax_uid for one in found} == {generator.EXPLICIT}
    assert all(one.bytes for one in found)
    (unrouted,) = images(opened, Selection(state="unrouted"))
    assert (unrouted.modality, unrouted.unrouted, unrouted.destinations) == ("US", True, {})
    assert len(images(opened, Selection(limit=3))) == 3
    reroute(opened, Selection(sop_instance_uid=stuck.sop_instance_uid, destination="telepacs"))
    (again,) = images(opened, Selection(sop_instance_uid=stuck.sop_instance_uid))
    assert again.destinations == {"archive": "pending", "telepacs": "pending"}, "by the newest promise"


def test_what_is_parked_is_grouped_by_reason(opened: Access, used: NodeFolder) -> None:
    used.settle("archive", "parked", 2, reason="empty-value")
    used.settle("archive", "parked", 1, reason="refused")
    told = [(one.reason, one.deliveries, dict(one.to)) for one in parked(opened)]
    assert told == [("empty-value", 2, {"archive": 2}), ("refused", 2, {"archive": 1, "telepacs": 1})]
    refused = parked(opened)[1]
    assert refused.first_at is not None
    assert refused.last_at is not None
    assert refused.first_at < refused.last_at <= time.time()
    assert [one.deliveries for one in parked(opened, Selection(destination="telepacs"))] == [1]
    assert parked(opened, Selection(modality="US")) == []
    with pytest.raises(RequestError, match="only parked deliveries"):
        parked(opened, Selection(state="pending"))


def test_a_timeline_tells_syntax_and_ratio_and_is_found_by_its_study(opened: Access) -> None:
    (stuck,) = deliveries(opened, Selection(state="parked"))
    found = timeline(opened, stuck.sop_instance_uid, study_instance_uid=stuck.study_instance_uid)
    assert found == timeline(opened, stuck.sop_instance_uid)
    came, tried = found.steps[:2]
    assert (came.transfer_syntax, came.bytes) == ("Explicit VR Little Endian", found.images[0].bytes)
    assert (tried.transfer_syntax, tried.bytes) == ("Explicit VR Little Endian", 1000)
    assert tried.ratio == pytest.approx(found.images[0].bytes / 1000)
    assert not timeline(opened, stuck.sop_instance_uid, study_instance_uid="1.2").images


def test_counts_as_a_table_have_the_whole_before_its_parts(opened: Access) -> None:
    today = date.today()
    told = counts(opened, today, today)
    rows = [
        (one.destination, one.modality, one.images, one.studies) for one in count_lines(told, today, today)
    ]
    assert rows[:2] == [("", "(all)", 7, 3), ("", "CT", 4, 1)]
    assert rows[-2:] == [("telepacs", "(all)", 2, 1), ("telepacs", "CT", 2, 1)]
    volume = told.delivered_bytes["telepacs"]
    assert volume.bytes_sent == 2000
    assert volume.saved == pytest.approx(1 - 2000 / volume.bytes_received)
    assert told.volumes["telepacs"] == {"CT": volume}
    bytes_told = {
        (one.destination, one.modality): (one.bytes_received, one.bytes_sent)
        for one in count_lines(told, today, today)
    }
    assert bytes_told["", "(all)"] == bytes_told["", "CT"] == (None, None)
    assert bytes_told["telepacs", "(all)"] == (volume.bytes_received, 2000) == bytes_told["telepacs", "CT"]
    (here,) = (one for one in node_state(opened).destinations if one.name == "telepacs")
    assert here.saved == volume.saved


def test_the_surroundings_of_a_node_are_told_by_its_state(opened: Access) -> None:
    told = surroundings(node_state(opened))
    assert [(one.name, one.today, one.silent, one.rate) for one in told.sources] == [("CT1", 7, False, 0.0)]
    assert {one.name: one.level for one in told.conditions} == {
        "disk": "good",
        "index": "good",
        "certificates": "good",
    }
    texts = {one.name: one.text for one in told.conditions}
    assert re.fullmatch(r"[\d.,]+ [kMGT]B free; below 64\.0 MB images are refused", texts["disk"])
    assert re.fullmatch(r"[\d.,]+ [kM]B, can be read", texts["index"])
    ends = [KnownCertificate(f"egress.{n}", f"ends in {n} days", float(n)) for n in range(40, 45)]
    secured = surroundings(replace(node_state(opened), certificates=ends)).conditions[2]
    assert secured.text == (
        "egress.40: ends in 40 days; egress.41: ends in 41 days; egress.42: ends in 42 days; "
        "and 2 that end later"
    )
    bad = replace(node_state(opened), attention=[Attention("disk", "bad", "images are REFUSED")])
    assert surroundings(bad).conditions[0].level == "bad"


def test_counts_of_days_add_up(opened: Access) -> None:
    today = date.today()
    one = counts(opened, today, today)
    assert one.received == {"CT": Counted(4, 1), "MR": Counted(2, 1), "US": Counted(1, 1)}
    assert one.delivered == {"telepacs": {"CT": Counted(2, 1)}}
    assert counts(opened, today - timedelta(days=3), today) == one
    assert counts_of_month(opened, today.year, today.month) == one
    assert counts(opened, today - timedelta(days=3), today - timedelta(days=1)).received == {}


@pytest.mark.parametrize(
    ("typed", "field"),
    [
        ({"study_date": "yesterday"}, "study_date"),
        ({"received": "2026-13-01"}, "received"),
        ({"received": ".."}, "received"),
        ({"since": "soon"}, "since"),
        ({"since": "1 h", "received": "today"}, ""),
    ],
)
def test_what_is_no_date_names_its_field(typed: dict[str, Any], field: str) -> None:
    with pytest.raises(RequestError) as raised:
        choose(**typed)
    assert raised.value.field == field


def test_dates_bound_both_ends() -> None:
    chosen = choose(study_date="2026-11-01..2026-11-30", received="2026-11-02", modality="CT")
    assert (chosen.study_date_from, chosen.study_date_to, chosen.modality) == ("20261101", "20261130", "CT")
    assert chosen.since is not None
    assert chosen.until is not None
    assert chosen.until > chosen.since
    assert (limited(chosen).limit, limited(choose(limit=3)).limit) == (SHOWN, 3)


class WindowsTime(datetime):
    """A clock that tells local times as that of Windows does."""

    def timestamp(self) -> float:
        if self.tzinfo is None and not 1970 <= self.year <= 3000:
            raise OSError(22, "Invalid argument")
        return super().timestamp()


@pytest.mark.parametrize("clock", [datetime, WindowsTime])
def test_a_day_before_all_clocks_began_is_a_bound_like_any(
    monkeypatch: pytest.MonkeyPatch, clock: type[datetime]
) -> None:
    monkeypatch.setattr(selection, "datetime", clock)
    for text in ("1969-07-20", "1900-01-01", "0001-01-01"):
        assert choose(since=text).since == 0.0
        chosen = choose(received=f"{text}..2026-11-02")
        assert chosen.since == 0.0
        assert chosen.until == datetime(2026, 11, 3).timestamp()
        assert choose(received=text).until == 0.0
    assert choose(since="1900-01-01T10:00+01:00").since == 0.0
    assert (choose(received="..3500-01-01").until or 0.0) > 4e10
    assert choose(received="..9999-12-31").until is None


def test_a_row_says_that_it_waits_for_its_study_to_be_quiet(opened: Access) -> None:
    pending = deliveries(opened, Selection(state="pending"))
    assert pending
    (newest, *_) = sorted(pending, key=lambda row: -row.received_at)
    last_image = {newest.study_instance_uid: newest.received_at}
    patient = [replace(IDLE, name=row.destination, quiet_seconds=60.0) for row in pending]
    (told, *_) = with_waits([newest], patient, newest.received_at + 59.0, last_image)
    assert (told.reason, told.due_at) == ("study-not-quiet", newest.received_at + 60.0)
    assert "60 s" in told.comment
    assert with_waits([newest], patient, newest.received_at + 61.0, last_image) == [newest]
    hasty = [replace(one, quiet_seconds=0.0) for one in patient]
    assert with_waits([newest], hasty, newest.received_at + 1.0, last_image) == [newest]


BREAKER = {"state": "closed", "tried": True}
DUE = Queue("telepacs", pending=3, leased=0, held=0, parked=0, oldest=AT - 60, next_due=AT - 1)
LEASED = replace(DUE, pending=1, leased=2)


def stands(breaker: dict[str, Any], queue: Queue | None = DUE, **facts: Any) -> Destination:
    known: dict[str, Any] = {"held": {}, "heartbeat": None, "alive": True, **facts}
    facts_ = Facts(AT, {"received": {}, "delivered": {}}, 0, 0, 0, queues=[queue] if queue else [], **known)
    return destination("telepacs", facts_, {"destinations": {"telepacs": {**BREAKER, **breaker}}}, Rates())


OPEN = {"state": "open", "reason": "no-answer", "comment": "it hung up", "retry_at": AT + 9}


@pytest.mark.parametrize(
    ("told", "state", "reason", "words", "row"),
    [
        (stands({}, held={"telepacs": AT - 60}), "held", "held", "held by the operator", "held"),
        (stands(OPEN), "down", "no-answer", "it hung up", "no-answer"),
        (stands({**OPEN, "reason": "own-fault"}), "waiting", "own-fault", "this node", "own-fault"),
        (stands({"closed_until": AT + 3600}), "waiting", "window", "outside its hours until", "window"),
        (stands({}, replace(DUE, next_due=AT + 60)), "waiting", "put-off", "put off", "behind-others"),
        (stands({"quiet_seconds": 60.0}), "waiting", "study-not-quiet", "60 s", "study-not-quiet"),
        (stands({}), "waiting", "behind-others", "", "behind-others"),
        (stands({"ready": 2}, LEASED), "sending", "", "", "behind-others"),
        (
            stands({"preparing": 2}, LEASED),
            "sending", "waits-for-codec", "2 images in hand: waiting for a codec", "behind-others",
        ),
        (
            stands({"preparing": 1, "short_of_memory": True}, LEASED),
            "sending", "waits-for-memory", "1 image in hand: waiting for memory", "behind-others",
        ),
        (stands({"preparing": 1, "ready": 1}, LEASED), "sending", "", "waiting for a codec", "behind-others"),
    ],
)  # fmt: skip
def test_a_destination_and_its_deliveries_say_in_one_known_word_why_they_wait(
    opened: Access, told: Destination, state: str, reason: str, words: str, row: str
) -> None:
    assert (told.state, told.reason) == (state, reason)
    assert words in told.comment
    (waiting, *_) = deliveries(opened, Selection(state="pending"))
    waiting = replace(waiting, destination="telepacs", reason="", due_at=None)
    last_image = {waiting.study_instance_uid: AT}
    (pending,) = with_waits([waiting], [told], AT, last_image)
    assert pending.reason == row
    (leased,) = with_waits([replace(waiting, state="leased")], [told], AT, last_image)
    assert leased.reason == (reason if reason.startswith("waits-for") else "in-hand")
    assert {reason or row, pending.reason, leased.reason} <= REASONS.keys()
    (urgent,) = with_waits([replace(waiting, priority="stat")], [told], AT, last_image)
    assert urgent.reason == ("behind-others" if row == "window" else row)


def test_every_reason_that_a_row_may_wait_for_is_told(opened: Access) -> None:
    """Those of tries are words of `deliver`, which are looked for in its source."""
    source = "".join(path.read_text("utf-8") for path in Path(deliver.__file__).parent.rglob("*.py"))
    words = set(re.findall(r'Decision\("pending", "([a-z-]+)"', source))
    for either in re.findall(
        r' reason = (?:outcome.reason or )?\(?("[a-z-]+"(?: if .* else "[a-z-]+")?)', source
    ):
        words |= set(re.findall(r'"([a-z-]+)"', either))
    assert {"not-accepted", "no-answer", "refused", "preparing", "association-rejected"} <= words
    stages = "".join(path.read_text("utf-8") for path in Path(egress.__file__).parent.rglob("*.py"))
    for pause in re.findall(
        r'Pause\(("[a-z-]+")|waits\(status, .*, ("[a-z-]+")\)|reason, words = ("[a-z-]+")', stages
    ):
        words |= {word.strip('"') for word in pause if word}
    assert {"unauthorized", "no-service", "no-room", "no-folder"} <= words
    assert words <= REASONS.keys()
    manual = (Path(deliver.__file__).parents[2] / "docs/glossary.md").read_text("utf-8")
    for word, meaning in REASONS.items():
        assert f"| `{word}` | {meaning} |" in manual


def test_what_is_stuck_comes_first() -> None:
    states = ("idle", "held", "sending", "down", "untried", "waiting")
    rows = [replace(IDLE, name=f"{number}", state=state) for number, state in enumerate(states)]
    rows.append(replace(IDLE, name="0", state="down"))
    ranked = [(one.state, one.name) for one in stuck_first(rows)]
    assert ranked[:4] == [("down", "0"), ("down", "3"), ("waiting", "5"), ("held", "1")]
    assert {state for state, _ in ranked[4:]} == {"idle", "sending", "untried"}


@pytest.mark.parametrize(
    ("standings", "expected"),
    [
        ([Standing("delivered", "", 3)], Confirmed(3, 3, 0, 0, {}, "good")),
        ([Standing("delivered", "", 2), Standing("pending", "", 1)], Confirmed(2, 3, 0, 0, {}, "warn")),
        ([Standing("delivered", "", 2), Standing("dismissed", "", 1)], Confirmed(2, 3, 0, 1, {}, "warn")),
        (
            [Standing("delivered", "", 2), Standing("parked", "refused", 1)],
            Confirmed(2, 3, 1, 0, {}, "bad"),
        ),
        (
            [Standing("delivered", "", 2), Standing("pending", "", 1, again=True)],
            Confirmed(2, 2, 0, 0, {"pending": 1}, "warn"),
        ),
        (
            [Standing("delivered", "", 2), Standing("parked", "refused", 1, again=True)],
            Confirmed(2, 2, 0, 0, {"parked": 1}, "bad"),
        ),
    ],
)
def test_what_a_destination_has_of_a_study(standings: list[Standing], expected: Confirmed) -> None:
    assert confirmed(standings) == expected
    assert waits(standings) == ("pending" in {one.state for one in standings})


def test_every_reason_of_a_permanent_failure_has_a_cure(opened: Access) -> None:
    root = Path(mapdr.__file__).parent
    parking = ("transform", "dicom/edit", "deliver", "store/queue", "kernel")
    text = "".join(
        path.read_text(encoding="utf-8") for folder in parking for path in (root / folder).rglob("*.py")
    )
    raised = set(re.findall(r'Permanent\([^)]*?reason="([a-z-]+)"', text, re.DOTALL))
    raised |= set(re.findall(r'Decision\("parked", "([a-z-]+)"', text))
    assert len(raised) > 20
    assert raised - set(CURES) == set()
    assert cure("a-plugin-says") == OTHERWISE
    assert [one.cure for one in parked(opened)] == [cure("refused")]


@pytest.mark.parametrize(
    ("line", "chosen"),
    [
        ("", Selection()),
        ("parked", Selection(state="parked")),
        ("modality=CT to=telepacs", Selection(modality="CT", destination="telepacs")),
        ("--modality CT --state parked", Selection(modality="CT", state="parked")),
        ('from="CT 1" study-date=2026-11-01..', Selection(peer="CT 1", study_date_from="20261101")),
        ("accession=A=1 limit=7", Selection(accession_number="A=1", limit=7)),
        ("today unrouted", replace(choose(received="today"), state="unrouted")),
    ],
)
def test_a_line_chooses_as_the_options_of_commands_do(line: str, chosen: Selection) -> None:
    assert selection.parse(line) == chosen


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("modalty=CT", 'did you mean "modality"'),
        ("CT", '"CT" is no condition'),
        ("to=", "to is empty"),
        ("--to", "to is empty"),
        ("state=lost", "a state is one of"),
        ("parked state=held", "state is there twice"),
        ("limit=0", "no number of rows"),
        ('from="CT', "quotation mark"),
        ("study-date=yesterday", "not a date"),
    ],
)
def test_a_line_that_is_no_selection_says_why(line: str, said: str) -> None:
    with pytest.raises(RequestError, match=re.escape(said)):
        selection.parse(line)


def test_studies_come_in_the_order_that_is_asked_for(opened: Access) -> None:
    newest = [one.study_instance_uid for one in studies(opened, Selection())]
    assert len(newest) == 3
    oldest = [one.study_instance_uid for one in studies(opened, Selection(), order="oldest")]
    assert oldest == newest[::-1]
    first, *others = studies(opened, Selection(), order="stuck")
    assert any(one.state == "parked" for one in first.destinations["telepacs"])
    assert [one.study_instance_uid for one in others] == newest[:2]
    assert [one.study_instance_uid for one in studies(opened, Selection(limit=1))] == newest[:1]


def test_who_sends_is_told_by_name_with_the_images_of_today(opened: Access, used: NodeFolder) -> None:
    used.beat(silent=[{"receiver": "modalities", "peer": "CT1", "last_at": "2026-11-26T10:00:00+00:00"}])
    (sender,) = node_state(opened).senders
    assert (sender.name, list(sender.receivers), sender.today) == ("CT1", ["modalities"], 7)
    assert sender.silent
    assert sender.last_at is not None


@pytest.mark.parametrize(
    "chosen",
    [
        Selection(),
        Selection(modality="CT"),
        Selection(destination="telepacs"),
        Selection(destination="archive", modality="MR"),
        Selection(peer="CT1"),
        Selection(state="delivered"),
        Selection(reason="refused"),
        Selection(state="parked", reason="refused"),
        Selection(state="pending", destination="archive"),
        Selection(state="unrouted"),
        Selection(modality="XX"),
    ],
)
@pytest.mark.parametrize("order", ["newest", "oldest", "stuck"])
@pytest.mark.parametrize("limit", [1, 2, 50])
def test_the_first_studies_are_those_of_all_of_them(
    opened: Access, chosen: Selection, order: Order, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview, "_LOOKED_AT", 1)
    every = studies(opened, chosen, order=order)
    assert studies(opened, replace(chosen, limit=limit), order=order) == every[:limit]
