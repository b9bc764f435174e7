"""A candidate beside the release in charge, on the same live frames."""
