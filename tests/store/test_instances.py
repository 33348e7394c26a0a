"""Images from their rows: every fact in its place, and one proof of a file for all who send it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mapdr.kernel.item import Instance
from mapdr.kernel.proof import Proof
from mapdr.store import Store
from mapdr.store.index import instances
from mapdr.store.index.database import portions
from store.conftest import Opener
from store.entered import NOON, image, to
from store.test_index_parts import Says
from store.world import CT, EXPLICIT, SOURCE


@pytest.fixture
def store(opener: Opener) -> Store:
    store = opener(start=False)
    store.ingest.enter([image(number, content=number, data_offset=20 + number) for number in (1, 2, 3)], to())
    return store


def test_every_fact_of_a_row_is_in_its_place(store: Store) -> None:
    id_ = image(2).id
    one = store.instances.get(id_)
    assert one == Instance(
        id_,
        SOURCE,
        CT,
        "1.2.2",
        "9",
        "9.1",
        "CT",
        EXPLICIT,
        store.spool.path(id_),
        22,
        10,
        NOON,
        one.proof,
    )
    assert one.proof is not None
    assert (one.proof.path, one.proof.offset, one.proof.size, one.proof.digest) == (
        *(one.path, 22, 10),
        bytes([2] * 16),
    )
    key = bytes.fromhex(id_)
    with store.database.read() as connection:
        (row,) = store.instances.rows(connection, [key])
        assert (row.study_uid, row.series_uid, row.study) == ("9", "9.1", 1)
        assert store.instances.from_row(row) == one
        assert store.instances.rows(connection, []) == []
    assert store.instances.get(id_).proof is one.proof, "a file that goes to several is compared once"


def test_images_of_another_node_lie_in_its_folder(opener: Opener) -> None:
    north, south = opener(node="north", start=False), opener(node="south", start=False)
    north.ingest.enter([image(1)], to())
    (there,) = south.instances.find("9")
    assert there.path == north.spool.path(image(1).id) != south.spool.path(image(1).id)


def test_many_are_found_in_portions(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instances, "portions", lambda items: portions(items, 2))
    ids = [image(number).id for number in (1, 2, 3)]
    keys = [bytes.fromhex(id_) for id_ in ids]
    found = store.instances.by_key([*keys, bytes(16)])
    assert {key: one.id for key, one in found.items()} == dict(zip(keys, ids, strict=True))
    assert [one.id for one in store.instances.find("9")] == ids
    assert store.instances.newest() == ids[-1]


def test_the_proofs_in_memory_are_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one goes; an image whose proof is gone gets another one."""
    monkeypatch.setattr(instances, "_PROOFS", 2)
    first, second, third = (store.instances.get(image(number).id) for number in (1, 2, 3))
    assert len(store.instances._proofs) == 2
    assert store.instances.get(second.id).proof is second.proof
    assert store.instances.get(third.id).proof is third.proof
    again = store.instances.get(first.id)
    assert again.proof is not first.proof
    assert again.proof is not None
    assert again.proof.digest == bytes([1] * 16)


def test_a_file_that_cannot_be_read_is_not_intact(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [bytes.fromhex(image(number).id) for number in (1, 2, 3)]

    class Read(Proof):
        """A file that was proved by who sent it: what is asked is what it is now."""

        def __init__(self, found: bool | Exception) -> None:
            super().__init__(Path("image"), 0, 10, bytes(16))
            self.proved, self.found = True, found

        def holds(self) -> bool:
            if isinstance(self.found, Exception):
                raise self.found
            return self.found

    proofs = map(Read, (True, False, PermissionError("the disk")))
    monkeypatch.setattr(store.instances, "_proofs", dict(zip(keys, proofs, strict=True)))
    assert store.instances.intact(set(keys)) == dict(zip(keys, (True, False, False), strict=True))
    assert store.instances.intact([]) == {}
    monkeypatch.undo()
    assert store.instances.intact(keys) == dict.fromkeys(keys, False), "there are no files"


def test_the_uids_of_everything_are_told(store: Store) -> None:
    other = image(7, study="8")._replace(header=Says(tag_0020000d="8", tag_0020000e="8.5"))
    store.ingest.enter([other], to())
    assert sorted(store.instances.uids()) == ["1.2.1", "1.2.2", "1.2.3", "1.2.7", "8", "8.5", "9", "9.1"]
