"""The end of a pipeline: pixels are written once, compressed by a rule or as a receiver takes them."""
