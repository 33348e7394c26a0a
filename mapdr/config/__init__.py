"""One TOML file becomes a checked configuration; each problem has its line, what it is, and the cure."""
