"""Stacks that a board copied, and the calls that they tell with the symbols here."""
