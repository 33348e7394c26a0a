"""Data sets as bytes: found, read, edited. No I/O; only `kernel` and `_fast` are imported."""
