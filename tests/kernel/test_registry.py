"""Every stage comes through the same door: available, or unavailable with the reason."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest
from click.testing import CliRunner

import mapdr
from mapdr.config.read import read_text
from mapdr.kernel import registry as registry_module
from mapdr.kernel.errors import Unavailable
from mapdr.kernel.registry import BUILTIN, Registry
from mapdr.kernel.stage import KINDS, Description, Factory, Intake, Settings, StageConfig
from mapdr.operate import doctor
from mapdr.operate.configuration import examine
from mapdr_cli.main import main


class Receiver:
    def start(self) -> None: ...
    def stop(self, deadline: float) -> None: ...
    def describe(self) -> Description:
        return Description()


def build(settings: Settings, config: StageConfig, next: Intake) -> Receiver:
    return Receiver()


def factory(kind: str = "egress", type_: str = "cloud") -> Factory:
    return Factory(kind, type_, StageConfig, build)


@pytest.fixture
def module(monkeypatch):
    def make(name: str, **attributes: object) -> str:
        made = ModuleType(name)
        made.__dict__.update(attributes)
        monkeypatch.setitem(sys.modules, name, made)
        return name

    return make


@pytest.fixture
def points(monkeypatch):
    """Lets a test say which entry points are installed."""
    installed: list[EntryPoint] = []
    monkeypatch.setattr(
        registry_module,
        "entry_points",
        lambda group: [point for point in installed if point.group == group],
    )
    monkeypatch.delenv("MAPDR_LOAD_PLUGINS", raising=False)
    return installed


def test_a_stage_is_found_by_kind_and_type(module, points):
    stage = factory()
    found = Registry({("egress", "cloud"): module("fake_cloud", STAGE=stage)})
    assert found.names("egress") == ["cloud"]
    assert found.names("receive") == []
    assert found.factory("egress", "cloud") is stage
    plugin = found.plugin("egress", "cloud")
    assert (plugin.origin, plugin.version, plugin.reason) == ("mapdr", mapdr.__version__, "")
    assert found.plugin("egress", "cloud") is plugin


def test_nothing_is_imported_before_it_is_asked_for(points):
    found = Registry({("egress", "cloud"): "mapdr_no_such_module"})
    assert found.names("egress") == ["cloud"]
    assert "No module named 'mapdr_no_such_module'" in found.plugin("egress", "cloud").reason


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({}, "AttributeError: module 'fake_cloud' has no attribute 'STAGE'"),
        ({"STAGE": "text"}, "it does not offer a Factory of this kind"),
        ({"STAGE": factory("receive")}, "it does not offer a Factory of this kind"),
    ],
)
def test_a_broken_stage_is_unavailable_with_the_reason(module, points, attributes, reason):
    found = Registry({("egress", "cloud"): module("fake_cloud", **attributes)})
    plugin = found.plugin("egress", "cloud")
    assert plugin.factory is None
    assert plugin.reason == reason
    with pytest.raises(Unavailable, match='egress "cloud" is unavailable, because') as caught:
        found.factory("egress", "cloud")
    assert caught.value.reason == "unavailable"


def test_an_unknown_stage_is_unavailable_too(points):
    assert Registry({}).plugin("egress", "zzz").reason == "there is no such egress stage"


def test_plugins_come_by_entry_points(module, points):
    stage = factory("receive", "s3")
    name = module("fake_s3", STAGE=stage)
    points.append(EntryPoint("s3", f"{name}:STAGE", "mapdr.receive"))
    found = Registry({})
    assert found.names("receive") == ["s3"]
    assert found.factory("receive", "s3") is stage
    assert found.plugin("receive", "s3").origin == "entry point"


def test_a_plugin_that_cannot_hold_its_contract_is_unavailable(module, points):
    stage = factory("egress", "s3")
    points.append(EntryPoint("s3", f"{module('fake_s3', STAGE=stage)}:STAGE", "mapdr.egress"))
    plugin = Registry({}).plugin("egress", "s3")
    assert plugin.factory is None
    loaded = read_text('[egress.x]\ntype = "s3"\n', Registry({}))
    (problem,) = loaded.problems
    assert problem.what == f'egress "s3" is unavailable, because {plugin.reason}'
    assert problem.cure == "correct or update the plug-in, or use another type"
    assert plugin.reason == "its Receiver has no connect; its Receiver has no probe"


def test_a_plugin_that_cannot_be_looked_at_is_unavailable(module, points):
    def build(settings: Settings, config: StageConfig, next: None) -> NoSuchClass: ...  # noqa: F821

    stage = Factory("egress", "s3", StageConfig, build)
    points.append(EntryPoint("s3", f"{module('fake_s3', STAGE=stage)}:STAGE", "mapdr.egress"))
    plugin = Registry({}).plugin("egress", "s3")
    assert plugin.factory is None
    assert plugin.reason == "NameError: name 'NoSuchClass' is not defined"


def test_a_built_in_stage_is_not_replaced_by_a_plugin(module, points):
    mine, theirs = factory(), factory()
    points.append(EntryPoint("cloud", f"{module('fake_theirs', STAGE=theirs)}:STAGE", "mapdr.egress"))
    found = Registry({("egress", "cloud"): module("fake_mine", STAGE=mine)})
    assert found.factory("egress", "cloud") is mine


@pytest.mark.parametrize(("wanted", "names"), [("", []), ("b", ["b"]), (" a , b ", ["a", "b"]), ("z", [])])
def test_an_exact_list_of_plugins_can_be_named(points, monkeypatch, wanted, names):
    points.extend(EntryPoint(name, f"fake_{name}:STAGE", "mapdr.egress") for name in ("a", "b"))
    monkeypatch.setenv("MAPDR_LOAD_PLUGINS", wanted)
    assert Registry({}).names("egress") == names


def test_plugins_are_listed_in_the_order_of_the_flow(points):
    listed = [plugin.kind for plugin in Registry().plugins()]
    assert listed == sorted(listed, key=KINDS.index)
    assert len(listed) == len(BUILTIN)


def brought_by(distribution: str, kind: str, type_: str, module_name: str) -> EntryPoint:
    """An entry point as an installed distribution has it."""

    class Brought:
        name, version = distribution, "1.0"

    point = EntryPoint(type_, f"{module_name}:STAGE", f"mapdr.{kind}")
    vars(point).update(dist=Brought())
    return point


@pytest.fixture
def taken_twice(module, points):
    """Two distributions bring a receiver "s3", and one a receiver of a built-in's name."""
    mine, theirs = factory("receive", "s3"), factory("receive", "s3")
    points.append(brought_by("zebra", "receive", "s3", module("fake_zebra", STAGE=theirs)))
    points.append(brought_by("aardvark", "receive", "s3", module("fake_aardvark", STAGE=mine)))
    points.append(brought_by("zebra", "receive", "dicom", module("fake_dicom", STAGE=factory("receive"))))
    return mine


