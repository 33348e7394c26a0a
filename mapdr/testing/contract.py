"""The contract of a stage, as a check: MAPDR's own stages pass it, and so should anybody's.

    def test_my_destination() -> None:
        with MyServer() as server:
            check_egress(lambda: build(server), payloads, arrived=server.uids)

Every check leaves nothing behind: no thread, no open file or socket. Receivers and destinations are used by
four threads at once, and the numbers must add up: sent == accepted + refused, and nothing twice.
"""

from __future__ import annotations

import gc
import itertools
import json
import os
import pickle
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from mapdr.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN
from mapdr.kernel.codec import Ability, Codec, Decoder, Encoder, FrameFormat, LossyEncoder, Pixels
from mapdr.kernel.conformance import undeclared
from mapdr.kernel.errors import Permanent, Refused, Temporary
from mapdr.kernel.examine import Examination, Examines, Level, PeerFinding
from mapdr.kernel.item import TAKEN, Instance, Need, Outcome, Payload, Source, Verdict, total_length
from mapdr.kernel.item import Sent as Attempt
from mapdr.kernel.registry import Registry
from mapdr.kernel.stage import Description, Egress, EgressSession, SendsBatches, Settings, Stage
from mapdr.kernel.step import Memory, Transform
from mapdr.kernel.watch import Watch
from mapdr.testing.wait import until
from mapdr.transform.codecs.foreign import close_decoders
from mapdr.transform.codecs.table import Codecs
from mapdr.transform.codecs.worker import Job, decode
from mapdr.transform.pipeline import Pipeline

SENDERS = 4
OBJECTS = 200
PATIENCE = 10.0
"""Seconds that a stage may take to end once it was told to."""


class ContractError(AssertionError):
    """A stage breaks the contract; the message says which sentence of it."""


def require(condition: object, sentence: str) -> None:
    """Raises ContractError with `sentence` unless `condition`."""
    if not condition:
        raise ContractError(sentence)


# --- what is left behind ------------------------------------------------------------------------------------


@contextmanager
def leaves_nothing() -> Iterator[None]:
    """The threads and file descriptors at the end are those at the beginning. Raises ContractError."""
    threads, files = set(threading.enumerate()), _descriptors()
    yield
    _settle(lambda: not [each.name for each in threading.enumerate() if each not in threads], "a thread")
    gc.collect()
    _settle(lambda: _descriptors() <= files, "an open file or socket")


def _settle(gone: Callable[[], bool], what: str) -> None:
    try:
        until(gone, PATIENCE)
    except AssertionError:
        raise ContractError(f"the stage leaves {what} behind") from None


def _descriptors() -> int:
    """How many descriptors the process has open; 0 where the system does not tell."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        try:
            return len(os.listdir(folder))
        except OSError:
            continue
    return 0


# --- every stage --------------------------------------------------------------------------------------------


S = TypeVar("S", bound=Stage)


def check_lifecycle(make: Callable[[], Stage]) -> None:
    """Build has no side effects; stop works before start, after it, and twice."""
    with leaves_nothing():
        before = set(threading.enumerate())
        never = make()
        require(set(threading.enumerate()) <= before, "building a stage starts nothing")
        never.stop(time.monotonic() + PATIENCE)
        never.stop(time.monotonic() + PATIENCE)
        with running(make()):
            pass
        with running(make()) as stage:
            _stop(stage)


@contextmanager
def running(stage: S) -> Iterator[S]:
    """`stage`, started; stopped at the end, twice."""
    stage.start()
    try:
        yield stage
    finally:
        _stop(stage)
        stage.stop(time.monotonic())


def _stop(stage: Stage) -> None:
    deadline = time.monotonic() + PATIENCE
    stage.stop(deadline)
    require(time.monotonic() < deadline + 1, "stop keeps its deadline")


# --- receivers ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sent:
    """One object as a sender has it."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data: bytes


