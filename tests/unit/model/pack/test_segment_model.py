"""A segmentation that is trained on drawn defects."""

from pathlib import Path

from edgewright.model.contract.segment_card import SegmentCard
from edgewright.model.contract.task_cards import read_any_card
from edgewright.model.importer.task_network import read_for_task
from edgewright.model.judge.data import Sample
from edgewright.model.judge.planes import evaluate_segments
from edgewright.model.pack.segment_model import make_segment_model
from edgewright.model.pack.task_golden import require_task_golden


def test_sound_cells_make_a_model_folder_and_what_judges_it(
    samples: tuple[Sample, ...], tmp_path: Path
) -> None:
    lines: list[str] = []
    model = make_segment_model(
        tmp_path / "made", lines.append, steps=3, test_images=3, samples=samples
    )

    folder = tmp_path / "made"
    card = read_any_card(folder / "card.json")
    assert isinstance(card, SegmentCard)
    assert card == model
    assert lines[-1].startswith("step 3 of 3: loss ")
    imported = read_for_task(folder / "model.onnx", card, folder / "card.json")
    assert imported.difference in (None, 0), "a build takes it as it is"
    require_task_golden(imported.path, card, folder / "golden", folder / "model.onnx")
    quality = evaluate_segments(folder / "model.onnx", card, str(folder / "test"))
    assert quality.count == 3
