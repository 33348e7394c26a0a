"""The `.pyi` of each compiled module says what its plain twin says, and what the compiled module has.

Stub and twin are compared as they are written, annotations too; stub and compiled module by what the running
Python sees: names, kinds of parameters and defaults.
"""

from __future__ import annotations

import ast
import inspect
import tomllib
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mapdr import _fast

FOLDER = Path(_fast.__file__).parent
MODULES = sorted(path.stem for path in FOLDER.glob("*.pyx"))
IN_SOURCES = pytest.mark.skipif(
    not (FOLDER.parents[1] / "pyproject.toml").is_file(),
    reason="what is tested is installed, without its sources",
)


def parsed(name: str) -> ast.Module:
    return ast.parse((FOLDER / name).read_text(encoding="utf-8"))


def public(nodes: list[ast.stmt], kind: type[Any]) -> dict[str, Any]:
    """What is defined there and is meant for others, by name; `__init__` counts."""
    return {
        node.name: node
        for node in nodes
        if isinstance(node, kind) and (not node.name.startswith("_") or node.name == "__init__")
    }


def form(node: ast.FunctionDef) -> str:
    """Parameters, defaults, annotations and what comes back, as one text."""
    return f"({ast.unparse(node.args)}) -> {ast.unparse(node.returns) if node.returns else '?'}"


def is_property(node: ast.FunctionDef) -> bool:
    return any(ast.unparse(each) == "property" for each in node.decorator_list)


def methods(node: ast.ClassDef) -> dict[str, str]:
    found = public(node.body, ast.FunctionDef)
    return {name: form(each) for name, each in found.items() if not is_property(each)}


def facts(node: ast.ClassDef) -> set[str]:
    """The names of its public attributes: properties, what the class holds, what `__init__` sets."""
    found = {name for name, each in public(node.body, ast.FunctionDef).items() if is_property(each)}
    places = [
        *node.body,
        *next((list(ast.walk(each)) for each in node.body if name_of(each) == "__init__"), []),
    ]
    for each in places:
        targets = (
            each.targets
            if isinstance(each, ast.Assign)
            else [each.target]
            if isinstance(each, ast.AnnAssign)
            else []
        )
        found |= {
            target.id if isinstance(target, ast.Name) else target.attr
            for target in targets
            if isinstance(target, ast.Name | ast.Attribute)
        }
    return {name for name in found if not name.startswith("_")}


def name_of(node: ast.stmt) -> str:
    return getattr(node, "name", "")


@IN_SOURCES
def test_every_compiled_module_has_its_stub_and_nothing_else_has() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.pyi")) == MODULES
    assert MODULES


@IN_SOURCES
def test_stubs_and_the_mark_of_a_typed_package_are_installed_too() -> None:
    project = tomllib.loads((FOLDER.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    data = project["tool"]["setuptools"]["package-data"]
    assert "*.pyi" in data["mapdr._fast"]
    assert "py.typed" in data["mapdr"]
    assert (FOLDER.parent / "py.typed").is_file()


@pytest.mark.parametrize("name", MODULES)
def test_a_stub_says_what_the_twin_says(name: str) -> None:
    stub, twin = parsed(f"{name}.pyi"), parsed(f"{name}_py.py")
    told, written = public(stub.body, ast.FunctionDef), public(twin.body, ast.FunctionDef)
    assert {each: form(node) for each, node in told.items()} == {each: form(written[each]) for each in told}
    classes, originals = public(stub.body, ast.ClassDef), public(twin.body, ast.ClassDef)
    assert told or classes
    for each, node in classes.items():
        original = originals[each]
        inherited = any(ast.unparse(base) == f"{name}_py.{each}" for base in node.bases)
        said, whole = methods(node), methods(original)
        assert said == {method: whole[method] for method in (said if inherited else whole)}
        assert facts(node) <= facts(original)


@pytest.mark.parametrize("name", MODULES)
def test_a_stub_says_what_the_compiled_module_has(name: str) -> None:
    module = compiled(name)
    stub = parsed(f"{name}.pyi")
    told = public(stub.body, ast.FunctionDef) | public(stub.body, ast.ClassDef)
    own = {
        each: value
        for each, value in vars(module).items()
        if not each.startswith("_") and getattr(value, "__module__", None) == module.__name__
    }
    assert set(told) == set(own)
    for each, node in told.items():
        if isinstance(node, ast.FunctionDef):
            assert parameters(node, name) == has(own[each])
            continue
        said = public(node.body, ast.FunctionDef)
        calls = {word: one for word, one in said.items() if not is_property(one) and word != "__init__"}
        members = {word: value for word, value in vars(own[each]).items() if not word.startswith("_")}
        assert facts(node) == {word for word, value in members.items() if not callable(value)}
        assert set(calls) == {word for word, value in members.items() if callable(value)}
        for word, method in calls.items():
            assert parameters(method, name) == has(members[word])


def compiled(name: str) -> ModuleType:
    spec = find_spec(f"mapdr._fast.{name}")
    if spec is None or _fast.BACKEND != "cython":
        pytest.skip("there are no compiled extensions")
    return import_module(f"mapdr._fast.{name}")


def parameters(node: ast.FunctionDef, name: str) -> list[tuple[str, str, Any]]:
    """Name, kind and default of each parameter that a stub tells of; defaults as the twin knows them."""
    given = node.args
    known = vars(import_module(f"mapdr._fast.{name}_py"))
    positional = [*given.posonlyargs, *given.args]
    defaults: list[ast.expr | None] = [*[None] * (len(positional) - len(given.defaults)), *given.defaults]
    kinds = [
        *((each.arg, "positional", default) for each, default in zip(positional, defaults, strict=True)),
        *(
            (each.arg, "keyword", default)
            for each, default in zip(given.kwonlyargs, given.kw_defaults, strict=True)
        ),
    ]
    return [
        (arg, kind, inspect.Parameter.empty if default is None else eval(ast.unparse(default), dict(known)))
        for arg, kind, default in kinds
    ]


def has(function: Any) -> list[tuple[str, str, Any]]:
    """As `parameters`, of what was compiled."""
    return list(_has(inspect.signature(function)))


def _has(signature: inspect.Signature) -> Iterator[tuple[str, str, Any]]:
    for each in signature.parameters.values():
        kind = "keyword" if each.kind is inspect.Parameter.KEYWORD_ONLY else "positional"
        yield each.name, kind, each.default
