"""A property that is worked out once for each object, without a lock.

`functools.cached_property` of Python 3.11 has one lock for a property of all objects, held while a value is
worked out: where that encodes an image, another image waited for it. With 12 copies of the CT series the two
threads of a node stood still for half a second of 10.7 (docs/decisions/0110). Python 3.12 has no such lock.
"""

from __future__ import annotations

import sys

if sys.version_info >= (3, 12):
    from functools import cached_property  # noqa: TID251
else:
    from collections.abc import Callable
    from typing import Any, Generic, Self, TypeVar, overload

    T = TypeVar("T")

    class cached_property(Generic[T]):  # noqa: N801  it stands for that of functools
        """As in Python 3.12: two threads that ask one object at once may both work the value out."""

        def __init__(self, work: Callable[[Any], T]) -> None:
            self._work = work
            self.__doc__ = work.__doc__

        def __set_name__(self, owner: type[Any], name: str) -> None:
            self._name = name

        @overload
        def __get__(self, instance: None, owner: type[Any] | None = None) -> Self: ...
        @overload
        def __get__(self, instance: object, owner: type[Any] | None = None) -> T: ...
        def __get__(self, instance: object | None, owner: type[Any] | None = None) -> Self | T:
            if instance is None:
                return self
            value = self._work(instance)
            # Found before this from now on, for a descriptor without `__set__` comes after the instance.
            instance.__dict__[self._name] = value
            return value


__all__ = ["cached_property"]
