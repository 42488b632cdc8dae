"""Random views: nothing changes when all is off, each change alone in closed form, determinism."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mmel.vision.augment import NO_CHANGE, augment
from mmel.vision_settings import AugmentConfig


def crops(n: int = 6, side: int = 16, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, side, side, channels), dtype=torch.uint8, generator=generator)


def view(batch: Tensor, seed: int = 0, **changes: float) -> Tensor:
    config = AugmentConfig.model_validate(NO_CHANGE.model_dump() | changes)
    return augment(batch, config, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("channels", [1, 3])
def test_with_all_off_a_view_is_its_crop(channels: int) -> None:
    batch = crops(channels=channels)
    torch.testing.assert_close(view(batch), batch.float(), atol=0.02, rtol=0)


def test_a_view_follows_from_the_generator() -> None:
    batch, config = crops(), AugmentConfig()
    first, again, other = (augment(batch, config, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == batch.shape
    assert float(first.min()) >= 0
    assert float(first.max()) <= 255


def test_flip_mirrors_about_its_share_of_crops() -> None:
    batch = crops(64)
    torch.testing.assert_close(view(batch, flip=1.0), batch.flip(2).float(), atol=0.02, rtol=0)
    half = view(batch, flip=0.5)
    mirrored = [torch.allclose(a, b, atol=0.02) for a, b in zip(half, batch.flip(2).float(), strict=True)]
    assert 20 < sum(mirrored) < 44


def test_shift_moves_a_dot_by_at_most_its_share() -> None:
    dot = torch.zeros(200, 32, 32, 1, dtype=torch.uint8)
    dot[:, 15:17, 15:17] = 255
    moved = view(dot, shift=0.25)[..., 0]
    axis = torch.arange(32.0) + 0.5
    places = torch.stack([(moved.sum(d) * axis).sum(1) / moved.sum((1, 2)) for d in (1, 2)]) - 16
    assert 7 < float(places.abs().max()) <= 8.01
    assert float(places.mean().abs()) < 1


def test_rotation_and_zoom_keep_the_middle() -> None:
    disc = torch.zeros(50, 33, 33, 1, dtype=torch.uint8)
    axis = torch.arange(33) - 16
    disc[:, (axis.unsqueeze(1) ** 2 + axis**2) <= 64] = 255
    torch.testing.assert_close(
        view(disc, rotation=90.0)[..., 0].mean((1, 2)), disc.float().mean((1, 2, 3)), rtol=0.05, atol=0
    )
    sizes = view(disc, zoom=0.3)[..., 0].mean((1, 2)).sqrt() / disc.float().mean((1, 2, 3)).sqrt()
    assert 1 / 1.32 < float(sizes.min()) < 0.85
    assert 1.15 < float(sizes.max()) < 1 / 0.68


def test_light_is_a_slope_and_gamma_a_curve() -> None:
    flat = torch.full((40, 16, 16, 3), 100, dtype=torch.uint8)
    lit = view(flat, light=0.5)
    torch.testing.assert_close(lit.mean((1, 2, 3)), torch.full((40,), 100.0), atol=0.1, rtol=0)
    steps = lit[:, 1:] - lit[:, :-1]
    torch.testing.assert_close(steps, steps[:, :1, :1].expand_as(steps), atol=0.05, rtol=0)
    curved = view(flat, gamma=0.5)
    exponents = (curved[:, 0, 0, 0] / 255).log() / torch.tensor(100 / 255).log()
    assert float(exponents.log().abs().max()) <= 0.501
    assert float(curved.std((1, 2, 3)).max()) < 1e-3
    tinted = view(flat, tint=0.2)
    assert 80 <= float(tinted.min()) < 90 < 110 < float(tinted.max()) <= 120.1


def test_blur_and_hiding_touch_the_chosen_crops_only() -> None:
    batch = crops(40)
    soft = view(batch, blur=0.5)
    changed = (soft - batch.float()).abs().amax((1, 2, 3)) > 1
    assert 8 < int(changed.sum()) < 32
    assert bool((soft[changed].std((1, 2)) < batch[changed].float().std((1, 2))).all())
    hidden = view(batch, hide=1.0)
    share = ((hidden - batch.float()).abs() > 0.02).any(-1).float().mean((1, 2))
    assert float(share.min()) > 0.005
    assert float(share.max()) < 0.3
