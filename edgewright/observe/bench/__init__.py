"""What a release takes on its board: time, memory, heat and power, with what they are worth."""
