"""The repository's own promises: who imports whom, what is listed, what must not be written."""

from __future__ import annotations

import ast
import re
import subprocess
import time
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mapdr
import selection
from mapdr.kernel.registry import BUILTIN, Registry
from mapdr.kernel.stage import KINDS

ROOT = Path(__file__).resolve().parent.parent
ROOTS = {
    "mapdr": ROOT / "mapdr",
    "mapdr_cli": ROOT / "cli/mapdr_cli",
    "mapdr_desktop": ROOT / "web/mapdr_desktop",
    "mapdr_web": ROOT / "web/mapdr_web",
}

SHARED = {"kernel", "_fast"}
FIELDS = {"config.character_set", "config.secret", "config.units"}
"""The types of a stage's configuration fields: durations, sizes, paths, secrets, character sets."""
MAY_IMPORT: dict[str, set[str]] = {
    "_fast": SHARED,
    # What everything else stands on, the hot paths too: it needs none of them.
    "kernel": set(),
    "dicom": SHARED,
    "wire": SHARED,
    "route": SHARED,
    "license": {"kernel"},
    # The keys for the way to a web server are those of destinations too.
    "config": SHARED | {"dicom", "route", "net.http.config"},
    "store": SHARED | {"dicom"},
    "net": SHARED | FIELDS,
    "receive": SHARED | FIELDS | {"net", "dicom", "wire", "store"},
    # Files of regions are read as the configuration is, and images are asked what a rule's `when` asks.
    "transform": SHARED
    | FIELDS
    | {"config.lines", "config.problem", "config.validate", "config.when"}
    | {"dicom", "route", "wire", "store"},
    "egress": SHARED | FIELDS | {"net", "dicom", "wire", "store"},
    "deliver": SHARED | FIELDS | {"net", "dicom", "wire", "store"},
    "notify": SHARED | FIELDS | {"config.lists", "config.model", "config.payload", "net", "dicom", "store"},
    # What people see and do; the faces are skins over it.
    "operate": SHARED
    | {"config", "dicom", "license", "node", "notify", "route", "service", "store", "transform", "wire"},
    # systemd, or Windows' service manager: it knows a command line and folders, nothing of a node.
    "service": {"kernel"},
    # Where a node is put together: every part is seen here, but stages come from the registry. `deliver` is
    # given what makes a recipe's transforms.
    "node": SHARED | {"config", "dicom", "license", "route", "store", "deliver", "notify", "transform"},
    # Shipped for the authors of plugins, who test whole nodes with it.
    "testing": SHARED | {"config", "dicom", "node", "route", "store", "transform", "wire"},
    # Read by PyInstaller, of which they ask for more than of MAPDR.
    "__pyinstaller": set(),
}
"""Folder of mapdr/ -> which other folders its modules may import (design, "Layout")."""

ROOMS: dict[str, set[str]] = {
    "spool": set(),
    "index": {"spool"},
    "queue": {"spool", "index"},
}
"""Room of mapdr/store/ -> which other rooms its modules may import; what stands above them, none may."""

FACES = {"operate", "config", "node", "testing", "kernel"}
"""What `cli` and `web` may import of mapdr: no database, no rule about state."""

PAGE = FACES | {"net"}
"""The page is a stage with a socket of its own, as receivers are; so has the desktop's first start."""

DATABASE = {"sqlalchemy", "sqlite3", "alembic", "psycopg"}


def python_files(*roots: Path) -> list[Path]:
    return sorted(path for root in roots for path in root.rglob("*.py"))


def tracked() -> list[Path]:
    """Every file of the repository; without git, every file outside of what is built."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 0 and done.stdout:
        return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]
    skipped = {".venv", "build", "dist", ".git", "__pycache__", ".hypothesis", ".pytest_cache"}
    return [path for path in ROOT.rglob("*") if path.is_file() and not skipped & set(path.parts)]


@cache
def imported(source: str) -> list[tuple[int, str]]:
    """(line, dotted module) for each import of a module, at the top or inside; names of `from` included."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return found


def violations(path: str, source: str) -> list[str]:
    """What a module of mapdr/ imports although it may not."""
    folder = Path(path).parts[1]
    if folder.endswith(".py"):
        return []
    allowed = MAY_IMPORT[folder] | {folder}
    found = []
    for line, name in imported(source):
        words = name.split(".")
        if words[0] in ("mapdr_cli", "mapdr_desktop", "mapdr_web", "cli", "web"):
            found.append(f"{path}:{line} imports {name}")
        if words[0] != "mapdr" or len(words) < 2 or not (ROOT / "mapdr" / words[1]).is_dir():
            continue
        if not any(words[1 : 1 + len(each.split("."))] == each.split(".") for each in allowed):
            found.append(f"{path}:{line} imports {name}")
    return found


