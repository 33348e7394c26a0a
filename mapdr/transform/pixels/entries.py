"""Entries of regions as people write them: which images, and which rectangles of them are blanked or kept.

They stand in a rule, in TOML files that it names, and in sets that come with MAPDR. A configuration that is
read holds the entries themselves, whatever becomes of the files: a recipe is what was promised.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    ValidationInfo,
    model_validator,
)

from mapdr.config.lines import Document, Malformed, parse
from mapdr.config.problem import locate
from mapdr.config.units import base_folder
from mapdr.config.validate import validate
from mapdr.config.when import parse_when
from mapdr.kernel.finding import Finding, instead
from mapdr.kernel.privacy import system_says
from mapdr.kernel.stage import StageConfig
from mapdr.route.condition import Condition, leaves

SETS = ("known-devices", "ultrasound")
"""The sets of entries that come with MAPDR, each a TOML file beside this module."""
ULTRASOUND = "ultrasound"
"""What `keep` says for the regions that an ultrasound image itself names."""
MOST = 1 << 16
"""The highest number of rows and columns (US, PS3.5 section 6.2), plus one."""


class Rectangle(StageConfig):
    """`{ x = 0, y = 0, width = 640, height = 40 }`, in pixels from the upper left corner of each frame."""

    x: int = Field(ge=0, lt=MOST)
    y: int = Field(ge=0, lt=MOST)
    width: int = Field(ge=1, le=MOST)
    height: int = Field(ge=1, le=MOST)
    name: str = Field(default="", max_length=200)


class RegionEntry(StageConfig):
    """One entry: `when` as of a rule, without facts of the association; then `blank`, or `keep`.

    `all_text`: nothing that is burned in is left beside what it blanks.
    """

    name: str = Field(default="", max_length=200)
    when: dict[str, Any]
    blank: tuple[Rectangle, ...] = ()
    keep: Literal["ultrasound"] | tuple[Rectangle, ...] = ()
    all_text: bool = False
    source: str = Field(default="", max_length=1000)
    _condition: Condition = PrivateAttr()

    @model_validator(mode="after")
    def _compile(self) -> RegionEntry:
        if bool(self.blank) == bool(self.keep):
            raise ValueError("blanks and keeps nothing, or both; write blank = [{ ... }] or keep = [{ ... }]")
        findings: list[Finding] = []
        self._condition = parse_when(self.when, ("when",), findings)
        for finding in findings:
            raise ValueError(f"{'.'.join(map(str, finding.place))} {finding.what}; {finding.cure}")
        for leaf in leaves(self._condition):
            if isinstance(leaf.subject, str):
                raise ValueError(
                    f"asks for {leaf.label}, and regions are of images, whoever sends them; "
                    "ask for that in the when of the rule"
                )
        if not _is_plain(self.when):
            raise ValueError('has a date or time in its when; write it as a text, such as "20260131"')
        return self

    @property
    def condition(self) -> Condition:
        """Which images it is for."""
        return self._condition


class RegionFile(StageConfig):
    """A file of regions: `[[image]]` before each entry."""

    image: tuple[RegionEntry, ...] = Field(min_length=1)


def _is_plain(value: Any) -> bool:
    """Whether a recipe, which is JSON, keeps the value as it is."""
    try:
        return bool(json.loads(json.dumps(value)) == value)
    except TypeError:
        return False


def _entries(value: Any, info: ValidationInfo) -> Any:
    """The entries that a rule means: those of files and of the sets of MAPDR in the place of their names."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple):
        raise ValueError(f'is no list of regions; write "{SETS[1]}", "regions.toml", or a list of entries')
    found: list[Any] = []
    for each in value:
        found += _named(each, base_folder(info)) if isinstance(each, str) else [each]
    return found


def _named(name: str, base: Path) -> Iterator[RegionEntry]:
    if name in SETS:
        return iter(shipped(name))
    if not name.endswith(".toml"):
        raise ValueError(
            f'there is no set of regions "{name}"; {instead(name, SETS, "sets")}; a file ends in .toml'
        )
    return iter(read_entries(base / Path(name).expanduser(), name))


def files_of(value: Any, base: Path) -> tuple[Path, ...]:
    """The files among what a rule names as its regions."""
    named = [value] if isinstance(value, str) else value if isinstance(value, list | tuple) else ()
    return tuple(
        base / Path(each).expanduser() for each in named if isinstance(each, str) and each.endswith(".toml")
    )


@lru_cache(maxsize=len(SETS))
def shipped(name: str) -> tuple[RegionEntry, ...]:
    """The entries of a set that comes with MAPDR."""
    text = files(__package__).joinpath(f"{name}.toml").read_text(encoding="utf-8")
    return _read(text, f"{name}.toml", Path())


def read_entries(path: Path, name: str) -> tuple[RegionEntry, ...]:
    """The entries of the file `path`, which the configuration calls `name`.

    Raises ValueError that names the first problem with its line and cure, and how many there are.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        why = system_says(error)
        raise ValueError(f"{name} cannot be read ({why}); correct the name, or write the file") from None
    except UnicodeDecodeError:
        raise ValueError(f"{name} is not UTF-8 text; save it as UTF-8") from None
    return _read(text, name, path.parent)


def _read(text: str, name: str, base: Path) -> tuple[RegionEntry, ...]:
    try:
        document = parse(text)
    except Malformed as error:
        raise ValueError(f"{name}:{error.line} {error}; {error.cure}") from None
    findings: list[Finding] = []
    found = validate(RegionFile, document.values, (), base, findings)
    if found is None:
        raise ValueError(_told(findings, name, document))
    return tuple(found.image)


def _told(findings: list[Finding], name: str, document: Document) -> str:
    """The first of the problems, as a configuration's are told, and how many more there are."""
    problems = [locate(finding, name, document.lines) for finding in findings]
    problems.sort(key=lambda problem: problem.line or MOST)  # what is said of the whole file comes last
    first, *others = problems
    more = f" ({len(others)} more there)" if others else ""
    return f"{first.file}:{first.line} {first.path} {first.what}; {first.cure}{more}"


Entries = Annotated[tuple[RegionEntry, ...], BeforeValidator(_entries), Field(min_length=1)]
"""The field of a step's configuration: `"ultrasound"`, `"regions.toml"`, an entry, or a list of these."""


class FromRegionFiles(StageConfig):
    """The configuration of a step whose key `regions` is a field of `Entries`."""

    _files: tuple[Path, ...] = PrivateAttr(default=())

    @model_validator(mode="wrap")
    @classmethod
    def _keep_files(cls, raw: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        made = handler(raw)
        if isinstance(raw, Mapping):
            made._files = files_of(raw.get("regions"), base_folder(info))
        return made

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that its regions were read from."""
        return self._files
