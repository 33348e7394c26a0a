from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mapdr.kernel.pace import Pace

PROCESSORS = 4


class Node:
    """A clock, the processor time that the node has used, and a writer's pace by both."""

    def __init__(self, rows: int = 100) -> None:
        self.now = self.used = 1000.0
        self.pace = Pace(
            0.1, 0.4, rows=rows, clock=lambda: self.now, used=lambda: self.used, processors=PROCESSORS
        )

    def write(self, seconds: float, share: float, rows: int = 5) -> float:
        """A transaction of so many rows `seconds` later; the next pause."""
        self.now += seconds
        self.used += seconds * share * PROCESSORS
        self.pace.ended(rows)
        return self.pace.pause


def test_a_lone_row_is_written_at_once() -> None:
    node = Node()
    assert node.pace.left == 0.0
    node.write(1.0, 0.9)
    node.now += 0.03
    assert round(node.pace.left, 9) == 0.07, "counted from the last transaction"
    node.now += 5.0
    assert node.pace.left == 0.0


def test_it_grows_to_the_longest_while_the_processors_are_busy_and_is_short_again_afterwards() -> None:
    node = Node()
    assert node.write(9.0, 1.0) == 0.1, "the first has nothing to compare with"
    pauses = [round(node.write(0.1, 0.9), 3) for _ in range(5)]
    assert pauses == [0.15, 0.225, 0.338, 0.4, 0.4]
    assert node.write(0.4, 0.7) == 0.1


def test_it_does_not_grow_where_rows_come_one_by_one() -> None:
    node = Node()
    node.write(1.0, 0.9)
    assert [node.write(0.1, 1.0, rows=1) for _ in range(3)] == [0.1] * 3


def test_no_more_rows_come_together_than_should() -> None:
    node = Node(rows=20)
    node.write(1.0, 0.9)
    assert node.write(0.1, 1.0, rows=50) == 0.1, "more than that in the shortest pause"
    for _ in range(5):
        node.write(node.pace.pause, 1.0, rows=round(node.pace.pause * 100))
    assert round(node.pace.pause, 3) == 0.2, "20 rows, at 100 a second"


def test_a_clock_that_stands_still_makes_no_pause_longer() -> None:
    node = Node()
    node.write(1.0, 0.9)
    assert node.write(0.0, 1.0) == 0.1


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 1), st.integers(0, 1000))))
def test_it_is_never_shorter_or_longer_than_was_said(times: list[tuple[float, float, int]]) -> None:
    node = Node()
    for seconds, share, rows in times:
        assert 0.1 <= node.write(seconds, share, rows) <= 0.4
        assert 0.0 <= node.pace.left <= 0.4 + 1e-9
