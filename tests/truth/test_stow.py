"""The truth test of STOW-RS: the ledger row, the shown reason, the retry and the event, answer by answer."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from deliver.world import World, delivering, settings, world
from mapdr.deliver.supervise.deliverer import Deliverer
from mapdr.egress.dicomweb.destination import DicomwebEgress, DicomwebEgressConfig
from mapdr.testing.wait import until
from peers.httpd import Asked, Said, serving
from peers.stow import syntax_of, uids_of
from truth.table import BAD, GOOD, ROWS, Row, taken


def egress(folder: Path, url: str, **config: Any) -> DicomwebEgress:
    made = DicomwebEgressConfig.model_validate(
        {"url": url + "/dicom-web", "retry": {"first": 0.05, "max": 0.2}, "requests": 1, **config}
    )
    return DicomwebEgress(settings("pacs", folder), made)


class Server:
    """Answers as the row says until it recovers; `stored` are the UIDs that it called stored."""

    def __init__(self, row: Row) -> None:
        self._row = row
        self._recovered = threading.Event()
        self.stored: set[str] = set()

    def recover(self) -> None:
        self._recovered.set()

    def __call__(self, asked: Asked) -> Said:
        assert (asked.method, asked.path) == ("POST", "/dicom-web/studies")
        uids, syntax = uids_of(asked), syntax_of(asked)
        ill = not self._recovered.is_set() and (BAD in uids or (not uids and self._row.down))
        return self._row.answer(uids, syntax) if ill else taken(uids)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_ledger_says_what_the_table_says(tmp_path: Path, row: Row) -> None:
    script = Server(row)
    with world(tmp_path) as made, serving(script) as server:
        made.push(BAD, GOOD)
        with delivering(made, {"pacs": egress(tmp_path, server.url, **row.config)}) as deliverers:
            if row.state == "pending":
                waits_as_said(made, deliverers["pacs"], row)
                script.recover()
            rows = made.settled()
    ends = "delivered" if row.state == "pending" else row.state
    assert (rows[BAD].state, rows[GOOD].state) == (ends, "delivered")
    if row.state != "pending":
        assert_row(made, row)
        assert rows[BAD].attempts == (row.burnt or rows[BAD].attempts)
    assert [event.kind for event in told(made)] == [row.event]


def waits_as_said(made: World, deliverer: Deliverer, row: Row) -> None:
    """Until BAD waits for the reason of the row, and is shown so; no try of any image is used up."""

    def waiting() -> bool:
        found = {each.uid: each for each in made.rows()}
        shown = found[BAD].state in ("pending", "leased") and found[BAD].reason == row.reason
        return shown and (bool(row.down) or found[GOOD].state == "delivered")

    until(waiting, 15, f"{BAD} pending, {row.reason}")
    if row.down:
        until(lambda: deliverer.view().reason == row.down, 15, f"the destination down, {row.down}")
    assert_row(made, row)
    if row.status is not None:
        assert {each.attempts for each in made.rows() if each.state != "delivered"} <= {0}


def assert_row(made: World, row: Row) -> None:
    """The last attempt and the row have the reason, the status and the words of the table."""
    found = next(each for each in made.rows() if each.uid == BAD)
    _, code, comment = made.attempts(BAD)[-1]
    assert code == row.status
    assert row.words in comment
    assert found.reason == row.reason


def told(made: World) -> list[Any]:
    """The events that the study is due for, but for its reception."""
    events = made.store.study_events.due_events(time.time() + 60, 0.0)
    return [event for event in events if event.kind != "study.received"]


def test_a_server_that_is_away_gets_everything_when_it_comes(tmp_path: Path, free_port: int) -> None:
    with world(tmp_path) as made:
        made.push(BAD, GOOD)
        made_egress = egress(tmp_path, f"http://127.0.0.1:{free_port}")
        with delivering(made, {"pacs": made_egress}) as deliverers:
            until(lambda: deliverers["pacs"].view().reason == "unreachable", 10, "a destination that is down")
            assert deliverers["pacs"].view().comment == "connection refused"
            assert {(row.reason, row.attempts) for row in made.rows() if row.reason} <= {("unreachable", 0)}
