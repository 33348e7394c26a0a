"""What is installed: lower bounds that `make lowest` can test, and the lock that CI uses."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
DEPENDENCIES = [Requirement(each) for each in PROJECT["project"]["dependencies"]]
GROUPS = [Requirement(each) for group in PROJECT["dependency-groups"].values() for each in group]
LOCK = (ROOT / "requirements/ci.txt").read_text(encoding="utf-8")
PINS = [Requirement(line) for line in LOCK.splitlines() if not line.startswith("#")]

SYSTEMS = [
    {"python_version": f"3.{minor}", "python_full_version": f"3.{minor}.0", "sys_platform": system}
    for minor in (11, 12, 13, 14)
    for system in ("linux", "win32", "darwin")
]


def test_the_lock_names_no_place() -> None:
    assert "://" not in LOCK
    assert not re.search(r"^\s*-", LOCK, re.MULTILINE)


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda each: "-".join(each.values()))
def test_the_lock_has_one_version_of_all_that_is_asked_for(system: dict[str, str]) -> None:
    pinned = [each for each in PINS if each.marker is None or each.marker.evaluate(system)]
    versions = {each.name.lower(): each.specifier for each in pinned}
    assert len(versions) == len(pinned)
    for wanted in (*DEPENDENCIES, *GROUPS):
        if wanted.marker is None or wanted.marker.evaluate(system):
            (exact,) = versions[wanted.name.lower()]
            assert exact.operator == "=="
            assert wanted.specifier.contains(exact.version), wanted


def test_the_lowest_versions_are_the_bounds() -> None:
    script = [sys.executable, ROOT / "packaging/lowest.py", ROOT / "pyproject.toml"]
    done = subprocess.run(script, capture_output=True, text=True, check=True)
    lowest = [Requirement(line) for line in done.stdout.splitlines()]
    assert [each.name for each in lowest] == [each.name for each in DEPENDENCIES]
    for low, wanted in zip(lowest, DEPENDENCIES, strict=True):
        (exact,) = low.specifier
        assert exact.operator == "=="
        assert wanted.specifier.contains(exact.version)
        assert low.marker == wanted.marker


@pytest.mark.parametrize("name", ["cryptography", "glymur"])
def test_what_waits_for_its_work_costs_nothing(name: str) -> None:
    code = f"import sys, mapdr_cli.main, mapdr.node.assembly; sys.exit({name!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
