"""The form of a rule: which images, accession prefix, compression, where to; the rest stays as written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from tomlkit.items import AoT, Array, Table

from mapdr.config.edit import NotEditable, added, changed, item, removed, set_value
from mapdr.config.lines import parse
from mapdr.operate.access import Access
from mapdr.operate.errors import RequestError
from mapdr.operate.rule_words import rule_sentence
from mapdr.operate.settings import ConfigurationFile, FieldProblem, Saved, read_file, save

ACCESSION = "AccessionNumber"
Compression = Literal["none", "lossless", "lossy"]
COMPRESSIONS: Sequence[Compression] = ("none", "lossless", "lossy")
_CONDITIONS = {"modality": "Modality", "station": "StationName", "calling_ae": "calling_ae"}
_FIELDS = {
    **{f"when.{key}": name for name, key in _CONDITIONS.items()},
    "tags": "prefix",
    "compress.ratio": "ratio",
    "compress": "compress",
}
"""The form's field by the place of a problem in the rule."""


@dataclass(frozen=True, slots=True)
class RuleForm:
    """What the form asks; empty texts and lists ask for nothing.

    `modality` are values of which one is enough, `station` (StationName) and `calling_ae` are patterns.
    `prefix` goes before the accession number. `ratio` counts where `compress` is "lossy".
    """

    name: str
    modality: Sequence[str]
    station: str
    calling_ae: str
    prefix: str
    compress: Compression
    ratio: float
    send_to: Sequence[str]


@dataclass(frozen=True, slots=True)
class ConfiguredRule:
    """A rule of the file, and what it says as a sentence. `form` is None for one that asks for what the form
    does not know in the place of what it knows; `more` is what the form leaves as it is."""

    name: str
    sentence: str
    send_to: Sequence[str]
    form: RuleForm | None
    more: Sequence[str]


def configured_rules(file: ConfigurationFile, *, identify: bool = False) -> list[ConfiguredRule]:
    """The rules of the file in their order. What may identify somebody with `identify` alone."""
    return [
        ConfiguredRule(
            name=str(rule.get("name", "")),
            sentence=rule_sentence(rule, identify=identify),
            send_to=[str(each) for each in rule.get("send_to", ())],
            form=_form(rule),
            more=_more(rule),
        )
        for rule in file.rules()
    ]


def save_rule(opened: Access, rule: RuleForm, seen: str, *, new: bool = False) -> Saved:
    """Write the form's values into the file, and use them; `new`: it becomes the last rule. As
    `settings.save`."""
    file = read_file(opened)
    if file.seen != seen:  # its rules may stand elsewhere
        return Saved(stale=True)
    place = ("rule", len(file.rules()) if new else _index(file, rule.name))
    edit = partial(edited, place=place, rule=rule, new=new)
    return _by_field(save(opened, seen, edit, place, of="rule", name=rule.name))


def remove_rule(opened: Access, name: str, seen: str) -> Saved:
    """Take a rule out of the file. What it has promised is delivered so. As `settings.save`."""
    file = read_file(opened)
    if file.seen != seen:
        return Saved(stale=True)
    place = ("rule", _index(file, name))
    return save(opened, seen, lambda text: removed(text, place), place, of="rule", name=f"{name} (removed)")


def _index(file: ConfigurationFile, name: str) -> int:
    for index, rule in enumerate(file.rules()):
        if rule.get("name") == name:
            return index
    raise RequestError(f'there is no rule "{name}" in the file', field="name")


def _by_field(saved: Saved) -> Saved:
    def told(problem: FieldProblem) -> FieldProblem:
        for place, field in _FIELDS.items():
            if problem.field.startswith(place):
                return replace(problem, field=field)
        return problem

    return replace(saved, problems=[told(each) for each in saved.problems])


# --- out of the file --------------------------------------------------------------------------------------


def _form(rule: Mapping[str, Any]) -> RuleForm | None:
    when, tags = rule.get("when", {}), rule.get("tags", [])
    compress = rule.get("compress", {})
    if not (isinstance(when, dict) and isinstance(tags, list) and isinstance(compress, dict)):
        return None
    modality = when.get("Modality", [])
    modality = [modality] if isinstance(modality, str) else modality
    texts = {name: when.get(_CONDITIONS[name], "") for name in ("station", "calling_ae")}
    prefixes = [each for each in tags if _is_prefix(each)]
    plain = (
        isinstance(modality, list)
        and all(isinstance(each, str) for each in modality)
        and all(isinstance(each, str) for each in texts.values())
        and len(prefixes) <= 1
        and _is_plain(compress)
    )
    if not plain:
        return None
    lossless = compress.get("to") == "jpeg2000-lossless"
    return RuleForm(
        name=str(rule.get("name", "")),
        modality=modality,
        station=texts["station"],
        calling_ae=texts["calling_ae"],
        prefix=str(prefixes[0]["with"]) if prefixes else "",
        compress="none" if not compress else "lossless" if lossless else "lossy",
        ratio=float(compress.get("ratio", 10)),
        send_to=[str(each) for each in rule.get("send_to", ())],
    )


