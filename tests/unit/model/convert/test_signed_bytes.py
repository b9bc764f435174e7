"""Signed activations are the same values in other bytes."""

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, numpy_helper

from edgewright.model.convert.signed_bytes import make_signed
from tests.unit.observe.peers.test_fp32 import quantized_network


def answers(model: onnx.ModelProto) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    values = np.linspace(-80, 80, 1001, dtype=np.float32)
    return np.stack([session.run(["y"], {"x": v.reshape(1, 1, 1, 1)})[0] for v in values])


def test_every_answer_is_the_same_to_the_last_bit() -> None:
    model = quantized_network()
    before = answers(model)

    make_signed(model)
    onnx.checker.check_model(model)

    np.testing.assert_array_equal(answers(model), before)


def test_no_byte_is_unsigned_and_weights_stay() -> None:
    model = quantized_network()
    weight = next(t for t in model.graph.initializer if t.name == "w").SerializeToString()

    make_signed(model)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}

    assert TensorProto.UINT8 not in {tensor.data_type for tensor in tensors.values()}
    assert numpy_helper.to_array(tensors["z"]) == 3 - 128
    assert tensors["w"].SerializeToString() == weight
