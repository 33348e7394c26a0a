"""The checker catches stages that break the contract, each in its own way."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mapdr.kernel.errors import Refused
from mapdr.kernel.examine import Examination, Level, PeerFinding
from mapdr.kernel.item import TAKEN, Acceptance, Instance, Need, Outcome, Pause, Payload, Source, Verdict
from mapdr.kernel.item import Sent as Attempt
from mapdr.kernel.stage import Batch, Description
from mapdr.kernel.step import Changes, Phase, Reads
from mapdr.testing.contract import (
    ContractError,
    Sent,
    check_egress,
    check_lifecycle,
    check_receiver,
    check_transform,
    leaves_nothing,
)

OBJECTS = [Sent("1.2", f"1.2.{number}", "1.2.840.10008.1.2.1", bytes([number, 0])) for number in range(60)]
PAYLOADS = [
    Payload("1.2", each.sop_instance_uid, each.transfer_syntax_uid, (each.data,), 2) for each in OBJECTS
]
INSTANCE = Instance(
    "0" * 32, Source("r", "a", "b", "c"), "1.2", "1.2.3", "1", "2", "CT", "1.2.840.10008.1.2.1",
    Path("x"), 0, 2, 0.0,
)  # fmt: skip


class Receiver:
    """A receiver without a network; subclasses break one sentence each."""

    def __init__(self, intake: Any) -> None:
        self.intake = intake

    def start(self) -> None:
        pass

    def stop(self, deadline: float) -> None:
        pass

    def describe(self) -> Description:
        return Description()

    def take(self, each: Sent) -> bool:
        try:
            incoming = self.intake.begin(
                Source("r", "a", "b", "c"),
                each.sop_class_uid,
                each.sop_instance_uid,
                each.transfer_syntax_uid,
            )
        except Refused:
            return False
        try:
            incoming.write(each.data)
            incoming.commit()
        except Refused:
            incoming.abort()
            return False
        return True


class Lies(Receiver):
    def take(self, each: Sent) -> bool:
        super().take(each)
        return True


class Twice(Receiver):
    def take(self, each: Sent) -> bool:
        return super().take(each) | super().take(each)


class Garbles(Receiver):
    def take(self, each: Sent) -> bool:
        return super().take(Sent(each.sop_class_uid, each.sop_instance_uid, each.transfer_syntax_uid, b"zz"))


class LeavesThread(Receiver):
    def __init__(self, intake: Any) -> None:
        super().__init__(intake)
        self.end = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self.end.wait, args=(30,), daemon=True).start()


def push(stage: Receiver, objects: Sequence[Sent]) -> list[tuple[Sent, bool]]:
    return [(each, stage.take(each)) for each in objects]


def test_a_sound_receiver_passes(tmp_path: Path) -> None:
    check_receiver(Receiver, push, OBJECTS, tmp_path)


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (Lies, "success is answered exactly"),
        (Twice, "twice"),
        (Garbles, "the bytes that were sent"),
    ],
)
def test_a_receiver_that_lies_is_caught(kind: Any, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=sentence):
        check_receiver(kind, push, OBJECTS, tmp_path)


def test_a_receiver_that_forgets_an_answer_is_caught(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="every object gets an answer"):
        check_receiver(Receiver, lambda stage, objects: push(stage, objects)[1:], OBJECTS, tmp_path)


def test_a_thread_that_is_left_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mapdr.testing.contract.PATIENCE", 0.2)
    made: list[LeavesThread] = []

    def make() -> LeavesThread:
        made.append(LeavesThread(None))
        return made[-1]

    with pytest.raises(ContractError, match="a thread"):
        check_lifecycle(make)
    for each in made:
        each.end.set()


def test_a_file_that_is_left_is_caught(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("mapdr.testing.contract.PATIENCE", 0.2)
    with (tmp_path / "left").open("w") as outer:
        assert outer
        with pytest.raises(ContractError, match="an open file"), leaves_nothing():
            file = (tmp_path / "more").open("w")
        file.close()


class Session:
    """A session that is well; `answer` decides what becomes of a payload."""

    def __init__(self, egress: FakeEgress) -> None:
        self.egress = egress
        self.open = True

    def acceptance(self, need: Need) -> Acceptance | None:
        return TAKEN if self.open and need.sop_class_uid == "1.2" else None

    def send(self, payload: Payload) -> Outcome:
        if not self.open:
            return self.egress.when_closed
        return self.egress.answer(payload)

    def close(self) -> None:
        self.open = False


class FakeEgress:
    """A destination without a network."""

    sessions = 2
    when_closed = Outcome(Verdict.RETRY, comment="closed", peer_fault=True)

    def __init__(self, answer: Callable[[Payload], Outcome]) -> None:
        self.answer = answer
        self.lengths: list[int] = []

    def start(self) -> None:
        pass

    def stop(self, deadline: float) -> None:
        pass

    def connect(self, needs: Sequence[Need]) -> Session:
        return Session(self)

    def probe(self) -> Outcome:
        return Outcome(Verdict.DELIVERED, 0)

    def describe(self) -> Description:
        return Description()


def server(*, copies: int = 1, claim_all: bool = False) -> tuple[Callable[[Payload], Outcome], list[str]]:
    """A receiver that refuses every fifth; what it confirmed."""
    confirmed: list[str] = []

    def answer(payload: Payload) -> Outcome:
        if int(payload.sop_instance_uid.split(".")[-1]) % 5 == 0:
            return Outcome(Verdict.DELIVERED if claim_all else Verdict.REFUSED, 0 if claim_all else 0xC000)
        confirmed.extend([payload.sop_instance_uid] * copies)
        return Outcome(Verdict.DELIVERED, 0)

    return answer, confirmed


def test_a_sound_destination_passes() -> None:
    answer, confirmed = server()
    counts = check_egress(lambda: FakeEgress(answer), PAYLOADS, arrived=lambda: confirmed)
    assert Counter(counts) == {Verdict.DELIVERED: 48, Verdict.REFUSED: 12}


def test_a_destination_that_calls_refused_images_delivered_is_caught() -> None:
    answer, confirmed = server(claim_all=True)
    with pytest.raises(ContractError, match="confirmed by the receiver"):
        check_egress(lambda: FakeEgress(answer), PAYLOADS, arrived=lambda: confirmed)


def test_a_stage_that_does_not_say_what_it_is_is_caught(tmp_path: Path) -> None:
    answer, confirmed = server()

    class Silent(FakeEgress):
        def describe(self) -> Any:
            return {"host": "x"}

    class Mute(Receiver):
        describe: Any = dict

    with pytest.raises(ContractError, match="a destination says what it is"):
        check_egress(lambda: Silent(answer), PAYLOADS, arrived=lambda: confirmed)
    with pytest.raises(ContractError, match="a receiver says what it is"):
        check_receiver(Mute, push, OBJECTS, tmp_path)


def test_a_destination_that_sends_twice_is_caught() -> None:
    answer, confirmed = server(copies=2)
    with pytest.raises(ContractError, match="twice"):
        check_egress(lambda: FakeEgress(answer), PAYLOADS, arrived=lambda: confirmed)


def test_a_closed_session_that_claims_success_is_caught() -> None:
    answer, confirmed = server()

    class Wrong(FakeEgress):
        when_closed = Outcome(Verdict.DELIVERED, 0)

    with pytest.raises(ContractError, match="closed session"):
        check_egress(lambda: Wrong(answer), PAYLOADS, arrived=lambda: confirmed)


@pytest.mark.parametrize(
    ("findings", "stores", "sentence"),
    [
        ([], False, "finds something"),
        (["is there"], False, "yields findings"),
        ([PeerFinding("x", Level.BAD, "is away", "look")], False, "something is good"),
        ([PeerFinding("x", Level.GOOD, "y"), PeerFinding("x", Level.WARN, "y")], False, "says what to do"),
        ([PeerFinding("x", Level.GOOD, "y")], True, "stores nothing"),
        ([PeerFinding("x", Level.GOOD, "y")], False, ""),
    ],
)
def test_an_examination_is_held_to_the_contract(findings: list[Any], stores: bool, sentence: str) -> None:
    answer, confirmed = server()

    class Examined(FakeEgress):
        def examine(self, examination: Examination) -> Iterator[PeerFinding]:
            if stores:
                confirmed.append("1.2.3")
            yield from findings

    if sentence:
        with pytest.raises(ContractError, match=sentence):
            check_egress(lambda: Examined(answer), PAYLOADS, arrived=lambda: confirmed)
    else:
        check_egress(lambda: Examined(answer), PAYLOADS, arrived=lambda: confirmed)


class Mute(Session):
    """Says nothing of what it was opened for."""

    def acceptance(self, need: Need) -> Acceptance | None:
        return None


class Denies(Session):
    """Refuses what the receiver takes."""

    def acceptance(self, need: Need) -> Acceptance | None:
        return Acceptance(Outcome(Verdict.SYNTAX_REFUSED)) if self.open else None


class Invents(Session):
    """Says of anything that the receiver refuses it, though nobody has asked."""

    def acceptance(self, need: Need) -> Acceptance | None:
        return super().acceptance(need) or Acceptance(Outcome(Verdict.SYNTAX_REFUSED))


class StaysOpen(Session):
    """Says that things are taken when it has ended."""

    def acceptance(self, need: Need) -> Acceptance | None:
        return TAKEN


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (Mute, "can say something of what it was opened for"),
        (Denies, "what a receiver takes is said to be taken"),
        (Invents, "has no refusal for what it has not asked"),
        (StaysOpen, "a closed session leaves"),
    ],
)
def test_a_session_that_says_the_wrong_thing_is_caught(kind: Any, sentence: str) -> None:
    answer, confirmed = server()

    class Wrong(FakeEgress):
        def connect(self, needs: Sequence[Need]) -> Session:
            made: Session = kind(self)
            return made

    with pytest.raises(ContractError, match=sentence):
        check_egress(lambda: Wrong(answer), PAYLOADS, arrived=lambda: confirmed)


class BatchSession(Session):
    """Sends batches, and is well."""

    batch = Batch(7)

    def send_batch(self, payloads: Sequence[Payload], sent: list[Attempt]) -> None:
        assert len(payloads) <= self.batch.images
        assert sum(payload.length for payload in payloads[1:]) <= self.batch.bytes
        self.egress.lengths.append(len(payloads))
        sent += [Attempt(self.send(payload), 0.0, 0.0) for payload in payloads]


class LeavesAll(BatchSession):
    """Begins nothing."""

    def send_batch(self, payloads: Sequence[Payload], sent: list[Attempt]) -> None:
        pass


class SaysTwice(BatchSession):
    """Says of one payload what became of it, and then again."""

    def send_batch(self, payloads: Sequence[Payload], sent: list[Attempt]) -> None:
        super().send_batch(payloads, sent)
        sent.append(sent[-1])


class WantsNone(BatchSession):
    batch = Batch(0)


def batches(kind: Any, answer: Callable[[Payload], Outcome]) -> FakeEgress:
    class Sends(FakeEgress):
        def connect(self, needs: Sequence[Need]) -> Session:
            made: Session = kind(self)
            return made

    return Sends(answer)


@pytest.mark.parametrize(("batch", "most"), [(Batch(7), 7), (Batch(100, 9), 4), (Batch(100, 1), 1)])
def test_a_destination_that_sends_batches_passes(
    batch: Batch, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BatchSession, "batch", batch)
    answer, confirmed = server()
    made: list[FakeEgress] = []

    def make() -> FakeEgress:
        made.append(batches(BatchSession, answer))
        return made[-1]

    counts = check_egress(make, PAYLOADS, arrived=lambda: confirmed)
    assert Counter(counts) == {Verdict.DELIVERED: 48, Verdict.REFUSED: 12}
    assert max(made[-1].lengths) == most


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (LeavesAll, "the first payload gets an outcome"),
        (SaysTwice, "no payload gets two outcomes"),
        (WantsNone, "wants one image at least"),
    ],
)
def test_a_batch_that_does_not_add_up_is_caught(kind: Any, sentence: str) -> None:
    answer, confirmed = server()
    with pytest.raises(ContractError, match=sentence):
        check_egress(lambda: batches(kind, answer), PAYLOADS, arrived=lambda: confirmed)


def test_a_pause_that_is_held_against_the_image_is_caught() -> None:
    answer, confirmed = server()

    def waits(payload: Payload) -> Outcome:
        said = answer(payload)
        return said if said.status == 0 else replace(said, pause=Pause("unauthorized"))

    with pytest.raises(ContractError, match="a pause is the receiver's"):
        check_egress(lambda: FakeEgress(waits), PAYLOADS, arrived=lambda: confirmed)


class Changes:
    """A transform; `make` gives the new bytes of each call."""

    phase, reads, changes, copies = Phase.HEADER, Reads.DATA_SET, Changes.HEADER, 1

    def __init__(self, make: Callable[[], bytes]) -> None:
        self.make = make

    def apply(self, payload: Payload, instance: Instance, memory: Any) -> Payload:
        data = self.make()
        return Payload("1.2", "1.2.3", "1.2.840.10008.1.2.1", (data,), len(data))


def test_a_sound_transform_passes() -> None:
    assert check_transform(lambda: Changes(lambda: b"same"), [(PAYLOADS[0], INSTANCE)] * 5) == 5


def test_a_transform_that_makes_other_bytes_on_a_retry_is_caught() -> None:
    bytes_of = iter(range(10_000))
    with pytest.raises(ContractError, match="same bytes"):
        check_transform(lambda: Changes(lambda: b"%06d" % next(bytes_of)), [(PAYLOADS[0], INSTANCE)] * 5)


def test_a_transform_that_does_not_say_what_it_is_is_caught() -> None:
    class Silent:
        def apply(self, payload: Payload, instance: Instance, memory: Any) -> Payload:
            return payload

    with pytest.raises(ContractError, match="Silent does not declare phase, reads, changes, copies"):
        check_transform(Silent, [(PAYLOADS[0], INSTANCE)])


def test_an_odd_data_set_is_caught() -> None:
    with pytest.raises(ContractError, match="even"):
        check_transform(lambda: Changes(lambda: b"odd"), [(PAYLOADS[0], INSTANCE)])
