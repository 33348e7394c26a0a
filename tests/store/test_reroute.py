"""Promising anew: what today's rules say, and what becomes of the promises that stood before."""

from __future__ import annotations

import time
from collections import Counter

import pytest
from sqlalchemy import select

from mapdr.kernel.item import Header, Routing, Source
from mapdr.store import Selection, Settlement, Store
from mapdr.store.index import schema
from mapdr.store.queue.rerouted import ImageRerouted, Rerouted
from mapdr.store.spool.headers import MODALITY
from store.conftest import Opener
from store.world import To, push

NOTHING: frozenset[tuple[int, ...]] = frozenset()


@pytest.fixture
def mixed(opener: Opener) -> Store:
    """Six images: CT and MR by turns, in three studies, for two destinations."""
    store = opener(router=To("a", "b"))
    for number in range(6):
        push(store, f"1.{number}", study=f"9.{number % 3}", modality="CT" if number % 2 else "MR")
    assert store.writer.flush()
    return store


def settle(store: Store, destination: str, state: str, limit: int = 99) -> None:
    rows = store.ledger.lease(destination, limit, 60, "n")
    store.ledger.settle([Settlement(row.id, state, reason="empty-value") for row in rows])


def states(store: Store, destination: str) -> Counter[str]:
    found = store.listing.select(Selection(destination=destination))
    return Counter(row.state for row in found)


def by_modality(header: Header, source: Source) -> Routing:
    return Routing((("ct", "r1"),) if header.text(MODALITY) == "CT" else ())


def test_images_are_promised_anew(mixed: Store) -> None:
    wanted = frozenset({MODALITY})
    done = mixed.rerouting.reroute(Selection(), by_modality, wanted)
    assert (done.images, done.deliveries, done.unrouted, done.missing) == (6, 3, 3, 0)
    rows = mixed.ledger.lease("ct", 9, 60, "n")
    assert {(row.batch, row.priority, row.instance.modality) for row in rows} == {(1, 1, "CT")}
    assert {row.not_before for row in mixed.listing.select(Selection(destination="ct"))} == {0.0}
    assert mixed.rerouting.reroute(Selection(), by_modality, wanted).deliveries == 0, "still open"
    mixed.ledger.settle([Settlement(row.id, "delivered") for row in rows])
    assert mixed.rerouting.reroute(Selection(modality="CT"), by_modality, wanted).deliveries == 3
    assert {row.batch for row in mixed.ledger.lease("ct", 9, 60, "n")} == {2}


def test_a_reroute_may_be_for_some_destinations_only(mixed: Store) -> None:
    route = To("x", "y").route
    assert (
        mixed.rerouting.reroute(
            Selection(study_instance_uid="9.0"), route, frozenset(), only=["y"]
        ).deliveries
        == 2
    )
    assert [queue.destination for queue in mixed.counts.queues()] == ["a", "b", "y"]


def test_images_are_chosen_by_their_deliveries(mixed: Store) -> None:
    rows = mixed.ledger.lease("a", 2, 60, "n")
    mixed.ledger.settle([Settlement(row.id, "parked", reason="x") for row in rows])
    done = mixed.rerouting.reroute(Selection(destination="a", state="parked"), To("c").route, frozenset())
    assert (done.images, done.deliveries) == (2, 2)


def test_unrouted_images_find_their_way(opener: Opener) -> None:
    store = opener(router=To())
    push(store, "1.1")
    push(store, "1.2")
    assert store.writer.flush()
    done = store.rerouting.reroute(Selection(state="unrouted"), To("pacs").route, frozenset())
    assert (done.images, done.deliveries) == (2, 2)
    assert store.counts.unrouted() == 0
    assert {row.batch for row in store.ledger.lease("pacs", 9, 60, "n")} == {0}


@pytest.mark.parametrize("left", [0, 600, -1])
def test_what_a_power_failure_has_cut_is_told_as_missing(store: Store, left: int) -> None:
    """Nothing is left of it, a part of its header, or all but its last byte."""
    ids = [push(store, f"1.{number}") for number in range(2)]
    assert store.writer.flush()
    path = store.spool.path(ids[0])
    path.write_bytes(path.read_bytes()[:left])
    done = store.rerouting.reroute(Selection(), To("archive").route, frozenset())
    assert (done.deliveries, done.missing) == (1, 1)


