"""Patch transformer: the equation by hand, patches, normalisation, saving, bad input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional

from mmel.errors import InputError
from mmel.training.checkpoint import save_tensors
from mmel.vision.patch_transformer import (
    PatchEncoder,
    PatchTransformer,
    cut,
    normalise_pixels,
    sinusoids,
)
from mmel.vision_settings import PatchConfig

TINY = PatchConfig(side=16, grid=4, dim=12, layers=2, heads=3, feed_forward=10)


def crops(n: int, side: int = 16, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (n, side, side, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def tiny(seed: int = 0, config: PatchConfig = TINY) -> PatchTransformer:
    torch.manual_seed(seed)
    return PatchTransformer(config).eval()


def attend(layer: torch.nn.TransformerEncoderLayer, x: Tensor, heads: int) -> Tensor:
    """Multi-head attention of one picture's tokens [t, d], head by head."""
    attention, size = layer.self_attn, x.shape[1] // heads
    q, k, v = (x @ attention.in_proj_weight.T + attention.in_proj_bias).chunk(3, dim=1)
    parts = []
    for h in range(heads):
        own = slice(h * size, (h + 1) * size)
        parts.append((q[:, own] @ k[:, own].T / size**0.5).softmax(1) @ v[:, own])
    return torch.cat(parts, dim=1) @ attention.out_proj.weight.T + attention.out_proj.bias


@torch.no_grad()
def test_the_vector_is_equation_7() -> None:
    model, batch = tiny(), crops(2)
    x = model.embed(batch)[0]
    for layer in model.layers:
        assert isinstance(layer, torch.nn.TransformerEncoderLayer)
        o = functional.layer_norm(x + attend(layer, x, TINY.heads), (12,), layer.norm1.weight, layer.norm1.bias)
        forward = layer.linear2(layer.linear1(o).relu())
        x = functional.layer_norm(o + forward, (12,), layer.norm2.weight, layer.norm2.bias)
    expected = functional.normalize(model.output(x.mean(0)), dim=0)
    torch.testing.assert_close(model(batch)[0], expected, atol=1e-5, rtol=1e-4)


def test_the_default_is_the_published_size() -> None:
    config = PatchConfig()
    assert (config.grid**2, config.dim, config.layers) == (64, 300, 6)
    with torch.inference_mode():
        vectors = PatchTransformer(config).eval()(crops(1, 112))
    assert vectors.shape == (1, 300)
    assert float(vectors.norm()) == pytest.approx(1, abs=1e-5)


def test_patches_go_row_by_row_and_lose_nothing() -> None:
    pixels = torch.arange(2 * 3 * 8 * 8).reshape(2, 3, 8, 8)
    tiles = cut(pixels, 4)
    assert tiles.shape == (2, 16, 12)
    assert torch.equal(tiles[1, 6].reshape(3, 2, 2), pixels[1, :, 2:4, 4:6])  # patch 6 is row 1, column 2
    assert torch.equal(tiles.flatten().sort().values, pixels.flatten())


