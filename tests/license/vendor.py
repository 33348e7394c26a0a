"""A vendor of the tests: his key, licenses that he signs, and the gate built with his public key."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from datetime import date
from importlib.machinery import ExtensionFileLoader
from pathlib import Path
from types import ModuleType

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mapdr.license.code import KINDS, fingerprint, written
from mapdr.license.token import License, sign

ROOT = Path(__file__).resolve().parents[2]
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
FACTS = {kind: f"the {kind}" for kind in KINDS}
FAR = date(2999, 12, 31)


def token(expires: date | None = FAR, key: Ed25519PrivateKey = KEY) -> str:
    """A license for the machine of FACTS."""
    request = written(fingerprint(FACTS, salt=1))
    return sign(License("2026-1", "Clinic North", request, date(2026, 1, 1), expires), key)


def build(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Build the gate, and nothing else, in a copy of its sources; it is in `folder`/out then."""
    if not (folder / "setup.py").exists():
        shutil.copytree(ROOT / "mapdr/license", folder / "mapdr/license")
        for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "mapdr/__init__.py"):
            shutil.copy(ROOT / name, folder / name)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MAPDR_")}
    return subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--build-lib", "out"],
        cwd=folder,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def load(folder: Path) -> ModuleType:
    """The gate that `build` has made. Raises LookupError if there is none."""
    found = [
        each for each in (folder / "out/mapdr/license").glob("_gate.*") if each.suffix in (".so", ".pyd")
    ]
    if len(found) != 1:
        raise LookupError("no gate was built")
    name = "mapdr.license._gate"
    spec = importlib.util.spec_from_file_location(
        name, found[0], loader=ExtensionFileLoader(name, str(found[0]))
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
