"""A first configuration, and everything that is wrong with one."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mapdr.net.host import check_host
from mapdr_cli.main import main
from paper.nodes import NodeFolder


def _invoke(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


def test_what_init_writes_has_no_problem(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "mapdr.toml"
    result = _invoke(
        "init", "--config", str(path), "--to", "tele=TELE PACS".replace(" ", "") + "@10.1.2.3:104"
    )
    assert result.exit_code == 0, result.output
    assert "[egress.tele]" in path.read_text()
    result = _invoke("check", "--config", str(path))
    assert result.exit_code == 0, result.output
    assert "no problem; 1 receiver, 1 destination, 0 webhooks" in result.output


def test_init_keeps_what_is_there_unless_forced(tmp_path: Path) -> None:
    path = tmp_path / "mapdr.toml"
    path.write_text("mine")
    assert _invoke("init", "--config", str(path)).exit_code == 1
    assert path.read_text() == "mine"
    assert _invoke("init", "--config", str(path), "--force").exit_code == 0
    assert path.read_text() != "mine"


@pytest.mark.parametrize("text", ["nonsense", "A@h", "A@h:0", "A@h:70000", "@h:104", "A B@h:104"])
def test_a_destination_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mapdr.toml"
    assert _invoke("init", "--config", str(path), "--to", text).exit_code == 2
    assert not path.exists()


def test_check_prints_every_problem_with_its_line_and_exits_2(node: NodeFolder) -> None:
    text = node.config.read_text()
    text = text.replace('send_to = ["telepacs"]', 'send_to = ["telepac"]').replace("port = 1\n", "prt = 1\n")
    node.config.write_text(text)
    result = node.mapdr("check")
    assert result.exit_code == 2
    begin = f"{node.config}:"
    lines = [line.removeprefix(begin) for line in result.output.splitlines() if line.startswith(begin)]
    numbered = {int(line.split()[0]): line for line in lines if line[0].isdigit()}
    wrong = text.splitlines()
    assert any("prt" in wrong[number - 1] for number in numbered)
    assert any("telepac" in wrong[number - 1] and "telepacs" in line for number, line in numbered.items())


def test_check_as_json(node: NodeFolder) -> None:
    assert json.loads(node.mapdr("check", "--json").output)["problems"] == []
    node.config.write_text("[nod]\n")
    result = node.mapdr("check", "--json")
    assert result.exit_code == 2
    assert json.loads(result.output)["problems"][0]["line"] == 1


@pytest.mark.parametrize("command", ["run", "status", "top", "studies", "echo", "retry"])
def test_every_command_refuses_a_wrong_configuration(node: NodeFolder, command: str) -> None:
    node.config.write_text('[egress.x]\ntype = "dicon"\n')
    result = node.mapdr(command)
    assert result.exit_code == 2
    assert "mapdr.toml:2 egress.x.type" in result.output


def _found(node: NodeFolder, **changes: str) -> list[str]:
    """What `check` says of the usual configuration, without the path, after these replacements."""
    text = node.config.read_text()
    for what, new in changes.items():
        old = {"receiver": "port = 11112", "destination": "port = 1\n", "data": 'data = "data"'}[what]
        assert old in text
        text = text.replace(old, f"{new}\n")
    node.config.write_text(text)
    result = node.mapdr("check")
    found = [line.removeprefix(f"{node.config}:") for line in result.stderr.splitlines()[:-1]]
    assert result.exit_code == (2 if found else 0), result.output
    if found:
        assert node.mapdr("run", "--plain").stderr.splitlines() == result.stderr.splitlines()[:-1]
    assert not list(node.config.parent.glob("data*/*")), "nothing is made by looking, or by being refused"
    return found


def test_a_secret_that_is_not_there_is_found(node: NodeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RIS_SECRET", raising=False)
    hook = """