@pytest.mark.parametrize("colour", ["grey", "rgb"])
def test_brightness_and_contrast_of_a_picture_do_not_matter(colour: str) -> None:
    config = TINY.model_copy(update={"colour": colour})
    batch = crops(3).float()
    values = normalise_pixels(batch, config)
    assert values.shape == (3, 1 if colour == "grey" else 3, 16, 16)
    torch.testing.assert_close(values.mean((1, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(values, normalise_pixels(batch * 0.7 + 20, config), atol=1e-3, rtol=1e-3)
    assert not normalise_pixels(torch.full((1, 16, 16, 3), 77, dtype=torch.uint8), config).any()


def test_positions_differ_and_every_patch_counts() -> None:
    codes = sinusoids(8, 300)
    assert codes.shape == (64, 300)
    assert float(torch.pdist(codes).min()) > 1
    model, batch = tiny(), crops(1)
    other = batch.clone()
    other[0, 12:, 12:] = 255 - other[0, 12:, 12:]
    turned = batch.flip(1)
    with torch.no_grad():
        assert not torch.allclose(model(batch), model(other), atol=1e-4)
        assert not torch.allclose(model(batch), model(turned), atol=1e-4)


@torch.no_grad()
def test_kept_patches_in_any_order_and_all_of_them_are_the_picture() -> None:
    model, batch = tiny(), crops(2)
    everything = torch.stack([torch.randperm(16), torch.arange(16)])
    torch.testing.assert_close(model(batch, everything), model(batch), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(model(batch, everything[:, :8]), model(batch), atol=1e-3)


def test_encode_gives_unit_rows_that_do_not_depend_on_the_batch_or_on_mirroring() -> None:
    batch = crops(5)
    pictures = [Image.fromarray(crop.numpy()) for crop in batch]
    encoder = PatchEncoder(tiny())
    vectors = encoder.encode(pictures)
    assert vectors.shape == (5, encoder.dim) == (5, 12)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(encoder.encode(pictures[3:4])[0], vectors[3], atol=1e-5)
    np.testing.assert_allclose(encoder.encode_crops(batch.flip(2).numpy()), vectors, atol=1e-5)
    assert encoder.encode([]).shape == (0, 12)
    one_way = PatchEncoder(tiny(), mirror=False)
    assert one_way.id != encoder.id
    assert not np.allclose(one_way.encode(pictures), vectors, atol=1e-3)


def test_the_mean_of_its_grid_is_what_is_pooled() -> None:
    batch, model = crops(3), tiny()
    encoder = PatchEncoder(model)
    cells = encoder.grid([Image.fromarray(crop.numpy()) for crop in batch])
    assert cells.shape == (3, 4, 4, 12) and encoder.grid_dim == 12
    with torch.inference_mode():
        np.testing.assert_allclose(cells.mean((1, 2)), model.pool(batch).numpy(), atol=1e-5)
    assert encoder.grid([]).shape == (0, 4, 4, 12)


def test_saved_and_loaded_it_is_the_same_encoder(tmp_path: Path) -> None:
    encoder, batch = PatchEncoder(tiny(1), mirror=False), crops(3).numpy()
    path = encoder.save(tmp_path / "run")
    for place in (path, path.parent):
        again = PatchEncoder.load(place)
        assert (again.id, again.mirror, again.model.config) == (encoder.id, False, TINY)
        np.testing.assert_array_equal(again.encode_crops(batch), encoder.encode_crops(batch))
    assert PatchEncoder(tiny(2), mirror=False).id != encoder.id


def test_other_files_and_other_architectures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no whole checkpoint"):
        PatchEncoder.load(tmp_path)
    file = tmp_path / "model.safetensors"
    save_tensors(file, {"a": torch.zeros(2)}, {"kind": "text"})
    with pytest.raises(InputError, match="holds no patch-transformer.*Remedy"):
        PatchEncoder.load(tmp_path)
    state = {"kind": "patch-transformer", "config": TINY.model_dump() | {"feed_forward": 11}, "mirror": True}
    save_tensors(file, tiny().state_dict(), state)
    with pytest.raises(InputError, match="model.safetensors: holds the weights of another model"):
        PatchEncoder.load(tmp_path)


def test_bad_pictures_and_bad_settings_are_named() -> None:
    with pytest.raises(InputError, match=r"pictures of shape \(8, 8, 3\), expected \(16, 16, 3\)"):
        tiny()(crops(1, 8))
    with pytest.raises(InputError, match="picture 0 is 8x8, the encoder takes 16x16"):
        PatchEncoder(tiny()).encode([Image.new("RGB", (8, 8))])
    with pytest.raises(ValidationError, match="side = 100 must be a multiple of grid = 8"):
        PatchConfig(side=100)
    with pytest.raises(ValidationError, match="dim = 300 must be a multiple of heads = 7"):
        PatchConfig(heads=7)