def room_violations(path: str, source: str) -> list[str]:
    """What a module of a room of mapdr/store/ imports of another room, or from above, that it may not."""
    room = Path(path).parts[2]
    if room not in ROOMS:
        return []
    allowed = {f"mapdr.store.{each}" for each in ROOMS[room] | {room}}
    return [
        f"{path}:{line} imports {name}"
        for line, name in imported(source)
        if name.startswith("mapdr.store") and ".".join(name.split(".")[:3]) not in allowed
    ]


def face_violations(path: str, source: str) -> list[str]:
    """What a module of cli/ or web/ imports of mapdr although it may not; `import mapdr` alone is allowed."""
    is_cli = path.startswith("cli/")
    own, allowed = ({path.split("/")[1]}, FACES if is_cli else PAGE)
    found = []
    for line, name in imported(source):
        words = name.split(".")
        foreign = words[0] in {"mapdr_cli", "mapdr_desktop", "mapdr_web"} - own
        if foreign or (words[0] == "mapdr" and len(words) > 1 and words[1] not in allowed):
            found.append(f"{path}:{line} imports {name}")
    return found


def calls(source: str) -> Iterator[tuple[int, str]]:
    """(line, dotted name) for each call of a plain or dotted name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            yield node.lineno, ast.unparse(node.func)


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_packages_are_the_folders() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = sorted(
        ".".join((name, *init.parent.relative_to(root).parts))
        for name, root in ROOTS.items()
        for init in root.rglob("__init__.py")
    )
    assert sorted(listed) == found


def test_every_folder_with_modules_is_a_package() -> None:
    folders = {path.parent for path in python_files(*ROOTS.values())}
    assert not [relative(folder) for folder in folders if not (folder / "__init__.py").is_file()]


def test_parts_import_only_what_they_may() -> None:
    found = [
        line for path in python_files(ROOT / "mapdr") for line in violations(relative(path), path.read_text())
    ]
    assert not found


def test_the_rooms_of_the_store_depend_one_way() -> None:
    store = ROOT / "mapdr/store"
    assert {each.name for each in store.iterdir() if (each / "__init__.py").is_file()} == set(ROOMS)
    found = [
        line for path in python_files(store) for line in room_violations(relative(path), path.read_text())
    ]
    assert not found


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("mapdr/store/spool/files.py", "from mapdr.store.index import schema"),
        ("mapdr/store/spool/files.py", "def f():\n    import mapdr.store.writer"),
        ("mapdr/store/index/database.py", "from mapdr.store.queue.ledger import Ledger"),
        ("mapdr/store/index/studies.py", "from mapdr.store.outbox import Outbox"),
        ("mapdr/store/queue/ledger.py", "from mapdr.store import Store"),
    ],
)
def test_an_import_against_the_way_is_seen(path: str, source: str) -> None:
    assert room_violations(path, source)


def test_an_import_along_the_way_is_not() -> None:
    assert not room_violations("mapdr/store/queue/ledger.py", "from mapdr.store.index import schema")
    assert not room_violations("mapdr/store/recover.py", "from mapdr.store.queue.ledger import Ledger")


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("mapdr/kernel/item.py", "from mapdr import _fast"),
        ("mapdr/kernel/stage.py", "from mapdr.config.units import Duration"),
        ("mapdr/dicom/scan.py", "from mapdr.store.spool.ids import new_id"),
        ("mapdr/route/rules.py", "import mapdr.wire.status"),
        ("mapdr/store/writer.py", "from mapdr.egress import dimse"),
        (
            "mapdr/deliver/supervise/deliverer.py",
            "def f():\n    from mapdr.egress.dicom.destination import STAGE",
        ),
        ("mapdr/deliver/supervise/deliverer.py", "from mapdr.transform.pipeline import build_pipeline"),
        ("mapdr/node/assembly.py", "from mapdr.receive import dimse"),
        ("mapdr/notify/events.py", "import mapdr_cli.main"),
    ],
)
def test_a_forbidden_import_is_seen(path: str, source: str) -> None:
    assert violations(path, source)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("mapdr/dicom/scan.py", "from mapdr import _fast\nfrom mapdr.kernel.item import Header"),
        ("mapdr/node/assembly.py", "from mapdr.store import Store"),
        ("mapdr/wire/pdu.py", "import mapdr\nfrom mapdr.wire import status"),
    ],
)
def test_an_allowed_import_is_not(path: str, source: str) -> None:
    assert not violations(path, source)


def test_the_faces_import_only_what_is_made_for_them() -> None:
    found = [
        line
        for path in python_files(ROOT / "cli", ROOT / "web")
        for line in face_violations(relative(path), path.read_text())
    ]
    assert not found


@pytest.mark.parametrize(
    "source",
    [
        "from mapdr.store import Store",
        "import mapdr.wire.status",
        "from mapdr import dicom",
        "def f():\n    from mapdr.transform.codecs import table",
        "import mapdr_web",
    ],
)
def test_a_face_that_imports_more_is_seen(source: str) -> None:
    assert face_violations("cli/mapdr_cli/commands/x.py", source)


@pytest.mark.parametrize(
    "source", ["import mapdr", "from mapdr.operate import words", "import mapdr_cli.main"]
)
def test_a_face_that_imports_what_it_may_is_not(source: str) -> None:
    assert not face_violations("cli/mapdr_cli/commands/x.py", source)


def circles(sources: Mapping[str, str]) -> list[set[str]]:
    """The groups of modules that need one another, by whatever import: of a type, or in a function, too."""
    needs = {
        name: {
            next((known for known in (found, found.rpartition(".")[0]) if known in sources), name)
            for _, found in imported(source)
        }
        - {name}
        for name, source in sources.items()
    }
    while ends := {name for name, needed in needs.items() if not needed & needs.keys()}:
        needs = {name: needed for name, needed in needs.items() if name not in ends}
    reach = {name: needed & needs.keys() for name, needed in needs.items()}
    for _ in needs:
        reach = {name: found.union(*(reach[each] for each in found)) for name, found in reach.items()}
    groups = {frozenset(each for each in found if name in reach[each]) for name, found in reach.items()}
    return [set(group) for group in groups if group]


def test_no_modules_import_each_other() -> None:
    sources = {
        ".".join((name, *path.relative_to(root).with_suffix("").parts)).removesuffix(
            ".__init__"
        ): path.read_text()
        for name, root in ROOTS.items()
        for path in python_files(root)
    }
    assert len(sources) > 100
    assert not circles(sources)


def test_a_circle_of_imports_is_seen() -> None:
    assert not circles({"a.b": "from a import c", "a.c": "import a.d", "a.d": "import os", "a": ""})
    within = "def f():\n    from a.d import g"
    typed = "if TYPE_CHECKING:\n    from a.b import T"
    found = circles({"a.b": "from a import c", "a.c": within, "a.d": typed, "a": "", "a.e": "import a.b"})
    assert found == [{"a.b", "a.c", "a.d"}]


def test_only_the_store_touches_the_database() -> None:
    found = [
        f"{relative(path)}:{line} imports {name}"
        for path in python_files(*ROOTS.values())
        if not relative(path).startswith("mapdr/store/")
        for line, name in imported(path.read_text())
        if name.split(".")[0] in DATABASE
    ]
    assert not found


def test_nothing_prints_in_the_library() -> None:
    found = [
        f"{relative(path)}:{line}"
        for path in python_files(ROOT / "mapdr")
        for line, name in calls(path.read_text())
        if name in ("print", "breakpoint", "traceback.print_exc")
    ]
    assert not found


def test_no_test_sleeps() -> None:
    found = [
        f"{relative(path)}:{line}"
        for path in python_files(ROOT / "tests")
        for line, name in calls(path.read_text())
        if name in ("sleep", "time.sleep", "asyncio.sleep")
    ]
    assert not found


FLUSHES = {"mapdr/kernel/durable.py": {"os.fsync"}, "mapdr/store/spool/journal/segment.py": {"os.fdatasync"}}
"""Who may call the system's flushes: everybody else goes through them."""


