"""A reload is a transaction: it is whole, or nothing has changed and the answer says why."""

from __future__ import annotations

import errno
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mapdr.node import assembly, configuration
from mapdr.node.assembly import Node
from mapdr.testing.wait import until
from node.conftest import Start
from node.stages import HEAD, MARK, Small, happened, registry, standing
from peers import pdu
from peers.part10 import IMPLICIT
from peers.processes import free_port
from peers.rawsender import RawSender

SMALL = '[egress.pacs]\ntype = "small"\n'


def receiver(port: int, *more: str, name: str = "modalities", host: str = "127.0.0.1") -> str:
    lines = [f"[receive.{name}]", 'type = "dicom"', f'host = "{host}"', f"port = {port}", *more]
    return "\n".join(lines) + "\n"


def echoes(port: int) -> bool:
    try:
        with RawSender(port, [(pdu.VERIFICATION, IMPLICIT)], timeout=5) as sender:
            return sender.echo() == 0
    except OSError:
        return False


def reload(node: Node, path: Path, text: str) -> list[str]:
    path.write_text(HEAD + text)
    return [str(problem) for problem in node.reload(path)]


# --- what fails changes nothing -----------------------------------------------------------------------------


def _taken_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, port: int, stack: list[Any]) -> str:
    other = socket.create_server(("127.0.0.1", 0))
    stack.append(other)
    return receiver(other.getsockname()[1]) + SMALL


def _no_tls_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, port: int, stack: list[Any]) -> str:
    # It is there when the configuration is checked, and gone or another one when it is read.
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_text("no PEM")
    monkeypatch.setattr(configuration, "faults", lambda *_: iter(()))
    return receiver(port, 'tls = { cert = "cert.pem", key = "key.pem" }') + SMALL


def _egress_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, port: int, stack: list[Any]) -> str:
    return receiver(port, "max_associations = 7") + '[egress.new]\ntype = "small"\nfail = "build"\n' + SMALL


def _egress_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, port: int, stack: list[Any]) -> str:
    return receiver(port, "max_associations = 7") + SMALL + 'fail = "start"\n'


def _webhook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, port: int, stack: list[Any]) -> str:
    monkeypatch.setattr(configuration, "faults", lambda *_: iter(()))
    hook = '[webhook.ris]\nurl = "http://127.0.0.1:9/"\non = ["study.delivered"]\nsecret = "file:gone"\n'
    return receiver(port, "max_associations = 7") + SMALL + hook


def _receiver_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, port: int, stack: list[Any]) -> str:
    small = '[receive.folder]\ntype = "small"\nfail = "build"\n'
    return receiver(port, "max_associations = 7") + '[egress.other]\ntype = "small"\n' + SMALL + small


def _full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, port: int, stack: list[Any]) -> str:
    def fail(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    return receiver(port, "max_associations = 7") + '[egress.other]\ntype = "small"\n' + SMALL


def _no_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, port: int, stack: list[Any]) -> str:
    def fail(self: Any, recipes: Any) -> None:
        raise ValueError(MARK)

    monkeypatch.setattr("mapdr.store.index.recipes.Recipes.add", fail)
    return receiver(port, "max_associations = 7") + '[egress.other]\ntype = "small"\n' + SMALL


FAILURES: list[tuple[Callable[..., str], str]] = [
    (_taken_port, "; another program may have the port"),
    (_no_tls_file, "receive.modalities: receive.modalities.tls: cert.pem with key.pem cannot be used: "),
    (_egress_build, "egress.new: internal error: KeyError"),
    (_egress_start, "egress.pacs: internal error: KeyError"),
    (_webhook, "webhook: the secret file:gone cannot be read"),
    (_receiver_build, "receive.folder: internal error: KeyError"),
    (_full_disk, "cannot be taken into use: No space left on device"),
    (_no_index, "cannot be taken into use: internal error: ValueError"),
]


