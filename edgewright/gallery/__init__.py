"""The whole way, from import to board, of networks that others made (docs/models.md)."""
