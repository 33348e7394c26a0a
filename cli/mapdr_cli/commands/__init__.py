"""The commands, one a file: their options and their words; what they do is in mapdr.operate."""
