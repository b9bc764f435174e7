"""What a model promises: its card, its preprocessing, its answers in ONNX Runtime."""
