"""Fuzzing by mutation, for as long as it is told:  python tests/fuzz/campaign.py scan --seconds 600

A target's seeds are mutated with bit flips, cuts, copies, splices and lengths that hurt; whatever the target
raises beyond its contract ends the campaign with the input in hexadecimal digits. The memory of the process
is capped, so that a length field cannot hide an allocation, and no input may take longer than SLOWEST.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

SLOWEST = 5.0
"""Seconds for one input in all its ways; a quiet machine needs milliseconds."""
MEMORY = 1 << 30
"""Bytes beyond what the process has when it begins."""
LONGEST = 20_000
KEPT = 300
"""Mutants that are mutated further."""
NASTY = (
    0,
    1,
    2,
    4,
    7,
    8,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFE,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFF4,
    0xFFFFFFFF,
)


def mutate(seed: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """One to eight mutations of `seed`."""
    data = bytearray(seed)
    for _ in range(chance.randint(1, 8)):
        at = chance.randint(0, len(data))
        kind = chance.randint(0, 6)
        if kind == 0 and data:
            data[at % len(data)] ^= 1 << chance.randint(0, 7)
        elif kind == 1:
            width, order = chance.choice((2, 4)), chance.choice(("little", "big"))
            data[at : at + width] = (chance.choice(NASTY) & (1 << 8 * width) - 1).to_bytes(width, order)
        elif kind == 2:
            del data[at : at + chance.randint(1, 40)]
        elif kind == 3:
            data[at:at] = chance.randbytes(chance.randint(1, 20))
        elif kind == 4:
            begin = chance.randint(0, len(data))
            data[at:at] = data[begin : begin + chance.randint(1, 200)]
        elif kind == 5:
            other = chance.choice(others)
            data[at:] = other[chance.randint(0, len(other)) :]
        else:
            del data[at:]
    return bytes(data[:LONGEST])


def campaign(
    target: Callable[[bytes], None], seeds: list[bytes], *, seconds: float, inputs: int, seed: int
) -> int:
    """Fuzz until the time or the inputs are used up; how many inputs there were."""
    chance = random.Random(seed)
    pool = list(seeds)
    until = time.monotonic() + seconds
    count = 0
    while count < inputs and time.monotonic() < until:
        data = pool[count] if count < len(seeds) else mutate(chance.choice(pool), pool, chance)
        began = time.monotonic()
        try:
            target(data)
        except BaseException:
            print(f"input {count} of seed {seed}: {data.hex()}", file=sys.stderr)
            raise
        took = time.monotonic() - began
        assert took < SLOWEST, f"{took:.1f} s for {data.hex()}"
        if chance.random() < 0.02:
            # Some mutants are mutated further; the seeds stay.
            pool.append(data)
            if len(pool) > len(seeds) + KEPT:
                del pool[chance.randrange(len(seeds), len(pool))]
        count += 1
    return count


def cap_memory() -> None:
    """Let allocations beyond MEMORY fail, where the system can."""
    if sys.platform == "win32":
        return
    import resource

    status = Path("/proc/self/statm")
    used = int(status.read_text().split()[0]) * resource.getpagesize() if status.exists() else 1 << 30
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))


def main() -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    warnings.simplefilter("ignore")
    logging.disable()
    from fuzz.targets import TARGETS

    parser = argparse.ArgumentParser(description="Fuzz one target by mutation.")
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    args = parser.parse_args()
    target, seeds = TARGETS[args.target]
    begun = seeds()
    cap_memory()
    count = campaign(target, begun, seconds=args.seconds, inputs=1 << 60, seed=args.seed)
    print(f"{args.target}: {count} inputs in {args.seconds:.0f} s from seed {args.seed}, nothing unexpected")


if __name__ == "__main__":
    main()