class FlakyIntake:
    """An Intake in which about every third object meets trouble, of every kind that a store can have.

    `safe` holds, by SOP Instance UID, the data sets that were committed, once for each commit.
    """

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self.safe: list[tuple[str, bytes]] = []
        self.refused: Counter[str] = Counter()
        self._folder = folder
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._number = 0

    def begin(
        self, source: Source, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str
    ) -> _FlakyIncoming:
        """Open a file, or raise Refused."""
        with self._lock:
            fate = self._random.choices(("safe", "begin", "write", "commit"), (66, 8, 8, 18))[0]
            self._number += 1
            number = self._number
        if fate == "begin":
            raise self.refusal(sop_instance_uid, 0xA700, "out of resources")
        return _FlakyIncoming(self, self._folder / f"{number}.part", sop_instance_uid, fate)

    def refusal(self, uid: str, status: int, comment: str) -> Refused:
        """A Refused that is counted."""
        with self._lock:
            self.refused[uid] += 1
        return Refused(status, comment)

    def keep(self, uid: str, data: bytes) -> None:
        """An object was committed."""
        with self._lock:
            self.safe.append((uid, data))


class _FlakyIncoming:
    def __init__(self, intake: FlakyIntake, path: Path, uid: str, fate: str) -> None:
        self.id = path.stem
        self._intake = intake
        self._path = path
        self._uid = uid
        self._fate = fate
        self._file = path.open("w+b", buffering=0)

    def fileno(self) -> int:
        return self._file.fileno()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._fate == "write":
            raise self._intake.refusal(self._uid, 0xA700, "the disk is full")
        self._file.write(data)

    def commit(self) -> None:
        if self._fate == "commit":
            self.abort()
            raise self._intake.refusal(self._uid, 0xC000, "the header cannot be read")
        self._file.close()
        self._intake.keep(self._uid, self._path.read_bytes())

    def abort(self) -> None:
        self._file.close()


Push = Callable[[Any, Sequence[Sent]], Iterable[tuple[Sent, bool]]]
"""Sends objects to a started receiver, over one connection; says of each whether it was accepted."""


def check_receiver(
    make: Callable[[FlakyIntake], Any], push: Push, objects: Sequence[Sent], folder: Path, *, seed: int = 0
) -> None:
    """What was answered with success is in the store, whole and once; what was not is not.

    `objects` are distinct by SOP Instance UID. Raises ContractError.
    """
    intake = FlakyIntake(folder, seed)
    check_lifecycle(lambda: make(intake))
    with leaves_nothing(), running(make(intake)) as stage:
        require(isinstance(stage.describe(), Description), "a receiver says what it is")
        shares = [objects[index::SENDERS] for index in range(SENDERS)]
        with ThreadPoolExecutor(SENDERS) as pool:
            answers = [
                each for part in pool.map(lambda share: list(push(stage, share)), shares) for each in part
            ]
    accepted = {sent.sop_instance_uid: sent.data for sent, yes in answers if yes}
    refused = [sent.sop_instance_uid for sent, yes in answers if not yes]
    safe = Counter(uid for uid, _ in intake.safe)
    require(len(answers) == len(objects), "every object gets an answer")
    require(max(safe.values(), default=1) == 1, "no object is committed twice")
    require(set(safe) == set(accepted), "success is answered exactly for what was committed")
    require(len(objects) == len(safe) + len(refused), "sent == accepted + refused")
    require(accepted == dict(intake.safe), "what was committed are the bytes that were sent")
    require(accepted, "something is accepted")
    require(refused, "a refusal by the store is passed on")


# --- destinations -------------------------------------------------------------------------------------------


