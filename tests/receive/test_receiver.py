"""A DIMSE receiver and those before it, without a connection: whom it knows, and whom it cuts."""

from __future__ import annotations

import ipaddress
import logging
from pathlib import Path
from typing import Any

import pytest

from mapdr.kernel import tls_words
from mapdr.kernel.stage import Rejection, Settings
from mapdr.kernel.watch import Watch
from mapdr.receive.dicom import receiver as module
from mapdr.receive.dicom.config import DimseReceiveConfig
from mapdr.receive.dicom.doorkeeper import CAUSES
from mapdr.receive.dicom.receiver import STAGE, DimseReceiver
from mapdr.wire import acceptor
from receive.fakes import FakeIntake

CERTIFICATE = {"cert": "c.pem", "key": "k.pem"}
LIMIT = CAUSES[acceptor.LIMIT_EXCEEDED]


def receiver(tmp_path: Path, **options: Any) -> DimseReceiver:
    config = DimseReceiveConfig.model_validate({"host": "127.0.0.1", "port": 0, **options})
    return DimseReceiver(Settings("modalities", "node", tmp_path, bytes(32), Watch()), config, FakeIntake())


@pytest.mark.parametrize(
    ("before", "now", "cause", "known"),
    [
        ({}, {}, LIMIT, True),
        ({"max_associations": 5}, {"max_associations": 6}, LIMIT, False),
        ({"max_associations_per_peer": 5}, {"max_associations_per_peer": 6}, LIMIT, False),
        ({"max_associations": 6}, {"max_associations": 5}, LIMIT, True),
        ({}, {}, f"rejected: {tls_words.NOT_TLS}", True),
        ({}, {"tls": CERTIFICATE}, f"rejected: {tls_words.SPEAKS_TLS}", False),
        ({"tls": CERTIFICATE}, {"tls": CERTIFICATE}, f"rejected: {tls_words.NOT_TLS}", True),
        ({}, {"ae_title": "OTHER"}, CAUSES[acceptor.VERSION_UNKNOWN], True),
        ({}, {}, CAUSES[acceptor.CALLED_AE_UNKNOWN], True),
        ({}, {"called_ae_titles": ["OURS"]}, CAUSES[acceptor.CALLED_AE_UNKNOWN], False),
    ],
)
def test_whom_the_receiver_before_did_not_let_in(
    tmp_path: Path, before: dict[str, Any], now: dict[str, Any], cause: str, known: bool
) -> None:
    """It is known still, unless the configuration of now lets it in, or may."""
    rejection = Rejection("10.1.2.3", "CT1", "OURS", cause, "a cure", 3, 5.0)
    first = receiver(tmp_path, **before)
    said = receiver(tmp_path, **now)._rejected_still(rejection, first._config)
    assert (said is not None) == known
    if said is not None:
        assert (said.calling_ae, said.times, said.last_at) == ("CT1", 3, 5.0)


def test_what_keeps_a_peer_out_now_is_what_is_said_of_it(tmp_path: Path) -> None:
    first = receiver(tmp_path)
    now = receiver(tmp_path, called_ae_titles="any", allow=[{"ae_title": "CT2"}])
    rejection = Rejection("10.1.2.3", "CT1", "OURS", CAUSES[acceptor.CALLED_AE_UNKNOWN], "a cure", 3, 5.0)
    said = now._rejected_still(rejection, first._config)
    assert said is not None
    assert said.cause == CAUSES[acceptor.CALLING_AE_UNKNOWN]
    assert said.cure.startswith('add { ae_title = "CT1", host = "10.1.2.3" } to allow')


class Waiting:
    """A connection without an association, of an address, that came at a time."""

    def __init__(self, address: str, since: float = 0.0, *, associated: bool = False) -> None:
        self.address = ipaddress.IPv4Address(address)
        self.since, self.associated, self.expired = since, associated, ""

    def expire(self, cause: str) -> None:
        assert not self.associated
        self.expired = cause


def held(made: DimseReceiver, *waiting: Waiting) -> tuple[Waiting, ...]:
    made._sessions = dict.fromkeys(waiting)  # type: ignore[arg-type]
    return waiting


HERE, THERE = "10.1.1.1", "10.1.1.2"


def test_the_oldest_of_an_address_goes_when_it_holds_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "SPARE", 1)
    made = receiver(tmp_path, max_associations=10, max_associations_per_peer=2)
    other, *own = held(made, Waiting(THERE), *(Waiting(HERE) for _ in range(3)))
    made._make_room(own[0].address)
    assert not any(each.expired for each in own), "as many as may be"
    other, in_use, *own = held(
        made, Waiting(THERE), Waiting(HERE, associated=True), *(Waiting(HERE) for _ in range(4))
    )
    made._make_room(own[0].address)
    assert [bool(each.expired) for each in own] == [True, False, False, False]
    made._make_room(own[0].address)
    assert [bool(each.expired) for each in own] == [True, False, False, False], "it does not count any more"
    assert (other.expired, in_use.expired) == ("", "")
    lines = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert len(lines) == 1
    assert HERE in lines[0].getMessage()
    own = list(held(made, *(Waiting(HERE) for _ in range(4))))
    made._make_room(own[0].address)
    assert own[0].expired
    assert len([each for each in caplog.records if each.levelno == logging.WARNING]) == 1, "once a minute"


def test_the_address_that_holds_most_gives_way_when_all_hold_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "SPARE", 1)
    made = receiver(tmp_path, max_associations=3, max_associations_per_peer=3)
    first, *rest = held(made, Waiting(THERE), *(Waiting(HERE) for _ in range(3)))
    made._make_room(first.address)
    assert not any(each.expired for each in (first, *rest)), "as many as may be"
    first, *rest = held(made, Waiting(THERE), *(Waiting(HERE) for _ in range(3)), Waiting("10.1.1.3"))
    made._make_room(first.address)
    assert not first.expired
    assert [bool(each.expired) for each in rest] == [True, False, False, False]


def test_what_asks_for_no_association_in_time_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.time, "monotonic", lambda: 100.0)
    made = receiver(tmp_path, acse_timeout=10)
    late, in_time, in_use = held(
        made, Waiting(HERE, 88.9), Waiting(HERE, 89.0), Waiting(HERE, 50.0, associated=True)
    )
    made._cut_late()
    assert [bool(each.expired) for each in (late, in_time, in_use)] == [True, False, False]


def test_an_association_has_room_by_its_address_and_by_all(tmp_path: Path) -> None:
    made = receiver(tmp_path, max_associations=3, max_associations_per_peer=2)
    waiting = held(made, *(Waiting(HERE) for _ in range(3)), *(Waiting(THERE) for _ in range(2)))
    assert [made._has_room(each) for each in waiting] == [True, True, False, True, False]  # type: ignore[arg-type]
    assert [each.associated for each in waiting] == [True, True, False, True, False]


def test_what_a_receiver_says_of_its_configuration(tmp_path: Path) -> None:
    config = DimseReceiveConfig.model_validate({"ae_title": "ROUTER", "port": 104, "tls": CERTIFICATE})
    assert STAGE.listens is not None
    said = STAGE.listens(config)
    assert (said.host, said.port, said.ae_title, said.tls) == ("0.0.0.0", 104, "ROUTER", True)
    told = receiver(tmp_path, port=104).describe()
    assert (told.host, told.port, told.ae_title, told.tls, told.associations) == (
        "127.0.0.1",
        104,
        "MAPDR",
        False,
        0,
    )
    assert (told.rejected, told.certificates, told.tls_trouble) == ((), (), "")
