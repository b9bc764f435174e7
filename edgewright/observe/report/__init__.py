"""One page that shows a release: what is in it, and what its board did."""
