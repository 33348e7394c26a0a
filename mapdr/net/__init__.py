"""What network stages share: TLS, AE titles, hosts, retry, rates, HTTP."""
