"""A release to a whole fleet, in waves that stop by themselves; resumed after any crash."""
