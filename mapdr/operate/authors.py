"""Which step of a recipe changed which element.

The steps are carried out one after the other, those of the header part by part, and the data set is compared
after each. That works for every step. One that says how it divides (`mapdr.kernel.step.Divides`) is told by
its parts, one that accounts for elements (`Accounts`) by its own words for each.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import cast

from mapdr.dicom.path import parse_edit_path
from mapdr.kernel.character_set import AssumedSet
from mapdr.kernel.errors import MapdrError
from mapdr.kernel.item import Instance, Payload, TagPath
from mapdr.kernel.stage import Settings
from mapdr.kernel.step import Accounts, Divides, HeaderStep, Memory, Phase, Transform
from mapdr.operate.differences import ElementChange, changes
from mapdr.transform.codecs.table import Codecs
from mapdr.transform.pipeline import Pipeline

Steps = Sequence[tuple[str, Transform]]
_NUMBER = re.compile(r"\[[0-9]+\]")
"""That of an item, in a path."""


class Authors:
    """What the steps of one recipe did to one image, step by step."""

    def __init__(
        self,
        steps: Steps,
        settings: Settings,
        codecs: Codecs,
        assumed: Sequence[AssumedSet],
        *,
        brief: bool = False,
    ) -> None:
        """`assumed`: the character sets that the recipe assumes of the image (`assumed_of`). `brief`: parts
        of steps go by their numbers, where their words are told beside it."""
        self._steps = steps
        self._settings = settings
        self._codecs = codecs
        self._assumed = assumed
        self._brief = brief
        self.idle: list[tuple[str, str]] = []
        """Steps and their parts that changed nothing."""
        self._by: dict[str, list[str]] = defaultdict(list)

    def follow(self, before: Payload, instance: Instance, memory: Memory) -> Payload:
        """Carry out the header's steps, and note what each has changed; the payload behind them.

        Raises what the steps raise.
        """
        payload = before
        for name, label, part in self._parts():
            pipeline = Pipeline([(name, part)], self._settings, self._codecs, self._assumed)
            made = pipeline.apply(payload, instance, memory)
            found = changes(payload, made, self._assumed)
            if not found:
                self.idle.append((name, label))
            for change in found:
                self._note(change, self._words(name, label, part, change, instance))
            payload = made
        return payload

    def follow_rest(
        self, came: Payload, edited: Payload, after: Payload, instance: Instance, memory: Memory
    ) -> None:
        """Note what each step behind the header has changed in it, on the way from `edited` (what `follow`
        gave for `came`) to `after`, which all of them made."""
        ordered = sorted(self._steps, key=lambda step: step[1].phase)
        first = sum(step.phase is Phase.HEADER for _, step in ordered)
        payload, names = edited, list[str]()
        for number, (name, _) in enumerate(ordered[first:], first + 1):
            names.append(name)
            try:
                last = number == len(ordered)
                made = after if last else self._made(ordered[:number], came, instance, memory)
            except MapdrError:
                continue  # it leaves only with what comes behind it: the two are named together
            for change in changes(payload, made, self._assumed):
                self._note(change, ", ".join(names))
            payload, names = made, []

    def _made(self, steps: Steps, came: Payload, instance: Instance, memory: Memory) -> Payload:
        """What these steps make of the image. Pixels are blanked by the header that came, so that no step can
        be left out because it was carried out before."""
        return Pipeline(steps, self._settings, self._codecs, self._assumed).apply(came, instance, memory)

    def signed(self, found: Sequence[ElementChange]) -> list[ElementChange]:
        """Changes between the first and the last data set, with who did them."""
        return [replace(change, by=self._of(change.path)) for change in found]

    def _parts(self) -> Iterator[tuple[str, str, HeaderStep]]:
        """Each part with the names of its step and itself; a second step of a name, as a correction's `tags`
        behind those of a rule, is told by its number."""
        seen: Counter[str] = Counter()
        for step_name, step in self._steps:
            if step.phase is not Phase.HEADER:
                continue
            seen[step_name] += 1
            name = step_name if seen[step_name] == 1 else f"{step_name} {seen[step_name]}"
            if isinstance(step, Divides):
                for label, part in step.parts():
                    yield name, label.partition(": ")[0] if self._brief else label, part
            else:
                yield name, "", cast(HeaderStep, step)

    @staticmethod
    def _words(name: str, label: str, part: HeaderStep, change: ElementChange, instance: Instance) -> str:
        if isinstance(part, Accounts):
            label = part.account(_tags(change), instance) or label
        return f"{name}, {label}" if label else name

    def _note(self, change: ElementChange, words: str) -> None:
        noted = self._by[change.path]
        if words not in noted:
            noted.append(words)

    def _of(self, path: str) -> tuple[str, ...]:
        """Who changed an element: the steps that changed it, or what it belongs to, or what belongs to it; at
        last those that changed its like in another item, for items move up where one is removed."""
        found = self._by.get(path) or self._noted(
            lambda other: _is_within(path, other) or _is_within(other, path)
        )
        like = _NUMBER.sub("", path)
        return tuple(dict.fromkeys(found or self._noted(lambda other: _NUMBER.sub("", other) == like)))

    def _noted(self, is_meant: Callable[[str], bool]) -> list[str]:
        return [words for other, noted in self._by.items() if is_meant(other) for words in noted]


def _is_within(path: str, other: str) -> bool:
    """Whether `path` leads into what `other` leads to."""
    return path.startswith(other) and path[len(other) :][:1] in ("[", ".")


def _tags(change: ElementChange) -> TagPath:
    """The tags of a change's path; of a whole item, those of its sequence."""
    return tuple(tag for tag, _ in parse_edit_path(re.sub(r"\[[0-9]+\]$", "", change.path)))
