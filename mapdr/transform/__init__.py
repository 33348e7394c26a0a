"""Transforms: one verb a file, from a payload to a payload, by the recipe of a destination.

Whatever fails raises, and the image stays: the original never leaves in place of what was asked for.
"""
