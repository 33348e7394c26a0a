"""From the ready queue to the receiver: sessions, what was answered, and what each row becomes by it."""
