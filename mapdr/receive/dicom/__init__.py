"""C-STORE and C-ECHO as a receiver (PS3.4, annexes A and B)."""
