"""What the ledger says after every kind of answer that a receiver can give, over real associations.

Only the receiver's own final status ends a row as delivered (features, 2.A.3 and 5.22 f.).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from deliver.world import World, delivering, egress, world
from mapdr.kernel.proof import Proof
from mapdr.testing.wait import until
from peers.processes import free_port
from peers.rawsink import Answer, RawSink, Received


def once(status: int, comment: str = "") -> RawSink:
    """A receiver that always answers 1.9.1 with `status`, and everything else with success."""
    return RawSink(
        lambda request: Answer(status, comment=comment) if request.sop_instance_uid == "1.9.1" else Answer()
    )


def first(answer: Answer, times: int = 1) -> RawSink:
    """A receiver that treats the first requests for 1.9.1 as `answer` says, and all later ones well."""
    left = iter(range(times))

    def script(request: Received) -> Answer:
        if request.sop_instance_uid == "1.9.1" and next(left, None) is not None:
            return answer
        return Answer()

    return RawSink(script)


@pytest.mark.parametrize("status", [0x0000, 0xB000, 0xB006, 0xB007, 0x0111])
def test_success_warnings_and_duplicates_are_delivered_and_shown_as_what_they_are(
    tmp_path: Path, status: int
) -> None:
    with world(tmp_path) as made, once(status) as sink:
        made.push("1.9.1", "1.9.2")
        with delivering(made, {"pacs": egress(tmp_path, sink.port)}):
            rows = made.settled()
        assert {row.state for row in rows.values()} == {"delivered"}
        assert [attempt[:2] for attempt in made.attempts("1.9.1")] == [("delivered", status)]


@pytest.mark.parametrize("status", [0xA900, 0xC000, 0xC123, 0x0117, 0x0122, 0x0124, 0xDEAD])
def test_a_status_that_faults_the_image_parks_it_and_nothing_else(tmp_path: Path, status: int) -> None:
    with world(tmp_path) as made, once(status, "not for me") as sink:
        made.push("1.9.1", "1.9.2")
        with delivering(made, {"pacs": egress(tmp_path, sink.port)}):
            rows = made.settled()
        assert {uid: row.state for uid, row in rows.items()} == {"1.9.1": "parked", "1.9.2": "delivered"}
        assert rows["1.9.1"].comment == "not for me"
        assert rows["1.9.1"].reason in ("refused", "failed")
        assert [attempt[1] for attempt in made.attempts("1.9.1")] == [status] * 3


@pytest.mark.parametrize("status", [0xA700, 0xA701, 0xA7FE, 0xA7FF, 0x0110, 0x0210, 0x0213, 0xFE00])
def test_a_receiver_in_trouble_is_asked_again_and_no_try_is_used_up(tmp_path: Path, status: int) -> None:
    with world(tmp_path) as made, first(Answer(status), times=4) as sink:
        made.push("1.9.1", "1.9.2")
        with delivering(made, {"pacs": egress(tmp_path, sink.port)}):
            rows = made.settled()
        assert {row.state for row in rows.values()} == {"delivered"}
        assert rows["1.9.1"].attempts == 1
        assert [attempt[1] for attempt in made.attempts("1.9.1")] == [status] * 4 + [0]


@pytest.mark.parametrize("manner", ["reset", "abort", "silence"])
def test_no_answer_after_the_data_is_tried_again_and_the_repeat_is_shown(tmp_path: Path, manner: str) -> None:
    answer = Answer(None) if manner == "silence" else Answer(hang_up=manner)
    with world(tmp_path) as made, first(answer, times=2) as sink:
        made.push("1.9.1", "1.9.2")
        with delivering(made, {"pacs": egress(tmp_path, sink.port, dimse_timeout=0.3)}):
            rows = made.settled()
        assert {row.state for row in rows.values()} == {"delivered"}
        shown = made.attempts("1.9.1")
        assert [attempt[:2] for attempt in shown] == [("retry", None), ("retry", None), ("delivered", 0)]
        assert all(comment for _, _, comment in shown[:2])
        assert [item.sop_instance_uid for item in sink.received].count("1.9.1") == 3


def test_a_line_that_breaks_within_the_data_leaves_the_row_pending_until_it_holds(tmp_path: Path) -> None:
    with world(tmp_path) as made, RawSink(cut_after=100_000) as sink:
        made.push("1.9.1", pixels=3_000_000)
        with delivering(made, {"pacs": egress(tmp_path, sink.port)}):
            until(lambda: sink.associations >= 4, 10, "some tries")
            row = made.rows()[0]
            assert row.state in ("pending", "leased")
            assert row.attempts == 0
            assert {attempt[:2] for attempt in made.attempts("1.9.1")} == {("retry", None)}
            sink.cut_after = None
            assert made.settled()["1.9.1"].state == "delivered"
        assert sink.received[-1].data.endswith(bytes(3_000_000))


def test_an_ae_title_that_the_receiver_does_not_know_burns_nothing_and_says_why(tmp_path: Path) -> None:
    # A-ASSOCIATE-RJ: rejected permanent, service user, called AE title not recognised (PS3.8, table 9-21).
    with world(tmp_path) as made, RawSink(reject=bytes((0, 1, 1, 7))) as sink:
        made.push("1.9.1", "1.9.2", "1.9.3")
        with delivering(made, {"pacs": egress(tmp_path, sink.port)}):
            until(lambda: any(row.reason for row in made.rows()), 10, "a reason in sight")
            until(lambda: {row.state for row in made.rows()} == {"pending"}, 10)
            told = [row for row in made.rows() if row.reason]
            assert {row.reason for row in told} == {"association-rejected"}
            assert "AE" in told[0].comment
            assert {row.attempts for row in made.rows()} == {0}
            sink.reject = None
            assert {row.state for row in made.settled().values()} == {"delivered"}


def test_a_receiver_that_is_not_there_yet_gets_everything_when_it_comes(tmp_path: Path) -> None:
    port = free_port()
    with world(tmp_path) as made:
        made.push(*(f"1.9.{number}" for number in range(1, 51)))
        with delivering(made, {"pacs": egress(tmp_path, port)}):
            until(lambda: any(row.reason == "unreachable" for row in made.rows()), 10)
            with RawSink(port=port) as late:
                rows = made.settled()
                assert late.count() == 50
        assert {row.state for row in rows.values()} == {"delivered"}


def test_only_the_transfer_syntax_that_a_receiver_takes_is_sent(tmp_path: Path) -> None:
    implicit = "1.2.840.10008.1.2"
    with (
        world(tmp_path) as made,
        RawSink(choose=lambda abstract, syntaxes: implicit if implicit in syntaxes else None) as sink,
    ):
        made.push(*(f"1.9.{number}" for number in range(1, 301)))
        with delivering(made, {"pacs": egress(tmp_path, sink.port)}):
            rows = made.settled()
        assert {row.state for row in rows.values()} == {"delivered"}
        assert {item.transfer_syntax_uid for item in sink.received} == {implicit}
        assert sink.associations <= 2


def test_a_receiver_that_takes_no_syntax_at_all_parks_the_image(tmp_path: Path) -> None:
    with world(tmp_path) as made, RawSink(choose=lambda abstract, syntaxes: None) as sink:
        made.push("1.9.1")
        with delivering(made, {"pacs": egress(tmp_path, sink.port)}):
            row = made.settled()["1.9.1"]
        assert (row.state, row.reason) == ("parked", "syntax-refused")


def test_a_slow_and_a_dead_destination_delay_no_other(tmp_path: Path) -> None:
    dead = RawSink()
    dead.stop()
    with (
        world(tmp_path, ["pacs", "slow", "dead"]) as made,
        RawSink() as sink,
        RawSink(lambda request: Answer(after=0.5)) as slow,
    ):
        egresses = {
            "pacs": egress(tmp_path, sink.port),
            "slow": egress(tmp_path, slow.port, "slow"),
            "dead": egress(tmp_path, dead.port, "dead"),
        }
        made.push(*(f"1.9.{number}" for number in range(1, 101)))
        with delivering(made, egresses):
            assert len(made.settled("pacs", seconds=5)) == 100
            assert states(made, "slow")["delivered"] < 40
            assert states(made, "dead").keys() <= {"pending", "leased"}


def test_more_sop_classes_than_fit_into_one_association_are_split_over_several(tmp_path: Path) -> None:
    with world(tmp_path) as made, RawSink() as sink:
        uids = [f"1.9.{number}" for number in range(1, 61)]
        made.push_classes({uid: f"1.2.840.99999.{number}" for number, uid in enumerate(uids)})
        with delivering(made, {"pacs": egress(tmp_path, sink.port)}):
            rows = made.settled()
        assert {row.state for row in rows.values()} == {"delivered"}
        assert max(map(len, sink.proposals)) <= 128
        assert 2 <= sink.associations <= 20
        assert sorted(item.sop_instance_uid for item in sink.received) == sorted(uids)


def test_a_destination_that_waits_for_studies_gets_nothing_of_one_that_still_comes(tmp_path: Path) -> None:
    with world(tmp_path) as made, RawSink() as sink:
        with delivering(made, {"pacs": egress(tmp_path, sink.port, wait_for_study=1.2)}):
            for number in range(1, 11):
                made.push(f"1.9.{number}")
                assert not sink.received
            assert {row.state for row in made.settled().values()} == {"delivered"}
        assert len(sink.received) == 10


def test_what_a_killed_node_had_leased_goes_out_again(tmp_path: Path) -> None:
    with world(tmp_path) as made, RawSink() as sink:
        made.push("1.9.1", "1.9.2", "1.9.3")
        assert len(made.store.ledger.lease("pacs", 2, 3600.0, "north/pacs")) == 2
        assert made.store.ledger.release_owner("north") == 2
        with delivering(made, {"pacs": egress(tmp_path, sink.port)}):
            assert {row.state for row in made.settled().values()} == {"delivered"}


def states(made: World, destination: str) -> dict[str, int]:
    """How many rows are in each state."""
    found = {"delivered": 0} if destination != "dead" else {}
    for row in made.rows(destination):
        found[row.state] = found.get(row.state, 0) + 1
    return found


@pytest.mark.parametrize("way", [{}, {"bandwidth": "100 Mbit/s"}])
@pytest.mark.parametrize("pixels", [64, 2_000_000])
def test_bytes_that_are_not_what_was_acknowledged_do_not_leave(
    tmp_path: Path, way: dict[str, str], pixels: int
) -> None:
    """In runs and one by one, small and large; the association and the others go on."""
    with world(tmp_path) as made, once(0) as sink:
        made.push("1.9.1", "1.9.2", "1.9.3", "1.9.4", "1.9.5", pixels=pixels)
        spooled = sorted((made.store.spool.folder).rglob("*.dcm"))
        for path, damage in zip(spooled, ("bit", "other", "gone", "", "short"), strict=True):
            content = bytearray(path.read_bytes())
            content[-10] ^= damage == "bit"
            if damage == "other":
                content[:] = spooled[3].read_bytes()
            path.write_bytes(content[: -40 if damage == "short" else None])
            if damage == "gone":
                path.unlink()
        with delivering(made, {"pacs": egress(tmp_path, sink.port, **way)}):
            rows = made.settled()
        assert {uid: (row.state, row.reason, row.tries) for uid, row in rows.items()} == {
            "1.9.1": ("parked", "damaged", 1),
            "1.9.2": ("parked", "damaged", 1),
            "1.9.3": ("parked", "missing", 1),
            "1.9.4": ("delivered", "", rows["1.9.4"].tries),
            "1.9.5": ("parked", "damaged", 1),
        }
        assert {request.sop_instance_uid for request in sink.received} == {"1.9.4"}


def test_an_image_for_several_destinations_is_read_once_for_its_proof(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    holds = Proof.holds

    def counted(self: Proof) -> bool:
        read.append(self.path)
        return holds(self)

    monkeypatch.setattr(Proof, "holds", counted)
    with world(tmp_path, ("pacs", "b")) as made, once(0) as sink:
        made.push("1.9.1")
        for name in ("pacs", "b"):
            with delivering(made, {name: egress(tmp_path, sink.port, name, bandwidth="100 Mbit/s")}):
                assert {row.state for row in made.settled(name).values()} == {"delivered"}
    assert len(read) == 1


def refusing(results: dict[str, int]) -> tuple[RawSink, dict[str, int]]:
    """A receiver that answers contexts with these results (PS3.8, table 9-18), by transfer syntax."""
    return RawSink(results=results), results


@pytest.mark.parametrize(("result", "words"), [(1, "user rejection"), (2, "no reason given")])
def test_a_context_that_is_rejected_for_now_waits_and_is_asked_for_again(
    tmp_path: Path, result: int, words: str
) -> None:
    explicit, implicit = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
    sink, results = refusing({explicit: result, implicit: result})
    with world(tmp_path) as made, sink:
        made.push("1.9.1", "1.9.2")
        with delivering(made, {"pacs": egress(tmp_path, sink.port)}):
            until(lambda: len(made.attempts("1.9.1")) > 5, 10, "some tries")
            rows = made.rows()
            assert {row.state for row in rows} <= {"pending", "leased"}
            assert {row.attempts for row in rows} == {0}
            told = [comment for _, _, comment in made.attempts("1.9.1")]
            assert all(words in comment for comment in told)
            results.clear()
            assert {row.state for row in made.settled().values()} == {"delivered"}


@pytest.mark.parametrize(("result", "words"), [(3, "SOP class"), (4, "transfer syntax")])
def test_a_context_that_is_not_supported_parks_the_image_at_once(
    tmp_path: Path, result: int, words: str
) -> None:
    sink, _ = refusing({"1.2.840.10008.1.2.1": result, "1.2.840.10008.1.2": result})
    with world(tmp_path) as made, sink:
        made.push("1.9.1")
        with delivering(made, {"pacs": egress(tmp_path, sink.port)}):
            row = made.settled()["1.9.1"]
        assert (row.state, row.reason) == ("parked", "syntax-refused")
        assert words in row.comment
        assert len(made.attempts("1.9.1")) == 1


@pytest.mark.parametrize("result", [1, 2, 3, 4])
def test_another_syntax_that_is_accepted_is_used_meanwhile(tmp_path: Path, result: int) -> None:
    sink, _ = refusing({"1.2.840.10008.1.2.1": result})
    with world(tmp_path) as made, sink:
        made.push("1.9.1")
        with delivering(made, {"pacs": egress(tmp_path, sink.port)}):
            assert made.settled()["1.9.1"].state == "delivered"
        assert sink.received[0].transfer_syntax_uid == "1.2.840.10008.1.2"


def test_waiting_for_a_context_ends_as_give_up_says(tmp_path: Path) -> None:
    sink, _ = refusing({"1.2.840.10008.1.2.1": 1, "1.2.840.10008.1.2": 1})
    with world(tmp_path) as made, sink:
        made.push("1.9.1")
        retry = {"first": 0.05, "max": 0.2, "give_up": 0.6}
        with delivering(made, {"pacs": egress(tmp_path, sink.port, retry=retry)}):
            row = made.settled()["1.9.1"]
        assert (row.state, row.reason) == ("parked", "gave-up")


def test_a_duplicate_with_other_bytes_than_were_delivered_is_not_delivered(tmp_path: Path) -> None:
    """The receiver keeps the first version: that is not what the rules promised of the second."""

    def script(request: Received) -> Answer:
        seen = [one for one in sink.received if one.sop_instance_uid == request.sop_instance_uid]
        return Answer(0x0111 if len(seen) > 1 else 0)

    with world(tmp_path) as made, RawSink(script) as sink:
        with delivering(made, {"pacs": egress(tmp_path, sink.port)}):
            for pixels in (64, 64, 128, 128):
                before = len(made.rows())
                made.push("1.9.1", pixels=pixels)
                until(lambda before=before: len(made.rows()) > before, 10, "the row")  # type: ignore[misc]
                until(lambda: not {"pending", "leased"} & {row.state for row in made.rows()}, 10)
        rows = made.rows()
        assert [row.state for row in rows] == ["delivered", "delivered", "parked", "parked"]
        assert {row.reason for row in rows[2:]} == {"duplicate"}


def test_a_duplicate_of_what_is_not_known_here_is_delivered(tmp_path: Path) -> None:
    with world(tmp_path) as made, RawSink(lambda request: Answer(0x0111)) as sink:
        made.push("1.9.1")
        with delivering(made, {"pacs": egress(tmp_path, sink.port)}):
            assert made.settled()["1.9.1"].state == "delivered"


def test_a_permanent_rejection_is_asked_again_within_the_longest_pause(tmp_path: Path) -> None:
    """A PACS rejects for good while it restarts, too."""
    with world(tmp_path) as made, RawSink(reject=bytes((0, 1, 1, 1))) as sink:
        made.push("1.9.1")
        retry = {"first": 0.05, "factor": 1.0, "max": 0.05}
        with delivering(made, {"pacs": egress(tmp_path, sink.port, retry=retry)}):
            until(lambda: any(row.reason == "association-rejected" for row in made.rows()), 10)
            sink.reject = None
            assert made.settled(seconds=5)["1.9.1"].state == "delivered"
