"""The front door for networks that exporters write: what they mean, in a form that a board runs."""
