"""`pip install ...` for the Makefile: a line that says how far it is, its warnings only if it fails.

On a terminal the line is written over; in a log there is one when it begins, and one when it ends.
Everything that pip has said is printed if it fails, and its exit status is this one's.
"""

import re
import shutil
import subprocess
import sys
import threading
import time

STEPS = (
    (
        re.compile(r"Installing build dependencies|Getting requirements|Preparing metadata"),
        "getting ready to build",
    ),
    (re.compile(r"Downloading (?:http\\S*/)?([A-Za-z0-9_.]+?)-\d.*\((.*?)\)"), "{0}, {1}"),
    (re.compile(r"(?:Collecting|Requirement already satisfied:) ([A-Za-z0-9_.-]+)"), "{0}"),
    (
        re.compile(r"Building (?:editable|wheel) for (\S+) "),
        "compiling the hot paths, a minute or two",
    ),
    (re.compile(r"Installing collected packages: (.*)"), "unpacking"),
)
"""What pip says, and what is shown of it."""


def shown(line: str) -> str:
    """What a line of pip's says to a person, empty if nothing."""
    for pattern, text in STEPS:
        found = pattern.search(line)
        if found:
            return text.format(*found.groups())
    return ""


def main(words: list[str]) -> int:
    """Runs pip with `words`, the first of which says what is installed."""
    title, arguments = words[0], words[1:]
    began, on_terminal = time.monotonic(), sys.stdout.isatty()
    width = shutil.get_terminal_size().columns - 1 if on_terminal else 0
    if not on_terminal:
        print(f"{title} ...", flush=True)
    said: list[str] = []
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off"]
    with subprocess.Popen(
        [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as pip:
        reader = threading.Thread(target=lambda: said.extend(pip.stdout or ()), daemon=True)
        reader.start()
        while reader.is_alive():
            reader.join(0.5)  # it goes on counting while pip is silent
            last = next((text for text in map(shown, reversed(said)) if text), "")
            if on_terminal:
                line = f"{title}: {time.monotonic() - began:.0f} s  {last}"
                print(f"\r{line[:width]:<{width}}", end="", flush=True)
    if pip.returncode:
        print("\n" + "".join(said), end="", file=sys.stderr)
        return pip.returncode
    done = f"{title}: {time.monotonic() - began:.0f} s"
    print(f"\r{done:<{width}}" if on_terminal else done, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
