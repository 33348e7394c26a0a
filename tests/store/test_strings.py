"""What repeats in rows as small numbers: one number for a text, for good, whoever asks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mapdr.kernel.item import Source
from mapdr.store import Store
from mapdr.store.index import strings
from mapdr.store.index.strings import Sources, StringTable, clean
from store.conftest import Opener
from store.entered import facts
from store.world import SOURCE

ODD = "a\0b\udc80"
"""A text that no database takes."""


@pytest.fixture
def store(opener: Opener) -> Store:
    return opener(start=False)


def test_text_is_cleaned_of_what_no_database_takes() -> None:
    for text in ("", "plain", "Müller^Äöü", "\x7f"):
        assert clean(text) == text
    assert clean(ODD) == "ab?"
    assert clean("a\0") == "a"
    assert clean("\udc80") == "?"


def test_a_text_has_one_number_and_the_empty_one_is_none(store: Store) -> None:
    table, other = store.strings, StringTable(store.database)
    assert (table.number(""), table.text(0), table.text(None), table.intern([""])) == (0, "", "", {"": 0})
    numbers = table.intern(["pacs", "archive", "pacs", ""])
    assert table.intern(iter(["pacs", "new"])) == {"pacs": numbers["pacs"], "new": table.number("new")}
    assert len(set(numbers.values())) == 3
    for text, number in numbers.items():
        assert (other.find(text), other.text(number), other.number(text)) == (number, text, number)
    assert other.intern(numbers) == numbers
    assert table.find("nobody") is None
    with pytest.raises(KeyError):
        table.text(99)
    assert facts(store, "SELECT count(*) FROM word WHERE text = 'nobody'") == [(0,)]


def test_a_text_that_is_known_needs_no_write_lock(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    known = {text: store.strings.number(text) for text in ("pacs", ODD)}
    other = StringTable(store.database)

    def refuse() -> None:
        raise AssertionError("another program may hold it")

    monkeypatch.setattr(store.database, "write", refuse)
    assert {text: other.number(text) for text in known} == known
    assert {text: other.number(text) for text in known} == known


def test_what_was_asked_for_is_in_memory(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every image asks for a dozen of them, and every row that is leased."""
    made = store.strings.number("made")
    source = store.sources.number(SOURCE)
    table, sources = StringTable(store.database), Sources(store.database)
    assert table.find("made") == made
    told = StringTable(store.database)
    assert (told.text(made), sources.source(source)) == ("made", SOURCE)

    def refuse() -> None:
        raise AssertionError("it is known")

    for way in ("read", "write"):
        monkeypatch.setattr(store.database, way, refuse)
    for each in (store.strings, table, told):
        assert (each.find("made"), each.number("made"), each.text(made)) == (made, made, "made")
        assert each.intern(["made", ""]) == {"made": made, "": 0}
    assert (store.sources.number(SOURCE), store.sources.source(source), sources.source(source)) == (
        *(source, SOURCE),
        SOURCE,
    )


def test_an_odd_text_is_told_as_it_is_kept(store: Store) -> None:
    number = store.strings.number(ODD)
    for table in (store.strings, StringTable(store.database)):
        assert table.number(ODD) == table.number("ab?") == number
        assert table.text(number) == "ab?"


def test_what_begins_so_is_found_to_the_letter(store: Store) -> None:
    numbers = store.strings.intern(["node", "node/1", "node/2", "node%", "node_", "nodex", "n%de/1"])
    assert set(store.strings.beginning("node/")) == {numbers["node/1"], numbers["node/2"]}
    assert store.strings.beginning("node%") == [numbers["node%"]]
    assert store.strings.beginning("node_") == [numbers["node_"]]
    assert store.strings.beginning("n%de") == [numbers["n%de/1"]]


def test_a_peer_may_invent_texts_without_end(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded, and numbers stay what they are."""
    monkeypatch.setattr(strings, "_LARGEST_CACHE", 4)
    numbers = {text: store.strings.number(text) for text in map(str, range(20))}
    assert len(store.strings._numbers) <= 6
    assert len(store.strings._texts) <= 6
    assert (store.strings.number(""), store.strings.text(0)) == (0, "")
    assert {text: store.strings.number(text) for text in numbers} == numbers
    assert {number: store.strings.text(number) for number in numbers.values()} == {
        number: text for text, number in numbers.items()
    }
    many = store.strings.intern(map(str, range(15, 40)))
    assert len(many) == len(set(many.values())) == 25
    assert [many[text] for text in map(str, range(15, 20))] == [numbers[t] for t in map(str, range(15, 20))]


def test_a_source_has_one_number_by_all_its_facts(store: Store) -> None:
    others = [replace(SOURCE, **{name: "other"}) for name in Source.__dataclass_fields__]
    numbers = {source: store.sources.number(source) for source in (SOURCE, *others)}
    assert len(set(numbers.values())) == len(numbers) == 7
    fresh = Sources(store.database)
    for source, number in numbers.items():
        assert (fresh.source(number), store.sources.source(number)) == (source, source)
    assert {source: fresh.number(source) for source in numbers} == numbers
    with pytest.raises(KeyError):
        fresh.source(99)


def test_sources_in_memory_are_bounded_and_their_text_is_cleaned(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strings, "_LARGEST_CACHE", 4)
    made = [replace(SOURCE, calling_ae=f"AE{number}") for number in range(12)]
    numbers = [store.sources.number(source) for source in made]
    assert len(store.sources._numbers) <= 5
    assert len(store.sources._sources) <= 5
    assert [store.sources.number(source) for source in made] == numbers
    assert [store.sources.source(number) for number in numbers] == made
    odd = store.sources.number(replace(SOURCE, credential=ODD))
    assert Sources(store.database).source(odd).credential == "ab?"
    assert Sources(store.database).number(replace(SOURCE, credential=ODD)) == odd
