"""INT8 from FP32: recipes, calibration, comparison of recipes."""
