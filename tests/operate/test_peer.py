"""How a destination is examined: what is proposed, who is asked, and that nothing hangs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest

from mapdr.kernel.errors import ConfigurationError
from mapdr.kernel.examine import Examination, Level, PeerFinding
from mapdr.kernel.item import Need, Outcome, Verdict
from mapdr.operate.configuration import Configuration, load
from mapdr.operate.errors import RequestError
from mapdr.operate.peer import examine_peer, usual_classes
from mapdr.wire.contexts import is_storage
from paper.nodes import NodeFolder, new

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
EXPLICIT, LOSSLESS = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.90"


class Fake:
    """An egress that examines as it is told; what it was asked for."""

    def __init__(self, findings: Callable[[], Iterator[PeerFinding]]) -> None:
        self.findings = findings
        self.asked: Examination | None = None
        self.stopped = False

    def start(self) -> None:
        return

    def stop(self, deadline: float) -> None:
        self.stopped = True

    def examine(self, examination: Examination) -> Iterator[PeerFinding]:
        self.asked = examination
        yield from self.findings()


class Probed:
    """An egress that only knows whether its receiver is there."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome

    def start(self) -> None:
        return

    def stop(self, deadline: float) -> None:
        return

    def probe(self) -> Outcome:
        return self.outcome


def with_stage(configuration: Configuration, name: str, build: Callable[..., Any]) -> Configuration:
    """The configuration with another stage behind a destination's name."""
    planned = configuration.plan.destinations[name]
    other = replace(planned, factory=replace(planned.factory, build=build))
    destinations = MappingProxyType({**configuration.plan.destinations, name: other})
    return replace(configuration, plan=replace(configuration.plan, destinations=destinations))


def good() -> Iterator[PeerFinding]:
    yield PeerFinding("x", Level.GOOD, "is well", milliseconds=1.23456)


def asked_for(configuration: Configuration, name: str) -> Examination:
    fake = Fake(good)
    (found,) = examine_peer(with_stage(configuration, name, lambda *_: fake), name, seconds=5)
    assert (found.milliseconds, fake.stopped) == (1.2, True)
    assert fake.asked is not None
    return fake.asked


def test_what_went_there_is_proposed_and_what_rules_make_of_it(used: NodeFolder) -> None:
    asked = asked_for(load(used.config), "telepacs")
    assert not asked.assumed
    assert set(asked.needs) == {
        Need(CT, EXPLICIT),
        Need(CT, LOSSLESS),
        Need(MR, EXPLICIT),
        Need(MR, LOSSLESS),
    }
    assert asked.needs[0].sop_class_uid == CT  # of which there are most


def test_a_destination_without_images_is_asked_for_what_is_usual(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("new")
    configuration = load(new(folder).config)
    asked = asked_for(configuration, "archive")
    assert asked.assumed
    assert [need.sop_class_uid for need in asked.needs] == list(usual_classes())
    assert {need.transfer_syntax_uid for need in asked.needs} == {EXPLICIT}
    assert {need.transfer_syntax_uid for need in asked_for(configuration, "telepacs").needs} == {LOSSLESS}
    assert not (folder / "data").exists()  # nothing is made by looking
    assert all(is_storage(uid) for uid in usual_classes())


def test_an_examination_that_hangs_is_left(used: NodeFolder) -> None:
    over = threading.Event()

    def hang() -> Iterator[PeerFinding]:
        yield from good()
        over.wait(30)

    configuration = with_stage(load(used.config), "archive", lambda *_: Fake(hang))
    try:
        first, last = examine_peer(configuration, "archive", seconds=0.05)
    finally:
        over.set()
    assert first.level is Level.GOOD
    assert (last.part, last.level) == ("time", Level.BAD)


def test_who_leaves_an_examination_ends_it(used: NodeFolder) -> None:
    steps: list[int] = []
    left = threading.Event()

    def many() -> Iterator[PeerFinding]:
        for step in range(1000):
            steps.append(step)
            yield from good()
            if step == 1:
                left.wait(30)

    configuration = with_stage(load(used.config), "archive", lambda *_: Fake(many))
    findings = examine_peer(configuration, "archive", seconds=5)
    next(findings)
    findings.close()  # type: ignore[attr-defined]
    left.set()
    assert len(steps) <= 3  # and its thread is gone: `no_leaks` looks


def test_an_examination_that_fails_names_no_value(used: NodeFolder) -> None:
    def fail() -> Iterator[PeerFinding]:
        yield from good()
        raise ValueError("DOE^JANE")

    configuration = with_stage(load(used.config), "archive", lambda *_: Fake(fail))
    *_, last = examine_peer(configuration, "archive", seconds=5)
    assert last.level is Level.BAD
    assert last.text == "its examination failed: ValueError"


def test_a_destination_that_cannot_be_built_is_a_finding(used: NodeFolder) -> None:
    def fail(*_: object) -> None:
        raise ConfigurationError("the secret env:TOKEN is not there")

    configuration = with_stage(load(used.config), "archive", fail)
    (last,) = examine_peer(configuration, "archive", seconds=5)
    assert (last.level, last.text) == (Level.BAD, "the secret env:TOKEN is not there")


@pytest.mark.parametrize(
    ("outcome", "level"),
    [
        (Outcome(Verdict.DELIVERED, 0), Level.GOOD),
        (Outcome(Verdict.RETRY, comment="is away", peer_fault=True), Level.BAD),
    ],
)
def test_a_type_without_an_examination_is_probed(used: NodeFolder, outcome: Outcome, level: Level) -> None:
    configuration = with_stage(load(used.config), "archive", lambda *_: Probed(outcome))
    (found,) = examine_peer(configuration, "archive", seconds=5)
    assert (found.part, found.level) == ("probe", level)


def test_an_unknown_name_has_the_nearest_as_its_cure(used: NodeFolder) -> None:
    with pytest.raises(RequestError, match='did you mean "archive"'):
        examine_peer(load(used.config), "archiv")
