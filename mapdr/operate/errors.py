"""What people get wrong: a request that is not clear, a configuration with problems."""

from __future__ import annotations

from mapdr.config.problem import Problem
from mapdr.kernel.errors import ConfigurationError, MapdrError


class RequestError(MapdrError):
    """A request that is not clear or names what there is not; the message says what and the cure.

    `field` names what of the request is wrong, as `Selection` and the actions call it; empty for the whole.
    """

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class WrongConfiguration(ConfigurationError):
    """A configuration with problems: the message is all of them, one a line."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems
