"""ONNX to the form that the board's runtime loads, and what that form holds."""
