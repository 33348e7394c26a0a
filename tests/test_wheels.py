"""What cibuildwheel builds: every system and CPython that is promised, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TOOL = PROJECT["tool"]["cibuildwheel"]
WORKFLOW = (ROOT / ".github/workflows/wheels.yml").read_text(encoding="utf-8")

PYTHONS = ("cp311", "cp312", "cp313", "cp314")
KINDS = {
    "linux": {"manylinux_x86_64": "x86_64", "manylinux_aarch64": "aarch64"},
    "windows": {"win_amd64": "AMD64"},
    "macos": {"macosx_x86_64": "x86_64", "macosx_arm64": "arm64"},
}
"""System -> what its wheels are tagged with, and how cibuildwheel calls that architecture."""


@pytest.mark.parametrize("system", KINDS)
def test_wheels_are_built_for_what_is_promised(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CIBW_BUILD", "CIBW_SKIP", "CIBW_ARCHS", "CIBW_PLATFORM", "CIBW_ENABLE"):
        monkeypatch.delenv(name, raising=False)
    done = subprocess.run(
        [sys.executable, "-m", "cibuildwheel", "--platform", system, "--print-build-identifiers", str(ROOT)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split()) == sorted(
        f"{python}-{kind}" for python in PYTHONS for kind in KINDS[system]
    )


def test_each_kind_has_a_machine() -> None:
    for system, kinds in KINDS.items():
        assert TOOL[system]["archs"] == list(kinds.values())
        for archs in kinds.values():
            assert f"{{ system: {system}, archs: {archs}, runner: " in WORKFLOW
    assert WORKFLOW.count("{ system: ") == sum(map(len, KINDS.values()))


def test_the_promised_pythons_are_those_of_the_project() -> None:
    said = [each.rpartition(" ")[2] for each in PROJECT["project"]["classifiers"] if "Python :: 3." in each]
    assert tuple(f"cp{version.replace('.', '')}" for version in said) == PYTHONS
    assert PROJECT["project"]["requires-python"] == ">=3.11"


def test_a_wheel_without_its_extensions_is_not_built_and_the_sources_are_not_tested() -> None:
    assert TOOL["environment"]["MAPDR_REQUIRE_EXTENSIONS"] == "1"
    selftest, tests = TOOL["test-command"]
    assert selftest == "mapdr selftest"
    assert tests.startswith("python -I -m pytest ")
    paths = [
        ROOT / word.removeprefix("{project}/") for word in tests.split() if word.startswith("{project}/")
    ]
    assert len(paths) > 3
    assert all(path.exists() for path in paths)
    assert set(TOOL["test-groups"]) <= set(PROJECT["dependency-groups"])


def test_what_is_attested_is_built_by_nobody_else() -> None:
    attest = WORKFLOW.partition("\n  attest:")[2]
    assert "if: github.event_name != 'pull_request'" in attest
    assert "actions/attest-build-provenance" in attest
    assert "id-token: write" not in WORKFLOW.partition("\n  attest:")[0]


def test_a_wheel_has_every_file_that_a_package_reads() -> None:
    """Files beside modules that are no sources: tables and the like."""
    given = PROJECT["tool"]["setuptools"]["package-data"]
    found = [path for path in (ROOT / "mapdr").rglob("*") if path.suffix in (".toml", ".csv", ".json")]
    assert found
    for path in found:
        package = ".".join(path.parent.relative_to(ROOT).parts)
        assert any(path.match(pattern) for pattern in given.get(package, ())), path.name
    hook = (ROOT / "mapdr/__pyinstaller/hook-mapdr.py").read_text(encoding="utf-8")
    folders = {path.parent.relative_to(ROOT / "mapdr").as_posix() for path in found}
    assert not [folder for folder in folders if f"{folder}/*" not in hook], "a frozen program lacks them"
