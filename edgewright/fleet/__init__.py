"""Many boards: which there are, which of them are meant, and work on them side by side."""
