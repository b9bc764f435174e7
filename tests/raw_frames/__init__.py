"""Frames as cameras lay them out, converted in Python as docs/formats.md says."""
