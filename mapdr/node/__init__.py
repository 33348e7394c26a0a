"""A node: everything that one `mapdr run` starts, put together from a plan, kept in order, and ended."""
