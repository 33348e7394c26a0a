"""The states that a power failure may leave at one moment of a record, and what of one matters.

Where few operations are pending every combination of them is made (each name kept or not, each write whole,
missing, torn once at a sector or a page); where they are many: none, all, each of them alone, all but each of
them, torn writes, names without bytes and bytes without names, and a seeded choice of the rest.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations, islice, pairwise, product

from crash.disk import PAGE, SECTOR, DataChange, Disk, Kept

_FEW = 3  # pending operations of each kind of which every combination is made
_MANY = 20  # pending writes of which more are not looked at one by one
_TRIES = 60  # to simplify a failure
Parts = tuple[tuple[int, int], ...]


def states(disk: Disk, seed: int, most: int) -> Iterator[Kept]:
    """At most `most` of what may have come through of what is pending, each once, `seed`ed."""
    seen = set()
    for kept in islice(_choices(disk, random.Random(seed)), 4 * most):
        key = (kept.names, tuple(sorted(kept.parts.items())), tuple(sorted(kept.lengths.items())), kept.stale)
        if key not in seen:
            seen.add(key)
            yield kept
        if len(seen) >= most:
            return


def _choices(disk: Disk, rng: random.Random) -> Iterator[Kept]:
    numbers = [change.number for change in disk.changes]
    writes = [change for changes in disk.data.values() for change in changes]
    every, none = frozenset(numbers), frozenset[int]()
    gone: dict[int, Parts] = {change.number: () for change in writes}
    yield Kept(every)
    if not numbers and not writes:
        return
    yield _lawful(disk, Kept(none, gone))
    yield _lawful(disk, Kept(every, gone, _as_long_as_ever(disk)))
    yield _lawful(disk, Kept(none))
    yield _lawful(disk, Kept(every, gone))
    some = writes if len(writes) <= _MANY else rng.sample(writes, _MANY)
    few = [*_each(disk, every, gone, some), *_torn(disk, every, some)]
    if len(numbers) <= _FEW and len(writes) <= _FEW:
        few = list(_all(disk, numbers, writes))
    rng.shuffle(few)
    yield from few
    while True:
        yield _any(disk, rng, numbers, writes)


def _each(
    disk: Disk, every: frozenset[int], gone: dict[int, Parts], writes: list[DataChange]
) -> Iterator[Kept]:
    """Each pending operation alone, and all but each; of writes those of `writes`."""
    longest = _as_long_as_ever(disk)
    for number in every:
        yield _lawful(disk, Kept(disk.closed(frozenset({number})), gone))
        yield _lawful(disk, Kept(every & disk.closed(every - _behind(disk, number)), {}))
    for number in (change.number for change in writes):
        yield _lawful(disk, Kept(frozenset(), {each: () for each in gone if each != number}))
        yield _lawful(disk, Kept(every, {number: ()}))
        yield _lawful(disk, Kept(every, {number: ()}, longest))


def _behind(disk: Disk, number: int) -> frozenset[int]:
    """A change of names and those that cannot come through without it."""
    return frozenset(
        change.number for change in disk.changes if number in disk.closed(frozenset({change.number}))
    )


def _torn(disk: Disk, every: frozenset[int], writes: list[DataChange]) -> Iterator[Kept]:
    longest = _as_long_as_ever(disk)
    for change in writes:
        for parts in _tears(change):
            yield _lawful(disk, Kept(every, {change.number: parts}))
            yield _lawful(disk, Kept(every, {change.number: parts}, longest, stale=True))


def _tears(change: DataChange) -> list[Parts]:
    """A write that came through to, or from, one boundary of sectors or pages."""
    size = len(change.data or b"")
    sectors = range(SECTOR - change.at % SECTOR, size, SECTOR)
    pages = range(PAGE - change.at % PAGE, size, PAGE)
    places = {*sectors[:2], *sectors[-1:], *pages[:2], *pages[-1:]}
    return [part for place in sorted(places) for part in (((0, place),), ((place, size),))]


def _all(disk: Disk, numbers: list[int], writes: list[DataChange]) -> Iterator[Kept]:
    """Every combination of a few."""
    names = {
        disk.closed(frozenset(some))
        for count in range(len(numbers) + 1)
        for some in combinations(numbers, count)
    }
    ways: list[list[Parts | None]] = [[None, (), *_tears(change)] for change in writes]
    for some, how in product(sorted(names, key=sorted), product(*ways)):
        parts = {change.number: part for change, part in zip(writes, how, strict=True) if part is not None}
        yield _lawful(disk, Kept(some, parts))
        if parts:
            yield _lawful(disk, Kept(some, parts, _as_long_as_ever(disk), stale=True))


def _any(disk: Disk, rng: random.Random, numbers: list[int], writes: list[DataChange]) -> Kept:
    often = rng.choice((0.1, 0.5, 0.9))
    names = disk.closed(frozenset(number for number in numbers if rng.random() < often))
    parts: dict[int, Parts] = {}
    for change in writes:
        if rng.random() < often:
            continue
        size = len(change.data or b"")
        cuts = [0, *range(SECTOR - change.at % SECTOR, size, SECTOR), size]
        units = list(pairwise(cuts))
        if len(units) > 16:  # a long write: by pages, or it would never be whole anywhere
            cuts = [0, *range(PAGE - change.at % PAGE, size, PAGE), size]
            units = list(pairwise(cuts))
        parts[change.number] = tuple(unit for unit in units if rng.random() < often) if size else ()
    lengths = _as_long_as_ever(disk) if rng.random() < 0.3 else {}
    for node, changes in disk.data.items():
        if changes and rng.random() < 0.3:
            had = _lengths(disk.length(node), changes)
            pages = range(min(had) // PAGE * PAGE + PAGE, max(had), PAGE)
            lengths[node] = rng.choice([*had, *(rng.sample(pages, min(2, len(pages))))])
    return _lawful(disk, Kept(names, parts, lengths, rng.random() < 0.5))


def _lengths(flushed: int, changes: list[DataChange]) -> list[int]:
    """Every length that a file had since it was flushed."""
    had = [flushed]
    for change in changes:
        had.append(change.end if change.data is None else max(had[-1], change.end))
    return had


def _as_long_as_ever(disk: Disk) -> dict[int, int]:
    """Each file that is written to with the greatest length that it had since it was flushed."""
    return {
        node: max(disk.length(node), *(change.end for change in changes))
        for node, changes in disk.data.items()
        if changes
    }


def _lawful(disk: Disk, kept: Kept) -> Kept:
    """The same, as the model lets it be: where bytes come before lengths, a file that grows ends where the
    first of its new bytes is missing."""
    if disk.model == "weak":
        return kept
    parts, lengths = dict(kept.parts), {}
    for node, changes in disk.data.items():
        if not changes:
            continue
        old = long = disk.length(node)
        cut: int | None = None
        for change in changes:
            ranges = parts.get(change.number)
            if change.end > long and change.data is not None:
                if ranges is not None and cut is None:
                    cut = _cut(change, ranges, max(old, change.at))
                parts.pop(change.number, None)
            long = max(long, change.end)
        wished = kept.lengths.get(node)
        if wished is not None and wished < long and (cut is None or wished < cut) and wished >= old:
            cut = wished
        if cut is not None:
            lengths[node] = cut
    return Kept(kept.names, parts, lengths)


def _cut(change: DataChange, ranges: Parts, least: int) -> int:
    """Where a file ends of whose last write these ranges came: at a page, or at the write itself."""
    whole = ranges[0][1] if ranges and ranges[0][0] == 0 else 0
    end = change.at + whole
    return max(least, end if end == change.end else end - end % PAGE)


def simplest(kept: Kept, disk: Disk, fails: Callable[[Kept], bool]) -> Kept:
    """Of a state that fails, one that fails too with less lost: as little as some tries find."""
    best, tries = kept, 0
    changed = True
    while changed:
        changed = False
        for easier in _easier(best, disk):
            if easier == best:
                continue
            tries += 1
            if tries > _TRIES:
                return best
            if fails(easier):
                best = easier
                changed = True
                break
    return best


def _easier(kept: Kept, disk: Disk) -> Iterator[Kept]:
    """With less lost: first much less, then a little."""
    if kept.stale:
        yield replace(kept, stale=False)
    if kept.lengths:
        yield replace(kept, lengths={})
    size = len(kept.parts)
    while size:
        for some in _portions(list(kept.parts), size):
            yield replace(kept, parts={key: part for key, part in kept.parts.items() if key not in some})
        size //= 2
    lost = sorted(disk.everything().names - kept.names)
    size = len(lost)
    while size:
        for some in _portions(lost, size):
            yield replace(kept, names=disk.closed(kept.names | frozenset(some)))
        size //= 2


def _portions(items: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
