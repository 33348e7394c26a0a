"""The truth test of STOW-RS: the ledger row, the shown reason, the retry and the event, answer by answer."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from deliver.world import delivering, settings, world
from mapdr.egress.dicomweb.destination import DicomwebEgress, DicomwebEgressConfig
from mapdr.testing.wait import until
from peers.httpd import Asked, Said, serving
from peers.stow import syntax_of, uids_of
from truth.row import BAD, GOOD, check
from truth.stow import ROWS, Row, taken


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
    with serving(script) as server:
        check(tmp_path, row, egress(tmp_path, server.url, **row.config), script.recover)


def test_a_server_that_is_away_gets_everything_when_it_comes(tmp_path: Path, free_port: int) -> None:
    with world(tmp_path) as made:
        made.push(BAD, GOOD)
        made_egress = egress(tmp_path, f"http://127.0.0.1:{free_port}")
        with delivering(made, {"pacs": made_egress}) as deliverers:
            until(lambda: deliverers["pacs"].view().reason == "unreachable", 10, "a destination that is down")
            assert deliverers["pacs"].view().comment == "connection refused"
            assert {(row.reason, row.attempts) for row in made.rows() if row.reason} <= {("unreachable", 0)}
