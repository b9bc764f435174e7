"""Model folders: golden sets, README, export of a run."""