def test_what_was_purged_is_told_as_missing(store: Store) -> None:
    push(store, "1.1")
    lost = push(store, "1.2")
    assert store.writer.flush()
    rows = store.ledger.lease("pacs", 9, 60, "n")
    store.ledger.settle([Settlement(row.id, "delivered") for row in rows if row.instance.id != lost])
    assert store.retention.purge(time.time() + 100, 1).images == 1
    store.spool.path(lost).unlink()
    done = store.rerouting.reroute(Selection(), To("c").route, frozenset())
    assert (done.images, done.deliveries, done.missing) == (0, 0, 2)


def test_rows_of_a_purged_image_are_not_promised(store: Store) -> None:
    push(store, "1.1")
    assert store.writer.flush()

    def route_while_purging(header: Header, source: Source) -> Routing:
        store.ledger.settle(
            [Settlement(row.id, "delivered") for row in store.ledger.lease("pacs", 9, 60, "n")]
        )
        assert store.retention.purge(time.time() + 100, 1).images == 1
        return Routing((("c", "r0"),))

    done = store.rerouting.reroute(Selection(), route_while_purging, frozenset())
    assert (done.deliveries, done.images, done.missing) == (0, 0, 1)


def test_what_is_parked_is_promised_by_todays_rules_and_its_old_row_ends(mixed: Store) -> None:
    settle(mixed, "a", "parked")
    settle(mixed, "b", "delivered")
    corrected = To("a", "b", recipe="r1").route
    parked = Selection(state="parked")
    done = mixed.rerouting.reroute(parked, corrected, NOTHING)
    assert (done.images, done.deliveries, done.superseded, done.still_parked) == (6, 6, 6, 0)
    assert mixed.counts.parked() == 0
    assert states(mixed, "a") == {"pending": 6}
    assert states(mixed, "b") == {"delivered": 6}, "they were not chosen, and are not delivered twice"
    assert {row.recipe for row in mixed.ledger.lease("a", 1, 60, "n")} == {"r1"}
    again = mixed.rerouting.reroute(parked, corrected, NOTHING)
    assert (again.images, again.deliveries) == (0, 0)
    settle(mixed, "a", "delivered")
    assert mixed.rerouting.reroute(parked, corrected, NOTHING).images == 0
    old = mixed.listing.select(Selection(state="superseded"))
    assert Counter((row.destination, row.reason, row.batch) for row in old) == {("a", "empty-value", 0): 6}
    studies = mixed.overview.studies(Selection())
    assert all(one.state != "superseded" for row in studies for one in row.destinations["a"])


def test_a_promise_that_waits_is_replaced_and_not_doubled(mixed: Store) -> None:
    done = mixed.rerouting.reroute(Selection(), To("a", recipe="r1").route, NOTHING)
    assert (done.deliveries, done.superseded) == (6, 6)
    assert states(mixed, "a") == {"pending": 6}
    assert states(mixed, "b") == {"pending": 6}, "today's rules do not name it; its promise stands"


def test_what_was_on_hold_stays_on_hold(mixed: Store) -> None:
    mixed.actions.hold(Selection(destination="a"))
    mixed.rerouting.reroute(Selection(), To("a", recipe="r1").route, NOTHING)
    assert states(mixed, "a") == {"held": 6}
    assert mixed.ledger.lease("a", 9, 60, "n") == []


def test_what_is_being_sent_ends_as_it_will(mixed: Store) -> None:
    (leased,) = mixed.ledger.lease("a", 1, 60, "n")
    mixed.rerouting.reroute(Selection(destination="a"), To("a", recipe="r1").route, NOTHING)
    assert states(mixed, "a") == {"pending": 6, "leased": 1}
    mixed.ledger.settle([Settlement(leased.id, "delivered", status=0)])
    assert states(mixed, "a") == {"pending": 6, "delivered": 1}


def test_parked_rows_whose_destination_is_gone_are_told_and_stay(mixed: Store) -> None:
    settle(mixed, "a", "parked", 2)
    done = mixed.rerouting.reroute(Selection(state="parked"), To("b", "c").route, NOTHING)
    assert (done.deliveries, done.superseded, done.still_parked) == (2, 0, 2), "c is new to them"
    settle(mixed, "c", "delivered")
    again = mixed.rerouting.reroute(Selection(state="parked"), To("b", "c").route, NOTHING)
    assert (again.deliveries, again.still_parked) == (0, 2), "c has them already"
    assert mixed.counts.parked() == 2


