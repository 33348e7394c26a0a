"""Where the frozen `mapdr` begins."""

from mapdr_cli.main import main

main()
