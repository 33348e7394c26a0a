"""Builds the wheel with each of the given interpreters and tests it as cibuildwheel does, on this machine.

usage: try_wheel.py PYTHON...

Each gets a fresh environment in a temporary folder, from which the test command of pyproject.toml is run: it
tests the wheel. Prints a line for each; ends with 1 if one failed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TOOL = PROJECT["tool"]["cibuildwheel"]


def attempt(python: str, folder: Path) -> None:
    """Build, install and test. Raises CalledProcessError, with what was printed, where one of them fails."""
    scripts = folder / "fresh" / ("Scripts" if os.name == "nt" else "bin")
    environment = {**os.environ, **TOOL["environment"], **TOOL["test-environment"], "PYTHONNOUSERSITE": "1"}
    environment["PATH"] = f"{scripts}{os.pathsep}{environment['PATH']}"
    groups = [each for group in TOOL["test-groups"] for each in PROJECT["dependency-groups"][group]]
    test = " && ".join(TOOL["test-command"]).replace("{project}", str(ROOT))
    # From a copy: nothing that was built before is in the wheel.
    sources = folder / "sources"
    listed = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (sources / name).parent.mkdir(parents=True, exist_ok=True)
            (sources / name).write_bytes((ROOT / name).read_bytes())
    for words in (
        [python, "-m", "venv", str(folder / "fresh")],
        [str(scripts / "pip"), "wheel", "-q", "--no-deps", "-w", str(folder / "dist"), str(sources)],
        [str(scripts / "pip"), "install", "-q", "--find-links", str(folder / "dist"), "mapdr", *groups],
        test,
    ):
        subprocess.run(
            words,
            shell=isinstance(words, str),
            cwd=folder,
            env=environment,
            check=True,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )


def main(pythons: list[str]) -> int:
    failed = 0
    for python in pythons:
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="mapdr-wheel-") as folder:
            try:
                attempt(python, Path(folder))
                said = "passed"
            except subprocess.CalledProcessError as error:
                said, failed = f"FAILED\n{error.output}", failed + 1
        print(f"{python}: {said} [{time.monotonic() - began:.0f} s]", flush=True)
    return 1 if failed or not pythons else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
