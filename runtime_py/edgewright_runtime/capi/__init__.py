"""The place where scripts look for ONNX Runtime's exceptions."""
