"""Random views of a solar cell that do not change its label."""

import math

import torch
from torch.nn import functional

TURNS = 8  # the four right-angle rotations, and the same of the mirrored image
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


def inspection_views(images: torch.Tensor, turns: torch.Tensor | None = None) -> torch.Tensor:
    """Values 0 to 1, (N, 1, S, S) -> standardised views, each turned by its number (N,) of TURNS,
    a random one if not given.

    What differs from one camera and its mounting to the next: shift, brightness, contrast, blur.
    Nothing is cropped or zoomed, which could cut a defect off.
    """
    count = len(images)
    views = _turn(images, torch.randint(TURNS, (count,)) if turns is None else turns)
    mean = views.mean((1, 2, 3), keepdim=True)
    gain, offset, exponent = (
        _uniform(count)[:, None, None, None] * strength for strength in (0.2, 0.1, 0.25)
    )
    # What is clipped is lost, as in an exposure that is too long or too short.
    views = ((views - mean) * gain.exp() + mean + offset).clamp(1e-4, 1) ** exponent.exp()
    soft = functional.avg_pool2d(functional.pad(views, (1, 1, 1, 1), "reflect"), 3, stride=1)
    return standardize(torch.lerp(views, soft, torch.rand(count, 1, 1, 1)))


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


def _turn(images: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """Rotations and mirrors, shifted by up to 3 % in whole pixels, so that nothing is resampled."""
    size = images.shape[-1]
    angle = (turns % 4) * (math.pi / 2)
    cos, sin, mirror = angle.cos().round(), angle.sin().round(), 1.0 - 2.0 * (turns // 4)
    shift = (0.03 * size * torch.stack([_uniform(len(images)), _uniform(len(images))])).round()
    rows = [
        torch.stack([mirror * cos, -sin, shift[0] * 2 / size], 1),
        torch.stack([mirror * sin, cos, shift[1] * 2 / size], 1),
    ]
    grid = functional.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def _uniform(count: int) -> torch.Tensor:
    """Random values (count,), uniform in -1 to 1."""
    return torch.rand(count) * 2 - 1
