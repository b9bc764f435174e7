"""A site that only dials out: its certificate, its line to the server, its boards."""
