"""`python packaging/documents [FOLDER]`: writes the documents that are made of the code, into docs/ by default.

docs/conformance.md (PS3.2), docs/reference.md (every key of the configuration), docs/api.md (the page's API)
and docs/compression.md (what is done with which image). `tests/docs/test_generated.py` fails while one of them is not what this writes.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def main(folder: Path) -> None:
    """Write all of them into `folder`."""
    import api
    import compression
    import conformance
    import reference

    guide = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    written = {
        "conformance.md": conformance.document(),
        "reference.md": reference.document(guide),
        "api.md": api.document(),
        "compression.md": compression.document(),
    }
    for name, text in written.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs")
