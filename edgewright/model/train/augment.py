"""Random views of a solar cell that do not change its label."""

import math

import torch
from torch.nn import functional

EPSILON = 1e-5  # as in the card (contract/card.PerImage): the board standardises alike


def augment(images: torch.Tensor) -> torch.Tensor:
    """Values 0 to 1, (N, 1, S, S) -> standardised random views of the same shape.

    Cells are symmetric, so flips are free views. Most cells have horizontal busbars, so
    only a quarter is transposed.
    """
    transposed = torch.rand(len(images), 1, 1, 1) < 0.25
    views = _warp(torch.where(transposed, images.transpose(2, 3), images))
    # Gamma, since exposure differs from camera to camera.
    exponent = torch.exp(0.35 * _uniform(len(views)))[:, None, None, None]
    views = views.clamp(1e-4, 1) ** exponent
    noise = torch.randn_like(views) * torch.rand(len(views), 1, 1, 1) * 0.1
    return standardize(views) + noise


def standardize(images: torch.Tensor) -> torch.Tensor:
    """Zero mean and unit population deviation for each image of values 0 to 1."""
    mean = images.mean((1, 2, 3), keepdim=True)
    std = images.std((1, 2, 3), keepdim=True, correction=0)
    return (images - mean) / std.clamp_min(EPSILON)


def _warp(images: torch.Tensor) -> torch.Tensor:
    """Flips, up to 4 degrees of rotation, 4 % of shift and zoom, in one resampling.

    Views zoom in up to a third: what is learnt at one resolution then holds at the next.
    """
    count = len(images)
    angle = _uniform(count) * math.radians(4)
    flips = torch.randint(0, 2, (2, count)) * 2.0 - 1
    zoom, shift = (
        0.89 + 0.14 * _uniform(count),
        0.08 * torch.stack([_uniform(count), _uniform(count)]),
    )
    rows = [
        torch.stack([flips[0] * zoom * angle.cos(), -flips[1] * angle.sin(), shift[0]], 1),
        torch.stack([flips[0] * angle.sin(), flips[1] * zoom * angle.cos(), shift[1]], 1),
    ]
    grid = functional.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def _uniform(count: int) -> torch.Tensor:
    """Random values (count,), uniform in -1 to 1."""
    return torch.rand(count) * 2 - 1
