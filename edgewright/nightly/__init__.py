"""Every night, every board: the matrix of boards and models, from build to published release."""
