from pathlib import Path

import pytest

from edgewright.model.contract.card import Card, Facts, read_card
from edgewright.model.pack.licence import licence
from edgewright.model.pack.readme import readme
from tests.checkout import checkout

FOLDERS = sorted(path.parent for path in checkout().models.glob("*/card.json"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_readme_tells_what_the_card_tells(folder: Path) -> None:
    assert (folder / "README.md").read_text() == readme(read_card(folder / "card.json"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_licence_is_that_of_data_and_first_weights(folder: Path) -> None:
    assert (folder / "LICENSE").read_text() == licence(read_card(folder / "card.json"))


def test_a_folder_of_images_has_no_licence_of_elpv() -> None:
    card = read_card(FOLDERS[0] / "card.json")
    own: Facts = {"name": "castings", "split": {}}
    text = readme(card.model_copy(update={"data": own}))
    assert "ELPV" not in text
    assert licence(card.model_copy(update={"data": own})) is None
    assert "Looks at an image and answers" in text


def test_a_pretrained_network_is_made_again_from_pretrained_weights() -> None:
    card = read_card(FOLDERS[0] / "card.json")
    first = {"architecture": "net", "from": "ImageNet (its_package)", "epochs": 7}
    text = readme(card.model_copy(update={"training": card.training | first}))
    assert "invoke model.train --arch=net --pretrained --epochs=7\n" in text
    assert "those of the package `its-package`" in text


def commands(card: Card, training: Facts) -> list[str]:
    text = readme(card.model_copy(update={"training": card.training | training}))
    return text.partition("```\n")[2].partition("```")[0].splitlines()[1:]


def test_a_network_that_was_taught_is_made_again_after_its_teacher() -> None:
    card = read_card(FOLDERS[0] / "card.json")
    teacher: Facts = {"architecture": "big", "epochs": 9, "from": "ImageNet (its_package)"}
    taught: Facts = {"architecture": "net", "from": "scratch", "epochs": 7, "teacher": teacher}
    taught |= {"imitation": "answers"}
    text = readme(card.model_copy(update={"training": card.training | taught}))
    assert "starting from scratch, taught by big, whose answers it imitated." in text
    assert commands(card, taught) == [
        "invoke model.train --arch=big --pretrained --epochs=9",
        "invoke model.train --arch=net --teacher=build/model/big --epochs=7",
        "invoke model.pack --run=build/model/net",
    ]
    untaught = taught | {"teacher": teacher | {"from": "scratch"}}
    assert commands(card, untaught)[0] == "invoke model.train --arch=big --epochs=9"


def test_a_quantized_run_is_made_again_after_the_run_that_it_went_on_from() -> None:
    card = read_card(FOLDERS[0] / "card.json").model_copy(update={"name": "mine"})
    source = "net, 9 epochs from ImageNet (its_package)"
    first: Facts = {"architecture": "net", "epochs": 9, "from": "ImageNet (its_package)"}
    training: Facts = {"architecture": "net", "from": source, "epochs": 5, "first_run": first}
    training |= {"quantization_aware": True}
    assert commands(card, training) == [
        "invoke model.train --arch=net --pretrained --epochs=9",
        "invoke model.train --arch=net --weights=build/model/net/run.pt --run=build/model/mine "
        "--quantized --epochs=5",
        "invoke model.pack --run=build/model/mine",
    ]
    text = readme(card.model_copy(update={"training": card.training | training}))
    assert "those of the package `its-package`" in text
    assert "its-package" in (licence(card.model_copy(update={"training": training})) or "")
