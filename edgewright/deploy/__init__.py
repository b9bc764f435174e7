"""One board over SSH: transfer, switch, smoke test, service."""
