"""De-identification by PS3.15 Annex E: tables as data, one pass over a header. No files, no sockets."""
