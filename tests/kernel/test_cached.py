"""A property that is worked out once for each object."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from mapdr.kernel.cached import cached_property

DEADLINE = 20


class Image:
    """Counts how often its size was worked out."""

    def __init__(self, together: threading.Barrier | None = None) -> None:
        self.together = together
        self.asked = 0

    @cached_property
    def size(self) -> int:
        """Bytes."""
        self.asked += 1
        if self.together:
            self.together.wait(DEADLINE)
        if self.asked == 1 and self.together is None:
            raise OSError("not yet")
        return self.asked


def test_it_is_worked_out_once_for_each_object():
    one, other = (Image(threading.Barrier(1)) for _ in range(2))
    assert [one.size, one.size, other.size] == [1, 1, 1]
    assert (one.asked, other.asked) == (1, 1)


def test_a_failure_is_not_kept():
    image = Image()
    with pytest.raises(OSError, match="not yet"):
        image.size  # noqa: B018
    assert image.size == 2


def test_two_objects_are_worked_out_at_the_same_time():
    together = threading.Barrier(2)
    with ThreadPoolExecutor(2) as threads:
        found = [
            threads.submit(lambda image=image: image.size) for image in (Image(together), Image(together))
        ]
        assert [one.result(DEADLINE) for one in found] == [1, 1]


def test_the_class_gives_the_property():
    assert isinstance(Image.size, cached_property)
    assert Image.size.__doc__ == "Bytes."
