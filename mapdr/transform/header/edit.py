"""One edit as a rule writes it: a verb with a tag, the keys that the verb takes, and what it asks first.

What lies outside of the configuration, a table's file and the key of a hash, is not read here but by
`TagEdit.edit`, when a node makes its pipelines: at its start, and after each reload. `TagEdit.faults` reads
it for `mapdr check`, a start and a reload, which refuse what cannot be read.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    PrivateAttr,
    create_model,
    model_validator,
)

from mapdr.config.secret import Secret
from mapdr.config.units import LocalPath
from mapdr.config.when import parse_when
from mapdr.dicom.edit.change import (
    LONGEST_HASH,
    SHORTEST_KEY,
    Change,
    DayShift,
    Join,
    KeyedHash,
    Lookup,
    Replacement,
    Split,
)
from mapdr.dicom.edit.verb import Each, Edit, IfEmpty, Overflow, Takes, Verb
from mapdr.dicom.tags import PIXEL_GROUP
from mapdr.kernel.errors import ConfigurationError, Permanent
from mapdr.kernel.finding import Faults, Finding
from mapdr.kernel.item import Elements, Source, TagPath
from mapdr.kernel.stage import StageConfig
from mapdr.route.condition import Condition, Predicate, leaves, predicate
from mapdr.route.pattern import compile_regex
from mapdr.transform.header.table import Changed, digest_of, read_table

# --- What an edit asks


@dataclass(frozen=True, slots=True)
class Asked:
    """A condition in the grammar of `when`, for `mapdr.dicom.edit.verb.Edit`."""

    condition: Condition
    paths: frozenset[TagPath] = field(compare=False)
    _predicate: Predicate = field(compare=False, repr=False)

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> Asked:
        """The condition that a table writes. Raises Faults."""
        findings: list[Finding] = []
        condition = parse_when(table, ("if",), findings)
        if findings:
            raise Faults(findings)
        if not table:
            raise Faults([Finding(("if",), "is an empty table", "leave it out: the edit is done always")])
        for leaf in leaves(condition):
            if isinstance(leaf.subject, tuple) and leaf.subject[0] >> 16 == PIXEL_GROUP:
                what = "is of the pixel data, which edits do not see"
                raise Faults([Finding(("if",), f"{leaf.label} {what}", "ask that in the rule's when")])
        paths = frozenset(leaf.subject for leaf in leaves(condition) if isinstance(leaf.subject, tuple))
        return cls(condition, paths, predicate(condition))

    def holds(self, header: Elements, source: Source) -> bool:
        """Whether the header, as it is now, and where it came from are as asked."""
        return self._predicate(header, source)


_MOMENTS = {
    "date": datetime.date.fromisoformat,
    "time": datetime.time.fromisoformat,
    "datetime": datetime.datetime.fromisoformat,
}
"""Kinds of TOML values that JSON lacks: in a recipe each is a table of its kind and its text."""


def _plain(value: Any) -> Any:
    """A table of TOML as JSON has it."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, datetime.date | datetime.time):
        return {f"toml {type(value).__name__.lower()}": value.isoformat()}
    return value


