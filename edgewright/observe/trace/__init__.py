"""The system calls of a board's `edge-infer`."""
