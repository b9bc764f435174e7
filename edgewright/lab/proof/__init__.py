"""The evidence about edgectl: crash points, lost writes, power cuts, fuzzing."""
