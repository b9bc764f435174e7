from pathlib import Path

import pytest

from edgewright.base.errors import UserError
from edgewright.model.judge.data import LABELS, Dataset, Sample, write_split
from edgewright.model.train.run_folder import RunFolder, begin, recorded_split


@pytest.fixture
def dataset(samples: tuple[Sample, ...]) -> Dataset:
    return Dataset(name="sliver", labels=LABELS, samples=samples)


def test_a_run_goes_on_with_the_split_it_began_with(tmp_path: Path, dataset: Dataset) -> None:
    run = RunFolder(root=tmp_path / "run")
    parts = begin(run, dataset, resume=False)
    write_split(parts, run.split)
    run.checkpoint.touch()
    assert begin(run, dataset, resume=True) == parts == recorded_split(run, dataset)


def test_a_run_is_not_started_over_by_mistake(tmp_path: Path, dataset: Dataset) -> None:
    run = RunFolder(root=tmp_path)
    run.checkpoint.touch()
    with pytest.raises(UserError, match=r"a run is there already\nnext: go on with it: --resume"):
        begin(run, dataset, resume=False)


def test_there_must_be_a_run_to_go_on_with(tmp_path: Path, dataset: Dataset) -> None:
    with pytest.raises(UserError, match=r"there is no training run\nnext: invoke model.train"):
        begin(RunFolder(root=tmp_path / "none"), dataset, resume=True)
