"""Downstream starts first, upstream stops first, and no part keeps another from either."""

from __future__ import annotations

import logging
import time

import pytest

from mapdr.kernel.errors import ConfigurationError
from mapdr.kernel.lifecycle import Lifecycle

MARK = "QXNAMEQX"


class Part:
    """Tells what is done to it, and fails where it shall."""

    def __init__(self, name: str, told: list[str], fails: str = "") -> None:
        self.name, self._told, self._fails = name, told, fails
        self.deadlines: list[float] = []

    def start(self) -> None:
        self._do("start")

    def stop(self, deadline: float) -> None:
        self.deadlines.append(deadline)
        self._do("stop")

    def _do(self, verb: str) -> None:
        self._told.append(f"{verb} {self.name}")
        if self._fails == verb:
            raise ValueError(MARK)


def _lifecycle(told: list[str], **fails: str) -> tuple[Lifecycle, dict[str, Part]]:
    parts = {name: Part(name, told, fails.get(name, "")) for name in ("receive", "store", "egress")}
    return Lifecycle(list(parts.items())), parts


def test_downstream_starts_first_and_upstream_stops_first() -> None:
    told: list[str] = []
    lifecycle, parts = _lifecycle(told)
    lifecycle.start()
    assert told == ["start egress", "start store", "start receive"]
    assert [name for name, _ in lifecycle.parts] == ["receive", "store", "egress"]
    told.clear()
    deadline = time.monotonic() + 5
    lifecycle.stop(deadline)
    lifecycle.stop(deadline)
    assert told == ["stop receive", "stop store", "stop egress"]
    assert parts["egress"].deadlines == [deadline]
    assert not lifecycle.parts


def test_a_part_that_fails_to_start_leaves_none_running() -> None:
    told: list[str] = []
    lifecycle, _ = _lifecycle(told, store="start")
    with pytest.raises(ValueError, match=MARK):
        lifecycle.start()
    assert told == ["start egress", "start store", "stop egress"]
    assert not lifecycle.parts


def test_a_part_that_fails_to_stop_keeps_no_other_from_stopping(caplog: pytest.LogCaptureFixture) -> None:
    told: list[str] = []
    lifecycle, _ = _lifecycle(told, receive="stop", store="stop")
    lifecycle.start()
    told.clear()
    with caplog.at_level(logging.ERROR):
        lifecycle.stop(time.monotonic())
    assert told == ["stop receive", "stop store", "stop egress"]
    assert "receive could not be stopped: internal error: ValueError" in caplog.text
    assert MARK not in caplog.text


def test_parts_come_and_go_in_their_place() -> None:
    told: list[str] = []
    lifecycle, parts = _lifecycle(told)
    lifecycle.start()
    lifecycle.add("egress.new", Part("egress.new", told), before="egress")
    lifecycle.add("receive.new", Part("receive.new", told))
    assert [name for name, _ in lifecycle.parts] == [
        "receive.new",
        "receive",
        "store",
        "egress.new",
        "egress",
    ]
    told.clear()
    fresh = Part("store 2", told)
    lifecycle.replace("store", parts["store"], fresh, time.monotonic())
    assert told == ["stop store", "start store 2"]
    assert lifecycle.parts[2] == ("store", fresh)
    lifecycle.remove(parts["receive"], time.monotonic())
    lifecycle.remove(parts["receive"], time.monotonic())
    assert told == ["stop store", "start store 2", "stop receive"]
    lifecycle.stop(time.monotonic())
    assert told[3:] == ["stop receive.new", "stop store 2", "stop egress.new", "stop egress"]


def test_what_fails_while_others_run_is_forgotten_and_they_run_on() -> None:
    told: list[str] = []
    lifecycle, parts = _lifecycle(told, egress="stop")
    lifecycle.start()
    with pytest.raises(ValueError, match=MARK):
        lifecycle.add("broken", Part("broken", told, "start"))
    with pytest.raises(ValueError, match=MARK):
        lifecycle.replace("egress", parts["egress"], Part("broken", told, "start"), time.monotonic())
    assert [name for name, _ in lifecycle.parts] == ["receive", "store"]
    told.clear()
    lifecycle.stop(time.monotonic())
    assert told == ["stop receive", "stop store"]


def test_nothing_is_started_behind_the_end_and_what_was_taken_is_given_back() -> None:
    told: list[str] = []
    lifecycle, parts = _lifecycle(told)
    lifecycle.start()
    lifecycle.stop(time.monotonic())
    told.clear()
    with pytest.raises(ConfigurationError, match="the node ends"):
        lifecycle.add("new", Part("new", told))
    with pytest.raises(ConfigurationError, match="the node ends"):
        lifecycle.replace("store", parts["store"], Part("store 2", told), time.monotonic())
    assert told == ["stop new", "stop store 2"]
    assert not lifecycle.parts
