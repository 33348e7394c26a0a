"""One destination at work: its threads, its leases, its breaker, and what is told of it."""
