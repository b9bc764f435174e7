"""The model: data, training, export, quantization, evaluation, golden outputs."""
