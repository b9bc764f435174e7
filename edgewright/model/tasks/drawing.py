"""How answers are drawn on the images that they are about."""

from PIL import Image, ImageDraw

from edgewright.model.contract.tiles import TilePlan
from edgewright.model.tasks.masks import Mask

# Told apart by colour-blind people (Okabe and Ito, 2008).
COLOURS = ("#d55e00", "#0072b2", "#009e73", "#e69f00", "#cc79a7", "#56b4e9")
_OPACITY = 110  # of 255
_LINE = 0.006  # of the image's longer side


def colour_of(place: int) -> str:
    return COLOURS[place % len(COLOURS)]


def draw_mask(
    image: Image.Image,
    mask: Mask,
    colour: str,
    region: tuple[int, int, int, int] | None = None,
) -> None:
    """Colour the pixels of a mask that covers a region (x, y, width, height) of the image, or all
    of it, whatever its own size."""
    x, y, width, height = region or (0, 0, *image.size)
    shade = Image.fromarray(mask.astype("uint8") * _OPACITY)
    image.paste(colour, (x, y), shade.resize((width, height), Image.Resampling.NEAREST))


def draw_box(
    image: Image.Image, box: tuple[float, float, float, float], colour: str, words: str = ""
) -> None:
    """Draw a box (x, y, width, height), with words at its upper left corner."""
    width = max(1, round(max(image.size) * _LINE))
    canvas = ImageDraw.Draw(image)
    x, y, across, down = box
    canvas.rectangle((x, y, x + across, y + down), outline=colour, width=width)
    if words:
        size = max(10, round(max(image.size) / 40))
        place = (x + 2 * width, y + 2 * width)
        # On a plate of its own: inspection images are as dark as the colours.
        canvas.rectangle(canvas.textbbox(place, words, font_size=size), fill=colour)
        canvas.text(place, words, fill="white", font_size=size)


def draw_point(image: Image.Image, x: float, y: float, colour: str) -> None:
    radius = max(image.size) * 3 * _LINE
    box = (x - radius, y - radius, x + radius, y + radius)
    ImageDraw.Draw(image).ellipse(box, outline=colour, width=max(1, round(radius / 3)))


def draw_tiles(image: Image.Image, plan: TilePlan) -> None:
    """Draw the border of each tile, that of the one in the middle thicker."""
    canvas = ImageDraw.Draw(image)
    width = max(1, round(max(image.size) * _LINE / 2))
    for number, tile in enumerate(plan.tiles):
        box = (tile.x, tile.y, tile.x + tile.width - 1, tile.y + tile.height - 1)
        line = 3 * width if number == plan.middle else width
        canvas.rectangle(box, outline=COLOURS[5], width=line)
