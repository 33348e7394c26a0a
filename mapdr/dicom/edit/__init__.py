"""Edits of a data set: one table of verbs, a compiled plan and a tree that carry them out."""
