"""Prints, a line each, what Windows' pip shall install beside MAPDR: its dependencies, those of its tests,
and what freezes it.

`pip download --platform` asks the markers of the system that it runs on, so they are taken off here; what
other projects want on Windows only is named.
"""

import sys
import tomllib
from pathlib import Path

WINDOWS_ONLY = ("colorama", "pefile", "pywin32-ctypes", "tzdata")


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
    wanted = [each for group in groups for each in group]
    for requirement in wanted:
        print(requirement.partition(";")[0].strip().replace(" ", ""))


main(*sys.argv[1:])
