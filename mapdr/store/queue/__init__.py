"""Deliveries: how images become rows of the ledger, and how rows are leased, settled and promised anew."""
