"""What torch's newer exporter writes: opset 18, weights in a file of their own, its names."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from edgewright.model.contract.session import open_session
from edgewright.model.convert.to_ort import convert
from edgewright.model.importer.importing import import_classifier
from edgewright.model.quantize.calibrate import calibrate
from edgewright.model.quantize.recipe import prepare, quantize_prepared

pytestmark = pytest.mark.model


class Network(nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
    """What exporters write in their own way: norms, activations, flattening, a mean over a map."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.Hardswish()),
            *(nn.Conv2d(8, 16, 3, 2, 1, groups=8), nn.BatchNorm2d(16), nn.GELU()),
        )
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 4)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        features = self.norm(self.body(image).mean((2, 3)))
        logits: torch.Tensor = self.head(features)
        return logits


def test_a_network_of_the_newer_exporter_becomes_a_boards(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Network().eval()
    path = tmp_path / "net.onnx"
    example = torch.zeros(1, 3, 32, 32)
    torch.onnx.export(network, (example,), str(path), dynamo=True, external_data=True)
    assert path.with_suffix(".onnx.data").is_file()
    images = np.random.default_rng(0).standard_normal((8, 1, 3, 32, 32)).astype(np.float32)

    imported = import_classifier(path)
    prepared = prepare(imported.path, tmp_path / "prepared.onnx")
    int8 = quantize_prepared(prepared, calibrate(prepared, images), tmp_path / "int8.onnx")
    converted = convert(int8, tmp_path / "board")

    assert onnx.load(imported.path, load_external_data=False).graph.initializer
    assert converted.ort.stat().st_size > 0
    with torch.inference_mode():
        expected = np.concatenate([network(torch.from_numpy(image)).numpy() for image in images])
    for model, tolerance in ((imported.path, 1e-4), (int8, 0.1 * np.ptp(expected))):
        session = open_session(model)
        name = session.get_inputs()[0].name
        answers = np.concatenate([session.run(None, {name: image})[0] for image in images])
        np.testing.assert_allclose(answers, expected, atol=tolerance)
