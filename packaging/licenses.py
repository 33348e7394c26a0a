"""Collects the licenses of the distributions in this environment that are no tools of the freezing.

usage: python packaging/licenses.py FOLDER

FOLDER gets `THIRD-PARTY.txt`, a line for each distribution (name, version, license), and a folder for each
with the license files that its metadata name. What a distribution carries of others is in its own files.
"""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path

TOOLS = {
    "altgraph",
    "pefile",
    "pip",
    "pyinstaller",
    "pyinstaller-hooks-contrib",
    "pywin32-ctypes",
    "setuptools",
}
"""What freezes, and is not frozen. PyInstaller's loader may be given away in programs (its exception)."""
NAMED = re.compile(r"(^|/)(licen[cs]e|copying|notice|authors)[^/]*$|\.dist-info/licenses/|/licenses/", re.I)


def main(target: str) -> None:
    """Write them. Ends with 1 where a distribution says nothing of its license."""
    folder = Path(target)
    folder.mkdir(parents=True)
    lines, silent = [], []
    for one in sorted(metadata.distributions(), key=lambda each: each.name.lower()):
        if one.name.lower() in TOOLS:
            continue
        terms = license_of(one)
        files = [
            each for each in one.files or () if NAMED.search(str(each)) and each.suffix not in (".py", ".pyc")
        ]
        if not terms and not files:
            silent.append(one.name)
        lines.append(f"{one.name} {one.version}: {terms or 'see its files'}")
        for number, each in enumerate(files):
            to = (
                folder
                / one.name
                / (each.name if each.name not in seen(folder / one.name) else f"{number}-{each.name}")
            )
            to.parent.mkdir(exist_ok=True)
            to.write_bytes(Path(str(each.locate())).read_bytes())
    python = Path(sys.base_prefix, "LICENSE.txt")
    lines.append(f"Python {sys.version.split()[0]}: PSF-2.0")
    if python.is_file():
        (folder / "Python").mkdir()
        (folder / "Python" / python.name).write_bytes(python.read_bytes())
    (folder / "THIRD-PARTY.txt").write_text("\n".join([*lines, ""]), encoding="utf-8")
    if silent:
        sys.exit(f"these say nothing of their license: {', '.join(silent)}")


def license_of(one: metadata.Distribution) -> str:
    """The license in the words of the metadata: the expression, else the classifiers, else the field."""
    said = one.metadata
    if expression := said.get("License-Expression"):
        return str(expression)
    trove = [
        each.rpartition(" :: ")[2] for each in said.get_all("Classifier", ()) if each.startswith("License")
    ]
    first = str(said.get("License") or "").strip().partition("\n")[0]
    return " / ".join(trove) or first


def seen(folder: Path) -> set[str]:
    """The names that are taken in a folder."""
    return {each.name for each in folder.iterdir()} if folder.is_dir() else set()


if __name__ == "__main__":
    main(*sys.argv[1:])
