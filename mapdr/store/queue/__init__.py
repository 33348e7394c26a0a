"""What is owed to whom: how images come into the ledger, and how deliveries go through it."""
