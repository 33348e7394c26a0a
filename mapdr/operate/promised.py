"""What a promise does to the header of a stored image: its recipe's steps, run on the file in the spool.

Pixels are neither decoded nor encoded, and nothing is kept of what steps find out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mapdr.kernel.character_set import AssumedSet, assumed_of
from mapdr.kernel.item import Instance, Payload
from mapdr.kernel.registry import Registry
from mapdr.kernel.step import Memory, Phase
from mapdr.operate.access import Access
from mapdr.operate.authors import Authors, Steps
from mapdr.operate.differences import ElementChange
from mapdr.operate.looking import NoMemory, Recalling, looking
from mapdr.transform.codecs.table import Codecs
from mapdr.transform.pipeline import Pipeline, assumed_by, build_steps


@dataclass(frozen=True, slots=True)
class Edited:
    """An image before and after the steps of its header, and the character sets assumed of it.

    `later` names the steps behind them, in order, which are not run here.
    """

    before: Payload
    after: Payload
    assumed: Sequence[AssumedSet]
    later: Sequence[str]


class Promised:
    """What recipes do to the headers of images; steps are built once for each recipe."""

    def __init__(self, opened: Access) -> None:
        self._settings = looking("header", opened.plan.node)
        self._registry = Registry()
        self._codecs = Codecs(self._registry, self._settings)
        self._recipes = opened.index().recipes
        self._built: dict[str, tuple[Steps, Sequence[AssumedSet]]] = {}

    def edited(self, instance: Instance, recipe: str) -> Edited:
        """The image before and after. Raises MapdrError, and whatever a step raises."""
        steps, assumed = self._steps(recipe)
        edits = [(name, step) for name, step in steps if step.phase is Phase.HEADER]
        return Edited(
            before=Pipeline([], self._settings, self._codecs).prepare(instance, NoMemory()),
            after=Pipeline(edits, self._settings, self._codecs, assumed).prepare(
                instance, self._memory(instance, recipe)
            ),
            assumed=assumed_of(assumed, instance.source.calling_ae),
            later=[name for name, step in steps if step.phase is not Phase.HEADER],
        )

    def signed(
        self, instance: Instance, recipe: str, edited: Edited, found: Sequence[ElementChange]
    ) -> list[ElementChange]:
        """The changes that were found in what was edited, with who did them. Raises as `edited`."""
        steps, _ = self._steps(recipe)
        authors = Authors(steps, self._settings, self._codecs, edited.assumed)
        authors.follow(edited.before, instance, self._memory(instance, recipe))
        return authors.signed(found)

    def _steps(self, recipe: str) -> tuple[Steps, Sequence[AssumedSet]]:
        if recipe not in self._built:
            body = self._recipes.recipe(recipe)
            self._built[recipe] = (
                build_steps(body, self._registry, self._settings),
                assumed_by(body),
            )
        return self._built[recipe]

    def _memory(self, instance: Instance, recipe: str) -> Memory:
        return Recalling(self._recipes.memory(instance.id, recipe, ""))
