"""Write the README of a model folder: the facts of its card, in sentences."""

from typing import Any

from pydantic import JsonValue

from edgewright.model.contract.card import Card, Facts
from edgewright.model.pack.licence import imagenet_package, is_of_elpv

PARAGRAPHS = "\n\n"
_ELPV_LICENCE = (
    "The images in `golden/` come from ELPV, the network was trained on it: "
    "[CC BY-NC-SA 4.0](https://creativecommons.org/licenses/by-nc-sa/4.0/), so not for "
    "commercial use. Changes: `-rgb` is tinted, `-odd` is resized and compressed. Cite:"
    "\n\n"
    "> S. Deitsch, V. Christlein, S. Berger, C. Buerhop-Lutz, A. Maier, F. Gallwitz, C. Riess: "
    "Automatic classification of defective photovoltaic module cells in electroluminescence "
    "images. Solar Energy 185 (2019), 455-468."
)

_WEIGHTS_LICENCE = (
    "Its first weights are those of the package `{package}`: "
    "[Apache-2.0](https://www.apache.org/licenses/LICENSE-2.0)."
)


def readme(card: Card) -> str:
    """Markdown. Needs the facts that `edgewright.model.pack.folder` puts into a card."""
    parts = [
        f"# {card.name}",
        _summary(card),
        "## How good it is",
        _quality(card),
        _confusion(card),
        _caveat(card),
        "## Make it again",
        _reproduction(card),
        "## Files",
        _files(card),
    ]
    if is_of_elpv(card):
        parts += ["## Licence", _ELPV_LICENCE]
        if package := imagenet_package(card):
            parts.append(_WEIGHTS_LICENCE.format(package=package))
    return PARAGRAPHS.join(parts) + "\n"


def _summary(card: Card) -> str:
    answers = " or ".join(f"`{label}`" for label in card.labels)
    cell = "an electroluminescence image of a solar cell"
    subject = cell if card.data.get("name") == "ELPV" else "an image"
    _, channels, height, width = card.input.shape
    color = "one grey channel" if channels == 1 else f"{channels} channels"
    return (
        f"Looks at {subject} and answers {answers}. {card.training['architecture']}, {color}, "
        f"{height}x{width}, INT8. The same facts for programs: [card.json](card.json). "
        "How it is made: [docs/model.md](../../docs/model.md)."
    )


def _quality(card: Card) -> str:
    rows = ["| | accuracy | AUC | defects found |", "|---|---|---|---|"]
    for name in ("fp32", "int8"):
        metrics = _facts(card.metrics[name])
        cells = [
            "{value:.3f} ({low:.3f}-{high:.3f})".format(**metrics[metric])
            for metric in ("accuracy", "auc", "defect_recall")
        ]
        rows.append(f"| {name.upper()} | {' | '.join(cells)} |")
    confusion = _facts(card.metrics["int8"])["confusion"]
    # Without this figure a high accuracy on a lopsided set looks better than it is.
    most = max(sum(row) for row in confusion) / sum(map(sum, confusion))
    return (
        "\n".join(rows)
        + PARAGRAPHS
        + (
            f"On {_facts(card.metrics['int8'])['count']} test images that no weight, range or "
            "recipe was chosen by; in brackets the 95 % interval (bootstrap). FP32 and INT8 give "
            f"the same answer on {float(str(card.metrics['same_answer'])):.1%} of them. Always "
            f"giving the commonest answer would score {most:.1%}."
        )
    )


def _confusion(card: Card) -> str:
    rows = _facts(card.metrics["int8"])["confusion"]
    head = "".join(f" | answers {label}" for label in card.labels)
    lines = [f"|{head} |", "|---" * (len(card.labels) + 1) + "|"]
    for label, row in zip(card.labels, rows, strict=True):
        lines.append(f"| {label} | {' | '.join(map(str, row))} |")
    return "INT8, rows are the truth:" + PARAGRAPHS + "\n".join(lines)


def _caveat(card: Card) -> str:
    training = card.training
    text = (
        "**It demonstrates the pipeline; it is no inspection product.** It was trained for "
        f"{float(str(training['minutes'])):.0f} minutes ({training['epochs']} epochs) on a "
        f"{training['processor']}, starting from {training['from']}"
    )
    if teacher := training.get("teacher"):
        text += (
            f", taught by {_facts(teacher)['architecture']}, whose {training['imitation']} it "
            "imitated"
        )
    text += "."
    if card.data.get("name") == "ELPV":
        text += (
            " It has seen cells of one data set only, and cells of one module may be on both "
            "sides of the split."
        )
    return text


def _reproduction(card: Card) -> str:
    training = card.training
    lines, options = ["```", "pip install -e '.[model]'"], ""
    run = f"build/model/{training['architecture']}"
    if teacher := training.get("teacher"):
        lines.append(_training_command(_facts(teacher)))
        options += f" --teacher=build/model/{_facts(teacher)['architecture']}"
    if first := training.get("first_run"):
        lines.append(_training_command(_facts(first)))
        options += f" --weights=build/model/{_facts(first)['architecture']}/run.pt"
        run = f"build/model/{card.name}"
        options += f" --run={run}"
    if training.get("quantization_aware"):
        options += " --quantized"
    lines += [
        _training_command(training, options),
        f"invoke model.pack --run={run}",
        "```",
        "This makes another network, not these weights: the length of a run, its interruptions and "
        "edgewright itself differ.",
    ]
    return "\n".join(lines)


def _training_command(run: Facts, options: str = "") -> str:
    pretrained = " --pretrained" if str(run["from"]).startswith("ImageNet") else ""
    command = f"invoke model.train --arch={run['architecture']}{pretrained}{options}"
    return f"{command} --epochs={run['epochs']}"


def _files(card: Card) -> str:
    inside, outside = _shape(card.input.shape), _shape(card.output.shape)
    return "\n".join(
        [
            "| file | content |",
            "|---|---|",
            f"| `{card.file.name}` | the INT8 network (QDQ, opset 17): input `{card.input.name}` "
            f"{inside}, output `{card.output.name}` {outside} |",
            "| `card.json` | preprocessing, metrics, quantization, training, data |",
            "| `golden/` | test images of every class, one of them also as RGB PNG and one as JPEG "
            "of odd size, with the INT8 network's answers |",
            "",
            "The golden images are answers the network gets right, half of them sure and half near "
            "the border, so they test the board and say nothing about quality.",
        ]
    )


def _shape(shape: tuple[int, ...]) -> str:
    return "(" + ", ".join(map(str, shape)) + ")"


def _facts(value: JsonValue | dict[str, JsonValue]) -> dict[str, Any]:
    assert isinstance(value, dict)  # written by edgewright.model.pack.folder
    return value
