"""Runs `mapdr` and, once a file appears, raises in this process the signal that Ctrl-Break raises.

usage: ask_to_end.py FILE WORDS OF MAPDR...

wine without a screen has no console from which it could come.
"""

import signal
import sys
import threading
import time
from pathlib import Path

from mapdr_cli.main import main


def watch(file: Path) -> None:
    while not file.exists():
        time.sleep(0.2)
    signal.raise_signal(signal.SIGBREAK)


if __name__ == "__main__":
    threading.Thread(target=watch, args=(Path(sys.argv.pop(1)),), daemon=True).start()
    main()