def test_of_two_plugins_with_one_name_it_is_said_which_is_used(taken_twice):
    registry = Registry()
    assert registry.factory("receive", "s3") is taken_twice
    assert registry.plugin("receive", "s3").doubt == (
        'the receive "s3" of aardvark is used, not that of zebra 1.0'
    )
    assert registry.plugin("receive", "dicom").origin == "mapdr"
    assert registry.plugin("receive", "dicom").doubt == (
        'the receive "dicom" of mapdr is used, not that of zebra 1.0'
    )
    assert [plugin.type for plugin in registry.plugins() if plugin.doubt] == ["dicom", "s3"]


def test_a_name_that_is_taken_twice_is_told_by_check_doctor_and_plugins(taken_twice, tmp_path):
    path = tmp_path / "mapdr.toml"
    path.write_text('[receive.north]\ntype = "s3"\n')
    checked = examine(path, surroundings=True)
    assert (
        f"{path}:2 receive.north.type: the receive " + '"s3" of aardvark is used, not that of zebra 1.0; '
        in ("\n".join(map(str, checked.warnings)))
    )
    told = [found for found in doctor.examine(None) if found.part == "plug-ins"]
    assert [(found.name, found.level) for found in told] == [
        ("receive dicom", "note"),
        ("receive s3", "note"),
    ]
    result = CliRunner(env={"COLUMNS": "200"}).invoke(main, ["plugins"])
    assert 'available: the receive "s3" of aardvark is used, not that of zebra 1.0' in result.output
