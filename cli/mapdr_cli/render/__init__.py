"""Drawings for a terminal, of what mapdr.operate returns."""
