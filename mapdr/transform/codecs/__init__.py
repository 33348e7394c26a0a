"""Codecs: what turns pixels into codestreams and back. `table` says what this installation can do."""
