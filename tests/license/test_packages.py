"""What is in wheel and sdist: no tool of a vendor and no private key."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest

from license.vendor import PUBLIC, ROOT

PRIVATE = (b"PRIVATE KEY-----", b"mapdr_vendor:main", b"Make the vendor's key")


def suspicious(files: Mapping[str, bytes]) -> list[str]:
    """Files that are of the vendor's tool, or hold a private key."""
    return [
        name
        for name, content in files.items()
        if "packaging/vendor" in name or "mapdr_vendor" in name or any(each in content for each in PRIVATE)
    ]


@pytest.mark.skipif(
    importlib.util.find_spec("setuptools") is None, reason="setuptools is not here; CI has it"
)
def test_neither_wheel_nor_sdist_has_the_vendor_s_tool(tmp_path: Path) -> None:
    source, dist = tmp_path / "source", tmp_path / "dist"
    left_out = shutil.ignore_patterns(
        ".*", "build", "dist", "*.egg-info", "*.so", "__pycache__", "tests", "docs"
    )
    shutil.copytree(ROOT, source, ignore=left_out)
    dist.mkdir()
    code = f"from setuptools.build_meta import *; build_wheel({str(dist)!r}); build_sdist({str(dist)!r})"
    environment = {key: value for key, value in os.environ.items() if key != "MAPDR_VENDOR_KEY"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=source,
        env={**environment, "MAPDR_NO_EXTENSIONS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as opened:
        in_wheel = {name: opened.read(name) for name in opened.namelist()}
    with tarfile.open(sdist) as archive:
        in_sdist = {
            each.name: file.read() for each in archive.getmembers() if (file := archive.extractfile(each))
        }
    assert {"mapdr/license/gate.py", "mapdr/license/built.py"} <= in_wheel.keys()
    assert b"VENDOR = False" in in_wheel["mapdr/license/built.py"]
    assert any(name.endswith("mapdr/license/_gate.pyx") for name in in_sdist), "a vendor builds from it"
    assert not suspicious(in_wheel)
    assert not suspicious(in_sdist)


def test_the_wheel_of_a_vendor_s_build_has_its_gate_and_knows_it(
    gate_module: ModuleType, tmp_path: Path
) -> None:
    source, dist = tmp_path / "source", tmp_path / "dist"
    # With one of the hot paths: the others take long to compile.
    left_out = shutil.ignore_patterns(
        ".*", "build", "dist", "*.egg-info", "*.so", "tests", "docs", "_[a-bd-fh-z]*.pyx"
    )
    shutil.copytree(ROOT, source, ignore=left_out)
    dist.mkdir()
    # The gate is compiled, also where this MAPDR was installed without extensions.
    env = {key: value for key, value in os.environ.items() if key != "MAPDR_NO_EXTENSIONS"}
    done = subprocess.run(
        [sys.executable, "-c", f"from setuptools.build_meta import *; build_wheel({str(dist)!r})"],
        cwd=source,
        env={**env, "MAPDR_VENDOR_KEY": PUBLIC.hex(), "MAPDR_REQUIRE_EXTENSIONS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        names = opened.namelist()
        assert b"VENDOR = True" in opened.read("mapdr/license/built.py")
    built = {name.split(".")[0] for name in names if name.endswith((".so", ".pyd"))}
    assert built == {"mapdr/license/_gate", "mapdr/_fast/_command"}
    assert not [name for name in names if name.endswith((".pxi", ".pyx", ".c"))]


def test_the_tool_and_a_key_would_be_seen() -> None:
    tool = ROOT / "packaging/vendor/mapdr_vendor/__init__.py"
    assert suspicious({"mapdr/x.py": tool.read_bytes()})
    assert suspicious({"a.pem": b"-----BEGIN ENCRYPTED PRIVATE KEY-----"})
    assert suspicious({"mapdr_vendor/__init__.py": b""})
