"""Whether a release leaks: what its process holds, while it infers again and again."""
