"""Destinations as people name them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mapdr.kernel.finding import instead
from mapdr.node.outline import Outline
from mapdr.operate.errors import RequestError

if TYPE_CHECKING:
    from mapdr.node.plan import Plan


def known_destinations(plan: Plan | Outline, names: Iterable[str], in_use: Iterable[str] = ()) -> list[str]:
    """The destinations named, or all that are configured. Raises RequestError with the nearest name for one
    that is not configured, nor `in_use` by the node."""
    chosen, known = list(names), {*plan.destinations, *in_use}
    for name in chosen:
        if name not in known:
            raise unknown_destination(plan, name)
    return chosen or list(plan.destinations)


def unknown_destination(plan: Plan | Outline, name: str) -> RequestError:
    """The error for a destination that there is not, with the nearest name."""
    return RequestError(
        f'there is no destination "{name}"; {instead(name, plan.destinations, "destinations")}',
        field="destination",
    )
