"""What a task makes of a network's outputs; edge-infer does the same in C++."""
