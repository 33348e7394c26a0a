"""Where the frozen window begins."""

from mapdr_desktop.main import main

main()