def test_for_one_destination_nothing_else_is_superseded(mixed: Store) -> None:
    settle(mixed, "a", "parked")
    settle(mixed, "b", "parked")
    done = mixed.rerouting.reroute(
        Selection(state="parked"), To("a", "b", recipe="r1").route, NOTHING, only=["a"]
    )
    assert (done.deliveries, done.superseded, done.still_parked) == (6, 6, 0)
    assert (states(mixed, "a"), states(mixed, "b")) == ({"pending": 6}, {"parked": 6})


def test_what_was_dismissed_may_be_promised_anew(mixed: Store) -> None:
    settle(mixed, "a", "parked")
    mixed.actions.dismiss(Selection(state="parked"))
    done = mixed.rerouting.reroute(Selection(state="dismissed"), To("a", "b").route, NOTHING)
    assert (done.deliveries, done.superseded) == (6, 0)
    assert states(mixed, "a") == {"pending": 6, "dismissed": 6}


def test_an_image_that_is_delivered_again_on_the_same_day_counts_once(store: Store) -> None:
    push(store, "1.1")
    assert store.writer.flush()
    settle(store, "pacs", "delivered")
    for times in (1, 2):
        assert store.rerouting.reroute(Selection(), To("pacs").route, NOTHING).deliveries == 1
        settle(store, "pacs", "delivered")
        counts = store.counts.today()["delivered"]["pacs"]["CT"]
        assert counts == {"images": 1, "studies": 1, "repeats": times, "versions": 0}


def test_a_repeat_adds_no_bytes_to_its_study(store: Store) -> None:
    overview = store.overview
    push(store, "1.1", pixels=1000)
    push(store, "1.2", pixels=1000)
    assert store.writer.flush()
    (before,) = overview.studies(Selection())
    push(store, "1.1", pixels=1000)  # absorbed
    settle(store, "pacs", "delivered")
    assert store.writer.flush()
    push(store, "1.2", pixels=1000)  # delivered again
    assert store.writer.flush()
    (after,) = overview.studies(Selection())
    assert (after.images, after.bytes) == (before.images, before.bytes) == (2, before.bytes)
    push(store, "1.2", pixels=1500)  # another version, which is kept as well
    assert store.writer.flush()
    (versions,) = overview.studies(Selection())
    assert versions.bytes == before.bytes + before.bytes // 2 + 500


@pytest.mark.parametrize("untried_first", [False, True])
def test_new_images_go_before_those_that_are_sent_again(opener: Opener, untried_first: bool) -> None:
    """A re-routed archive of years must not keep back what came just now."""
    store = opener(router=To("a"))
    for number in range(5):
        push(store, f"1.{number}", study="9.1")
    assert store.writer.flush()
    settle(store, "a", "delivered")
    assert store.rerouting.reroute(Selection(), To("a").route, NOTHING).deliveries == 5
    for number in range(3):
        push(store, f"2.{number}", study="9.2")
    assert store.writer.flush()
    rows = store.ledger.lease("a", 99, 60, "n", untried_first=untried_first)
    assert [row.instance.study_instance_uid for row in rows] == ["9.2"] * 3 + ["9.1"] * 5
    assert [row.priority for row in rows] == [0] * 3 + [1] * 5


@pytest.mark.parametrize("before", ["superseded", "leased", "dismissed"])
def test_a_late_answer_counts_no_image_again_that_a_reroute_delivered(opener: Opener, before: str) -> None:
    store = opener(router=To("a"))
    push(store, "1.1")
    assert store.writer.flush()
    (old,) = store.ledger.lease("a", 9, 60, "n")
    if before == "superseded":
        store.ledger.give_back([old.id])
    elif before == "dismissed":
        store.ledger.settle([Settlement(old.id, "parked")])
        assert store.actions.dismiss(Selection()) == 1
    assert store.rerouting.reroute(Selection(), To("a", recipe="r1").route, frozenset()).deliveries == 1
    assert {row.state for row in store.listing.select(Selection(deliveries=[old.id]))} == {before}
    (new,) = store.ledger.lease("a", 9, 60, "n")
    for row in (new, old):
        store.ledger.settle([Settlement(row.id, "delivered", status=0)])
    numbers = store.counts.today()["delivered"]["a"]["CT"]
    assert (numbers["images"], numbers["repeats"]) == (1, 1)


