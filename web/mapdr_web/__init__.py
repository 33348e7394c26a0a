"""The local page; there is nothing here yet."""
