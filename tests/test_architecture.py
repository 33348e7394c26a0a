"""docs/architecture.md names files and functions that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
NAME = re.compile(r"[A-Z][A-Za-z]*(\.[a-z_]+)?|[a-z][a-z_]*[a-z]|[A-Z][A-Z_]+")


def _defined(path: Path) -> set[str]:
    """The functions, classes, methods and constants of a module, methods as `Class.method`."""
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            inner = (one for one in ast.walk(node) if isinstance(one, ast.FunctionDef))
            found |= {f"{node.name}.{one.name}" for one in inner}
            stored = (one for one in ast.walk(node) if isinstance(one, ast.Attribute))
            found |= {f"{node.name}.{one.attr}" for one in stored if isinstance(one.ctx, ast.Store)}
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


def test_every_file_it_names_is_there() -> None:
    named = re.findall(r"`((?:mapdr|cli|web|tests|docs)/[^`\s]*)`", TEXT)
    assert len(named) > 50
    assert not [name for name in named if not (ROOT / name).exists()]


def _files(text: str) -> list[Path]:
    return [ROOT / name for name in re.findall(r"`((?:mapdr|cli|web|tests)/[^`\s]+\.py)`", text)]


def test_every_function_it_names_is_in_a_file_that_the_same_paragraph_names() -> None:
    """A paragraph that names no file speaks of those of its section."""
    checked = 0
    for section in re.split(r"\n(?=## )", TEXT):
        for paragraph in re.split(r"\n\n|\n(?=[|-])", section):
            files = _files(paragraph) or _files(section)
            defined = set().union(*map(_defined, files))
            for name in re.findall(r"`([^`]+)`", paragraph):
                if NAME.fullmatch(name) and ("." in name or name[0].isupper() or name in defined):
                    checked += 1
                    assert name in defined, f"{name} is in none of {[file.name for file in files]}"
    assert checked > 100
