"""Fuzzing, for as long as it is told:  python tests/fuzz/campaign.py scan --seconds 600

Half of the inputs come from a generator that knows the target's structure (`structure.py`); the others are
mutated from the target's seeds and from those, with bit flips, cuts, copies, splices and lengths that hurt.
Whatever the target raises beyond its contract ends the campaign with the input in hexadecimal digits. The
memory of the process is capped, so that a length field cannot hide an allocation, and no input may take
longer than SLOWEST. The input under way stands in a file, for when the process dies of it; that file, or
hexadecimal digits, are tried again with `--input`.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

SANITIZED = "libasan" in os.environ.get("LD_PRELOAD", "")
SLOWEST = 60.0 if SANITIZED else 5.0
"""Seconds for one input in all its ways; a quiet machine needs milliseconds. In the build of `make sanitize`
each PDV is copied into a buffer of its own: 80 kB in PDVs of a few bytes took 10 seconds."""
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
    target: Callable[[bytes], None],
    seeds: list[bytes],
    draw: Callable[[random.Random], bytes] | None = None,
    *,
    seconds: float,
    inputs: int,
    seed: int,
    before: Callable[[bytes], object] = len,
) -> int:
    """Fuzz until the time or the inputs are used up; how many inputs there were. `before` sees each first."""
    chance = random.Random(seed)
    pool = list(seeds)
    until = time.monotonic() + seconds
    count = 0
    while count < inputs and time.monotonic() < until:
        if count < len(seeds):
            data = seeds[count]
        elif draw is not None and chance.random() < 0.5:
            data = draw(chance)
        else:
            data = mutate(chance.choice(pool), pool, chance)
        before(data)
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
    if sys.platform == "win32" or "asan" in os.environ.get("LD_PRELOAD", ""):
        return  # a sanitizer reserves terabytes of addresses, and has a limit of its own
    import resource

    status = Path("/proc/self/statm")
    used = int(status.read_text().split()[0]) * resource.getpagesize() if status.exists() else 1 << 30
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))


def main() -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    warnings.simplefilter("ignore")
    logging.disable()
    from fuzz.targets import TARGETS

    parser = argparse.ArgumentParser(description="Fuzz one target.")
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--input", help="one input only: a file, or hexadecimal digits")
    args = parser.parse_args()
    target, seeds, draw = TARGETS[args.target]
    if args.input:
        path = Path(args.input)
        target(path.read_bytes() if path.is_file() else bytes.fromhex(args.input))
        return
    begun = seeds()
    cap_memory()
    with tempfile.NamedTemporaryFile(prefix=f"fuzz-{args.target}-", delete=False) as under_way:
        print(f"{args.target}: seed {args.seed}, the input under way is in {under_way.name}", flush=True)

        def keep(data: bytes) -> None:
            under_way.seek(0)
            under_way.truncate()
            under_way.write(data)
            under_way.flush()

        count = campaign(
            target, begun, draw, seconds=args.seconds, inputs=1 << 60, seed=args.seed, before=keep
        )
    os.unlink(under_way.name)
    print(f"{args.target}: {count} inputs in {args.seconds:.0f} s from seed {args.seed}, nothing unexpected")


if __name__ == "__main__":
    main()
