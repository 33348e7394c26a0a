"""Jobs: whoever goes on with one does what is left of it, and each image once."""

from __future__ import annotations

from collections import Counter

import pytest
from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite

from mapdr.store import Selection, Store
from mapdr.store.index import schema
from mapdr.store.index.texts import texts
from mapdr.store.queue.rerouted import ImageRerouted
from store.conftest import Opener
from store.world import To, push

IMAGES = 25
ALL = Selection()
ROUTE = To("b").route


@pytest.fixture
def store(opener: Opener) -> Store:
    store = opener(router=To("a"))
    for number in range(IMAGES):
        push(store, f"1.{number}", study=f"9.{number % 3}")
    assert store.writer.flush()
    return store


def run(store: Store, number: int, keys: list[bytes], *, most: int = 1000) -> list[ImageRerouted]:
    """Go on with a job, for at most so many portions; what became of the images."""
    steps = store.rerouting.steps(keys, ALL, ROUTE, frozenset(), job=number, portion=4)
    return [one for _, (_, images) in zip(range(most), steps, strict=False) for one in images]


def promises(store: Store) -> Counter[str]:
    return Counter(row.instance for row in store.listing.select(Selection(destination="b")))


def test_a_job_goes_on_where_it_was(store: Store) -> None:
    keys = store.rerouting.choose(ALL)
    job = store.jobs.begin("move", "as asked", "mona", keys)
    assert (job.images, list(job.left)) == (IMAGES, keys)
    assert len(run(store, job.number, keys, most=3)) == 12
    left = store.jobs.find("move")
    assert left is not None
    assert (left.number, left.request, left.images, list(left.left)) == (
        job.number,
        "as asked",
        IMAGES,
        keys[12:],
    )
    # What has come meanwhile is not of it.
    push(store, "2.1")
    assert store.writer.flush()
    store.ledger.lease("b", 5, 60, "n")
    assert len(run(store, job.number, list(left.left))) == IMAGES - 12
    assert set(promises(store).values()) == {1}
    assert len(promises(store)) == IMAGES


def test_an_image_that_another_process_did_meanwhile_is_left_out(store: Store) -> None:
    keys = store.rerouting.choose(ALL)
    job = store.jobs.begin("move", "", "mona", keys)
    assert store.jobs.begin("move", "", "max", keys[:3]) == job
    assert len(run(store, job.number, keys[:10])) == 10
    for lease in store.ledger.lease("b", 99, 60, "n"):
        store.ledger.give_back([lease.id])
    assert len(run(store, job.number, keys)) == IMAGES - 10
    assert run(store, job.number, keys) == []
    assert set(promises(store).values()) == {1}


def test_a_job_over_no_image_has_nothing_left(store: Store) -> None:
    job = store.jobs.begin("none", "as asked", "mona", [])
    assert (job.images, list(job.left)) == (0, [])
    assert store.jobs.find("none") == job
    assert store.jobs.find("nobody") is None


def test_an_image_is_marked_only_with_its_promise(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = store.rerouting.choose(ALL)
    job = store.jobs.begin("move", "", "mona", keys)

    def fail(*args: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(store.studies, "touch", fail)
    with pytest.raises(OSError, match="full"):
        run(store, job.number, keys)
    monkeypatch.undo()
    left = store.jobs.find("move")
    assert left is not None
    assert list(left.left) == keys
    assert not promises(store)


def test_an_image_whose_file_is_gone_is_told_and_not_tried_for_ever(store: Store) -> None:
    keys = store.rerouting.choose(ALL)
    job = store.jobs.begin("move", "", "mona", keys)
    store.spool.path(keys[0].hex()).unlink()
    states = Counter(one.state for one in run(store, job.number, keys))
    assert states == {"promised": IMAGES - 1, "missing": 1}
    left = store.jobs.find("move")
    assert left is not None
    assert not left.left


@pytest.mark.parametrize(
    ("kind", "values", "images", "unknown"),
    [
        ("study_instance_uid", ["9.1", "9.9"], 8, ["9.9"]),
        ("series_instance_uid", ["1.2.3.1"], IMAGES, []),
        ("sop_instance_uid", ["1.3", "1.4", "9.1"], 2, ["9.1"]),
        ("accession_number", ["ACC1", "ACC2"], IMAGES, ["ACC2"]),
        ("", ["9.1", "1.0", "nobody"], 9, ["nobody"]),
        ("sop_instance_uid", [f"1.{number}" for number in range(70_000)], IMAGES, None),
    ],
)
def test_a_list_names_images(
    store: Store, kind: str, values: list[str], images: int, unknown: list[str] | None
) -> None:
    chosen = Selection(listed=values, listed_as=kind)
    assert len(store.rerouting.choose(chosen)) == images
    found = store.rerouting.unknown(chosen)
    assert found == (values[IMAGES:] if unknown is None else unknown)


def test_a_list_is_one_condition_of_several(store: Store) -> None:
    listed = Selection(listed=["9.1", "9.2"], listed_as="study_instance_uid", sop_instance_uid="1.1")
    assert len(store.rerouting.choose(listed)) == 1
    assert store.rerouting.unknown(listed) == ["9.2"]
    with pytest.raises(ValueError, match="listed as"):
        Selection(listed=["1"], listed_as="name")


def test_a_list_is_one_parameter_for_both_databases() -> None:
    chosen = select(schema.study.c.id).where(schema.study.c.uid.in_(texts(["a", "b"])))
    for dialect, function in ((sqlite, "json_each("), (postgresql, "json_array_elements_text(CAST(")):
        compiled = chosen.compile(dialect=dialect.dialect())
        assert function in str(compiled)
        assert list(compiled.params.values()) == ['["a", "b"]']
