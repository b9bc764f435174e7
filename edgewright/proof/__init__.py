"""Evidence for docs/reliability.md: a board's whole life is played, and cut at every point."""
