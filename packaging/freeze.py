"""Freezes MAPDR from a built wheel, never from a checkout, by PyInstaller in a fresh environment.

usage: python packaging/freeze.py WHEEL FOLDER

FOLDER must be new or empty. It gets `dist/MAPDR` (the folder for the installer), `dist/mapdr` (`mapdr.exe`:
one file) and `dist/licenses`, the licenses of what is in them. pip is asked for the dependencies and reads
its own environment variables (PIP_NO_INDEX, PIP_FIND_LINKS). Run it with the CPython that shall be frozen.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
FROZEN = HERE / "frozen"


def main(wheel: str, target: str) -> None:
    """Make the environment, freeze, and say how large it became."""
    folder = Path(target).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        sys.exit(f"{folder} is not empty")
    began = time.monotonic()
    python = environment(Path(wheel).resolve(), folder / "environment")
    # Its own folder: what lies in the current one would be imported before what is installed.
    sources = folder / "frozen"
    shutil.copytree(FROZEN, sources)
    # -P: the folder of a script is not looked in for modules.
    run(
        python,
        *("-P", "-m", "PyInstaller", "--noconfirm", "--log-level", "WARN"),
        *(
            "--distpath",
            str(folder / "dist"),
            "--workpath",
            str(folder / "work"),
            str(sources / "mapdr.spec"),
        ),
        folder=sources,
    )
    run(python, "-P", str(HERE / "licenses.py"), str(folder / "dist" / "licenses"), folder=sources)
    sizes = {each.name: size(each) for each in sorted((folder / "dist").iterdir())}
    print(json.dumps({"seconds": round(time.monotonic() - began), "bytes": sizes}))


def environment(wheel: Path, folder: Path) -> Path:
    """An environment with the wheel, what a frozen program needs beside it, and PyInstaller."""
    venv.create(folder, with_pip=False)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))
    # The service and the window of Windows; elsewhere the console program is frozen alone.
    extras = ",".join(project["project"]["optional-dependencies"]) if os.name == "nt" else ""
    pip = ("-m", "pip", "--python", str(python), "install", "--quiet", "--disable-pip-version-check")
    run(
        Path(sys.executable),
        *pip,
        f"mapdr[{extras}] @ {wheel.as_uri()}",
        *project["dependency-groups"]["freeze"],
        folder=folder,
    )
    return python


def run(program: Path, *words: str, folder: Path) -> None:
    """Run a program; what fails ends this one."""
    done = subprocess.run([str(program), *words], cwd=folder, check=False)
    if done.returncode:
        sys.exit(f"{program.name} {' '.join(words[:3])} ... ended with {done.returncode}")


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = [path] if path.is_file() else path.rglob("*")
    return sum(each.lstat().st_size for each in files if not each.is_dir())


if __name__ == "__main__":
    main(*sys.argv[1:])
