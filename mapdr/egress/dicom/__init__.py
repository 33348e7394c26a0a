"""C-STORE as a destination."""