def standings(store: Store, destination: str) -> list[tuple[str, str, int, bool]]:
    (study,) = store.overview.studies(Selection())
    found = study.destinations[destination]
    return [(one.state, one.reason, one.images, one.again) for one in found]


def test_what_waits_is_told_beside_what_was_delivered_before(opener: Opener) -> None:
    store = opener(router=To("a"))
    for uid in ("1.1", "1.2"):
        push(store, uid)
    assert store.writer.flush()
    settle(store, "a", "delivered")
    assert standings(store, "a") == [("delivered", "", 2, False)]
    assert store.rerouting.reroute(Selection(), To("a").route, NOTHING).deliveries == 2
    settle(store, "a", "pending")
    assert standings(store, "a") == [("delivered", "", 2, False), ("pending", "empty-value", 2, True)]
    settle(store, "a", "parked", limit=1)
    assert standings(store, "a") == [
        ("parked", "empty-value", 1, False),
        ("delivered", "", 1, False),
        ("pending", "empty-value", 1, True),
    ]
    assert store.actions.dismiss(Selection()) == 1
    assert standings(store, "a") == [("delivered", "", 2, False), ("pending", "empty-value", 1, True)]


def test_a_destination_of_which_all_was_dismissed_is_told(mixed: Store) -> None:
    settle(mixed, "a", "parked")
    assert mixed.actions.dismiss(Selection(destination="a")) == 6
    for study in mixed.overview.studies(Selection()):
        (one,) = study.destinations["a"]
        assert (one.state, one.reason, one.images, one.again) == ("dismissed", "", 2, False)


def due(store: Store) -> set[str]:
    """The destinations at which a study is to be judged anew; "" is the study itself."""
    with store.database.read() as connection:
        rows = connection.execute(select(schema.progress).where(schema.progress.c.due == 1)).all()
    return {store.strings.text(row.destination) for row in rows}


def forget_due(store: Store) -> None:
    with store.database.write() as connection:
        connection.exec_driver_sql("UPDATE progress SET due = 0")


