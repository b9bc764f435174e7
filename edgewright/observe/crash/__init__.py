"""Crashes of `edge-infer`: files that a board keeps, and what they tell with the symbols here."""
