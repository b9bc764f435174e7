"""`nightly.toml`: what it may say, and what is said of what it may not."""

import re
from pathlib import Path

import pytest

from edgewright.base.errors import UserError
from edgewright.nightly import settings
from tests.checkout import ROOT
from tests.unit.nightly.nights import workspace_in

GOOD = 'boards = ["a53-som", "rpi2"]\nmodels = ["one", "two"]\n'


def load(folder: Path, text: str) -> settings.NightSettings:
    workspace = workspace_in(folder / "workspace")
    (workspace.root / "nightly.toml").write_text(text)
    return settings.load(workspace)


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        (GOOD + 'bords = ["rpi2"]', "bords: unknown key; did you mean 'boards'?"),
        ('boards = ["rpi2"]', "models: missing"),
        ("boards = []\nmodels = ['one']", "boards: "),
        (GOOD + "nights = 0", "nights: expected at least 1, found 0"),
        (GOOD + "[publish]\nchannel = 'nightly'", "publish.store: missing"),
        (
            GOOD + "[publish]\nstore = 's'\nchannel = 'nighly'",
            "publish.channel: expected 'nightly', 'beta' or 'stable', found 'nighly'",
        ),
        (GOOD + "[publish]\nstor = 's'", "publish.stor: unknown key; did you mean 'store'?"),
        (
            GOOD + "[accuracy.one]\nimages = '../other'",
            "accuracy.one.images: expected a path inside the workspace, found '../other'",
        ),
        (GOOD + "[accuracy.one]\nimages = 'i'\nleast = 90", "accuracy.one.least: "),
    ],
)
def test_a_defect_is_told_with_what_may_have_been_meant(
    text: str, fact: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as refused:
        load(tmp_path, text)

    path = tmp_path / "workspace" / "nightly.toml"
    assert f"  {fact}" in str(refused.value)
    assert str(refused.value).splitlines()[-1] == f"next: mend {path}"


def test_the_accuracy_of_a_model_of_no_night_is_a_near_miss(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"accuracy.tow: no model of a night; did you mean 'two'"):
        load(tmp_path, GOOD + "[accuracy.tow]\nimages = 'i'")


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nightly.toml: no such file"):
        settings.load(workspace_in(tmp_path / "workspace"))


def test_the_matrix_or_a_part_of_it(tmp_path: Path) -> None:
    chosen = load(tmp_path, GOOD)
    workspace = workspace_in(tmp_path / "other")

    every = settings.cells(chosen, workspace)
    part = settings.cells(chosen, workspace, boards=("rpi2",), models=("two",))

    assert [cell.name for cell in every] == [
        "a53-som, one",
        "a53-som, two",
        "rpi2, one",
        "rpi2, two",
    ]
    assert [cell.name for cell in part] == ["rpi2, two"]
    with pytest.raises(UserError, match=r"--boards=rpi3: not in nightly.toml; did you mean 'rpi2'"):
        settings.cells(chosen, workspace, boards=("rpi3",))


def test_an_unknown_board_or_model_is_refused_before_anything_is_built(tmp_path: Path) -> None:
    chosen = load(tmp_path, 'boards = ["a53-sum"]\nmodels = ["one"]')
    workspace = workspace_in(tmp_path / "other")

    with pytest.raises(UserError, match=r"board 'a53-sum': unknown; did you mean 'a53-som'"):
        settings.cells(chosen, workspace)
    with pytest.raises(UserError, match=r"model 'tree': unknown"):
        settings.cells(chosen.model_copy(update={"models": ("tree",)}), workspace)


def test_a_store_s_folder_is_the_workspace_s(tmp_path: Path) -> None:
    inside = load(tmp_path, GOOD + "[publish]\nstore = 'store'")
    web = inside.model_copy(
        update={"publish": settings.Publishing(store="https://store.example/releases")}
    )

    assert inside.place(tmp_path) == str(tmp_path / "store")
    assert web.place(tmp_path) == "https://store.example/releases"


def test_the_example_of_the_docs_is_sound(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "nightly.md").read_text()
    (example,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)

    assert load(tmp_path, example).publish is not None
