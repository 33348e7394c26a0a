"""`python -m mapdr_cli` is `mapdr`."""

from mapdr_cli.main import main

if __name__ == "__main__":
    main()
