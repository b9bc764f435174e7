"""The licence of a network that was trained on ELPV, and of the images beside it."""

import re

from edgewright.model.contract.card import Card

ELPV = """\
SPDX-License-Identifier: CC-BY-NC-SA-4.0

The network was trained on the data set ELPV, and the images in golden/ come from it:
Creative Commons Attribution-NonCommercial-ShareAlike 4.0 International,
https://creativecommons.org/licenses/by-nc-sa/4.0/legalcode. So it is not for commercial use.
Changes of images: `-rgb` is tinted, `-odd` is resized and compressed. Cite:

S. Deitsch, V. Christlein, S. Berger, C. Buerhop-Lutz, A. Maier, F. Gallwitz, C. Riess: Automatic
classification of defective photovoltaic module cells in electroluminescence images. Solar Energy
185 (2019), 455-468.
"""
WEIGHTS = """
Its first weights are those of the package {package}, under the Apache
License 2.0, https://www.apache.org/licenses/LICENSE-2.0; training changed them.
"""


def licence(card: Card) -> str | None:
    """The text of LICENSE; None for data of somebody else, who knows their licence."""
    if not is_of_elpv(card):
        return None
    package = imagenet_package(card)
    return ELPV + WEIGHTS.format(package=package) if package else ELPV


def is_of_elpv(card: Card) -> bool:
    return card.data.get("package") == "elpv-dataset"


def imagenet_package(card: Card) -> str | None:
    """The package whose weights training started from, over however many runs; None where there
    was none.
    """
    source = re.search(r"\bImageNet \((\w+)\)", str(card.training["from"]))
    return source[1].replace("_", "-") if source else None
