"""Whose work is in the program."""

from __future__ import annotations

import mapdr
from mapdr.operate.about import about


def test_every_package_has_its_licence() -> None:
    told = about()
    assert told.version == mapdr.__version__
    by_name = {one.name.lower(): one for one in told.packages}
    assert {"pydicom", "numpy", "sqlalchemy", "uvicorn", "imagecodecs"} <= by_name.keys()
    assert "mapdr" not in by_name
    assert "pytest" not in by_name, "what only tests need is not in it"
    assert all(one.license and one.version for one in told.packages)
    assert "MIT" in by_name["pydicom"].license
    assert "BSD" in by_name["uvicorn"].license
    assert by_name["pydicom"].home.startswith("https://")
