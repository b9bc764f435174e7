"""What is proposed of transformers' processors, beside what they do themselves."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgewright.model.contract.card import Input, Preprocess
from edgewright.model.contract.preprocess import preprocess
from edgewright.model.importer.proposal import Target, propose
from tests.unit.model.conftest import make_card

transformers = pytest.importorskip("transformers")

IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
CROP = {"do_center_crop": True, "crop_size": {"height": 56, "width": 56}}
PROCESSORS: dict[str, dict[str, Any]] = {
    "ViT": {"size": {"height": 56, "width": 56}, "resample": 2},
    "DeiT": {"size": {"height": 64, "width": 64}, "resample": 3, **CROP, **IMAGENET},
    "ConvNext": {"size": {"shortest_edge": 56}, "crop_pct": 0.875, "resample": 3, **IMAGENET},
    "MobileViT": {"size": {"shortest_edge": 64}, "resample": 2, **CROP},
    "Bit": {"size": {"shortest_edge": 64}, "resample": 3, **CROP, **IMAGENET},
}


@pytest.mark.parametrize("size", [(90, 90), (75, 120), (130, 60)])
@pytest.mark.parametrize("name", PROCESSORS)
def test_an_input_is_that_of_the_processor_but_for_its_rounding(
    name: str, size: tuple[int, int], tmp_path: Path
) -> None:
    processor = getattr(transformers, f"{name}ImageProcessorPil")(**PROCESSORS[name])
    processor.save_pretrained(tmp_path)
    # Of mild contrast: what the bicubic curve overshoots the processor cuts after each pass.
    pixels = np.random.default_rng(0).integers(64, 192, (*size, 3), dtype=np.uint8)
    expected = processor(images=Image.fromarray(pixels), return_tensors="np")["pixel_values"]

    target = Target(channels=3, height=56, width=56)
    proposal = propose(tmp_path / "model.ort", target)
    how = Preprocess.model_validate(proposal.parts.content())
    model_input = preprocess(pixels, make_card(input=Input(shape=(1, 3, 56, 56)), preprocess=how))

    assert proposal.notes == ()
    # The processor rounds to whole pixels after each pass of the resize.
    deviation = processor.image_std if processor.do_normalize else [1, 1, 1]
    steps = 255 * np.array(deviation).reshape(1, 3, 1, 1)
    assert np.abs((model_input - expected) * steps).max() < 2
