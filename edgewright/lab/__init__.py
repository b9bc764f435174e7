"""Emulated and full-system boards."""
