"""What a program costs: instructions, time, memory, other runtimes beside it."""