@pytest.mark.parametrize(("break_it", "said"), FAILURES)
def test_what_fails_is_named_and_nothing_has_changed(
    start: Start,
    path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    break_it: Callable[..., str],
    said: str,
) -> None:
    port = free_port()
    node = start(receiver(port) + SMALL)
    before, threads = standing(node), set(threading.enumerate())
    stack: list[Any] = []
    caplog.set_level(logging.DEBUG)
    try:
        with monkeypatch.context() as patch:
            problems = reload(node, path, break_it(tmp_path, patch, port, stack))
    finally:
        for each in stack:
            each.close()
    assert len(problems) == 1
    assert said in problems[0].replace(f"{tmp_path}{os.sep}", "")
    assert "the old configuration" in problems[0]
    assert MARK not in problems[0] + caplog.text
    assert standing(node) == before
    assert set(threading.enumerate()) <= threads
    assert not list((node.plan.node.data / "revisions").glob("*.new"))
    assert echoes(port)
    # What was refused for a reason that is gone is taken the next time.
    assert not reload(node, path, receiver(port) + '[egress.other]\ntype = "small"\n' + SMALL)


def test_a_wrong_configuration_and_one_that_needs_a_restart_are_refused(start: Start, path: Path) -> None:
    node = start(SMALL)
    before = standing(node)
    (wrong,) = reload(node, path, '[egress.pacs]\ntype = "smal"\n')
    assert 'did you mean "small"?' in wrong
    later = "restart the node, if the plug-in was installed since it started"
    (unknown,) = reload(node, path, '[egress.pacs]\ntype = "xyz"\n')
    known = ", ".join(registry().names("egress"))
    assert f'there is no egress "xyz"; known: {known}; {later}' in unknown
    (unknown,) = reload(node, path, SMALL + '[[rule]]\nname = "a"\nwhen = {}\nsend_to = []\nbox = 1\n')
    assert 'rule "a".box: unknown key' in unknown
    assert later in unknown
    path.write_text(HEAD.replace('"data"', '"elsewhere"') + SMALL)
    (fixed,) = node.reload(path)
    assert "cannot be changed while the node runs (data)" in str(fixed)
    assert standing(node) == before


def test_another_file_is_refused_with_the_one_that_the_node_uses(start: Start, path: Path) -> None:
    node = start(SMALL)
    before = standing(node)
    other = path.with_name("other.toml")
    (refused,) = reload(node, other, '[egress.other]\ntype = "small"\n' + SMALL)
    assert f"the node uses {path}" in refused
    assert standing(node) == before
    assert not node.reload(path.parent / ".." / path.parent.name / path.name)


def test_a_node_that_does_not_run_is_not_reloaded(start: Start, path: Path) -> None:
    node = start(SMALL)
    node.stop(time.monotonic() + 10)
    assert "the node does not run" in reload(node, path, SMALL)[0]


