"""What a fleet costs the machine that conducts it, beside other tools."""
