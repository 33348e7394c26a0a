"""Where the real test data is, and whether it is there."""

from __future__ import annotations

import os
from pathlib import Path

DATA = Path(os.environ.get("MAPDR_TEST_DATA", Path(__file__).parents[2] / "../shared/data")).resolve()
REAL = (DATA / "catalogue.csv").is_file()
