"""Codecs: what turns pixels into codestreams and back. Which can do what, and why not, is in `table`."""
