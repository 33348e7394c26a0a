"""From a configuration to a plan: what is wrong between tables."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydantic import Field

from mapdr.config.read import read_text
from mapdr.kernel.finding import Finding
from mapdr.kernel.item import Source
from mapdr.kernel.registry import BUILTIN, Registry
from mapdr.kernel.stage import Endpoint, Factory, StageConfig
from mapdr.node.configuration import examine
from mapdr.node.plan import Plan, make_plan, own_host


class Receive(StageConfig):
    host: str = "0.0.0.0"
    port: int = Field(ge=0)


class Egress(StageConfig):
    ae_title: str = "PACS"
    host: str = "192.0.2.1"
    port: int = 104


class Folder(StageConfig):
    path: str


FACTORIES = {
    ("receive", "dicom"): Factory(
        "receive", "dicom", Receive, print, listens=lambda config: Endpoint(config.host, config.port)
    ),
    ("receive", "folder"): Factory(
        "receive", "folder", Folder, print, lambda config: (f"folder:{config.path}",)
    ),
    ("egress", "dicom"): Factory(
        "egress",
        "dicom",
        Egress,
        print,
        peer=lambda config: Endpoint(config.host, config.port, config.ae_title),
    ),
    ("egress", "folder"): Factory(
        "egress", "folder", Folder, print, lambda config: (f"folder:{config.path}",)
    ),
}


@pytest.fixture
def registry(monkeypatch):
    modules = {}
    for (kind, type_), factory in FACTORIES.items():
        module = ModuleType(f"mapdr_plan_{kind}_{type_}")
        module.STAGE = factory
        monkeypatch.setitem(sys.modules, module.__name__, module)
        modules[kind, type_] = module.__name__
    return Registry(modules)


def plan_of(registry: Registry, text: str, **given) -> Plan:
    loaded = read_text(text, registry)
    assert loaded.config is not None
    return make_plan(loaded.config, registry, **given)


def whats(plan: Plan) -> list[str]:
    return [f"{'.'.join(map(str, each.place))}: {each.what}" for each in plan.problems]


def receiver(name: str, port: int, host: str = "0.0.0.0") -> str:
    return f'[receive.{name}]\ntype = "dicom"\nport = {port}\nhost = "{host}"\n'


def destination(name: str, port: int, host: str) -> str:
    return f'[egress.{name}]\ntype = "dicom"\nport = {port}\nhost = "{host}"\n'


def test_a_plan_has_what_shall_run(registry):
    plan = plan_of(
        registry,
        receiver("ct", 104)
        + destination("pacs", 104, "192.0.2.1")
        + '[[rule]]\nname = "r"\nwhen = { Modality = "CT" }\nsend_to = ["pacs"]\n',
    )
    assert plan.problems == ()
    assert plan.receivers["ct"].claims == ("tcp:104",)
    assert plan.receivers["ct"].factory is FACTORIES["receive", "dicom"]
    assert plan.receivers["ct"].endpoint == Endpoint("0.0.0.0", 104)
    assert plan.destinations["pacs"].config == Egress(host="192.0.2.1", port=104)
    assert plan.destinations["pacs"].endpoint == Endpoint("192.0.2.1", 104, "PACS")
    assert plan.destinations["pacs"].claims == ()
    assert plan.router.wanted == {(0x00080060,)}
    assert plan.recipes == plan.router.recipes
    assert list(plan.recipes.values()) == [{"steps": []}]


def test_one_resource_has_one_owner(registry):
    text = receiver("a", 104) + receiver("b", 104) + receiver("c", 0) + receiver("d", 0)
    assert whats(plan_of(registry, text)) == ["receive.b.port: tcp:104 is already taken by receive.a"]
    text = '[receive.in]\ntype = "folder"\npath = "x"\n[egress.out]\ntype = "folder"\npath = "x"\n'
    assert whats(plan_of(registry, text)) == ["egress.out: folder:x is already taken by receive.in"]


@pytest.mark.parametrize(
    ("bound", "port", "host", "own"),
    [
        ("0.0.0.0", 104, "127.0.0.1", True),
        ("0.0.0.0", 104, "localhost", True),
        ("127.0.0.1", 104, "localhost", True),
        ("::", 104, "10.0.0.5", True),
        ("10.0.0.5", 104, "10.0.0.5", True),
        ("10.0.0.5", 104, "127.0.0.1", False),
        ("0.0.0.0", 104, "192.0.2.1", False),
        ("0.0.0.0", 105, "127.0.0.1", False),
        ("0.0.0.0", 0, "127.0.0.1", False),
    ],
)
def test_a_destination_is_not_ones_own_receiver(registry, bound, port, host, own):
    plan = plan_of(
        registry,
        receiver("a", port, bound) + destination("p", 104, host),
        is_own=lambda name: name in {"127.0.0.1", "localhost", "10.0.0.5"},
    )
    assert bool(plan.problems) is own


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ('type = "dicomweb"\nurl = "http://127.0.0.1:8042/dicom-web"', "url"),
        ('type = "dicomweb"\nurl = "http://localhost:8042"', "url"),
        ('type = "dicomweb"\nurl = "http://127.0.0.1:8043/dicom-web"', ""),
        ('type = "dicomweb"\nurl = "http://192.0.2.1:8042/dicom-web"', ""),
        ('type = "dicomweb"\nurl = "http://127.0.0.1/dicom-web"', "url"),
        ('type = "dicomweb"\nurl = "https://127.0.0.1/dicom-web"', ""),
        ('type = "https"\nurl = "http://127.0.0.1:8042/{SOPInstanceUID}"', "url"),
        ('type = "dicom"\nae_title = "A"\nhost = "127.0.0.1"\nport = 8042', "port"),
    ],
)
def test_a_destination_that_is_ones_own_web_receiver_is_told_at_its_key(table, key):
    text = (
        '[receive.a]\ntype = "dicomweb"\nport = 8042\n'
        '[receive.b]\ntype = "dicomweb"\nport = 80\n'
        f"[egress.cloud]\n{table}\n"
    )
    told = whats(plan_of(Registry(), text, is_own=lambda name: name in {"127.0.0.1", "localhost"}))
    assert [each.partition(":")[0] for each in told] == ([f"egress.cloud.{key}"] if key else [])


def test_a_broken_stage_is_still_a_known_name(registry):
    plan = plan_of(
        registry,
        '[egress.pacs]\ntype = "zzz"\n[[rule]]\nname = "r"\nwhen = {}\nsend_to = ["pacs"]\n',
    )
    assert plan.problems == ()
    assert plan.destinations == {}


@pytest.mark.parametrize(
    ("host", "address", "left_out"),
    [
        ("192.0.2.7", "192.0.2.7", True),
        ("192.0.2.7", "192.0.2.8", False),
        ("localhost", "127.0.0.1", True),
        ("pacs.example", "192.0.2.9", True),
        ("other.example", "192.0.2.9", False),
    ],
)
def test_the_router_knows_who_a_destination_is(registry, host, address, left_out):
    plan = plan_of(
        registry,
        destination("pacs", 104, host) + '[[rule]]\nname = "r"\nwhen = {}\nsend_to = ["pacs"]\n',
        resolve=lambda name: {"pacs.example": ("192.0.2.9",)}.get(name, ()),
    )
    routing = plan.router.route(Nothing(), Source("a", "PACS", "MAPDR", address))
    assert bool(routing.returned) is left_out


def test_own_host():
    assert own_host("127.0.0.1")
    assert own_host("localhost")
    assert own_host("::1")
    assert own_host("0.0.0.0")
    assert not own_host("192.0.2.1")
    assert not own_host("2001:db8::1")
    assert not own_host("pacs.example")


class Nothing:
    pixel_offset = None

    def texts(self, path):
        return ()

    def text(self, path):
        return ""

    def has(self, path):
        return False


def failing(config: object) -> Any:
    raise KeyError("QXSECRETQX")


@pytest.mark.parametrize("ability", ["peer", "resources", "faults"])
def test_a_plugin_that_fails_over_its_configuration_is_told_and_the_rest_is_planned(
    tmp_path: Path, ability: str
) -> None:
    (tmp_path / "mapdr.toml").write_text(
        '[node]\ndata = "data"\n[egress.bad]\ntype = "broken"\n[egress.good]\ntype = "small"\n'
    )
    modules = dict(BUILTIN)
    for name, kept in (("broken", {ability: failing}), ("small", {})):
        module = sys.modules[f"mapdr_plan_{name}"] = ModuleType(f"mapdr_plan_{name}")
        module.STAGE = Factory("egress", name, StageConfig, print, **kept)
        modules["egress", name] = f"mapdr_plan_{name}"
    checked = examine(tmp_path / "mapdr.toml", Registry(modules), surroundings=True)
    assert checked.plan is not None
    assert "good" in checked.plan.destinations
    (told,) = checked.problems
    assert (told.path, told.cure) == ("egress.bad", "report it to who wrote that type")
    assert told.what.startswith("fails over its configuration: internal error: KeyError")
    assert "QXSECRETQX" not in str(told)


def test_a_plugin_s_doubts_are_warnings_and_so_is_that_it_fails_over_them(tmp_path: Path) -> None:
    (tmp_path / "mapdr.toml").write_text('[egress.bad]\ntype = "broken"\n[egress.good]\ntype = "small"\n')
    modules = dict(BUILTIN)
    doubted = Finding(("url",), "is odd", "write another")
    for name, doubts in (("broken", failing), ("small", lambda config: [doubted])):
        module = sys.modules[f"mapdr_doubt_{name}"] = ModuleType(f"mapdr_doubt_{name}")
        module.STAGE = Factory("egress", name, StageConfig, print, doubts=doubts)
        modules["egress", name] = f"mapdr_doubt_{name}"
    checked = examine(tmp_path / "mapdr.toml", Registry(modules), surroundings=True)
    told = {problem.path: problem for problem in checked.warnings}
    assert told["egress.good.url"].what == "is odd"
    assert "KeyError" in told["egress.bad"].what
    assert "QXSECRETQX" not in str(told)


def test_what_the_steps_of_a_rule_doubt_is_warned_of_with_its_place(tmp_path: Path) -> None:
    rule = '[[rule]]\nname = "r"\nsend_to = []\ncompress = { to = "jpeg", ratio = 10, color = "ybr" }\n'
    (tmp_path / "mapdr.toml").write_text(rule)
    checked = examine(tmp_path / "mapdr.toml", Registry(), surroundings=True)
    (told,) = (each for each in checked.warnings if "compress" in each.path)
    assert (told.path, told.line) == ('rule "r".compress.color', 4)
    assert "no effect" in told.what