def check_egress(
    make: Callable[[], Egress],
    payloads: Sequence[Payload],
    *,
    arrived: Callable[[], Iterable[str]],
    mixed: bool = True,
) -> Mapping[Verdict, int]:
    """What is called delivered has arrived, once; nothing raises; how many outcomes of each verdict came.

    `payloads` are distinct by SOP Instance UID; `arrived` names the SOP Instance UIDs that the receiver
    behind `make` has confirmed, once for each confirmation. The receiver should accept some and refuse some
    at random (`mixed`). Raises ContractError.
    """
    check_lifecycle(make)
    with leaves_nothing(), running(make()) as egress:
        require(egress.sessions >= 1, "a destination allows at least one session")
        require(egress.probe().verdict is Verdict.DELIVERED, "a receiver that is there answers a probe")
        require(isinstance(egress.describe(), Description), "a destination says what it is")
        if isinstance(egress, Examines):
            _examine(egress, payloads, arrived)
        shares = [payloads[index::SENDERS] for index in range(SENDERS)]
        with ThreadPoolExecutor(SENDERS) as pool:
            parts = pool.map(lambda share: _send_all(egress, share), shares)
            outcomes = {uid: outcome for part in parts for uid, outcome in part.items()}
    delivered = {uid for uid, outcome in outcomes.items() if outcome.verdict is Verdict.DELIVERED}
    confirmed = Counter(arrived())
    require(
        set(outcomes) == {payload.sop_instance_uid for payload in payloads}, "every payload has an outcome"
    )
    require(delivered <= set(confirmed), "what is called delivered was confirmed by the receiver")
    require(max(confirmed.values(), default=1) == 1, "a session does not send twice what it was given once")
    counts = Counter(outcome.verdict for outcome in outcomes.values())
    require(delivered, "something is delivered")
    require(len(counts) > 1 or not mixed, "a refusal by the receiver is not called delivered")
    return counts


def _examine(egress: Examines, payloads: Sequence[Payload], arrived: Callable[[], Iterable[str]]) -> None:
    """An examination tells of a receiver that is there, what is wrong has a cure, and nothing is stored."""
    before = Counter(arrived())
    needs = tuple(dict.fromkeys(_need(payload) for payload in payloads))
    findings = list(egress.examine(Examination(needs, seconds=PATIENCE)))
    require(findings, "an examination finds something")
    require(all(isinstance(each, PeerFinding) for each in findings), "an examination yields findings")
    require(
        any(each.level is Level.GOOD for each in findings), "of a receiver that is there something is good"
    )
    wrong = [each for each in findings if each.level in (Level.WARN, Level.BAD)]
    require(all(each.cure for each in wrong), "a finding that is a warning or bad says what to do")
    require(Counter(arrived()) == before, "an examination without a test image stores nothing")
    for _ in egress.examine(Examination(needs, seconds=PATIENCE)):
        break  # it may be left: `leaves_nothing` looks


def _send_all(egress: Egress, payloads: Sequence[Payload]) -> dict[str, Outcome]:
    needs = list(dict.fromkeys(_need(payload) for payload in payloads))
    outcomes: dict[str, Outcome] = {}
    session = _open(egress, needs)
    left = list(payloads)
    while left:
        batch = session if isinstance(session, SendsBatches) and len(outcomes) % 3 else None
        said = [session.send(left[0])] if batch is None else _send_batch(batch, left)
        for outcome in said:
            require(isinstance(outcome, Outcome), "send returns an Outcome")
            may_pass = outcome.verdict is Verdict.RETRY and outcome.peer_fault
            require(outcome.pause is None or may_pass, "a pause is the receiver's, and the image goes again")
            outcomes[left.pop(0).sop_instance_uid] = outcome
        if any(outcome.peer_fault and outcome.status is None for outcome in said):
            session.close()
            session = _open(egress, needs)
    session.close()
    session.close()
    require(session.acceptance(needs[0]) is None, "a closed session leaves what it is asked to another one")
    after = session.send(payloads[0])
    require(after.verdict is Verdict.RETRY and after.peer_fault, "a closed session sends nothing and says so")
    return outcomes


def _send_batch(session: SendsBatches, payloads: Sequence[Payload]) -> list[Outcome]:
    """What became of the first payloads in one call: of as many as the session wants, or fewer."""
    batch = session.batch
    require(batch.images >= 1, "a session wants one image at least")
    sizes = itertools.accumulate(payload.length for payload in payloads)
    fit = sum(1 for size in sizes if size <= batch.bytes)
    given = payloads[: max(1, min(batch.images, fit))]
    sent: list[Attempt] = []
    session.send_batch(given, sent)
    require(sent, "of a batch the first payload gets an outcome")
    require(len(sent) <= len(given), "of a batch no payload gets two outcomes")
    return [one.outcome for one in sent]


def _open(egress: Egress, needs: Sequence[Need]) -> EgressSession:
    session = egress.connect(needs)
    for need in needs:
        said = session.acceptance(need)
        require(said is not None, "a session can say something of what it was opened for")
        require(said == TAKEN or (said and said.refusal is None), "what a receiver takes is said to be taken")
    strange = session.acceptance(Need("1.2.3.4.5.6.7.8.9", EXPLICIT_VR_LITTLE_ENDIAN))
    require(strange in (None, TAKEN), "a session has no refusal for what it has not asked the receiver")
    return session