def test_a_dry_run_tells_what_would_be_and_writes_nothing(
    mixed: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(mixed, "a", "delivered", 1)
    keys = mixed.rerouting.choose(Selection())
    job = mixed.jobs.begin("move", "", "mona", keys)
    # More of them than "a" has for its number: none may be taken for it while they have none.
    new = [f"new{number}" for number in range(mixed.strings.number("a") + 3)]
    route = To("a", *new, recipe="r7").route

    def steps(write: bool) -> list[tuple[Rerouted, list[ImageRerouted]]]:
        made = mixed.rerouting.steps(
            keys, Selection(), route, NOTHING, write=write, job=job.number, portion=4
        )
        return [(done, list(images)) for done, images in made]

    before = mixed.listing.select(Selection())

    def refuse() -> None:
        raise AssertionError("a dry run must not write")

    with monkeypatch.context() as patch:
        patch.setattr(mixed.database, "write", refuse)
        told = steps(False)
    assert mixed.listing.select(Selection()) == before
    assert {mixed.strings.find(name) for name in new} == {None}
    assert mixed.recipes.find("r7") is None
    assert sum(done.to["a"] for done, _ in told) == 6
    left = mixed.jobs.find("move")
    assert left is not None
    assert len(left.left) == 6
    assert steps(True) == told, "and it is what is done then"


def test_what_was_promised_is_told_of_each_image_and_by_destination(opener: Opener) -> None:
    store = opener(router=To("a"))
    for number in range(3):
        push(store, f"1.{number}", study=f"9.{number}", pixels=100 * (number + 1))
    assert store.writer.flush()
    sizes = {row.sop_instance_uid: row.bytes for row in store.overview.images(Selection())}
    settle(store, "a", "delivered", 1)
    keys = store.rerouting.choose(Selection())
    route = To("a", "b").route
    steps = list(store.rerouting.steps(keys, Selection(), route, NOTHING, portion=2))
    assert [len(images) for _, images in steps] == [2, 1]
    images = {one.sop_instance_uid: one for _, images in steps for one in images}
    assert {uid: (list(one.to), one.size, one.state) for uid, one in images.items()} == {
        "1.0": (["a", "b"], sizes["1.0"], "promised"),
        "1.1": (["b"], sizes["1.1"], "promised"),
        "1.2": (["b"], sizes["1.2"], "promised"),
    }
    assert [one.study_instance_uid for one in images.values()] == ["9.0", "9.1", "9.2"]
    done = steps[0][0] + steps[1][0]
    assert done == Rerouted(
        images=3,
        deliveries=4,
        to={"a": 1, "b": 3},
        bytes_to={"a": sizes["1.0"], "b": sum(sizes.values())},
        again=1,
    )
    (_, standing), _ = store.rerouting.steps(keys, Selection(), route, NOTHING, portion=2)
    assert {(one.state, *one.to) for one in standing} == {("standing",)}


def test_studies_are_judged_anew_where_something_was_promised_or_ended(mixed: Store) -> None:
    forget_due(mixed)
    mixed.rerouting.reroute(Selection(), To("a", "b").route, NOTHING)
    assert due(mixed) == set(), "all of it stands"
    mixed.rerouting.reroute(Selection(), To("a", "c").route, NOTHING)
    assert due(mixed) == {"c"}
    forget_due(mixed)
    mixed.rerouting.reroute(Selection(), To("a", recipe="r1").route, NOTHING)
    assert due(mixed) == {"a"}


def test_what_is_under_way_by_the_same_recipe_ends_what_is_parked_beside_it(opener: Opener) -> None:
    """What stands is not promised twice; one by an earlier recipe ends, and its study is judged anew."""
    store = opener(router=To("a"))
    push(store, "1.1")
    assert store.writer.flush()
    settle(store, "a", "parked")
    new = store.recipes.number("r1")
    with store.database.write() as connection:
        connection.exec_driver_sql(
            "INSERT INTO delivery (instance, study, destination, batch, priority, recipe, state, not_before)"
            f" SELECT instance, study, destination, 1, 1, {new}, 0, 0 FROM delivery"
        )
    forget_due(store)
    done = store.rerouting.reroute(Selection(), To("a", recipe="r1").route, NOTHING)
    assert (done.deliveries, done.superseded, done.again) == (0, 1, 0)
    assert due(store) == {"a"}
    assert states(store, "a") == {"pending": 1}


def test_what_is_promised_anew_is_unrouted_no_more(opener: Opener) -> None:
    store = opener(router=To())
    push(store, "1.1")
    push(store, "1.2", modality="MR")
    assert store.writer.flush()
    done = store.rerouting.reroute(Selection(), by_modality, frozenset({MODALITY}))
    assert (done.deliveries, done.unrouted, store.counts.unrouted()) == (1, 1, 1)


def keep_mr(header: Header, source: Source) -> Routing:
    """A rule that keeps MR here (`send_to = []`), and none for anything else."""
    return Routing(rules=("keep",) if header.text(MODALITY) == "MR" else ())


def test_an_image_that_a_rule_keeps_here_is_unrouted_no_more(opener: Opener) -> None:
    """It would else be shown as one that no rule takes, and be purged as such."""
    store = opener(router=To())
    push(store, "1.1", modality="MR")
    push(store, "1.2", modality="CT")
    assert store.writer.flush()
    keys, unrouted = store.rerouting.choose(Selection()), Selection(state="unrouted")
    for write in (False, True):
        ((done, images),) = store.rerouting.steps(
            keys, Selection(), keep_mr, frozenset({MODALITY}), write=write
        )
        assert (done.images, done.deliveries, done.unrouted) == (2, 0, 1)
        assert {one.sop_instance_uid: one.state for one in images} == {"1.1": "standing", "1.2": "unrouted"}
        assert store.counts.unrouted() == (1 if write else 2)
    assert [one.sop_instance_uid for one in store.overview.images(unrouted)] == ["1.2"]


def test_an_image_whose_destination_was_not_chosen_stays_unrouted(opener: Opener) -> None:
    """Its rules name another one, to which nothing was promised: it must stay in sight."""
    store = opener(router=To())
    push(store, "1.1")
    assert store.writer.flush()
    done = store.rerouting.reroute(Selection(), To("x").route, NOTHING, only=["y"])
    assert (done.deliveries, done.unrouted, store.counts.unrouted()) == (0, 0, 1)


def test_which_images_are_chosen_is_told_by_value(mixed: Store) -> None:
    chosen = mixed.rerouting.choose(Selection(study_instance_uid="9.1"))
    assert chosen == sorted(chosen)
    assert [mixed.instances.get(key.hex()).sop_instance_uid for key in chosen] == ["1.1", "1.4"]