def _written(value: Any) -> Any:
    """What `_plain` was given."""
    if isinstance(value, Mapping):
        if len(value) == 1:
            (key, text), *_ = value.items()
            kind = str(key).removeprefix("toml ")
            if kind != key and kind in _MOMENTS and isinstance(text, str):
                return _MOMENTS[kind](text)
        return {key: _written(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_written(each) for each in value]
    return value


Conditions = Annotated[dict[str, Any], BeforeValidator(_written), PlainSerializer(_plain, when_used="json")]


def _absolute(secret: Secret) -> Secret:
    """A secret that is found from any folder: recipes do not know that of the configuration."""
    return secret if secret.file is None else Secret(f"file:{secret.file.absolute()}")


KeyField = Annotated[Secret, AfterValidator(_absolute)]


# --- An edit


class TagEdit(StageConfig):
    """One edit: a verb with a tag, and what the verb needs; `edit_config` adds the verbs and their keys.

    `{ set = "InstitutionName", to = "Clinic North" }`, `{ copy = "StudyID", to = "AccessionNumber" }`,
    `{ remove = "OtherPatientIDs" }`, `{ hash = "PatientID", key = "env:HASH_KEY" }`. `overflow` and
    `if_empty` say what is done with a value that does not fit, and with one that there is nothing for; by
    default the image is parked. With `if` the edit is done to the images alone for which the condition holds.
    """

    verbs: ClassVar[Mapping[str, Verb]] = {}
    keys: ClassVar[frozenset[str]] = frozenset()
    """The keys that any verb takes."""
    overflow: Overflow = "error"
    if_empty: IfEmpty = "error"
    if_: Conditions | None = Field(default=None, alias="if")
    _edit: Edit = PrivateAttr()

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, written: Any) -> Any:
        """What a map does with other values stands in the recipe: a later default changes no promise."""
        if isinstance(written, dict) and "map" in written:
            return {"otherwise": "park", **written}
        return written

    @model_validator(mode="after")
    def _compile(self) -> TagEdit:
        given = [verb for verb in self.verbs.values() if self._get(verb.name) is not None]
        if len(given) != 1:
            raise ValueError(f"an edit has one verb of {', '.join(self.verbs)}; this one has {len(given)}")
        verb = given[0]
        needed = verb.keys if verb.takes is Takes.KEYS else (verb.takes.key,) if verb.takes.key else ()
        for key in needed:
            if self._get(key) is None:
                raise ValueError(f"{verb.name} needs {key} = ...")
        for key in sorted(self.keys - {*needed, *verb.optional}):
            if self._get(key) is not None:
                raise ValueError(f"{verb.name} takes no {key}")
        self._refuse_options(verb)
        condition = None if self.if_ is None else Asked.of(self.if_)
        argument = _CHANGES[verb.name](self) if verb.takes is Takes.KEYS else self._get(verb.takes.key)
        edit = verb.parse(self._get(verb.name), argument, self.overflow, self.if_empty)
        self._edit = replace(edit, condition=condition)
        file = self._get("file")
        if file is not None and self._get("digest") is None:
            # What the file says now is part of what is promised from now on.
            object.__setattr__(self, "digest_", digest_of(file))
        return self

    def _refuse_options(self, verb: Verb) -> None:
        options = {"overflow": self.overflow != "error", "if_empty": self.if_empty != "error"}
        if verb.takes is Takes.NOTHING and any(options.values()):
            raise ValueError(f"{verb.name} takes neither overflow nor if_empty")
        if verb.takes is Takes.KEYS and options["if_empty"]:
            raise ValueError(f"{verb.name} takes no if_empty: where there is no value it does nothing")

    def _get(self, key: str) -> Any:
        return getattr(self, f"{key}_", None) if key else None

    @property
    def compiled(self) -> Edit:
        """The edit, without what it needs from outside of the configuration."""
        return self._edit

    @property
    def edit(self) -> Edit:
        """The edit, with what it needs from outside of the configuration.

        Raises Permanent (reasons "table", "table-changed", "secret") where that cannot be had.
        """
        outside = _OUTSIDE.get(self._edit.verb.name)
        value = outside(self) if outside else None
        if value is None:
            return self._edit
        try:
            return replace(self._edit, value=value)
        except ValueError as error:
            raise Permanent(f"{self._get('file')}: {error}", reason="table") from None

    @property
    def secrets(self) -> Iterator[Secret]:
        """Where the keys are kept that it needs, and the edits of its items."""
        if (key := self._get("key")) is not None:
            yield key
        for one in self._get("edits") or ():
            yield from one.secrets

    def faults(self) -> Iterator[Finding]:
        """What of outside cannot be used here and now; who asks looks for missing secrets himself."""
        for index, one in enumerate(self._get("edits") or ()):
            for each in one.faults():
                yield Finding(("edits", index, *each.place), each.what, each.cure)
        if self._get("edits"):
            return
        try:
            _ = self.edit
        except Permanent as error:
            if error.reason in ("table", "table-changed"):
                what, _, cure = str(error).partition("; ")
                yield Finding(("file",), what, cure or "correct the file")
            elif error.reason == "secret-too-short":
                what, _, cure = str(error).partition("; ")
                yield Finding(("key",), what, cure)


