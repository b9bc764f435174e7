"""The time that a board's core takes, estimated from counted blocks."""
