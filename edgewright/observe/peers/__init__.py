"""Other runtimes on the same network and input."""
