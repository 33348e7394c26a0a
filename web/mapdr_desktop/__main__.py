"""`python -m mapdr_desktop`."""

from mapdr_desktop.main import main

main()
