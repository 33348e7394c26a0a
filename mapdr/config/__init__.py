"""One TOML file becomes a checked configuration; every problem comes with its line, what it is, and the cure."""
