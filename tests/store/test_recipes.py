"""Recipes by hash, and what is remembered of images under them: read once, kept at once, and told to whom."""

from __future__ import annotations

from functools import partial
from itertools import product

import pytest

from mapdr.kernel.errors import Permanent
from mapdr.store import Store
from mapdr.store.index import recipes
from mapdr.store.index.database import portions
from mapdr.store.index.recipes import Recipes
from store.conftest import Opener
from store.entered import facts, image, to

J2K = "1.2.840.10008.1.2.4.90"


@pytest.fixture
def store(opener: Opener) -> Store:
    return opener(start=False)


def ids(store: Store, *pushed: tuple[int, int]) -> list[str]:
    """Enters images by their content and series, those of the same under one UID; their ids."""
    made = []
    for number, (content, series) in enumerate(pushed):
        one = image(content + 100 * series, content=content, series=series)
        made.append(one._replace(id=f"{number + 1:032x}"))
        store.ingest.enter(made[-1:], to())
    return [one.id for one in made]


def test_a_recipe_is_kept_under_its_hash_for_good(store: Store) -> None:
    number = store.recipes.number("r7")
    fresh = Recipes(store.database, store.strings)
    assert fresh.find("r7") == number
    assert fresh._numbers == {}, "who only looks remembers nothing that might be rolled back"
    assert (fresh.number("r7"), fresh.hash(number), fresh.number("r7")) == (number, "r7", number)
    assert store.recipes.number("r8") != number
    for found in ("r7", "nobody"):
        with pytest.raises(Permanent) as caught:
            fresh.recipe(found)
        assert caught.value.reason == "recipe-missing"
    store.recipes.add({"r7": {"steps": [1]}, "r8": {"steps": [8]}})
    fresh.add({"r7": {"steps": [2]}})
    for each in (fresh, store.recipes, Recipes(store.database, store.strings)):
        assert (each.recipe("r7"), each.recipe("r8")) == ({"steps": [1]}, {"steps": [8]})
        assert each.recipe("r7") is each.recipe("r7"), "it is read once"
    with pytest.raises(KeyError):
        fresh.hash(99)


def test_a_recipe_that_is_known_needs_no_write_lock(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked for with every image."""
    number = store.recipes.number("r7")

    def refuse() -> None:
        raise AssertionError("another program may hold it")

    monkeypatch.setattr(store.database, "write", refuse)
    assert (store.recipes.number("r7"), store.recipes.find("r7")) == (number, number)


def test_what_was_kept_is_what_a_retry_gets(store: Store) -> None:
    (id_,) = ids(store, (1, 1))
    memory = store.recipes.memory(id_, "r1", J2K)
    assert memory.recall() is None
    store.recipes.memory(id_, "r1", J2K).keep({"level": 5})
    assert memory.recall() is None, "a preparation sees what it began with"
    assert store.recipes.memory(id_, "r1", J2K).recall() == {"level": 5}
    for recipe, syntax in (("r2", J2K), ("r1", "")):
        assert store.recipes.memory(id_, recipe, syntax).recall() is None
    memory.keep({"level": (1, 2)})
    assert memory.recall() == {"level": [1, 2]}, "as it is read again"
    assert store.recipes.memory(id_, "r1", J2K + "\0").recall() == {"level": [1, 2]}
    assert facts(store, "SELECT count(*) FROM derivation") == [(1,)]


def test_a_memory_is_read_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    (id_,) = ids(store, (1, 1))
    memory, kept = store.recipes.memory(id_, "r1", ""), store.recipes.memory(id_, "r1", "")
    assert memory.recall() is None
    kept.keep({"level": 5})

    def refuse(*_: object) -> None:
        raise AssertionError("it is asked for once for each step")

    monkeypatch.setattr(store.recipes, "recall", refuse)
    assert (memory.recall(), kept.recall()) == (None, {"level": 5})


def test_what_was_kept_of_the_same_image_is_told_the_own_first_then_the_first(store: Store) -> None:
    first, second, third, other = ids(store, (1, 1), (1, 1), (1, 1), (2, 1))

    def recalled(id_: str) -> object:
        return store.recipes.memory(id_, "r1", "").recall()

    store.recipes.memory(second, "r1", "").keep({"of": 2})
    assert [recalled(id_) for id_ in (first, second, third, other)] == [{"of": 2}] * 3 + [None]
    store.recipes.memory(first, "r1", "").keep({"of": 1})
    assert [recalled(id_) for id_ in (first, second, third)] == [{"of": 1}, {"of": 2}, {"of": 1}]


@pytest.mark.parametrize("together", [1, 2, 500])
def test_of_many_the_same_is_told_as_of_each(
    store: Store, monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    monkeypatch.setattr(recipes, "portions", partial(portions, size=together))
    made = ids(store, (1, 1), (1, 1), (1, 1), (2, 1), (1, 2), (3, 2))
    under = list(product(("r1", "r2"), ("", J2K)))
    for number in range(4):  # each of the four has what three images in another order have kept
        for index in ((0, 2, 3), (2, 1, 5), (1, 4), ())[number]:
            store.recipes.memory(made[index], *under[number]).keep({"of": index})
    each = {(id_, *key): store.recipes.memory(id_, *key).recall() for id_ in made for key in under}
    assert store.recipes.kept([*made, made[0]]) == {key: found for key, found in each.items() if found}
    assert store.recipes.kept([]) == {}


def test_many_are_asked_for_with_one_query(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made = ids(store, *((number, 1) for number in range(1, 20)))
    reads, real = [], store.database.read
    monkeypatch.setattr(store.database, "read", lambda: reads.append(1) or real())
    assert store.recipes.kept(made) == {}
    assert len(reads) == 1


def test_several_are_kept_in_one_transaction(store: Store) -> None:
    one, two = ids(store, (1, 1), (2, 1))
    memories = [store.recipes.memory(id_, "r1", "") for id_ in (one, two)]
    before = store.changes()
    store.recipes.keep([(memories[0], {"of": 1}), (memories[1], {"of": 2})])
    assert store.changes() != before
    assert [store.recipes.memory(id_, "r1", "").recall() for id_ in (one, two)] == [{"of": 1}, {"of": 2}]
    store.recipes.keep([])


def test_of_a_series_the_others_are_told_the_last_first(store: Store) -> None:
    made = ids(store, (1, 1), (2, 1), (3, 1), (4, 2))
    for number, id_ in enumerate(made):
        store.recipes.memory(id_, "r1", "").keep({"of": number})
    store.recipes.memory(made[1], "r2", "").keep({"of": 9})
    store.recipes.memory(made[1], "r1", J2K).keep({"of": 8})
    told = [store.recipes.memory(id_, "r1", "").of_series() for id_ in made]
    assert told == [[{"of": 2}, {"of": 1}], [{"of": 2}, {"of": 0}], [{"of": 1}, {"of": 0}], []]
