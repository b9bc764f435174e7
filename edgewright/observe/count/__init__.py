"""Guest instructions of an inference, by operator and function."""
