"""A folder as a receiver."""
