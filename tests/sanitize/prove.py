"""Proves that this build's sanitizers are active: overflows on purpose must end the process, with its words.

Run by `make sanitize` before anything is trusted that finds nothing. Exits 1 when an overflow passes.
"""

from __future__ import annotations

import subprocess
import sys

from mapdr import _fast
from mapdr._fast import _receive_run

OVERFLOWS = {
    "heap(64, -1)": "",
    "heap(64, 0)": "AddressSanitizer: heap-buffer-overflow",
    "after(1)": "",
    "after(2**31 - 1)": "runtime error: signed integer overflow",
}
"""What is called, and the words that it must end with; none where nothing is wrong."""


def main() -> None:
    if _fast.BACKEND != "cython" or not _receive_run.SANITIZED:
        sys.exit("these are not the extensions of the sanitizer build")
    for call, words in OVERFLOWS.items():
        done = subprocess.run(
            [sys.executable, "-c", f"import sanitizer_proof; sanitizer_proof.{call}"],
            capture_output=True,
            text=True,
            check=False,
        )
        if bool(done.returncode) != bool(words) or words not in done.stderr:
            sys.exit(f"{call} ended with {done.returncode} and not as it must: {done.stderr[-2000:]}")
    print("the sanitizers are active: an overflow on purpose ended the process, and so did a sum")


if __name__ == "__main__":
    main()
