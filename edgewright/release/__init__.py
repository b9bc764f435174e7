"""Releases: manifest, signing keys, signatures, signed orders."""
