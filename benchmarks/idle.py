"""What a node costs that has nothing to do: CPU time, wake-ups, and bytes for the disk.

python -m benchmarks.idle [SECONDS]          prints Markdown; `benchmarks.more` puts it into RESULTS.md

The node has a receiver, two destinations, a webhook and the page, and nobody looks at it. Counted are, of all
its threads and over SECONDS once it has settled: CPU time (/proc/PID/task/*/stat), the times that a thread
woke by itself (voluntary context switches), and bytes written (`write_bytes` of /proc/PID/io, of which only
"none" is exact: `benchmarks.written`). Linux only.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.node import DIMSE, node
from benchmarks.peers import Sink, free_port, scratch

_SETTLE_SECONDS = 65.0  # the node's first events, and the log's line of counts a minute after the start
_TICK = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100

MORE = """associations = 1

[egress.archive]
type = "folder"
path = "{archive}"

[webhook.ris]
url = "http://127.0.0.1:{hook}/events"
on = ["study.received"]

[web]
port = {page}
"""


@dataclass(frozen=True)
class Cost:
    """What one thread, or all of them, has used: seconds of CPU time, and how often it woke."""

    seconds: float
    woken: int


def threads(process: int) -> dict[str, Cost]:
    """What each thread of a process has used, by its number."""
    found = {}
    for task in Path(f"/proc/{process}/task").iterdir():
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        status = (task / "status").read_text()
        woken = int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])
        found[task.name] = Cost((int(fields[11]) + int(fields[12])) / _TICK, woken)
    return found


def written(process: int) -> int:
    """Bytes that a process has had written."""
    told = dict(line.split(": ") for line in Path(f"/proc/{process}/io").read_text().splitlines())
    return int(told["write_bytes"])


def idle(seconds: float) -> tuple[dict[str, Cost], int]:
    """What a node's threads use within so many seconds, and the bytes that it writes."""
    with scratch("idle") as folder, Sink() as sink:
        more = MORE.format(archive=(folder / "archive").as_posix(), hook=free_port(), page=free_port())
        dimse = DIMSE.format(out=sink.port, associations=2, tls="")
        with node(folder, egress=dimse.replace("associations = 2\n", more)) as bench:
            time.sleep(_SETTLE_SECONDS)
            process = bench.process.pid
            before, wrote = threads(process), written(process)
            time.sleep(seconds)
            after = threads(process)
            none = Cost(0.0, 0)
            used = {
                key: Cost(
                    cost.seconds - before.get(key, none).seconds, cost.woken - before.get(key, none).woken
                )
                for key, cost in after.items()
            }
            return used, written(process) - wrote


def report(seconds: float = 60.0) -> list[str]:
    """The table, in Markdown."""
    if sys.platform != "linux":
        return ["Not measured: the system does not count it so."]
    used, wrote = idle(seconds)
    share = 100 * sum(cost.seconds for cost in used.values()) / seconds
    woken = sum(cost.woken for cost in used.values()) / seconds
    lines = [
        "| an idle node: threads | % of a core | wake-ups a second | bytes written a minute |",
        "|---|---|---|---|",
        f"| {len(used)} | {share:.2f} | {woken:.1f} | {wrote * 60 / seconds:,.0f} |",
        "",
    ]
    most = sorted(used.values(), key=lambda cost: -cost.woken)[:3]
    told = ", ".join(f"{cost.woken / seconds:.2f} ({100 * cost.seconds / seconds:.2f} %)" for cost in most)
    return [*lines, f"Over {seconds:.0f} s; the threads that wake most, times a second: {told}."]


if __name__ == "__main__":
    print("\n".join(report(float(sys.argv[1]) if len(sys.argv) > 1 else 60.0)))