def test_files_are_flushed_in_one_place() -> None:
    found = [
        f"{path}:{line} calls {name}"
        for path, source in ((relative(each), each.read_text()) for each in python_files(*ROOTS.values()))
        for line, name in calls(source)
        if name in ("os.fsync", "os.fdatasync") and name not in FLUSHES.get(path, set())
    ]
    assert not found


def test_the_sentence_the_folders_and_the_kinds_agree() -> None:
    sentence = (mapdr.__doc__ or "").splitlines()[0]
    words = re.findall(r"\w+", sentence.partition(":")[2])
    assert words == ["receive", "store", "transform", "egress"]
    assert all((ROOT / "mapdr" / word / "__init__.py").is_file() for word in words)
    assert [kind for kind in KINDS if kind != "codec"] == [word for word in words if word != "store"]
    assert {kind for kind, _ in BUILTIN} <= set(KINDS)


def test_every_stage_of_the_table_is_there() -> None:
    registry = Registry()
    states = [registry.plugin(kind, type_) for kind, type_ in BUILTIN]
    assert not [f"{state.kind} {state.type}: {state.reason}" for state in states if state.factory is None]


def test_every_kind_of_stage_has_a_contract_test() -> None:
    sources = "".join(path.read_text() for path in python_files(ROOT / "tests/contract"))
    assert not [kind for kind in sorted({kind for kind, _ in BUILTIN}) if kind not in sources]


