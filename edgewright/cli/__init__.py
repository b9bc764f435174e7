"""The tasks: parse, call edgewright, print. One module a namespace."""