def _need(payload: Payload) -> Need:
    return Need(payload.sop_class_uid, payload.transfer_syntax_uid)


# --- transforms ---------------------------------------------------------------------------------------------


class DictMemory:
    """A Memory that holds what a database could: JSON."""

    def __init__(self) -> None:
        self._text: str | None = None

    def recall(self) -> Mapping[str, Any] | None:
        """What was kept, or None."""
        return None if self._text is None else dict(json.loads(self._text))

    def keep(self, facts: Mapping[str, Any]) -> None:
        """Keep facts; raises TypeError for what JSON does not have."""
        self._text = json.dumps(facts)


def check_transform(
    make: Callable[[], Transform], cases: Sequence[tuple[Payload, Instance]], *, may_fail: bool = True
) -> int:
    """The result is a sound payload, the same on every try; a failure lets nothing out.

    The step is run as a pipeline of its own. Returns how many of `cases` were transformed. With `may_fail` an
    image may be refused with Permanent or Temporary. Raises ContractError.
    """
    lacking = "; ".join(undeclared(type(make())))
    require(not lacking, lacking)
    _apply((make(), *cases[0], DictMemory()))  # what a process sets up once for all is no leak
    with leaves_nothing():
        transform = make()
        memories: list[Memory] = [DictMemory() for _ in cases]
        work = [(transform, *case, memory) for case, memory in zip(cases, memories, strict=True)]
        with ThreadPoolExecutor(SENDERS) as pool:
            first = list(pool.map(_apply, work))
        again = [_apply((make(), payload, instance, memory)) for _, payload, instance, memory in work]
        close_decoders()
    require(first == again, "a retry with the same memory makes the same bytes and the same UID")
    done = [each for each in first if each is not None]
    require(may_fail or len(done) == len(cases), "every image is transformed")
    return len(done)


def _apply(work: tuple[Transform, Payload, Instance, Memory]) -> tuple[str, str, str, bytes] | None:
    transform, payload, instance, memory = work
    before = (payload, b"".join(payload.chunks()))
    settings = Settings("contract", "node", instance.path.parent, bytes(32), Watch())
    pipeline = Pipeline([("step", transform)], settings, Codecs(Registry(), settings))
    try:
        result = pipeline.apply(payload, instance, memory)
    except (Permanent, Temporary) as error:
        require(str(error), "a failure says why")
        return None
    require(
        (payload, b"".join(payload.chunks())) == before, "a transform changes neither its input nor the spool"
    )
    data = b"".join(result.chunks())
    require(
        len(data) == result.length == total_length(result.parts), "a payload's length is that of its parts"
    )
    require(len(data) % 2 == 0, "a data set has an even length")
    require(_is_uid(result.sop_instance_uid), "a payload names its SOP instance")
    require(_is_uid(result.sop_class_uid), "a payload names its SOP class")
    require(_is_uid(result.transfer_syntax_uid), "a payload names its transfer syntax")
    return result.sop_class_uid, result.sop_instance_uid, result.transfer_syntax_uid, data


def _is_uid(text: str) -> bool:
    return 0 < len(text) <= 64 and set(text) <= set("0123456789.")


# --- codecs -------------------------------------------------------------------------------------------------


def check_codec(make: Callable[[], Codec], streams: Mapping[str, Sequence[tuple[FrameFormat, bytes]]]) -> int:
    """What is written comes back equal, what is read fits the data set, what does not is refused.

    `streams` has, for each transfer syntax UID that is read and not written, codestreams with the format of
    their frame. Returns how many frames were read. Raises ContractError.
    """
    with leaves_nothing():
        codec = make()
        abilities = list(codec.abilities)
        require(abilities, "a codec has an ability")
        uids = [each.transfer_syntax_uid for each in abilities]
        require(len(set(uids)) == len(uids), "a codec has one ability for each transfer syntax")
        require(all(map(_is_uid, uids)), "an ability names its transfer syntax by UID")
        return sum(_check_ability(each, streams.get(each.transfer_syntax_uid, ())) for each in abilities)