def test_every_command_in_the_readme_exists() -> None:
    import click

    from mapdr_cli.main import main

    readme = (ROOT / "README.md").read_text()
    code = "\n".join(re.findall(r"```.*?```|`[^`\n]+`", readme, re.DOTALL))
    named = set(re.findall(r"(?<![\w./-])mapdr ([a-z]+)\b", code))
    assert named, "the README shows no command"
    context = click.Context(main)
    assert not [name for name in sorted(named) if main.get_command(context, name) is None]
    targets = set(re.findall(r"(?:^|`|&& )make ([a-z]+)\b", code, re.MULTILINE))
    assert {"demo", "test"} <= targets
    assert not sorted(targets - set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)))


def test_the_readme_leads_to_files_that_exist() -> None:
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", (ROOT / "README.md").read_text())
    assert not [link for link in links if not (ROOT / link).exists()]


def test_the_ci_entry_runs_the_readme_s_test_command_and_what_else_changes_tests() -> None:
    entry = ROOT / ".ci/run"
    assert entry.stat().st_mode & 0o111
    text = entry.read_text()
    assert "set -euo pipefail" in text
    runs = [line for line in text.splitlines() if "make test" in line]
    assert runs == [
        "MAPDR_REQUIRE_EXTENSIONS=1 make test",
        'MAPDR_NO_EXTENSIONS=1 make test ARGS="-m backend"',
        'MAPDR_TEST_DATA=/nonexistent make test ARGS="-m data"',
        """MAPDR_NO_PEERS=1 CI='' make test ARGS="-m peer\"""",
    ]


@pytest.mark.parametrize(
    "name",
    ["e2e/test_kill.py", "wire/test_requestor.py", "store/test_spool.py", "operate/test_views.py"],
)
def test_what_comes_to_the_hot_paths_is_tested_on_the_plain_twins(name: str) -> None:
    assert selection.uses_backend(ROOT / "tests" / name)


def test_folders_that_stand_apart_from_images_exist() -> None:
    assert not [name for name in selection.APART if not (selection.TESTS / name).is_dir()]


@pytest.mark.parametrize("name", ["config/test_units.py", "wire/test_association.py", "web/test_browser.py"])
def test_what_does_not_is_tested_once(name: str) -> None:
    assert not selection.uses_backend(ROOT / "tests" / name)


def test_the_changelog_knows_this_version() -> None:
    assert mapdr.__version__ in (ROOT / "CHANGELOG.md").read_text()


def test_no_path_of_a_machine_is_written_down() -> None:
    machine = re.compile(
        r"(?<![\w.~/}])/(?:" + "|".join(("home", "root", "Users", "work", "tmp/w")) + r")/\w"
    )
    found = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [
            f"{relative(path)}:{number}"
            for number, line in enumerate(text.splitlines(), 1)
            if machine.search(line)
        ]
    assert not found


def test_extensions_are_newer_than_their_sources() -> None:
    stale = [
        source.name
        for source in (ROOT / "mapdr/_fast").glob("*.pyx")
        for built in source.parent.glob(f"{source.stem}.*.so")
        if built.stat().st_mtime < source.stat().st_mtime
    ]
    assert not stale, f"built before its source was changed: {stale} (make clean, or pip install -e .)"


def test_a_machine_that_stands_still_fails_no_property(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is stopped for minutes while an example is drawn, and while one is tried."""
    clock, stood = time.perf_counter, [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock() + stood[0])

    def stands_still(number: int) -> int:
        stood[0] += 120
        return number

    @given(st.integers().map(stands_still))
    def holds(number: int) -> None:
        stands_still(number)

    holds()
