"""Reading back a file of the spool: all of its bytes, however long it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mapdr.kernel.item import Arrival, TagPath
from mapdr.store.spool import sealed
from mapdr.store.spool.files import Spool
from mapdr.store.spool.headers import INDEX_TAGS, Reading
from mapdr.store.spool.sealed import NotSealed, read_arrival
from store.world import CT, EXPLICIT, SOURCE, data_set

PIXELS = 5000


@pytest.fixture
def received(tmp_path: Path) -> tuple[Path, Arrival]:
    arrivals: list[Arrival] = []
    spool = Spool(tmp_path, "node", "process-crash", submit=arrivals.append)
    spool.use(Reading("rev7"))
    incoming = spool.begin(SOURCE, CT, "5.6.7", EXPLICIT)
    incoming.write(data_set("1.2.3.4", pixels=PIXELS))
    incoming.commit()
    return spool.path(incoming.id), arrivals[0]


def wanted(asked: list[str]) -> Callable[[str], frozenset[TagPath]]:
    def tags(revision: str) -> frozenset[TagPath]:
        asked.append(revision)
        return INDEX_TAGS

    return tags


@pytest.mark.parametrize("chunk", [100, PIXELS, 1 << 20])
def test_a_file_is_read_back_as_the_arrival_that_it_was(
    received: tuple[Path, Arrival], monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(sealed, "_CHUNK", chunk)
    path, arrival = received
    revisions: list[str] = []
    read = read_arrival(path, arrival.id, wanted(revisions))
    assert revisions == ["rev7"]
    for tag in INDEX_TAGS:
        assert read.header.text(tag) == arrival.header.text(tag)
    assert read._replace(header=arrival.header) == arrival


@pytest.mark.parametrize("at", [-PIXELS, -1])
def test_one_other_byte_is_no_image(
    received: tuple[Path, Arrival], monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    monkeypatch.setattr(sealed, "_CHUNK", 100)
    path, arrival = received
    whole = bytearray(path.read_bytes())
    whole[at] ^= 1
    path.write_bytes(whole)
    with pytest.raises(NotSealed) as caught:
        read_arrival(path, arrival.id, wanted([]))
    assert caught.value.reason == "spool-file"


@pytest.mark.parametrize("length", [0, 200])
def test_what_has_no_seal_is_no_image(received: tuple[Path, Arrival], length: int) -> None:
    path, arrival = received
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(NotSealed) as caught:
        read_arrival(path, arrival.id, wanted([]))
    assert caught.value.reason == "spool-file"
