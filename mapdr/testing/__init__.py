"""For tests, of MAPDR and of plugins: a contract checker, generated studies, a PACS, scripted peers."""
