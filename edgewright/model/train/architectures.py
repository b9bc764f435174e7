"""The networks that can be trained, by name."""

from edgewright.base.errors import UserError
from edgewright.model.train.efficientnet_lite import LITE0, SCALES
from edgewright.model.train.lite_classifier import STAGE_COUNT, LiteClassifier
from edgewright.model.train.mobilevit import SIZES, MobileViT
from edgewright.model.train.network import Network

LITES = tuple(SCALES)
NAMES = (*SIZES, *LITES)


def full_name(arch: str) -> str:
    """`xxs` and `mobilevit-xxs` are the same. Raises UserError for an unknown one."""
    name = arch if arch in NAMES else f"mobilevit-{arch}"
    if name not in NAMES:
        raise UserError(
            f"architecture '{arch}'", "is not known", facts=[f"expected: {', '.join(NAMES)}"]
        )
    return name


def new_network(arch: str, labels: int, frozen: int | None = None) -> Network:
    """A network with random weights.

    `frozen` is the number of stages that training leaves as they are; None where it starts from
    nothing. Raises UserError for a network without such stages.
    """
    name = full_name(arch)
    if name in LITES:
        if frozen is not None and not 0 <= frozen <= STAGE_COUNT:
            raise UserError(f"frozen stages {frozen}", f"are not 0 to {STAGE_COUNT}")
        return LiteClassifier(name, labels, frozen=frozen)
    if frozen:
        raise UserError(
            name, "has no stages to freeze", next=f"--arch={LITE0}, or leave --frozen out"
        )
    return MobileViT(name, labels=labels)
