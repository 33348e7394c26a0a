"""Who watches cannot stop the data."""

from __future__ import annotations

import threading

from mapdr.kernel.watch import Watch


def test_counters_add_and_levels_replace():
    watch = Watch()
    watch.count("images")
    watch.count("images", 2)
    watch.level("queue", 7)
    watch.level("queue", 3)
    counters = watch.counters()
    assert counters == {"images": 3, "queue": 3}
    counters["images"] = 0
    assert watch.counters()["images"] == 3


def test_no_count_is_lost_between_threads():
    watch = Watch()
    threads = [
        threading.Thread(target=lambda: [watch.count("images") for _ in range(2000)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert watch.counters() == {"images": 8000}


def test_an_observer_that_raises_stops_nobody(caplog):
    watch = Watch()
    seen = []

    def broken(event):
        raise RuntimeError("a broken screen")

    watch.observe(broken)
    watch.observe(seen.append)
    watch.emit("study.received", images=3)
    assert [(event.kind, dict(event.facts)) for event in seen] == [("study.received", {"images": 3})]
    assert watch.counters() == {"observer.errors": 1}
    assert "an observer of study.received failed" in caplog.text


def test_an_observer_may_itself_watch():
    watch = Watch()
    watch.observe(lambda event: watch.count("seen"))
    watch.emit("x")
    assert watch.counters() == {"seen": 1}


def test_the_last_events_are_kept():
    watch = Watch(keep=2)
    for kind in ("a", "b", "c"):
        watch.emit(kind)
    assert [event.kind for event in watch.recent()] == ["b", "c"]


def test_what_comes_again_is_kept_once_with_its_times_and_sums():
    watch = Watch()
    watch.emit("first")
    for number in (2, 3, 4):
        watch.emit("images.parked", destination="pacs", images=number)
        watch.emit("association.lost", peer="CT1")
    watch.emit("images.parked", destination="other", images=1)
    kept = [(event.kind, dict(event.facts)) for event in watch.recent()]
    assert kept == [
        ("first", {}),
        ("images.parked", {"destination": "pacs", "images": 9, "times": 3}),
        ("association.lost", {"peer": "CT1", "times": 3}),
        ("images.parked", {"destination": "other", "images": 1}),
    ]


def test_what_comes_again_much_later_is_another_event():
    watch = Watch(fold=-1.0)
    watch.emit("a")
    watch.emit("a")
    assert [dict(event.facts) for event in watch.recent()] == [{}, {}]