def _replacement(edit: Any) -> Change:
    try:
        pattern = compile_regex(edit.pattern_, search=True)
    except ValueError as error:
        what, _, cure = str(error).partition("; ")
        raise Faults([Finding(("pattern",), what, cure)]) from None
    return Replacement(pattern, edit.with_)


def _lookup(edit: Any) -> Change:
    if (edit.table_ is None) == (edit.file_ is None):
        raise ValueError("map needs table = { ... } or file = ..., and one of them alone")
    if edit.table_ is not None and not edit.table_:
        raise Faults([Finding(("table",), "is an empty table", 'write { "old" = "new" }')])
    return Lookup(edit.table_ or {}, edit.otherwise_)


_CHANGES: Mapping[str, Callable[[Any], Change | Each]] = {
    "replace": _replacement,
    "map": _lookup,
    "hash": lambda edit: KeyedHash(b"", edit.length_ or LONGEST_HASH),
    "shift_date": lambda edit: DayShift(edit.days_),
    "split": lambda edit: Split(edit.at_),
    "join": lambda edit: Join(edit.with_),
    "for_each": lambda edit: Each(tuple(one.compiled for one in edit.edits_)),
}
"""What the keys of a verb make; without what lies outside."""


def _table_of(edit: Any) -> Change | None:
    if edit.file_ is None:
        return None
    try:
        return Lookup(read_table(edit.file_, edit.digest_ or ""), edit.otherwise_)
    except Changed as error:
        raise Permanent(f"{edit.file_}: {error}", reason="table-changed") from None
    except OSError as error:
        what = f"{edit.file_} cannot be read: {error.strerror or type(error).__name__}"
        raise Permanent(f"{what}; name another file, or let who runs mapdr read it", reason="table") from None
    except ValueError as error:
        raise Permanent(f"{edit.file_}: {error}", reason="table") from None


def _hash_of(edit: Any) -> Change:
    try:
        key = edit.key_.reveal()
    except ConfigurationError as error:
        raise Permanent(str(error), reason="secret") from None
    if len(key) < SHORTEST_KEY:
        raise Permanent(
            f"holds {len(key)} characters: a key so short can be guessed, and values be found by it; "
            f"make a random one of at least {SHORTEST_KEY}, better 32",
            reason="secret-too-short",
        )
    return KeyedHash(key.encode(), edit.length_ or LONGEST_HASH)


def _each_of(edit: Any) -> Each:
    return Each(tuple(one.edit for one in edit.edits_))


_OUTSIDE: Mapping[str, Callable[[Any], Change | Each | None]] = {
    "map": _table_of,
    "hash": _hash_of,
    "for_each": _each_of,
}
"""The changes that need something from outside of the configuration; None where this one does not."""


# --- The table of an edit's keys

_KINDS: Mapping[str, Any] = {
    "to": str | list[dict[str, Any]],
    "with": str,
    "pattern": str,
    "table": dict[str, str],
    "file": LocalPath,
    "digest": Annotated[str, Field(pattern=r"^[0-9]+:[0-9a-f]{64}$")],
    "otherwise": Literal["park", "keep", "clear"],
    "key": KeyField,
    "length": int,
    "days": int,
    "at": str,
    "edits": list["TagEdit"],
}
"""The keys beside the verbs, in the order of `docs/configuration.md`."""


def edit_config(verbs: Sequence[Verb]) -> type[TagEdit]:
    """The table that a rule writes for one edit: a key for each verb, and those that the verbs take."""
    taken = {key for verb in verbs for key in (verb.takes.key, *verb.keys, *verb.optional) if key}
    written: dict[str, Any] = {verb.name: list[str] if verb.lists else str for verb in verbs}
    written |= {key: kind for key, kind in _KINDS.items() if key in taken}
    fields: dict[str, Any] = {
        f"{key}_": (kind | None, Field(default=None, alias=key)) for key, kind in written.items()
    }
    model: type[TagEdit] = create_model("TagEdit", __base__=TagEdit, __doc__=TagEdit.__doc__, **fields)
    # The edits of an item are of this model too.
    model.model_rebuild(force=True, _types_namespace={"TagEdit": model})
    model.verbs = {verb.name: verb for verb in verbs}
    model.keys = frozenset(taken)
    return model