[webhook.ris]
url = "http://127.0.0.1:9/x"
on = ["study.delivered"]
secret = "env:RIS_SECRET"
headers = { Authorization = "file:token.txt" }
"""
    node.config.write_text(node.config.read_text() + hook)
    end = len(node.config.read_text().splitlines())
    assert _found(node) == [
        f"{end - 1} webhook.ris.secret: the secret env:RIS_SECRET is empty or not set; "
        "set the variable RIS_SECRET where mapdr runs",
        f"{end} webhook.ris.headers.Authorization: the secret file:token.txt cannot be read: "
        "No such file or directory; put it into that file, readable for who runs mapdr",
    ]
    monkeypatch.setenv("RIS_SECRET", "s3cret")
    (node.config.parent / "token.txt").write_text("t0ken")
    assert _found(node) == []


def test_a_key_that_is_not_there_can_be_made(node: NodeFolder) -> None:
    step = '[[rule]]\nname = "t"\nwhen = {}\nsend_to = []\n'
    step += 'deidentify = { profile = "basic", key = "file:data/keys/t.key" }\n'
    node.config.write_text(node.config.read_text() + step)
    assert [each.partition("; ")[2] for each in _found(node)] == [
        "make it with: mapdr key new t; or put one there that you have"
    ]


def test_who_only_looks_needs_no_secret(used: NodeFolder) -> None:
    hook = '[webhook.ris]\nurl = "http://h/x"\non = ["study.delivered"]\nsecret = "env:NOWHERE_TO_BE_FOUND"\n'
    used.config.write_text(used.config.read_text() + hook)
    assert used.mapdr("status").exit_code == 0


def test_tls_files_that_cannot_be_used_are_found(node: NodeFolder) -> None:
    folder = node.config.parent
    (folder / "text.pem").write_text("nothing of the kind")
    assert _found(
        node,
        receiver='port = 11112\ntls = { cert = "no.pem", key = "text.pem" }',
        destination='port = 1\ntls = { ca = "text.pem", cert = "text.pem" }',
    ) == [
        "11 receive.modalities.tls.cert: names a file that does not exist; "
        "name a file that is there; a relative path starts from the configuration's folder",
        "19 egress.telepacs.tls.ca: holds no certificate that can be read; use a file in PEM form",
        "19 egress.telepacs.tls.cert: cannot be used without its key; "
        "add key = ...; use files in PEM form, the key without a passphrase",
    ]


def test_a_host_that_is_elsewhere_is_found(node: NodeFolder) -> None:
    assert _found(
        node, receiver='port = 11112\n[receive.b]\ntype = "dicom"\nhost = "203.0.113.9"\nport = 104'
    ) == [
        "13 receive.b.host: is not an address of this machine; "
        'write one of its own, or "0.0.0.0" for all of them'
    ]


def test_a_database_that_is_not_available_is_found(node: NodeFolder) -> None:
    assert _found(node, data='database = "postgresql+psycopg://mapdr@db/mapdr"') == [
        "3 node.database: names PostgreSQL, which is not available: "
        "this version comes with no driver for it; "
        'write database = "sqlite", or leave the line out'
    ]


def test_a_data_folder_that_cannot_be_is_found(node: NodeFolder) -> None:
    (node.config.parent / "file").write_text("")
    assert _found(node, data='data = "file/data"') == [
        f"3 node.data: cannot be made: {node.config.parent / 'file'} is not a folder; name another folder"
    ]


def test_a_data_folder_that_cannot_be_written_is_found(
    node: NodeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode, **more: not mode & os.W_OK)
    (line,) = _found(node)
    assert line.startswith("3 node.data: cannot be made: ")


def test_an_empty_configuration_is_a_problem_and_a_partial_one_a_warning(node: NodeFolder) -> None:
    whole = node.config.read_text()
    node.config.write_text("")
    result = node.mapdr("check")
    assert result.exit_code == 2
    assert "holds no receiver, no destination and no rule" in result.stderr
    assert node.mapdr("run").exit_code == 2
    node.config.write_text(whole.partition("[[rule]]")[0])
    result = node.mapdr("check")
    assert result.exit_code == 0
    assert result.stderr.startswith(f"warning: {node.config}: holds no rule: every image stays here")


def test_a_modality_that_is_none_is_a_warning(node: NodeFolder) -> None:
    text = node.config.read_text()
    node.config.write_text(text.replace('"MR"]', '"mr", "MRT", "RTSTRUKT"]').replace('= "CT" }', '= "C?" }'))
    line = 1 + next(n for n, row in enumerate(node.config.read_text().splitlines()) if "RTSTRUKT" in row)
    result = node.mapdr("check")
    assert result.exit_code == 0
    place = f'warning: {node.config}:{line} rule "CT and MR to the archive".when.Modality'
    assert result.stderr.splitlines() == [
        f'{place}: "MRT" is not a modality that DICOM defines; '
        "see PS3.3, C.7.3.1.1.1; keep it if the senders use it",
        f'{place}: "RTSTRUKT" is not a modality that DICOM defines; did you mean "RTSTRUCT"?',
        f'{place}: "mr" is not a modality that DICOM defines; did you mean "MR"?',
    ]
    assert len(json.loads(node.mapdr("check", "--json").stdout)["warnings"]) == 3


def test_the_file_is_named_as_it_was_given(node: NodeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    node.config.write_text("[nod]\n")
    monkeypatch.chdir(node.config.parent.parent)
    given = str(Path(node.config.parent.name) / "mapdr.toml")
    assert _invoke("check", "--config", given).stderr.startswith(f"{given}:1 nod: unknown key")
    monkeypatch.chdir(node.config.parent)
    assert _invoke("check").stderr.startswith("mapdr.toml:1 nod: unknown key")


def _warnings(node: NodeFolder, old: str, new: str) -> list[str]:
    """The warnings about the usual configuration with `new` for `old`, without the path."""
    text = node.config.read_text()
    assert old in text
    node.config.write_text(text.replace(old, new))
    result = node.mapdr("check")
    assert result.exit_code == 0, result.output
    return [line.removeprefix(f"warning: {node.config}:") for line in result.stderr.splitlines()]


def test_a_destination_that_no_rule_names_is_a_warning(node: NodeFolder) -> None:
    more = (
        '[egress.old]\ntype = "dicom"\nae_title = "OLD"\nhost = "10.1.2.4"\nport = 104\n\n[egress.telepacs]'
    )
    (line,) = _warnings(node, "[egress.telepacs]", more)
    assert line.endswith(
        "egress.old: no rule sends to it: no image goes there; "
        'add "old" to the send_to of a rule, or leave it out'
    )


def test_what_has_no_effect_on_a_step_is_a_warning(node: NodeFolder) -> None:
    old = 'compress = { to = "jpeg2000-lossless" }'
    (line,) = _warnings(node, old, 'compress = { to = "jpeg2000-lossless", fallback = "park" }')
    assert line.endswith(
        ".compress.fallback: has no effect: without loss no limit can fail; "
        "remove it, or name a method and a target with loss"
    )


def test_rules_behind_one_that_takes_all_and_stops_are_a_warning(node: NodeFolder) -> None:
    all_of_them = '[[rule]]\nname = "all"\nwhen = {}\nsend_to = ["telepacs"]\nstop = true\n\n[[rule]]'
    text = node.config.read_text()
    node.config.write_text(text.replace("[[rule]]", all_of_them, 1))
    result = node.mapdr("check")
    assert 'rule "all".stop: takes every image and ends the rules' in result.stderr
    node.config.write_text(text + all_of_them.removesuffix("[[rule]]"))
    assert "ends the rules" not in node.mapdr("check").stderr, "the last rule may"


def test_a_silence_that_nobody_tells_of_is_a_warning(node: NodeFolder) -> None:
    hook = (
        '[webhook.night]\nurl = "https://ris.example/"\non = ["disk.low", "source.back", "source.silent"]\n'
    )
    (line,) = _warnings(node, "[egress.telepacs]", f"{hook}\n[egress.telepacs]")
    assert line.endswith(
        "webhook.night.on: names source.silent, which no receiver tells: none has silent_after; "
        'add silent_after = "4 h" to [receive.NAME], or leave it out'
    )
    assert _warnings(node, "port = 11112", 'port = 11112\nsilent_after = "4 h"') == []


def test_a_reserve_that_is_used_up_at_once_or_more_than_the_disk_has_is_a_warning(node: NodeFolder) -> None:
    (line,) = _warnings(node, 'min_free = "64 MB"', 'min_free = "63 MB"')
    assert line.startswith("4 node.min_free: is less than images bring within half a second")
    assert _warnings(node, 'min_free = "63 MB"', 'min_free = "64 MB"') == []
    (line,) = _warnings(node, 'min_free = "64 MB"', 'min_free = "9000 TB"')
    assert line.startswith("4 node.min_free: is more than the disk of the data folder has (")
    (line,) = _warnings(node, 'min_free = "9000 TB"', 'min_free = "64 MB"\nlow_free = "9000 TB"')
    assert line.startswith("5 node.low_free: the disk of the data folder has ")


@pytest.mark.parametrize(
    ("secret", "warned"), [("hunter2", "7 characters"), ("x", "1 character:"), ("k" * 16, "")]
)
def test_a_secret_of_a_webhook_that_can_be_guessed_is_a_warning(
    node: NodeFolder, monkeypatch: pytest.MonkeyPatch, secret: str, warned: str
) -> None:
    hook = '[webhook.ris]\nurl = "https://ris/"\non = ["study.received"]\nsecret = "env:RIS_KEY"\n\n'
    monkeypatch.setenv("RIS_KEY", secret)
    text = node.config.read_text()
    head, _, rules = text.partition("[[rule]]")
    node.config.write_text(head + hook + "[[rule]]" + rules)
    result = node.mapdr("check")
    assert result.exit_code == 0, result.output
    if warned:
        assert f"webhook.ris.secret: holds {warned}" in result.stderr
        assert "hunter2" not in result.output
    else:
        assert "secret" not in result.stderr


def test_a_webhook_s_way_is_checked_as_that_of_a_destination(node: NodeFolder) -> None:
    head, _, rules = node.config.read_text().partition("[[rule]]")
    hook = '[webhook.ris]\nurl = "%s://ris/"\non = ["study.received"]\n%s\n\n[[rule]]'
    node.config.write_text(head + hook % ("http", "") + rules)
    result = node.mapdr("check")
    assert result.exit_code == 0, result.output
    said = "webhook.ris.url: sends without TLS: who sits on the way reads the messages"
    assert said in result.stderr.replace("\n", " ")
    node.config.write_text(head + hook % ("https", 'tls = { ca = "no.pem" }') + rules)
    result = node.mapdr("check")
    assert result.exit_code == 2
    assert "webhook.ris.tls.ca: names a file that does not exist" in result.stdout + result.stderr


def test_a_pattern_in_place_of_an_ae_title_is_a_warning(node: NodeFolder) -> None:
    allow = (
        'allow = [{ ae_title = "CT1" }, { ae_title = "MR*" }, { host = "10.1.2.0/24" }, { ae_title = "?" }]'
    )
    lines = _warnings(node, "port = 11112", f"port = 11112\n{allow}")
    assert lines == [
        f"11 receive.modalities.allow[{index}].ae_title: is compared whole: * and ? stand for themselves "
        "there; write each AE title whole, or let in by host alone"
        for index in (1, 3)
    ]


@pytest.mark.parametrize(
    ("written", "meant"), [('"2026-01-31"', "2026-01-31"), ('["20260101", "2026/1/31"]', "2026-01-31")]
)
def test_a_date_written_as_a_text_is_a_warning(node: NodeFolder, written: str, meant: str) -> None:
    (line,) = _warnings(node, 'Modality = "CT"', f"StudyDate = {written}")
    assert line.endswith(
        f"StudyDate: is a text that no date of a data set has; write {meant}, without quotes"
    )


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("127.0.0.300", "is not an IPv4 address"),
        ("10.1", "is not an IPv4 address"),
        ("pacs.clinic.example:104", "holds a port; write the port as port = ..."),
        ("http://pacs", "is not a host; write a name or an address"),
        ("pacs..example", "is not a host; write a name or an address"),
        ("", "is not a host; write a name or an address"),
    ],
)
def test_a_host_that_cannot_be_is_found(node: NodeFolder, host: str, said: str) -> None:
    text = node.config.read_text()
    node.config.write_text(text.replace('host = "127.0.0.1"', f'host = "{host}"', 1))
    assert text != node.config.read_text()
    result = node.mapdr("check")
    assert result.exit_code == 2
    assert f".host: {said}" in result.stderr


@pytest.mark.parametrize("host", ["pacs", "pacs.clinic.example.", "PACS_1", "10.1.2.3", "fe80::1%eth0"])
def test_a_host_that_can_be_is_taken(host: str) -> None:
    assert check_host(host) == host
