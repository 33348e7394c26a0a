"""Nothing that a data set holds is printed, by whichever way a library or Python itself would."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from mapdr.kernel.errors import Permanent, Temporary
from mapdr.kernel.privacy import in_words, place

MARK = "QXNAMEQX"

BEGINNING = """
import logging, sys, threading, warnings
from mapdr.kernel.privacy import protect
logging.basicConfig(level=logging.DEBUG, format="%(name)s %(message)s")
protect()
"""

WAYS = {
    "pydicom warns": """
        import pydicom
        from pydicom.dataelem import DataElement
        import pydicom.config
        pydicom.config.settings.writing_validation_mode = pydicom.config.WARN
        pydicom.config.settings.reading_validation_mode = pydicom.config.WARN
        DataElement(0x00100040, "CS", mark.lower() + mark)
        DataElement(0x00080018, "UI", mark)
        from pydicom.charset import decode_bytes
        decode_bytes(mark.encode() + bytes([0xFF]), ["utf8"], {92})
        """,
    "its logger": "import pydicom; logging.getLogger('pydicom').warning(mark)",
    "a logger below": "import pynetdicom; logging.getLogger('pynetdicom.dimse').error(mark)",
    "a warning of anybody": "warnings.warn(mark, UserWarning)",
    "a thread": """
        def fail():
            raise ValueError(mark)
        thread = threading.Thread(target=fail); thread.start(); thread.join()
        """,
    "an exception that nobody catches": "raise KeyError(mark)",
    "a destructor": """
        class Broken:
            def __del__(self):
                raise ValueError(mark)
        Broken()
        """,
}


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("protected", [True, False])
def test_no_way_prints_a_value(name: str, protected: bool) -> None:
    beginning = BEGINNING if protected else BEGINNING.replace("protect()\n", "")
    # Not written out: a traceback shows lines of the source.
    given = f"mark = bytes.fromhex({MARK.encode().hex()!r}).decode()\n"
    done = subprocess.run(
        [sys.executable, "-c", beginning + given + textwrap.dedent(WAYS[name])],
        check=False,
        capture_output=True,
        text=True,
    )
    printed = (done.stdout + done.stderr).upper()
    assert (MARK in printed) is not protected, printed


def test_a_foreign_exception_is_told_by_type_and_place() -> None:
    with pytest.raises(ValueError, match=MARK) as raised:
        raise ValueError(MARK)
    assert in_words(raised.value).startswith("internal error: ValueError at kernel/test_privacy.py:")
    assert place(raised.value).startswith("ValueError at kernel/test_privacy.py:")
    assert in_words(Permanent("it does not fit")) == "it does not fit"
    assert in_words(OSError(28, "No space left on device", "/x")) == "No space left on device: /x"


def test_words_without_places_hold_neither_a_value_nor_a_path() -> None:
    """They stand with a ledger row, and are the same for the same trouble."""
    assert in_words(Temporary("no room"), places=False) == "no room"
    assert in_words(ValueError("DOE^JANE"), places=False) == "ValueError"
    missing = FileNotFoundError(2, "No such file", "/spool/DOE")
    assert in_words(missing, places=False) == "FileNotFoundError: No such file"
