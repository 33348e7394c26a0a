"""A rule of the configuration as a sentence: which images, what is changed, where to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mapdr.route.condition import FACTS
from mapdr.transform.encode.methods import AUTO
from mapdr.transform.encode.named import methods_named

SHOWN = frozenset(
    {
        *FACTS,
        "BodyPartExamined",
        "Columns",
        "InstitutionName",
        "Manufacturer",
        "ManufacturerModelName",
        "Modality",
        "NumberOfFrames",
        "ProtocolName",
        "Rows",
        "SOPClassUID",
        "StationName",
    }
)
"""What a rule may ask for whose value identifies no patient; other values are shown to who may see them."""

_NAMES = {
    "calling_ae": "the sender's AE title",
    "called_ae": "the called AE title",
    "address": "the sender's address",
    "receiver": "the receiver",
}
_LEAST = {"min": "at least", "max": "at most", "regex": "matching", "glob": "like", "equals": "exactly"}


def rule_sentence(rule: Mapping[str, Any], *, identify: bool = False) -> str:
    """What a `[[rule]]` says, such as `Images with Modality CT or MR: AccessionNumber begins with "CN-"; JPEG
    2000 at 10:1; to telepacs.` Values that may identify somebody with `identify` alone."""
    asked = _conditions(rule.get("when", {}), identify)
    whose = f"Images with {asked}" if asked else "Every image"
    done = [
        *_deidentified(rule.get("deidentify")),
        *_edits(rule.get("tags", ()), identify),
        *_blanked(rule.get("blank")),
        *_compressed(rule.get("compress")),
    ] or ["unchanged"]
    to = rule.get("send_to", ())
    done.append(f"to {_list(to, 'and')}" if to else "kept here")
    if rule.get("priority", "routine") != "routine":
        done.append(f"as {rule['priority']}")
    end = ". Later rules are not asked." if rule.get("stop") else "."
    return f"{whose}: {'; '.join(done)}{end}"


def _conditions(when: Any, identify: bool) -> str:
    if not isinstance(when, Mapping):
        return ""
    return " and ".join(_condition(str(key), value, identify) for key, value in when.items())


def _condition(key: str, value: Any, identify: bool) -> str:
    if key in ("any", "all") and isinstance(value, list):
        return f"({_list([_conditions(one, identify) for one in value], 'or' if key == 'any' else 'and')})"
    if key == "not":
        return f"not ({_conditions(value, identify)})"
    name = _NAMES.get(key, key)
    if not identify and key not in SHOWN:
        return f"{name} of a value that is not shown"
    if isinstance(value, Mapping):
        return f"{name} {' and '.join(_test(str(word), operand) for word, operand in value.items())}"
    return f"{name} {_value(value)}"


def _test(word: str, operand: Any) -> str:
    if word == "not":
        return f"other than {_value(operand)}"
    if word in ("empty", "present"):
        return f"{'' if operand else 'not '}{word}"
    return f"{_LEAST.get(word, word)} {_value(operand)}"


def _value(value: Any) -> str:
    return _list(value, "or") if isinstance(value, list | tuple) else str(value)


def _list(values: Sequence[Any], word: str) -> str:
    texts = [str(each) for each in values]
    return f" {word} ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


def _deidentified(deidentify: Any) -> list[str]:
    if not isinstance(deidentify, Mapping):
        return []
    options = [str(option) for option in deidentify.get("options", ())]
    return [f"de-identified, with {_list(options, 'and')}" if options else "de-identified"]


def _edits(tags: Any, identify: bool) -> list[str]:
    edits = tags if isinstance(tags, list | tuple) else ()
    return [edit_words(edit, identify=identify) for edit in edits if isinstance(edit, Mapping)]


def edit_words(edit: Mapping[str, Any], *, identify: bool = False) -> str:
    """What one edit of `tags` does, such as `PatientID becomes its keyed hash, if Modality CT`. Values that
    may identify somebody with `identify` alone."""
    verb, tag = next(((str(key), value) for key, value in edit.items() if key in _EDITS), ("", ""))
    if not verb:
        return "an edit that is not known here"
    shown = _list(tag, "and") if isinstance(tag, list | tuple) else _shown(tag, identify)
    text = _EDITS[verb].format(tag=shown)
    for key in ("to", "with", "pattern", "at", "days"):
        operand = edit.get(key)
        is_shown = identify or verb in _PLAIN or shown in SHOWN
        if operand is not None and is_shown:
            text += _OPERANDS.get((verb, key), ' "{}"').format(operand)
        elif operand is not None:
            text = f"{text.removesuffix(' ...')} ..."
    if isinstance(inner := edit.get("edits"), list | tuple):
        text += f" {'; '.join(_edits(inner, identify))}"
    if verb == "map":
        table = edit.get("table")
        name = re.split(r"[\\/]", str(edit.get("file")))[-1]  # a recipe names the whole path
        text += f" a table of {len(table)}" if isinstance(table, Mapping) else f" {name}"
        text += f", others {_OTHERWISE.get(str(edit.get('otherwise', 'park')), '')}"
    if "if" in edit:
        text += f", if {_conditions(edit['if'], identify)}"
    return text


def _shown(path: Any, identify: bool) -> str:
    """A path of tags, without the values that choose items."""
    return str(path) if identify else re.sub(r"=[^\[\]]*\]", "=...]", str(path))


def hidden(edit: Mapping[str, Any]) -> dict[str, Any]:
    """An edit of a recipe without what may identify somebody: the old and new values of a table, what a
    condition asks for, and values that choose items."""
    told: dict[str, Any] = {
        key: _shown(value, identify=False) if key in _EDITS and isinstance(value, str) else value
        for key, value in edit.items()
    }
    if isinstance(told.get("table"), Mapping):
        told["table"] = f"{len(told['table'])} entries"
    if isinstance(told.get("edits"), list):
        told["edits"] = [hidden(each) for each in told["edits"]]
    if "if" in told:
        told["if"] = _conditions(told["if"], identify=False)
    return told


_PLAIN = frozenset(("prefix", "suffix", "copy", "shift_date", "split", "join"))
"""Verbs whose operand is of the rule, and of nobody."""
_OPERANDS = {
    ("copy", "to"): " {}",
    ("replace", "pattern"): " where /{}/ is found",
    ("shift_date", "days"): " {} days",
}
_OTHERWISE = {"park": "are parked", "keep": "stay", "clear": "are emptied"}
_EDITS = {
    "set": "{tag} is set to",
    "set_if_missing": "{tag} is set, where it is missing, to",
    "copy": "{tag} is copied to",
    "remove": "{tag} is removed",
    "empty": "{tag} is emptied",
    "prefix": "{tag} begins with",
    "suffix": "{tag} ends with",
    "replace": "{tag} is replaced by",
    "map": "{tag} becomes what is in",
    "hash": "{tag} becomes its keyed hash",
    "shift_date": "{tag} is moved by",
    "upper": "{tag} is written in capital letters",
    "lower": "{tag} is written in small letters",
    "trim": "{tag} loses the spaces around it",
    "split": "{tag} is split at",
    "join": "{tag} is joined with",
    "for_each": "in each item of {tag}:",
    "keep_only": "nothing is kept but {tag} and what an image needs",
}


def _blanked(blank: Any) -> list[str]:
    if not isinstance(blank, Mapping):
        return []
    regions = blank.get("regions", ())
    regions = regions if isinstance(regions, list | tuple) else [regions]
    named = list(dict.fromkeys(each if isinstance(each, str) else "its own list" for each in regions))
    others = " (others pass as they are)" if blank.get("uncovered") == "pass" else ""
    return [f"regions of pixels are blanked by {_list(named, 'or')}{others}"] if named else []


def _compressed(compress: Any) -> list[str]:
    if not isinstance(compress, Mapping):
        return []
    names = compress.get("to", ())
    named = [str(name) for name in (names if isinstance(names, list | tuple) else [names])]
    methods = methods_named(named)
    titles = _list(list(dict.fromkeys(each.title for each in methods)), "or") or "compressed"
    if AUTO in named:
        titles = f"what the receiver takes of {titles}"
    colours = [_TO_RGB] if compress.get("ybr_to_rgb") else []
    if all(each.way != "codec" for each in methods):
        return [*colours, titles]
    aims = [text.format(compress[key]) for key, text in _AIMS.items() if compress.get(key) is not None]
    if compress.get("lossless") or not any(each.lossy for each in methods):
        return [*colours, f"{titles} without loss"]
    limits = [f"{text} {compress[key]}" for key, text in _KEPT.items() if compress.get(key) is not None]
    lifted = compress.get("allow") or ()
    if lifted:
        limits.append(f"also what is {_list(lifted, 'or')}")
    aim = [f"{titles} {aims[0]}" if aims else titles]
    return [*colours, ", ".join([*aim, *limits])]


_TO_RGB = "luminance and chrominance become RGB"
_AIMS = {"ratio": "at {}:1", "psnr": "at a PSNR of {} dB", "near": "off by {} at most"}
_KEPT = {
    "max_error": "no pixel off by more than",
    "min_psnr": "PSNR of at least",
    "min_ssim": "SSIM of at least",
}
