"""Speed as a ratio to a peer, both taken in the same run; `make bench` writes RESULTS.md."""
