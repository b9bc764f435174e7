"""A picture of what a network sees of an image, and of what it answers."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from edgewright.base.errors import UserError
from edgewright.model.contract.card import Card
from edgewright.model.contract.pixels import decode
from edgewright.model.contract.preprocess import Floats, load_frame, load_input
from edgewright.model.contract.session import class_probabilities, open_session
from edgewright.model.contract.task_cards import AnyCard, TensorCard
from edgewright.model.judge.evaluate import Border, decided
from edgewright.model.judge.task_judge import JudgedCard
from edgewright.model.tasks.drawing import draw_tiles
from edgewright.model.tasks.inference import Engine, task_of

HEIGHT = 480  # pixels of either half
CAPTION = 40
GAP = 8


def write_preview(network: Path, card: AnyCard, image: Path, out: Path) -> str:
    """Write a PNG: the upright image with the answer drawn on it, beside the network's input.

    The input is shown as it is fed, channel by channel, its least value black and its largest
    white: a wrong order of colours or a wrong crop shows. Tiles are drawn on the image, and the
    input is that of the one in the middle. Returns the answer in words. Raises UserError for an
    image that cannot be read, and for a network that takes none.
    """
    if isinstance(card, TensorCard):
        raise UserError(str(network), "takes tensors, of which there is no picture")
    plan = load_frame(image, card)[1] if card.tiling else None
    picture = Image.fromarray(decode(image, card.preprocess.significant_bits)).convert("RGB")
    caption = "what the network sees"
    if plan is not None:
        draw_tiles(picture, plan)
        caption += f" of the tile in the middle, of {len(plan.tiles)}"
    words = _answer(network, card, image, picture)
    halves = [(words, picture), (caption, _as_picture(load_input(image, card)))]
    _sheet([halves]).save(out)
    return words


def write_answers(
    networks: Mapping[str, Path], card: JudgedCard, images: Sequence[Path], out: Path
) -> None:
    """Write a PNG: a row for each image, with the answer of each network (by title) drawn on it."""
    rows = []
    for path in images:
        pixels = decode(path, card.preprocess.significant_bits)
        row = []
        for title, network in networks.items():
            picture = Image.fromarray(pixels).convert("RGB")
            row.append((f"{title}: {_answer(network, card, path, picture)}", picture))
        rows.append(row)
    _sheet(rows).save(out)


def _sheet(rows: Sequence[Sequence[tuple[str, Image.Image]]]) -> Image.Image:
    """Pictures of the same height below their titles."""
    scaled = [[(title, _scaled(picture)) for title, picture in row] for row in rows]
    widths = [sum(half.width for _, half in row) + GAP * (len(row) - 1) for row in scaled]
    height = HEIGHT + CAPTION
    sheet = Image.new("RGB", (max(widths), height * len(scaled)), "white")
    for number, row in enumerate(scaled):
        x, y = 0, number * height
        for title, half in row:
            sheet.paste(half, (x, y + CAPTION))
            ImageDraw.Draw(sheet).text((x + GAP, y + CAPTION // 3), title, fill="black")
            x += half.width + GAP
    return sheet


def _answer(network: Path, card: AnyCard, image: Path, picture: Image.Image) -> str:
    if not isinstance(card, Card):
        answer = Engine(network, card).infer([image]).answer
        return task_of(card).draw(answer, picture)
    session = open_session(network)
    rows = session.run(None, {card.input.name: load_input(image, card)})[0]
    (shares,) = class_probabilities(rows, card)
    label = int(decided(shares[np.newaxis], Border.of(card))[0])
    return f"{card.labels[label]} {shares[label]:.3f}"


def _as_picture(values: Floats) -> Image.Image:
    """The network's input (1, C, H, W) as it would look."""
    planes = values[0]
    span = max(float(planes.max() - planes.min()), 1e-12)
    bytes_: NDArray[np.uint8] = ((planes - planes.min()) * (255 / span)).round().astype(np.uint8)
    return Image.fromarray(bytes_.transpose(1, 2, 0).squeeze()).convert("RGB")


def _scaled(picture: Image.Image) -> Image.Image:
    width = max(1, round(picture.width * HEIGHT / picture.height))
    return picture.resize((width, HEIGHT), Image.Resampling.BILINEAR)
