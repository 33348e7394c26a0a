"""Which sources are silent, and which are not for all that they have sent nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from mapdr.config.read import read_text
from mapdr.kernel.item import Source
from mapdr.notify.silence import Sending, look, name_of
from mapdr.receive.dicom.config import DimseReceiveConfig
from mapdr.receive.dicomweb.config import DicomwebReceiveConfig
from mapdr.receive.folder.receiver import FolderReceiveConfig

HOUR = 3600.0
CT1 = Source("modalities", "CT1", "MAPDR", "10.1.2.3")
MR1 = Source("modalities", "MR1", "MAPDR", "10.1.2.4")


def local(text: str) -> float:
    """A moment by the clock on the wall here."""
    return datetime.fromisoformat(text).timestamp()


NOW = local("2026-11-27T12:00")  # a Friday


def dicom(**facts: Any) -> dict[str, object]:
    return {"modalities": DimseReceiveConfig(**facts)}


def silent(found: list[Sending]) -> list[str]:
    return [str(one.alarm.facts["peer"]) for one in found if one.silent]


def back(found: list[Sending]) -> list[str]:
    return [str(one.alarm.facts["peer"]) for one in found if one.back]


def test_one_that_has_sent_nothing_for_so_long_is_silent() -> None:
    arrivals = [(CT1, NOW - 4 * HOUR), (MR1, NOW - 4 * HOUR + 1)]
    found = list(look(dicom(silent_after="4 h"), arrivals, NOW))
    assert (silent(found), back(found)) == (["CT1"], ["MR1"])
    assert found[0].alarm.subject == "modalities CT1"
    assert dict(found[0].alarm.facts) == {
        "receiver": "modalities",
        "peer": "CT1",
        "address": "10.1.2.3",
        "last_at": datetime.fromtimestamp(NOW - 4 * HOUR, UTC).isoformat(),
        "seconds": 4 * HOUR,
    }


def test_nobody_is_watched_who_was_not_asked_for_or_has_never_sent() -> None:
    elsewhere = replace(CT1, receiver="other")
    assert list(look(dicom(), [(CT1, 0.0)], NOW)) == []
    assert list(look(dicom(silent_after="4 h"), [], NOW)) == []
    assert list(look(dicom(silent_after="4 h"), [(elsewhere, 0.0)], NOW)) == []
    assert list(look({"modalities": object()}, [(CT1, 0.0)], NOW)) == []


def test_each_peer_may_have_its_own() -> None:
    config = dicom(
        silent_after="4 h",
        silent_peers=[
            {"peer": "CT1", "silent_after": "1 h"},
            {"peer": "MR1", "silent_after": "never"},
            {"peer": "US1", "silent_hours": "Mon-Thu 08:00-18:00"},
        ],
    )
    us1, cr1 = replace(CT1, calling_ae="US1"), replace(CT1, calling_ae="CR1")
    arrivals = [(each, NOW - 3 * HOUR) for each in (CT1, MR1, us1, cr1)]
    assert silent(list(look(config, arrivals, NOW))) == ["CT1"]
    arrivals = [(each, NOW - 5 * HOUR) for each in (CT1, MR1, us1, cr1)]
    assert silent(list(look(config, arrivals, NOW))) == ["CR1", "CT1"]
    only = dicom(silent_peers=[{"peer": "CT1", "silent_after": "1 h"}])
    assert silent(list(look(only, arrivals, NOW))) == ["CT1"]


def test_an_address_or_a_certificate_that_changes_makes_no_other_source() -> None:
    shown = "certificate:ct1.example sha256:"
    sources = [
        (replace(CT1, address="10.1.2.9"), NOW - 9 * HOUR),
        (CT1, NOW - HOUR),
        (replace(CT1, called_ae="ANY"), NOW - 8 * HOUR),
        (Source("web", "", "", "10.2.2.2", "dicomweb", shown + "aa" * 32), NOW - 9 * HOUR),
        (Source("web", "", "", "10.2.2.3", "dicomweb", shown + "bb" * 32), NOW - HOUR),
    ]
    web = DicomwebReceiveConfig(silent_after="4 h", tokens={"a": "env:A"})
    found = list(look({**dicom(silent_after="4 h"), "web": web}, sources, NOW))
    assert [(one.alarm.facts["peer"], one.alarm.facts["address"]) for one in found] == [
        ("CT1", "10.1.2.3"),
        ("certificate:ct1.example", "10.2.2.3"),
    ]
    assert silent(found) == []
    assert name_of(replace(CT1, calling_ae="", credential="token:x")) == "token:x"


def test_a_night_and_a_weekend_are_no_silence() -> None:
    config = dicom(silent_after="4 h", silent_hours="Mon-Fri 07:00-18:00")
    last = local("2026-11-20T16:00")  # Friday afternoon: 2 h of silence on Friday, the others on Monday
    for text, expected in (
        ("2026-11-20T18:00", False),
        ("2026-11-22T12:00", False),
        ("2026-11-23T08:59", False),
        ("2026-11-23T09:00", True),
        ("2026-11-23T23:00", True),
    ):
        assert bool(silent(list(look(config, [(CT1, last)], local(text))))) is expected, text


def test_a_node_that_was_not_there_has_not_missed_anything() -> None:
    config, arrivals = dicom(silent_after="4 h"), [(CT1, NOW - 9 * HOUR)]
    (lately,) = look(config, arrivals, NOW, resumed_at=NOW - 3 * HOUR)
    assert (lately.silent, lately.back) == (False, False)  # what was told of it before stands
    (later,) = look(config, arrivals, NOW + HOUR, resumed_at=NOW - 3 * HOUR)
    assert (later.silent, later.back) == (True, False)
    (sent,) = look(config, [(CT1, NOW)], NOW + HOUR, resumed_at=NOW - 3 * HOUR)
    assert (sent.silent, sent.back) == (False, True)


def test_folders_and_web_servers_are_watched_as_well() -> None:
    receivers = {
        "in": FolderReceiveConfig(path="/in", silent_after="1 h"),
        "web": DicomwebReceiveConfig(silent_after="1 h"),
    }
    sources = [
        (Source("in", "", "", "", "folder"), NOW - 2 * HOUR),
        (Source("web", "", "", "127.0.0.1", "dicomweb"), NOW - 2 * HOUR),
    ]
    assert silent(list(look(receivers, sources, NOW))) == ["in", "web"]


HEAD = '[receive.modalities]\ntype = "dicom"\n'


@pytest.mark.parametrize(
    ("lines", "problems"),
    [
        ('silent_after = "4 h"\nsilent_hours = ["Mon-Fri 07:00-18:00", "Sat 08:00-12:00"]', []),
        ('silent_after = "never"\nsilent_peers = [{ peer = "CT1", silent_after = "90 min" }]', []),
        (
            'silent_after = "30 s"',
            [
                "3 receive.modalities.silent_after: is not between a minute and 31 days; "
                'write "4 h", or "never"'
            ],
        ),
        (
            "silent_after = 4",
            ['3 receive.modalities.silent_after: has no unit; write "30 s", "5 min", "2 h" or "7 days"'],
        ),
        (
            'silent_hours = "Mon 07:00-18:00"',
            ['1 receive.modalities: has silent_hours and nothing to wait for; add silent_after = "4 h"'],
        ),
        (
            'silent_after = "4 h"\nsilent_peers = [{ peer = "CT1" }, { peer = "CT1" }]',
            ["1 receive.modalities: names a peer twice in silent_peers; leave one of them out"],
        ),
        (
            'silent_after = "4 h"\nsilent_peers = [{ peer = "CT1", silent_hours = "Mon 07:00-09:00" }]',
            [
                "1 receive.modalities: has a silent_after that is longer than its silent_hours are in a "
                "week; write less"
            ],
        ),
        (
            'silent_after = "4 h"\nsilent_peers = [{ silent_after = "1 h" }]',
            ["4 receive.modalities.silent_peers[0].peer: is missing; add peer = ..."],
        ),
    ],
)
def test_the_configuration_says_what_is_wrong(lines: str, problems: list[str]) -> None:
    told = [str(each).removeprefix("mapdr.toml:") for each in read_text(HEAD + lines).problems]
    assert told == problems
