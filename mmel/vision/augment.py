"""Random views of aligned crops for training: mirrored, moved, lit otherwise, blurred, partly hidden."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from mmel.vision_settings import AugmentConfig

NO_CHANGE = AugmentConfig(flip=0, rotation=0, zoom=0, shift=0, gamma=0, light=0, tint=0, blur=0, hide=0)


def augment(crops: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """One random view a crop: floats in [0, 255] `[n, side, side, c]` of bytes of that shape.

    All randomness is drawn from the generator (of the CPU), the same number of draws whatever the config's values.
    """
    draws = _Draws(len(crops), generator)
    values = _move(crops.float().permute(0, 3, 1, 2), config, draws)
    values = _relight(values, config, draws)
    values = _blur(values, draws.chance(config.blur))
    return _hide(values, draws.chance(config.hide), draws).permute(0, 2, 3, 1)


class _Draws:
    def __init__(self, n: int, generator: torch.Generator) -> None:
        self.n, self.generator = n, generator

    def within(self, limit: float, *shape: int) -> Tensor:
        """[n, *shape] uniform in [-limit, limit]."""
        return (torch.rand(self.n, *shape, generator=self.generator) * 2 - 1) * limit

    def chance(self, probability: float) -> Tensor:
        """[n] true with that probability."""
        return torch.rand(self.n, generator=self.generator) < probability


def _move(values: Tensor, config: AugmentConfig, draws: _Draws) -> Tensor:
    angle = draws.within(math.radians(config.rotation))
    size = 1 + draws.within(config.zoom)
    # Coordinates run from -1 to 1, so a share of the side is twice as much.
    shift = draws.within(2 * config.shift, 2)
    mirror = torch.where(draws.chance(config.flip), -1.0, 1.0)
    cosine, sine = angle.cos() * size, angle.sin() * size
    top = torch.stack([cosine * mirror, -sine, shift[:, 0]], dim=1)
    bottom = torch.stack([sine * mirror, cosine, shift[:, 1]], dim=1)
    matrix = torch.stack([top, bottom], dim=1).to(values.device)
    places = functional.affine_grid(matrix, list(values.shape), align_corners=False)
    return functional.grid_sample(values, places, padding_mode="border", align_corners=False)


def _relight(values: Tensor, config: AugmentConfig, draws: _Draws) -> Tensor:
    """Gamma, a slope of light in a random direction, and a gain of each channel."""
    exponent = draws.within(config.gamma, 1, 1, 1).exp()
    slope = draws.within(config.light, 2, 1, 1)
    tint = 1 + draws.within(config.tint, values.shape[1], 1, 1)
    axis = torch.linspace(-1, 1, values.shape[-1])
    plane = 1 + (slope[:, 0] * axis.unsqueeze(1) + slope[:, 1] * axis).unsqueeze(1) / 2
    curve = (values / 255).clamp(0, 1).pow(exponent.to(values.device))
    return (curve * (plane * tint).to(values.device)).clamp(0, 1) * 255


def _blur(values: Tensor, chosen: Tensor) -> Tensor:
    if not bool(chosen.any()):
        return values
    chosen = chosen.to(values.device)
    side = values.shape[-1]
    small = functional.interpolate(values[chosen], size=(max(side // 2, 1),) * 2, mode="area")
    return values.index_put((chosen,), functional.interpolate(small, size=(side, side), mode="bilinear"))


def _hide(values: Tensor, chosen: Tensor, draws: _Draws) -> Tensor:
    """Fill a rectangle, each side a tenth to a half of the crop's, with the crop's mean."""
    extent = 0.3 + draws.within(0.2, 2)
    start = (0.5 + draws.within(0.5, 2)) * (1 - extent)
    axis = (torch.arange(values.shape[-1]) + 0.5) / values.shape[-1]
    inside = (axis >= start.unsqueeze(-1)) & (axis < (start + extent).unsqueeze(-1))
    hidden = inside[:, 0].unsqueeze(2) & inside[:, 1].unsqueeze(1) & chosen[:, None, None]
    return torch.where(hidden.unsqueeze(1).to(values.device), values.mean((1, 2, 3), keepdim=True), values)
