from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgewright.base.errors import UserError

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from edgewright.model.train.export import export, parity, without_division  # noqa: E402
from edgewright.model.train.mobilevit import MobileViT  # noqa: E402

pytestmark = pytest.mark.model
IMAGES = np.random.default_rng(0).normal(size=(3, 1, 64, 64)).astype(np.float32)


@pytest.fixture(scope="module")
def stirred() -> MobileViT:
    """A network whose every weight matters."""
    torch.manual_seed(0)
    network = MobileViT("xxs").eval()
    with torch.no_grad():
        for weight in network.parameters():
            weight += 0.05 * torch.randn_like(weight)
    return network  # type: ignore[no-any-return, unused-ignore]


@pytest.fixture(scope="module")
def exported(stirred: MobileViT, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(stirred, tmp_path_factory.mktemp("exported") / "fp32.onnx", size=64)


def test_the_scale_moves_into_the_queries(stirred: MobileViT) -> None:
    image = torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        before, after = stirred(image), without_division(stirred)(image)
    torch.testing.assert_close(before, after, atol=1e-4, rtol=1e-4)


def test_onnx_agrees_with_pytorch(stirred: MobileViT, exported: Path) -> None:
    assert parity(stirred, exported, IMAGES) < 1e-3
    graph = onnx.load(exported).graph
    assert [graph.input[0].name, graph.output[0].name] == ["image", "logits"]
    makers = {output: node.op_type for node in graph.node for output in node.output}
    scored = [makers[node.input[0]] for node in graph.node if node.op_type == "Softmax"]
    assert scored == ["MatMul"] * 9


def test_a_dynamic_network_takes_any_number_of_images(stirred: MobileViT, tmp_path: Path) -> None:
    out = export(stirred, tmp_path / "fp32.onnx", size=64, dynamic=True)
    assert onnx.load(out).graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert parity(stirred, out, IMAGES) < 1e-3
    assert parity(stirred, out, IMAGES[:1]) < 1e-3


def test_another_network_is_told_by_its_answers(exported: Path) -> None:
    torch.manual_seed(1)
    with pytest.raises(UserError, match="says something else than the PyTorch network"):
        parity(MobileViT("xxs"), exported, IMAGES)


class Strange(torch.nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
    def forward(self, image: Any) -> Any:
        return torch.special.i0(image.mean((2, 3)))


def test_operators_that_onnx_has_not_are_named_with_their_module(tmp_path: Path) -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), Strange())
    with pytest.raises(UserError) as caught:
        export(network, tmp_path / "fp32.onnx", size=64)
    assert str(caught.value) == (
        f"{tmp_path / 'fp32.onnx'}: uses operators that ONNX has not\n"
        "  org.pytorch.aten::i0, made by 1\n"
        "next: replace these modules, or export with a higher opset"
    )
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_is_not_the_labels_is_refused(tmp_path: Path) -> None:
    network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    with pytest.raises(UserError, match=r"another output than its labels\n  3 labels, \[1\]"):
        export(network, tmp_path / "fp32.onnx", size=64, labels=3)
