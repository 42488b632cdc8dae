"""The speed benchmark of the patch transformer runs at a tiny size and measures every kind of work."""

from __future__ import annotations

from benchmarks.patch_speed import measure
from mmel.vision_settings import PatchConfig


def test_every_rate_is_measured() -> None:
    tiny = PatchConfig(side=16, grid=4, dim=12, layers=1, heads=3, feed_forward=8)
    result = measure(batch=4, repeats=1, config=tiny)
    kinds = ("train", "train_half", "encode", "encode_mirrored")
    assert set(result) == {"parameters", *kinds, *(f"{kind}_cpu" for kind in kinds)}
    assert all(value > 0 for value in result.values())
