"""The table of codecs says what the code does."""

from __future__ import annotations

from mapdr.transform.codecs import table
from mapdr.transform.codecs.jpeg2000 import LOSSLESS_UID, LOSSY_UID
from mapdr.transform.codecs.worker import SYNTAXES


def test_what_the_table_decodes_is_what_the_worker_decodes() -> None:
    assert {each.uid for each in table() if not each.decode} == SYNTAXES


def test_what_the_table_encodes_is_what_the_step_makes() -> None:
    assert {each.uid for each in table() if not each.encode} == {LOSSLESS_UID, LOSSY_UID}


def test_everything_else_has_a_reason() -> None:
    assert all(each.encode for each in table() if each.uid not in (LOSSLESS_UID, LOSSY_UID))
