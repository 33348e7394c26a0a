"""`python packaging/attribute_types.py MODULES IODS`: writes mapdr/dicom/deidentify/attribute-types.csv.

The types of the attributes that have a compound code in PS3.15 Table E.1-1, by SOP class and sequence, from
the JSON files of innolitics/dicom-standard (MIT): MODULES is a folder with module_to_attributes.json and
macro_to_attributes.json (PyPI's dicom-standard 0.1.0 has them, of 2020), IODS one with sops.json, ciods.json
and ciod_to_modules.json (of the repository, 2025).
"""

from __future__ import annotations

import csv
import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

DATA = Path(__file__).resolve().parents[1] / "mapdr/dicom/deidentify"
ROOT = "1.2.840.10008."
RANK = {"1": 1, "1C": 1, "2": 2, "2C": 2, "3": 3}
"""Conditional types count as required."""
HARMLESS = frozenset(
    (
        "dermoscopic-image",
        "general-acquisition",
        "microscope-slide-layer-tile-organization",
        "multi-resolution-pyramid",
        "photoacoustic-acquisition-parameters",
        "variable-modality-lut",
    )
)
"""Modules newer than MODULES that hold no attribute with a compound code but optional ones."""
NEWER = {("5.1.4.1.1.66.4", "00082112"): 1, ("5.1.4.1.1.30", "00082112"): 1}
"""Source Image Sequence became 1C in segmentations and parametric maps (PS3.3, C.8.20.2 and C.8.32.2)."""

Types = dict[str, dict[str, int]]


def load(folder: Path, name: str) -> Any:
    return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))


def compound() -> set[str]:
    """The tags with a compound code, as eight lower case digits."""
    with (DATA / "table-e1-1.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if "/" in row["basic_profile"]]
    return {(row["tag"][1:5] + row["tag"][6:10]).lower() for row in rows}


def read(modules: Path) -> tuple[Types, Types, set[str]]:
    """Types by module and by sequence, the strictest of each, and the modules that are known."""
    wanted, by_module, by_sequence = compound(), defaultdict[str, dict[str, int]](dict), Types()
    known = set()
    for name, key in (("module_to_attributes", "moduleId"), ("macro_to_attributes", "macroId")):
        for attribute in load(modules, name):
            known.add(attribute.get("moduleId", ""))
            path, rank = attribute["path"].split(":"), RANK.get(attribute["type"])
            if path[-1] not in wanted or rank is None:
                continue
            if len(path) > 2:
                target = by_sequence.setdefault(path[-2], {})
            elif key == "moduleId":
                target = by_module[path[0]]
            else:
                continue
            target[path[-1]] = min(target.get(path[-1], 9), rank)
    return by_module, by_sequence, known


def by_class(iods: Path, by_module: Types, known: set[str]) -> Types:
    """Types by SOP class, without ROOT; of classes of which a module is not known nothing is said."""
    iod_of = {iod["name"]: iod["id"] for iod in load(iods, "ciods")}
    modules_of = defaultdict[str, list[str]](list)
    for row in load(iods, "ciod_to_modules"):
        modules_of[row["ciodId"]].append(row["moduleId"])
    found: Types = {}
    for sop in load(iods, "sops"):
        modules = modules_of[iod_of[sop["ciod"]]]
        groups = {each for each in modules if each.endswith("functional-groups")}
        if not modules or not set(modules) - groups <= known | HARMLESS:
            continue
        types: dict[str, int] = {}
        for module in modules:
            # The functional groups of an IOD are a module of its own since 2021, with the same attributes.
            source = "multi-frame-functional-groups" if module in groups - known else module
            for tag, rank in by_module.get(source, {}).items():
                types[tag] = min(types.get(tag, 9), rank)
        uid = sop["id"].removeprefix(ROOT)
        found[uid] = types | {tag: rank for (each, tag), rank in NEWER.items() if each == uid}
    return found


def main(modules: Path, iods: Path) -> None:
    """Write the file."""
    by_module, by_sequence, known = read(modules)
    classes = by_class(iods, by_module, known)
    lines = ["tag,type,contexts", f'"(xxxx,xxxx)",known,{" ".join(sorted(classes))}']
    for tag in sorted(compound()):
        written = f'"({tag[:4].upper()},{tag[4:].upper()})"'
        for rank in (1, 2):
            if uids := sorted(uid for uid, types in classes.items() if types.get(tag) == rank):
                lines.append(f"{written},{rank},{' '.join(uids)}")
        for rank in (1, 2, 3):
            if parents := sorted(each for each, types in by_sequence.items() if types.get(tag) == rank):
                lines.append(f"{written},{rank},{' '.join('@' + each.upper() for each in parents)}")
    (DATA / "attribute-types.csv").write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
