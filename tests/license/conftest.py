"""The gate of a vendor's build, made once with the key of the tests."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from desktop.conftest import client
from license.vendor import FACTS, PUBLIC, build, load
from mapdr.license.facts import Machine
from web.browsers import browser, browser_of_the_file

__all__ = ["browser", "browser_of_the_file", "client"]


@pytest.fixture(scope="session")
def gate_module(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The compiled gate; skipped without Cython or a compiler, which CI has."""
    missing = [name for name in ("Cython", "setuptools") if importlib.util.find_spec(name) is None]
    if os.name != "nt" and not any(map(shutil.which, ("cc", "gcc", "clang"))):
        missing.append("a compiler")
    if missing and not os.environ.get("CI"):
        pytest.skip(f"the gate cannot be built here: no {', no '.join(missing)}")
    folder: Path = tmp_path_factory.mktemp("gate")
    done = build(folder, MAPDR_VENDOR_KEY=PUBLIC.hex())
    assert done.returncode == 0, done.stderr
    return load(folder)


@pytest.fixture
def vendor_build(gate_module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """This process is a vendor's build."""
    monkeypatch.setattr("mapdr.license.gate.compiled", gate_module)
    return gate_module


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """This machine is that of FACTS."""
    found = Machine(FACTS)
    for module in ("mapdr.operate.license", "mapdr.node.licensing"):
        monkeypatch.setattr(f"{module}.machine", lambda: found)
    return found
