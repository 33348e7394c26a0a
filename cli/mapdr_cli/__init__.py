"""The command line of MAPDR: one file per group of commands, renderers apart from what they show."""
