"""The nearest name to a misspelt one."""

from __future__ import annotations

from mapdr.kernel.finding import instead, nearest


def test_the_nearest_name():
    known = ("ae_title", "host", "port", "Modality")
    assert nearest("prot", known) == "port"
    assert nearest("modality", known) == "Modality"
    assert nearest("AE_Title", known) == "ae_title"
    assert nearest("zzz", known) is None


def test_instead_lists_what_is_known():
    assert instead("prot", {"port", "host"}) == 'did you mean "port"?'
    assert instead("zzz", {"port", "host"}) == "known: host, port"
    assert instead("zzz", (), "receivers") == "receivers: none"
    assert instead("zzz", map(str, range(100, 200))).endswith("110, 111, ...")
