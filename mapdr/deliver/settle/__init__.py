"""From an attempt to the ledger: what becomes of a row, written once, and given up only then."""
