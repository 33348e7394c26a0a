"""Prints, a line each, the lowest version of each dependency that pyproject.toml allows, as pip constraints.

A lower bound is thus a version that exists, and that `make lowest` has tested. The tools of the tests are not
among them: they may be as new as they are.
"""

import re
import sys
import tomllib
from pathlib import Path

BOUND = re.compile(r"([A-Za-z0-9_.-]+)>=([^\s,;]+)(?:,[^;]*)?(\s*;.*)?")


def lowest(pyproject: str) -> list[str]:
    """The constraints. Raises ValueError for a dependency without a lower bound."""
    found = []
    for requirement in tomllib.loads(pyproject)["project"]["dependencies"]:
        matched = BOUND.fullmatch(requirement.replace(" >=", ">="))
        if matched is None:
            raise ValueError(f"{requirement} has no lower bound")
        name, version, marker = matched.groups()
        found.append(f"{name}=={version}{marker or ''}")
    return found


if __name__ == "__main__":
    print("\n".join(lowest(Path(sys.argv[1]).read_text(encoding="utf-8"))))
