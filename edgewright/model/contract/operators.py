"""Kinds of ONNX operators that several rooms tell apart."""

# The output has the values of the input, in another order or shape.
VIEWS = {"Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity"}
ROUNDING = {"QuantizeLinear", "DequantizeLinear"}
ACTIVATIONS = {"Softmax", "Sigmoid", "HardSigmoid"}  # those that make probabilities of logits
