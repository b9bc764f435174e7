import numpy as np

from edgewright.model.judge.synthetic import SYNTHETIC_LABELS, draw_defects


def test_defects_are_dark_where_their_labels_are_and_nowhere_else() -> None:
    random = np.random.default_rng(3)
    cell = np.full((100, 120), 150, np.uint8)
    labels_seen = set()
    for _ in range(20):
        pixels, labels = draw_defects(cell, random)
        assert pixels.shape == labels.shape == cell.shape
        labels_seen |= set(np.unique(labels).tolist())
        defect = labels > 0
        assert pixels[~defect].min() > 140
        assert not defect.any() or pixels[defect].max() < 0.7 * 150 + 10
    assert labels_seen == set(range(len(SYNTHETIC_LABELS)))


def test_the_same_seed_draws_the_same() -> None:
    cell = np.full((64, 64), 150, np.uint8)
    first, second = (draw_defects(cell, np.random.default_rng(1)) for _ in range(2))
    assert (first[0] == second[0]).all()
    assert (first[1] == second[1]).all()
