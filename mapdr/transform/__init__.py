"""Transforms: the recipe of a destination as a pipeline, from a spooled instance to a payload.

`pipeline` runs the steps, `document` is the image between them: opened once, decoded once. Steps that edit
elements stand in `header/`, what encodes in `encode/`, who reads and writes which syntax in `codecs/`.
Whatever fails raises, and the image stays: the original never leaves in place of what was asked for.
"""
