"""STOW-RS as a receiver (PS3.18, section 10.5)."""
