"""Where `edge-infer` spends its CPU time on a board, by function."""
