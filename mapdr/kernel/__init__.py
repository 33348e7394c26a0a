"""The microkernel: what the stages share, and nothing that knows a stage.

`item` holds what moves, `stage` what a stage is, `errors` how things fail, `registry` which stages there
are, `plan` turns a configuration into a graph, `run` starts and stops it, `watch` observes it.
"""
