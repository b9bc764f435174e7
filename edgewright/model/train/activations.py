"""What training keeps in memory."""

import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

FLOAT = 4  # bytes
_PROBE = 64  # pixels; what is kept grows with their number


def training_bytes(network: nn.Module, size: int, batch: int, images: int) -> int:
    """Bytes of `images` at that resolution and of the activations of one batch."""
    return images * size * size * FLOAT + batch * activation_bytes(network, size)


def activation_bytes(network: nn.Module, size: int) -> int:
    """Bytes kept for the backward pass of one image (1, 1, size, size), measured on a
    smaller one."""
    probe = min(size, _PROBE)
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    device = next(network.parameters()).device
    with saved_tensors_hooks(note, lambda tensor: tensor):
        network.eval()(torch.zeros(1, 1, probe, probe, device=device))
    own = {parameter.data_ptr() for parameter in network.parameters()}
    total = sum(count for address, count in kept.items() if address not in own)
    return total * (size // probe) ** 2
