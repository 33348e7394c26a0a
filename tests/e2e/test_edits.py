"""Tag edits change the named elements and nothing else, as DCMTK's dcmdump sees both sides."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from subprocess import TimeoutExpired

import pydicom
import pytest

from mapdr.testing.generator import study
from peers import dcmtk, part10
from peers.node import Node, destination, everything_to
from peers.part10 import StoredObject, in_memory
from peers.rawsender import send_all
from peers.rawsink import RawSink

Line = tuple[tuple[str, ...], str]
"""The tags from the top level down, items included, and what dcmdump shows of the value."""

INSTITUTION, ACCESSION, OTHER_IDS = "(0008,0080)", "(0008,0050)", "(0010,1000)"
EDITS = [
    {"set": "InstitutionName", "to": "Clinic North"},
    {"prefix": "AccessionNumber", "with": "CN-", "if_empty": "skip", "overflow": "truncate"},
    {"remove": "OtherPatientIDs"},
]
LARGEST = 700_000

_LINE = re.compile(r"( *)(\([0-9a-f]{4},[0-9a-f]{4}\)) ")


def parse(lines: list[str]) -> list[Line]:
    """dcmdump's lines without lengths; group lengths and counts within items are left out."""
    found: list[Line] = []
    above: list[str] = []
    for line in lines:
        shown, _, length = line.rpartition(" #")
        matched = _LINE.match(shown)
        assert matched, f"dcmdump shows a line that the test does not understand: {line[:30]!r}"
        assert re.match(r" +(\d+|u/l),", length), f"a line without a length: {line[:30]!r}"
        indent, tag = matched.groups()
        above = [*above[: len(indent) // 2], tag]
        if not tag.endswith(",0000)"):
            found.append((tuple(above), re.sub(r"#=\d+", "", shown[matched.end(2) :].strip())))
    return found


def values(lines: list[Line], tag: str) -> list[str]:
    return [value for path, value in lines if path == (tag,)]


def without(lines: list[Line], *tags: str) -> list[Line]:
    return [(path, value) for path, value in lines if path not in {(tag,) for tag in tags}]


def texts(shown: list[str]) -> list[str]:
    """Values as dcmdump shows them, "SH [text]" or as the bytes of UN, without padding."""
    return [_text(*value.split(" ", 1)) for value in shown]


def _text(vr: str, value: str) -> str:
    if vr != "UN":
        return value.partition("[")[2].rpartition("]")[0].removesuffix(r"\000").strip()
    pairs = re.fullmatch(r"[0-9a-f]{2}(\\[0-9a-f]{2})*", value)
    return bytes.fromhex(value.replace("\\", "")).decode("ascii", "replace").strip() if pairs else ""


@pytest.fixture(scope="module")
def sample(corpus: list[StoredObject]) -> list[StoredObject]:
    """A file of each folder, SOP class and transfer syntax, if it is not large."""
    kinds: dict[tuple[str, str, str], StoredObject] = {}
    for item in corpus:
        # dcmdump shows a directory's offsets on lines of their own.
        if item.path.stat().st_size <= LARGEST and not item.path.name.startswith("DICOMDIR"):
            kinds.setdefault((item.path.parent.name, item.sop_class_uid, item.transfer_syntax_uid), item)
    one_of_each: dict[str, StoredObject] = {}
    for item in kinds.values():
        one_of_each.setdefault(item.sop_instance_uid, item)
    return list(one_of_each.values())


def dump(path: Path, syntax: str, data: bytes) -> list[Line] | None:
    """What dcmdump sees; None if it cannot read the data set."""
    try:
        return parse(dcmtk.dcmdump(part10.write(path, syntax, data)))
    except (AssertionError, TimeoutExpired):
        return None


@pytest.mark.peer("dcmdump")
@pytest.mark.timeout(240)
def test_only_the_named_elements_differ(
    sample: list[StoredObject], make_node: Callable[..., Node], tmp_path: Path
) -> None:
    with RawSink() as sink:
        node = make_node(
            egress={"pacs": destination(sink.port)}, rules=[everything_to("pacs", tags=EDITS)]
        ).start()
        statuses = send_all(node.port, sample)
        taken = [item for item, code in statuses.items() if code == 0]
        node.when_settled(len(taken), 120)
        arrived = {request.sop_instance_uid: request for request in sink.received}
    assert not [item.path.name for item, code in statuses.items() if code and not part10.is_incomplete(item)]

    def difference(number: int, item: StoredObject) -> str | None:
        """What is wrong with what arrived; None if dcmdump cannot read what was sent."""
        path = tmp_path / str(number)
        before = dump(path, item.transfer_syntax_uid, item.data_set())
        if before is None:
            return None
        if item.sop_instance_uid not in arrived:
            return "did not arrive"
        request = arrived[item.sop_instance_uid]
        if request.transfer_syntax_uid != item.transfer_syntax_uid:
            return "another transfer syntax"
        return compare(before, dump(path, request.transfer_syntax_uid, request.data))

    with ThreadPoolExecutor(2) as pool:  # dcmdump is a process for each
        different = list(zip(taken, pool.map(difference, range(len(taken)), taken), strict=True))
    assert sum(what is not None for _, what in different) > len(sample) * 0.7
    assert not [(item.path.name, what) for item, what in different if what]


@pytest.mark.timeout(120)
def test_who_is_not_in_the_table_waits_for_it(make_node: Callable[..., Node], tmp_path: Path) -> None:
    """Parked without its value, sent unchanged by nothing; a retry after a reload takes an added line,
    and no table of which a line is another one."""
    table = tmp_path / "ids.csv"
    table.write_text("nobody,R-0\n")
    (image,) = study("CT", seed=81, images=1, size=(32, 32))
    item = in_memory(image)
    with RawSink() as sink:
        edits = [{"map": "PatientID", "file": table.as_posix()}]
        node = make_node(
            egress={"pacs": destination(sink.port)}, rules=[everything_to("pacs", tags=edits)]
        ).start()
        assert set(send_all(node.port, [item]).values()) == {0}
        node.when(lambda status: status["parked"] == 1)
        assert [each["reason"] for each in node.json("deliveries")["deliveries"]] == ["not-in-table"]
        assert not sink.received
        old = pydicom.dcmread(BytesIO(image.part10())).PatientID
        grown = f"nobody,R-0\n{old},R-1\n"
        table.write_text(grown)
        node.command("retry", "--state", "parked", "--yes")
        node.when(lambda status: status["parked"] == 1)  # the table of the start is in use still
        table.write_text(f"{old},R-1\n")
        node.command("reload")
        node.command("retry", "--state", "parked", "--yes")
        node.when(
            lambda _: [each["reason"] for each in node.json("deliveries")["deliveries"]] == ["table-changed"]
        )
        table.write_text(grown)
        node.command("retry", "--state", "parked", "--yes")
        node.when_settled(1)
        (arrived,) = sink.received
    found = pydicom.dcmread(BytesIO(arrived.data), force=True)
    assert found.PatientID == "R-1"


def compare(before: list[Line], after: list[Line] | None) -> str:
    """What is wrong with `after`; empty if only the edits were made."""
    if after is None:
        return "dcmdump cannot read it"
    edited = (INSTITUTION, ACCESSION, OTHER_IDS)
    if without(before, *edited) != without(after, *edited):
        missing = set(without(before, *edited)) ^ set(without(after, *edited))
        return f"other elements differ: {sorted({path for path, _ in missing})[:5]}"
    if texts(values(after, INSTITUTION)) != ["Clinic North"]:
        return "the institution is not set"
    if values(after, OTHER_IDS):
        return "OtherPatientIDs is still there"
    old = texts(values(before, ACCESSION))
    expected = [f"CN-{text}"[:16] for text in old] if any(old) else old
    if texts(values(after, ACCESSION)) != expected:
        return "the accession number is not prefixed"
    return ""


def test_the_comparison_sees_a_difference() -> None:
    before = parse(["(0008,0050) SH [A1]                #   2, 1 AccessionNumber"])
    institution = parse(["(0008,0080) LO [Clinic North]      #  12, 1 InstitutionName"])
    prefixed = parse(["(0008,0050) SH [CN-A1]             #   6, 1 AccessionNumber"])
    other = parse(["(0010,0020) LO [x]                 #   2, 1 PatientID"])
    assert compare(before, prefixed + institution) == ""
    assert compare(before, before + institution)
    assert compare(before, prefixed)
    assert compare(before, prefixed + institution + other)
    assert compare(before, None)
