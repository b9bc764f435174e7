from collections import Counter
from pathlib import Path

import pytest

from edgewright.base.errors import UserError
from edgewright.model.judge.data import Sample, load_elpv, refuse_overlap, split

EXPECTED = "09f2d4b114fd69eb4f8f478970551c30abd87dad8606b73b0f3b49d4375b8244"


def many(count: int) -> list[Sample]:
    return [
        Sample(path=Path(f"cell{i:04}.png"), probability=i % 4 / 3, cell_type="mono" * (i % 3 > 0))
        for i in range(count)
    ]


def test_samples_are_read_from_the_list(samples: tuple[Sample, ...]) -> None:
    assert len(samples) == 80
    assert (samples[3].name, samples[3].probability, samples[3].cell_type) == (
        "cell0003.png",
        1.0,
        "mono",
    )
    assert [sample.label for sample in samples[:4]] == [0, 0, 1, 1]


def test_parts_are_disjoint_and_complete() -> None:
    data = split(many(1200))
    names = [s.name for part in (data.train, data.validation, data.test) for s in part]
    assert len(names) == len(set(names)) == 1200
    assert data.counts == {"train": 720, "validation": 180, "test": 300}


def test_parts_are_alike_in_every_stratum() -> None:
    data = split(many(1200))
    strata = [
        Counter((s.probability, s.cell_type) for s in part) for part in (data.train, data.test)
    ]
    assert set(strata[0]) == set(strata[1])
    assert all(strata[1][key] / strata[0][key] == pytest.approx(25 / 60) for key in strata[0])


def test_the_split_depends_on_nothing_but_names_and_seed() -> None:
    samples = many(100)
    assert split(samples).fingerprint == split(reversed(samples)).fingerprint
    assert split(samples).fingerprint != split(samples, seed=1).fingerprint
    assert split(samples).fingerprint == EXPECTED


def test_a_test_image_under_another_name_is_refused(
    samples: tuple[Sample, ...], tmp_path: Path
) -> None:
    data = split(samples)
    copy = tmp_path / "harmless.png"
    copy.write_bytes(data.test[0].path.read_bytes())
    test = [sample.path for sample in data.test]
    refuse_overlap([sample.path for sample in data.train], test, "calibration")
    with pytest.raises(UserError) as caught:
        refuse_overlap([data.train[0].path, copy], test, "calibration")
    assert str(caught.value) == (
        "calibration: 1 of its images are test images\n  harmless.png\nnext: take other images"
    )


def test_the_missing_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgewright.model.judge.data.find_spec", lambda name: None)
    with pytest.raises(UserError, match="elpv-dataset: is not installed"):
        load_elpv()
