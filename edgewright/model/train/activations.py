"""How much memory training takes, measured before it starts."""

from copy import deepcopy

import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

FLOAT = 4  # bytes
_PROBE = 64  # pixels a side; what a layer saves grows with their number


def training_bytes(network: nn.Module, size: int, batch: int, images: int) -> int:
    """Bytes of `images` at that resolution and of the activations of one batch."""
    return images * size * size * FLOAT + batch * activation_bytes(network, size)


def activation_bytes(network: nn.Module, size: int) -> int:
    """Bytes that one image (1, 1, size, size) keeps for the backward pass.

    Measured on a smaller image, so that asking takes little memory itself.
    """
    probe = min(size, _PROBE)
    saved_sizes: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        # By address: several layers may save one tensor.
        saved_sizes[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    device = next(network.parameters()).device
    before = deepcopy(network.state_dict())
    with saved_tensors_hooks(note, lambda tensor: tensor):
        network.train()(torch.zeros(2, 1, probe, probe, device=device))  # one has no variance
    network.load_state_dict(before)  # normalisations have measured the zeros
    parameters = {parameter.data_ptr() for parameter in network.parameters()}
    total = sum(count for address, count in saved_sizes.items() if address not in parameters)
    return total // 2 * (size // probe) ** 2
