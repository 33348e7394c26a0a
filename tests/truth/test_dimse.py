"""The truth test of C-STORE: the ledger row, the shown reason, the retry and the event, answer by answer."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from deliver.world import egress
from mapdr.wire.status import STATUSES
from peers.rawsink import Answer, RawSink
from truth.dimse import BY_STATUS, ROWS, Row
from truth.row import BAD, check


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_ledger_says_what_the_table_says(tmp_path: Path, row: Row) -> None:
    well = threading.Event()
    sink = RawSink(
        lambda request: Answer() if well.is_set() or request.sop_instance_uid != BAD else row.answer.answer,
        **row.answer.sink,
    )

    def recover() -> None:
        well.set()
        sink.cut_after = sink.reject = None
        sink.results = {}
        sink.max_pdu = 16_384

    with sink:
        check(tmp_path, row, egress(tmp_path, sink.port, associations=1, **row.config), recover)


def test_every_status_of_the_standard_is_in_the_table() -> None:
    assert set(STATUSES) <= {row.status for row in BY_STATUS}
