"""Make the state again that a crash test has kept, and say what does not hold on it: `replay.py FILE`.

With a second argument the state is left in that new folder.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from crash.simulator import Failure


def main(file: str, folder: str = "") -> int:
    """Whether the promise holds."""
    with tempfile.TemporaryDirectory() as scratch:
        found = Failure.load(Path(file), Path(scratch) / "state")
        if folder:
            found.make(Path(folder))
    print(found)
    if not found.broken:
        print("all of the promise holds")
    return 1 if found.broken else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
