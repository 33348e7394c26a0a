"""Receivers on loopback, stopped when the test ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mapdr.kernel.stage import Settings
from mapdr.kernel.watch import Watch
from mapdr.receive.dicom.receiver import STAGE, DimseReceiver
from receive.fakes import FakeIntake

Start = Callable[..., DimseReceiver]


@pytest.fixture
def intake() -> FakeIntake:
    return FakeIntake()


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def start(intake: FakeIntake, watch: Watch, tmp_path: Path) -> Iterator[Start]:
    """Start a receiver with any configuration; short time-outs."""
    receivers: list[DimseReceiver] = []

    def begin(**options: Any) -> DimseReceiver:
        options = {
            "host": "127.0.0.1",
            "port": 0,
            "idle_timeout": 5,
            "acse_timeout": 2,
            "pdu_timeout": 2,
            **options,
        }
        config = STAGE.config.model_validate(options)
        settings = Settings("modalities", "node", tmp_path, bytes(32), watch)
        receiver = STAGE.build(settings, config, intake)
        receiver.start()
        receivers.append(receiver)
        return receiver

    yield begin
    for receiver in receivers:
        receiver.stop(time.monotonic() + 2)