def _is_plain(compress: Mapping[str, Any]) -> bool:
    """Whether the form can show it: none, JPEG 2000 without loss, or at a ratio."""
    if not compress or compress.get("to") == "jpeg2000-lossless":
        return True
    others = ("psnr", "near", "lossless")
    return (
        compress.get("to") == "jpeg2000"
        and "ratio" in compress
        and not any(key in compress for key in others)
    )


def _more(rule: Mapping[str, Any]) -> list[str]:
    """What the form does not show: keys and conditions by name, edits by their number."""
    known = ("name", "when", "tags", "compress", "send_to")
    found = [key for key in rule if key not in known]
    when, tags = rule.get("when", {}), rule.get("tags", [])
    if isinstance(when, dict):
        found += [f"when.{key}" for key in when if key not in _CONDITIONS.values()]
    others = sum(not _is_prefix(each) for each in tags) if isinstance(tags, list) else 0
    if others:
        found.append(f"{others} more edit{'s' if others > 1 else ''} of tags")
    if isinstance(rule.get("compress"), dict):
        found += [f"compress.{key}" for key in rule["compress"] if key not in ("to", "ratio")]
    return found


def _is_prefix(edit: Any) -> bool:
    return isinstance(edit, Mapping) and set(edit) == {"prefix", "with"} and edit["prefix"] == ACCESSION


# --- into the file ----------------------------------------------------------------------------------------


def edited(text: str, *, place: tuple[str, int], rule: RuleForm, new: bool) -> str:
    """The text with the form's values in the rule at `place`. Raises as `mapdr.config.edit`, RequestError."""
    if rule.compress not in COMPRESSIONS:
        raise RequestError(f"compress is one of {', '.join(COMPRESSIONS)}", field="compress")
    if not new:
        return changed(text, place, partial(_fill, rule=rule))
    if not rule.name:
        raise RequestError("a rule needs a name", field="name")
    if any(each.get("name") == rule.name for each in parse(text).values.get("rule", [])):
        raise RequestError(f'there is a rule "{rule.name}" already', field="name")
    when = {key: value for key, value in _when(rule).items() if value}
    values: dict[str, Any] = {"name": rule.name, "when": when}
    if rule.prefix:
        values["tags"] = [{"prefix": ACCESSION, "with": rule.prefix}]
    if compress := _compress(rule):
        values["compress"] = compress
    values["send_to"] = list(rule.send_to)
    return added(text, ("rule",), values)


def _when(rule: RuleForm) -> dict[str, Any]:
    modality = [each for each in rule.modality if each]
    return {
        "Modality": modality[0] if len(modality) == 1 else modality,
        "StationName": rule.station,
        "calling_ae": rule.calling_ae,
    }


def _compress(rule: RuleForm) -> dict[str, Any]:
    if rule.compress == "none":
        return {}
    if rule.compress == "lossless":
        return {"to": "jpeg2000-lossless"}
    return {"to": "jpeg2000", "ratio": int(rule.ratio) if rule.ratio == int(rule.ratio) else rule.ratio}


def _fill(table: Table, rule: RuleForm) -> None:
    when: Any = table.get("when")
    if when is None:
        table["when"] = item({})
        when = table["when"]
    was = _form(table.unwrap())
    for key, value in _when(rule).items():
        there = when.get(key)
        same = there is not None and there == ([value] if isinstance(there, list) else value)
        if not same:
            set_value(when, key, value or None)
    if was is None or was.prefix != rule.prefix:
        _fill_prefix(table, rule.prefix)
    if was is None or (was.compress, was.ratio) != (rule.compress, rule.ratio):
        _fill_compress(table, rule)
    set_value(table, "send_to", list(rule.send_to))


def _fill_prefix(table: Table, prefix: str) -> None:
    tags: Any = table.get("tags")
    if tags is None:
        if prefix:
            table["tags"] = item([{"prefix": ACCESSION, "with": prefix}])
        return
    if not isinstance(tags, Array | AoT):
        raise NotEditable
    at = next((index for index, each in enumerate(tags) if _is_prefix(each)), None)
    if at is None:
        if prefix:
            tags.append(item({"prefix": ACCESSION, "with": prefix}))
    elif prefix:
        set_value(tags[at], "with", prefix)
    else:
        del tags[at]
        if not tags:
            del table["tags"]


def _fill_compress(table: Table, rule: RuleForm) -> None:
    wanted = _compress(rule)
    there: Any = table.get("compress")
    if not wanted:
        table.pop("compress", None)
    elif there is None:
        table["compress"] = item(wanted)
    else:
        if wanted["to"] == "jpeg2000-lossless":  # limits of what is lost mean nothing there
            for key in ("ratio", "max_error", "min_psnr", "min_ssim"):
                there.pop(key, None)
        for key, value in wanted.items():
            set_value(there, key, value)
