"""One kind of board: its profile, its toolchain, the ELF files it can run."""
