from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgewright.base.errors import UserError
from edgewright.model.contract.card import Card
from edgewright.model.contract.preprocess import Floats, load_input
from edgewright.model.contract.session import open_session, outputs
from edgewright.model.judge.data import Sample
from edgewright.model.quantize.calibrate import calibrate
from edgewright.model.quantize.recipe import (
    DEFAULT,
    RECIPES,
    Recipe,
    prepare,
    quantize_prepared,
    refuse_lowest_weight,
)

OTHERS = (
    Recipe(mode="dynamic"),
    Recipe(method="entropy"),
    Recipe(method="minmax", per_channel=False),
    Recipe(method="minmax", activations="s8"),
    Recipe(spared=("conv",), note="FP32: conv"),
)


def inputs(samples: tuple[Sample, ...], card: Card) -> Floats:
    return np.concatenate([load_input(sample.path, card) for sample in samples])


def quantize(fp32: Path, images: Floats, out: Path, recipe: Recipe = DEFAULT) -> Path:
    prepared = prepare(fp32, out.with_name("prepared.onnx"))
    ranges = calibrate(prepared, (image[np.newaxis] for image in images))
    return quantize_prepared(prepared, ranges, out, recipe)


@pytest.mark.parametrize("recipe", [*RECIPES, *OTHERS], ids=str)
def test_int8_stays_near_fp32(
    recipe: Recipe, network_file: Path, samples: tuple[Sample, ...], card: Card, tmp_path: Path
) -> None:
    images = inputs(samples[:16], card)
    int8 = quantize(network_file, images, tmp_path / "model.onnx", recipe)
    expected = outputs(open_session(network_file), images)
    distance = np.abs(outputs(open_session(int8), images) - expected).max()
    clipped = recipe.method == "entropy"  # of a network this small it clips the logits
    assert distance < (0.5 if clipped else 0.1) * np.ptp(expected)


def test_weights_are_symmetric_int8_per_channel(
    network_file: Path, samples: tuple[Sample, ...], card: Card, tmp_path: Path
) -> None:
    out = quantize(network_file, inputs(samples[:8], card), tmp_path / "model.onnx")
    model = onnx.load(out)
    tensors = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    kernel = tensors["kernel_quantized"]
    assert (kernel.dtype, kernel.min() >= -127) == (np.dtype(np.int8), True)
    assert tensors["kernel_scale"].shape == (8,)
    assert not tensors["kernel_zero_point"].any()
    assert {n.op_type for n in model.graph.node} >= {"QuantizeLinear", "DequantizeLinear"}
    assert model.ir_version == 10


def test_the_lowest_int8_weight_is_refused() -> None:
    model = onnx.ModelProto()
    weights = np.array([-128, 5], np.int8)
    model.graph.initializer.append(numpy_helper.from_array(weights, "kernel_quantized"))
    with pytest.raises(UserError) as caught:
        refuse_lowest_weight(model, Path("model.onnx"))
    assert str(caught.value) == ("model.onnx: int8 weights reach -128\n  tensors: kernel_quantized")


@pytest.mark.parametrize("bias", [np.ones((1, 4), np.float32), np.float32(1)], ids=["row", "one"])
def test_a_bias_that_is_broadcast_is_quantized(bias: Floats, tmp_path: Path) -> None:
    """ONNX Runtime's quantizer takes the bias of a Gemm for one value a column."""
    random = np.random.default_rng(0)
    weights = random.standard_normal((8, 4)).astype(np.float32)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Gemm", ["image", "w", "b"], ["y"], name="dense")],
        "dense",
        [onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1, 8])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(np.asarray(bias), "b")],
    )
    opsets = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "n")
    rows = random.standard_normal((16, 8)).astype(np.float32)

    int8 = quantize(tmp_path / "n", rows, tmp_path / "model.onnx")

    expected = rows @ weights + bias
    answers = np.concatenate([open_session(int8).run(None, {"image": r[None]})[0] for r in rows])
    assert np.abs(answers - expected).max() < 0.05 * np.ptp(expected)
