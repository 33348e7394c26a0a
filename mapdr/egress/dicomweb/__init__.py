"""STOW-RS (PS3.18, section 10.5): what a request carries, and what its answer says of each image."""