def _check_ability(ability: Ability, streams: Sequence[tuple[FrameFormat, bytes]]) -> int:
    decoder, encoder = ability.decode, ability.encode
    for each in (decoder, encoder):
        require(each, "what cannot be done says why")
    if isinstance(encoder, Encoder):
        streams = [*streams, *_written(encoder)]
    elif isinstance(encoder, LossyEncoder):
        streams = [*streams, *_written_with_loss(encoder)]
    if isinstance(decoder, str):
        return 0
    require(_by_reference(decoder), "a decoder is a function of a module, for it goes to another process")
    require(streams, "there are codestreams to read")
    for form, stream in streams:
        require(decode(Job(decoder, form), stream).nbytes == form.size, "a frame that is read has its format")
        require(_fails(decoder, form, b""), "an empty codestream is refused")
        larger = replace(form, rows=form.rows + 1)
        require(_fails(decoder, larger, stream), "a codestream of another size than the data set is refused")
    return len(streams)


def _written(encoder: Encoder) -> Iterator[tuple[FrameFormat, bytes]]:
    """Codestreams of every frame that the encoder says it takes, by four threads at once."""
    taken = [(form, pixels) for form, pixels in _frames() if encoder.takes.holds(form)]
    require(taken, "an encoder takes frames of 8 or 16 bits allocated")
    with ThreadPoolExecutor(SENDERS) as pool:
        made = list(pool.map(lambda each: encoder.encode(each[1], each[0]), taken))
    for (form, pixels), stream in zip(taken, made, strict=True):
        require(
            np.array_equal(encoder.decode(stream, form), pixels),
            "what is written without loss comes back equal",
        )
        require(encoder.encode(pixels, form) == stream, "the same frame gives the same codestream")
        yield form, stream


def _written_with_loss(encoder: LossyEncoder) -> Iterator[tuple[FrameFormat, bytes]]:
    """Codestreams of every frame that the encoder says it takes, in each of its ways."""
    require(encoder.method and encoder.ways, "an encoder with loss names its method and its ways")
    for form, pixels in _frames():
        if not encoder.takes.holds(form):
            continue
        dial = encoder.dial(form)
        require(dial.lowest <= dial.start <= dial.highest, "a dial has a start between its ends")
        for way in encoder.ways:
            colours = encoder.rgb_as(way) if form.samples == 3 else (form.photometric,)
            for colour in colours:
                wanted = replace(form, photometric=colour)
                stream = encoder.encode_at(pixels, wanted, dial.start, way)
                require(encoder.decode(stream, wanted).shape == pixels.shape, "a lossy frame keeps its shape")
                require(
                    encoder.encode_at(pixels, wanted, dial.start, way) == stream,
                    "the same frame gives the same codestream",
                )
                yield wanted, stream


def _frames() -> Iterator[tuple[FrameFormat, Pixels]]:
    """Small frames: 8, 12 and 16 bits, signed and not, grey and colour."""
    chance = np.random.default_rng(0)
    kinds = [(8, False, 3), *((stored, signed, 1) for stored in (8, 12, 16) for signed in (False, True))]
    for stored, signed, samples in kinds:
        allocated = 8 if stored == 8 else 16
        low, high = (-(1 << stored - 1), (1 << stored - 1) - 1) if signed else (0, (1 << stored) - 1)
        shape = (24, 37) if samples == 1 else (24, 37, samples)
        pixels = chance.integers(low, high, shape, endpoint=True).astype(f"<{'ui'[signed]}{allocated // 8}")
        colour = "MONOCHROME2" if samples == 1 else "RGB"
        yield FrameFormat(24, 37, samples, allocated, stored, signed, colour), pixels


def _by_reference(decoder: Decoder) -> bool:
    try:
        return bool(pickle.loads(pickle.dumps(decoder)) == decoder)  # noqa: S301  our own bytes
    except (pickle.PicklingError, AttributeError, TypeError):
        return False


def _fails(decoder: Decoder, form: FrameFormat, stream: bytes) -> bool:
    try:
        decode(Job(decoder, form), stream)
    except Exception:  # noqa: BLE001  a codec may refuse in any way
        return True
    return False
