"""Prints, a line each, what Windows' pip shall install beside MAPDR: its dependencies, those of its tests,
and what freezes it.

`pip download --platform` asks the markers of its own system, so they are asked for Windows here and taken
off here; what other projects want on Windows only is named.
"""

import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

WINDOWS_ONLY = ("colorama", "pefile", "pythonnet", "pywin32-ctypes", "tzdata")
WINDOWS = {"sys_platform": "win32"}


def main(pyproject: str) -> None:
    document = tomllib.loads(Path(pyproject).read_text(encoding="utf-8"))
    extras = document["project"]["optional-dependencies"].values()
    groups = (
        document["project"]["dependencies"],
        *extras,
        document["dependency-groups"]["test"],
        document["dependency-groups"]["freeze"],
        WINDOWS_ONLY,
    )
    wanted = [Requirement(each) for group in groups for each in group]
    for each in wanted:
        if each.marker is None or each.marker.evaluate(WINDOWS):
            extras = f"[{','.join(sorted(each.extras))}]" if each.extras else ""
            print(f"{each.name}{extras}{each.specifier}")


main(*sys.argv[1:])
