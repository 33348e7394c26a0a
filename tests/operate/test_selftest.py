"""What `mapdr selftest` finds: everything that works here, and each part that does not, in words."""

from __future__ import annotations

import re
import ssl
import sys
from collections.abc import Callable, Mapping
from importlib import metadata, resources
from typing import Any

import pytest
import xxhash
from click.testing import CliRunner

from mapdr import _fast
from mapdr.kernel.registry import BUILTIN, Registry
from mapdr.operate import selftest as testing
from mapdr.operate.selftest import PartTest, selftest
from mapdr.transform.codecs import exercise, samples
from mapdr.transform.codecs.table import installed
from mapdr_cli.main import main

MARK = "QXNAMEQX"


def by_name(tests: list[PartTest]) -> Mapping[tuple[str, str], PartTest]:
    found = {(each.part, each.name): each for each in tests}
    assert len(found) == len(tests)
    return found


def test_everything_works_here() -> None:
    tests = by_name(list(selftest()))
    assert not [each for each in tests.values() if not each.ok]
    assert {name for part, name in tests if part == "codecs"} == {row.name for row in installed(Registry())}
    assert {name for part, name in tests if part == "stages"} >= {" ".join(each) for each in BUILTIN}
    assert tests["regions", "ultrasound"].text == "1 entry"
    read = [each for (part, _), each in tests.items() if part == "codecs" and each.text.startswith("read")]
    assert len(read) == len(samples.STREAMS), "every syntax is read, none passed over"
    assert tests["codecs", "JPEG 2000"].text == "read and written with loss"
    files = len(list((resources.files("mapdr_web") / "static").iterdir()))
    assert tests["page", "files"].text == f"{files} files", "no file of the page is there for nothing"


def test_the_program_says_so_and_ends_well() -> None:
    done = CliRunner().invoke(main, ["selftest"])
    assert done.exit_code == 0
    assert re.search(r"all \d+ tests passed", done.output)


def test_a_decoder_that_gives_other_values_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    for uid in samples.STREAMS:
        stream, bits, near = samples.STREAMS[uid]
        monkeypatch.setitem(exercise.STREAMS, uid, (stream, bits, near))
    right = samples.frame()
    monkeypatch.setattr(exercise, "frame", lambda: right + 100)
    failed = [each for each in exercise.exercise(Registry()) if each.failed]
    assert {each.name for each in failed} >= {"RLE Lossless", "JPEG Baseline", "JPEG 2000", "JPEG XL"}


def test_a_codec_that_refuses_is_found_and_quotes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: object, *args: object, **more: object) -> bytes:
        raise ValueError(MARK)

    monkeypatch.setattr("mapdr.transform.codecs.jpeg2000.Jpeg2000.encode", refuse)
    tests = [each for each in testing._codecs() if not each.ok]
    assert {each.name for each in tests} == {"JPEG 2000 Lossless", "JPEG 2000"}
    assert all("cannot be written" in each.text for each in tests)
    assert MARK not in str(tests)


def _raise(*args: object, **more: object) -> Any:
    raise OSError(5, "Input/output error")


@pytest.mark.parametrize(
    ("target", "name", "part", "test"),
    [
        (testing.Store, "open", "libraries", "SQLite"),
        (ssl, "create_default_context", "libraries", "TLS"),
        (xxhash, "xxh3_128", "libraries", "checksums"),
        (testing.metadata, "version", "stages", "entry points"),
        (testing, "page_factory", "page", "stage"),
        (testing._command_py, "command_elements", "hot paths", "compiled and plain"),
    ],
)
def test_a_part_that_fails_is_named_and_the_others_are_tried(
    monkeypatch: pytest.MonkeyPatch, target: object, name: str, part: str, test: str
) -> None:
    monkeypatch.setattr(testing, "exercise", lambda registry: iter(()))
    monkeypatch.setattr(target, name, _raise)
    tests = by_name(list(selftest()))
    assert [key for key, each in tests.items() if not each.ok] == [(part, test)]
    assert tests[part, test].text == "Input/output error"
    done = CliRunner().invoke(main, ["selftest"])
    assert done.exit_code == 1
    assert f"FAILED {part}, {test}: Input/output error" in done.output
    assert f"1 of {len(tests)} tests failed" in done.output


def test_a_whole_part_that_cannot_be_tried_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testing, "exercise", _raise)
    assert PartTest("codecs", "", False, "Input/output error") in list(selftest())


@pytest.mark.parametrize("frozen", [False, True])
def test_a_frozen_program_without_its_hot_paths_fails(monkeypatch: pytest.MonkeyPatch, frozen: bool) -> None:
    monkeypatch.setattr(sys, "frozen", frozen, raising=False)
    monkeypatch.setitem(_fast.BACKENDS, "P-DATA", "python")
    tests = by_name(list(testing._hot_paths()))
    assert tests["hot paths", "P-DATA"].ok is not frozen


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda: "9.9", "the installation says that it is 9.9"),
        (lambda: None, "plug-ins would not be found"),
    ],
)
def test_an_installation_that_does_not_know_itself_is_told(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[], str | None], said: str
) -> None:
    version = change()
    if version is None:
        monkeypatch.setattr(testing.metadata, "entry_points", lambda group: metadata.EntryPoints())
    else:
        monkeypatch.setattr(testing.metadata, "version", lambda name: version)
    tests = by_name(list(testing._stages()))
    assert said in tests["stages", "entry points"].text


def test_a_file_that_the_page_names_and_lacks_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    (tmp_path / "static").mkdir()
    (tmp_path / "static/index.html").write_text('<script src="/static/main.js"></script>')
    (tmp_path / "static/main.js").write_text('import { x } from "./gone.js";')
    monkeypatch.setattr(testing.resources, "files", lambda name: tmp_path)
    assert by_name(list(testing._page()))["page", "files"] == PartTest(
        "page", "files", False, "gone.js is not there"
    )
