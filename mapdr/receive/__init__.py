"""Where objects come in. Success is answered only after the object is safe: after `Incoming.commit`."""
