"""Rollouts over the network: a page, and what it is made of."""
