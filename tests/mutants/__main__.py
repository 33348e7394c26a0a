"""The tests under test:  make mutants ARGS="mapdr/deliver/settle mapdr/wire/status"

For each module whose path begins with one of the arguments (all of `near.py` without any), a sample of its
mutants against the tests near it. Of what survived, a person decides: the same behaviour, a test that is
missing, or code that is not needed (docs/mutants.md). `MAPDR_MUTANTS` is how many of each module (20; 0 is
all), `MAPDR_MUTANTS_SEED` which ones, `MAPDR_MUTANTS_SECONDS` how many seconds of tests each gets (20), and
`MAPDR_MUTANTS_LIMIT` the seconds below which none is given up (20).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def entry(module: str) -> str | None:
    """The entry of the table that a module (path without .py) belongs to."""
    from mutants.near import NEAR

    fitting = [prefix for prefix in NEAR if f"{module}/".startswith(f"{prefix}/")]
    return max(fitting, key=len, default=None)


def grouped(asked: list[str]) -> dict[str, list[str]]:
    """Entry of the table -> the modules (paths) that were asked for."""
    asked = [each.removesuffix(".py").rstrip("/") for each in asked]
    groups: dict[str, list[str]] = {}
    for path in sorted((ROOT / "mapdr").rglob("*.py")):
        name = path.relative_to(ROOT).with_suffix("").as_posix()
        prefix = entry(name)
        if prefix and (not asked or any(f"{name}/".startswith(f"{each}/") for each in asked)):
            groups.setdefault(prefix, []).append(f"{name}.py")
    return groups


def run_group(root: Path, tests: list[str], modules: list[str], options: list[str]) -> dict[str, Any]:
    """The mutants of `modules` (paths below `root`), tried in this process."""
    from mutants import mutate, session

    count = int(os.environ.get("MAPDR_MUTANTS", "20"))
    seed = os.environ.get("MAPDR_MUTANTS_SEED", "1")
    wanted = {
        root / name: numbers
        for name in modules
        if (numbers := mutate.sample((root / name).read_text(encoding="utf-8"), count, f"{seed}:{name}"))
    }
    budget = float(os.environ.get("MAPDR_MUTANTS_SECONDS", "20"))
    least = float(os.environ.get("MAPDR_MUTANTS_LIMIT", "20"))
    options = [f"--rootdir={root}", *options]
    done = session.run(tests, wanted, jobs=2, budget=budget, least=least, options=options)
    return {"failed": done.failed, "results": [asdict(each) for each in done.results]}


def report(told: dict[str, Any]) -> str:
    """The lines of one group: what calls for a person, then counts."""
    lines = [f"failed without a mutant, and left out: {name}" for name in told["failed"]]
    for each in told["results"]:
        if each["state"] != "killed":
            where = f"{each['path']}:{each['line']} {each['function']}"
            lines.append(f"{each['state']:11} {where}: {each['change']}  ({each['tests']} tests)")
    counts = Counter(each["state"] for each in told["results"])
    lines.append(", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "no mutants")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Each group in a process of its own, as its modules must not be imported when another's tests are."""
    if arguments[:1] == ["--one"]:
        root, into, tests, modules, *options = arguments[1:]
        told = run_group(Path(root), tests.split(), modules.split(), options)
        Path(into).write_text(json.dumps(told, indent=1), encoding="utf-8")
        return 0
    from mutants.near import NEAR

    groups = grouped(arguments)
    if not groups:
        print("no module of tests/mutants/near.py begins like that")
        return 2
    build = ROOT / "build/mutants"
    build.mkdir(parents=True, exist_ok=True)
    worst = 0
    for prefix, modules in groups.items():
        into = build / f"{prefix.replace('/', '-')}.json"
        into.unlink(missing_ok=True)
        print(f"\n{prefix}: {len(modules)} modules, {len(NEAR[prefix])} files of tests", flush=True)
        command = [sys.executable, "-m", "mutants", "--one", str(ROOT), str(into)]
        subprocess.run([*command, " ".join(NEAR[prefix]), " ".join(modules)], cwd=ROOT, check=False)
        if not into.exists():
            worst = 1
            continue
        told = json.loads(into.read_text(encoding="utf-8"))
        text = report(told)
        print(text, flush=True)
        into.with_suffix(".txt").write_text(f"{text}\n", encoding="utf-8")
        worst = max(worst, bool(told["failed"]))
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
