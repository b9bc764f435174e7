"""What an inference costs: counted instructions, peers beside them, and a model of the board."""
