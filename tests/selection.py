"""Which tests a combination of machine and installation changes, told from the tests themselves.

Plain twins change a test if what it imports comes to the chooser of the hot paths, `mapdr._fast`. Imports are
followed through the sources: `import` statements at any depth, and strings that name a module, the beginning
of one ("mapdr_cli."), or the `mapdr` script, which is how stages and commands are found. Rather a test too
many than one too few, but for those in folders whose subject stands apart from images (`APART`).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests"
APART = frozenset({"cli", "config", "desktop", "docs", "license", "mutants", "notify", "service", "web"})
"""Folders of tests about words, pages and messages: they come to the hot paths only by a store or a node, to
which `store`, `receive`, `transform`, `deliver`, `operate` and `e2e` bring the same images and many more."""

CHOOSER = "mapdr._fast"
SCRIPT = "mapdr"
ENTRY = "mapdr_cli.main"


@cache
def modules() -> dict[str, Path]:
    """Every module of the repository that a test can come to, by its dotted name."""
    found = {}
    for root in (ROOT, ROOT / "cli", ROOT / "web"):
        for package in root.glob("mapdr*"):
            if (package / "__init__.py").is_file():
                found.update({_dotted(path, root): path for path in package.rglob("*.py")})
    for path in TESTS.rglob("*.py"):
        found[_dotted(path, TESTS)] = path
    return found


def _dotted(path: Path, root: Path) -> str:
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


@cache
def named_in(path: Path) -> frozenset[str]:
    """The modules that a source imports or names."""
    found = set()
    for name in _names(path):
        if name in modules():
            found.add(name)
        elif name.endswith(".") and name[:-1] in modules():
            found.update(each for each in modules() if each.startswith(name))
    return frozenset(found)


def _names(path: Path) -> Iterator[str]:
    folder = ""
    if path.is_relative_to(TESTS) and path.parent != TESTS:
        folder = _dotted(path.parent, TESTS)
        yield f"{folder}.conftest"
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(filter(None, (folder if node.level else "", node.module)))
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield ENTRY if node.value == SCRIPT else node.value.partition(":")[0]


@cache
def uses_backend(path: Path) -> bool:
    """Whether the plain twins change the tests in this file."""
    if path.relative_to(TESTS).parts[0] in APART:
        return False
    known, seen, left = modules(), set[str](), set(named_in(path))
    while left:
        name = left.pop()
        if name == CHOOSER:
            return True
        seen.add(name)
        left |= named_in(known[name]) - seen
    return False