def test_the_data_folder_is_the_same_by_whichever_way_it_was_named(
    start: Start, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = start(SMALL)
    monkeypatch.chdir(tmp_path)
    for way in (Path("mapdr.toml"), Path("data/../mapdr.toml"), path):
        assert not node.reload(way), way


# --- what succeeds ------------------------------------------------------------------------------------------


def test_parts_are_added_changed_and_removed_and_the_others_stay(start: Start, path: Path) -> None:
    node = start(SMALL + '[egress.kept]\ntype = "small"\n[receive.a]\ntype = "small"\n')
    kept, hooks = node.deliverers["kept"], node.notifier
    happened.clear()
    text = '[egress.pacs]\ntype = "small"\nnote = "x"\n[egress.kept]\ntype = "small"\n'
    text += '[egress.fresh]\ntype = "small"\n[receive.b]\ntype = "small"\n'
    text += '[webhook.ris]\nurl = "http://127.0.0.1:9/"\non = ["study.delivered"]\n'
    assert not reload(node, path, text)
    assert node.deliverers.keys() == {"pacs", "kept", "fresh"}
    assert node.deliverers["kept"] is kept
    assert node.receivers.keys() == {"b"}
    (told,) = node.store.commands.heartbeats()
    assert told.counters["receivers"].keys() == {"b"}, "who asked for the reload finds what it opened"
    assert node.notifier is not hooks
    assert [verb for name, verb in happened if name == "b"] == ["build", "start"]
    assert [verb for name, verb in happened if name == "a"] == ["stop"]
    assert [verb for name, verb in happened if name == "pacs"] == ["build", "start", "stop"]
    assert not [verb for name, verb in happened if name == "kept"]
    assert node._lifecycle is not None
    names = [name for name, _ in node._lifecycle.parts]
    assert names == [
        "receive.b",
        "store",
        "egress.pacs",
        "egress.kept",
        "egress.fresh",
        "webhooks",
        "upkeep",
    ]
    assert not reload(node, path, "[egress.kept]\ntype = 'small'\n")
    assert node.deliverers == {"kept": kept}
    assert node.receivers == {}


def test_a_reload_reads_the_tables_of_rules_anew(start: Start, path: Path) -> None:
    table = path.parent / "ids.csv"
    rule = '[[rule]]\nname = "a"\nwhen = {}\nsend_to = ["pacs"]\n'
    rule += 'tags = [{ map = "PatientID", file = "ids.csv" }]\n'

    def in_use() -> Any:
        assert node._builder is not None
        (recipe,) = node.plan.recipes
        ((_, editor),) = node._builder._preparer._pipeline(recipe)._header  # type: ignore[attr-defined]
        return editor._edits[0].value.table

    table.write_text("17,R-1\n")
    node = start(SMALL + rule)
    assert in_use() == {"17": "R-1"}
    table.write_text("17,R-2\n")
    assert in_use() == {"17": "R-1"}, "not before a reload"
    assert not reload(node, path, SMALL + rule)
    assert in_use() == {"17": "R-2"}
    table.write_text("17,R-3\n18\n")
    (problem,) = reload(node, path, SMALL + rule)
    assert "line 2 has 1 column" in problem
    assert in_use() == {"17": "R-2"}


def test_the_rules_of_the_new_configuration_are_in_use(start: Start, path: Path) -> None:
    node = start(SMALL)
    before = node.counters()["revision"]
    rule = '[[rule]]\nname = "all"\nwhen = {}\nsend_to = ["pacs"]\n'
    assert not reload(node, path, SMALL + rule)
    after = node.counters()["revision"]
    assert after != before
    assert node.store.spool.reading.revision == after
    assert (node.plan.node.data / "revisions" / f"{after}.toml").is_file()


REGIONS = "[[image]]\nwhen = {}\nblank = [{ x = 0, y = 0, width = 9, height = 9 }]\n"
BLANK = """[[rule]]
name = "all"
when = {}
send_to = ["pacs"]
blank = { regions = "ours.toml" }
"""


def test_a_file_that_a_rule_names_counts_from_a_reload_and_stays_in_the_earlier_revision(
    start: Start, path: Path
) -> None:
    file = path.parent / "ours.toml"
    file.write_text(REGIONS)
    node = start(SMALL + BLANK)
    before, recipes = node.counters()["revision"], node.plan.recipes
    file.write_text(REGIONS.replace("9", "8"))
    assert not reload(node, path, SMALL + BLANK)
    assert node.counters()["revision"] != before
    assert node.plan.recipes != recipes
    file.unlink()
    kept = node._rules_for(before)
    assert kept is not None
    assert kept.recipes == recipes
    assert "image[0]" not in reload(node, path, SMALL + BLANK)[0]


def test_rules_of_an_earlier_revision_that_lack_a_step_are_not_used(
    start: Start, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = start(SMALL + BLANK.replace("ours.toml", "ultrasound"))
    monkeypatch.delitem(node._registry._modules, ("transform", "blank"))
    assert node._rules_for(node.counters()["revision"]) is None


def test_a_receiver_that_changes_keeps_its_port_and_takes_its_new_settings(start: Start, path: Path) -> None:
    port = free_port()
    node = start(receiver(port))
    first = node.receivers["modalities"]
    deaf = threading.Event()
    done = threading.Event()

    def knock() -> None:
        """A peer that connects again and again is never refused."""
        while not done.is_set():
            try:
                socket.create_connection(("127.0.0.1", port), 5).close()
            except ConnectionRefusedError:
                deaf.set()

    knocking = threading.Thread(target=knock)
    knocking.start()
    try:
        for number in range(5):
            assert not reload(node, path, receiver(port, f"max_associations = {10 + number}"))
    finally:
        done.set()
        knocking.join()
    assert node.receivers["modalities"] is not first
    assert not deaf.is_set()
    assert echoes(port)
    assert not reload(node, path, receiver(port, 'called_ae_titles = "any"', 'ae_title = "OTHER"'))
    assert echoes(port)


@pytest.mark.parametrize("there", ["0.0.0.0", "127.0.0.1"])
def test_a_port_moves_to_another_receiver_or_another_address(start: Start, path: Path, there: str) -> None:
    one, two = free_port(), free_port()
    node = start(receiver(one, name="a") + receiver(two, name="b"))
    # Renamed, exchanged, and at another address.
    assert not reload(node, path, receiver(two, name="a") + receiver(one, name="c", host=there))
    assert echoes(one)
    assert echoes(two)
    assert node.receivers["a"].port == two
    assert node.receivers["c"].port == one


def _knock(port: int, calling_ae: str) -> None:
    with pytest.raises((OSError, AssertionError)):
        RawSender(port, [(pdu.VERIFICATION, IMPLICIT)], calling=calling_ae, timeout=5)


def test_who_was_not_let_in_is_known_after_a_reload_that_does_not_let_it_in(start: Start, path: Path) -> None:
    port = free_port()
    node = start(receiver(port, 'allow = [{ ae_title = "CT1" }]'))
    for calling_ae in ("US7", "MR1", "MR1"):
        _knock(port, calling_ae)

    def rejected(name: str = "modalities") -> list[tuple[str, int]]:
        return [(one.calling_ae, one.times) for one in node.receivers[name].describe().rejected]

    until(lambda: rejected() == [("MR1", 2), ("US7", 1)], 5)
    assert not reload(node, path, receiver(port, 'allow = [{ ae_title = "CT1" }]', "max_associations = 7"))
    assert rejected() == [("MR1", 2), ("US7", 1)]
    assert not reload(node, path, receiver(port, 'allow = [{ ae_title = "CT1" }, { ae_title = "MR1" }]'))
    assert rejected() == [("US7", 1)]
    more = 'allow = [{ ae_title = "MR1" }]'
    assert not reload(node, path, receiver(port, more, name="scanners"))
    assert rejected("scanners") == [("US7", 1)]
    (one,) = node.receivers["scanners"].describe().rejected
    assert "[receive.scanners]" in one.cure
    assert not reload(node, path, receiver(port, name="scanners"))
    assert rejected("scanners") == []


def test_a_port_that_was_given_up_is_had_back_when_the_reload_fails(start: Start, path: Path) -> None:
    port = free_port()
    node = start(receiver(port))
    before = standing(node)
    other = '[receive.z]\ntype = "small"\nfail = "build"\n'
    assert reload(node, path, receiver(port, host="0.0.0.0") + other)
    assert standing(node) == before
    assert echoes(port)


def test_signs_of_life_go_on_while_a_reload_drains(
    start: Start, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = start(SMALL)
    inside, go_on = threading.Event(), threading.Event()

    def slow(self: Node, where: Path) -> tuple[()]:
        inside.set()
        assert go_on.wait(30)
        return ()

    monkeypatch.setattr(Node, "_reload", slow)
    beats = 0
    beat = node.store.commands.beat

    def counted(counters: Any) -> None:
        nonlocal beats
        beats += 1
        beat(counters)

    monkeypatch.setattr(node.store.commands, "beat", counted)
    order = node.store.commands.give("reload", {"path": str(path)}, node="north")
    try:
        assert inside.wait(10)
        seen = beats
        for more in (1, 2):
            os.utime(node.running_file, ns=(time.time_ns(),) * 2)  # it is asked for them
            until(lambda: beats >= seen + more, 15, "a sign of life")  # noqa: B023
    finally:
        go_on.set()
    until(lambda: node.store.commands.get(order).done_at is not None, 10, "the answer")


def test_a_part_that_cannot_be_started_is_said_and_the_rest_is_in_use(
    start: Start, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    node = start(SMALL)
    before = node.counters()["revision"]
    text = SMALL + '[receive.late]\ntype = "small"\nfail = "start"\n'
    (said,) = reload(node, path, text)
    assert "taken into use, but receive.late could not be started: internal error: KeyError" in said
    assert "refused" not in caplog.text
    assert "receive.late" in caplog.text
    assert node.counters()["revision"] != before
    assert ("late", "stop") in happened


class Ends:
    """How long each small stage that was stopped had for its drain; `slow` uses all of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, slow: str) -> None:
        self.left: dict[str, float] = {}
        self.inside, self.goes_on = threading.Event(), threading.Event()

        def stop(stage: Small, deadline: float) -> None:
            self.left.setdefault(stage.name, deadline - time.monotonic())
            if stage.name == slow:
                self.inside.set()
                self.goes_on.wait(max(0.0, deadline - time.monotonic()))

        monkeypatch.setattr(Small, "stop", stop)


def test_destinations_deliver_while_receivers_drain_and_have_their_own_time(
    start: Start, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = start('[receive.a]\ntype = "small"\n' + SMALL)
    monkeypatch.setattr(assembly, "DRAIN", 3.0)
    ends = Ends(monkeypatch, "a")
    halted: list[bool] = []
    old = node.deliverers["pacs"]
    halt = old.halt

    def noted() -> None:
        halted.append("a" in ends.left)
        halt()

    monkeypatch.setattr(old, "halt", noted)
    assert not reload(node, path, '[receive.a]\ntype = "small"\nnote = "x"\n' + SMALL + 'note = "x"\n')
    assert halted
    assert all(halted), "a destination took no more images before the receiver had drained"
    assert ends.left["a"] > 0.5
    assert ends.left["pacs"] > 0.5


def test_a_stop_leaves_time_for_all_though_a_reload_drains(
    start: Start, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = start('[receive.a]\ntype = "small"\n[receive.b]\ntype = "small"\n' + SMALL)
    ends = Ends(monkeypatch, "a")
    monkeypatch.setattr(assembly, "DRAIN", 12.0)
    happened.clear()
    told: list[str] = []
    text = '[receive.b]\ntype = "small"\n' + SMALL + 'note = "x"\n'
    reloading = threading.Thread(target=lambda: told.extend(reload(node, path, text)))
    reloading.start()
    assert ends.inside.wait(10)
    node.stop(time.monotonic() + 6)
    ends.goes_on.set()
    reloading.join(20)
    assert node.state == "stopped"
    assert ends.left["b"] > 0.5
    assert ends.left["pacs"] > 0.5
    # Nothing began behind the end.
    assert [verb for name, verb in happened if name == "pacs" and verb == "start"] == ["start"], happened
    assert "the node ends" in told[0]


def test_a_reload_asked_for_during_the_drain_is_answered_at_once(
    start: Start, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = start('[receive.a]\ntype = "small"\n' + SMALL)
    ends = Ends(monkeypatch, "a")
    stopping = threading.Thread(target=node.stop, args=(time.monotonic() + 3,))
    stopping.start()
    assert ends.inside.wait(10)
    assert "the node does not run" in reload(node, path, SMALL)[0]
    assert node.state == "draining", "the answer came while the node drained"
    stopping.join(10)
