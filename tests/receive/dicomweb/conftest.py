"""DICOMweb receivers on loopback, stopped when the test ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mapdr.kernel.stage import Settings
from mapdr.kernel.watch import Watch
from mapdr.receive.dicomweb.receiver import STAGE, DicomwebReceiver
from receive.fakes import FakeIntake

Start = Callable[..., DicomwebReceiver]


@pytest.fixture
def web(intake: FakeIntake, watch: Watch, tmp_path: Path) -> Iterator[Start]:
    """Start a receiver with any configuration; short time-outs."""
    receivers: list[DicomwebReceiver] = []
    before = set(threading.enumerate())

    def begin(into: Any = None, **options: Any) -> DicomwebReceiver:
        options = {"port": 0, "idle_timeout": 5, **options}
        config = STAGE.config.model_validate(options)
        settings = Settings("web", "node", tmp_path, bytes(32), watch)
        receiver = STAGE.build(settings, config, into or intake)
        receiver.start()
        receivers.append(receiver)
        return receiver

    yield begin
    for receiver in receivers:
        receiver.stop(time.monotonic() + 5)
    assert set(threading.enumerate()) <= before
