"""Training and pruning; the only room that needs PyTorch."""
