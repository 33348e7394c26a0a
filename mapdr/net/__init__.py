"""What network stages share: retry, TLS, AE titles, rates."""
