"""How right a model's answers are, on which images."""
