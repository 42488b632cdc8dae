"""The seed's visual encoder: a transformer over an 8 x 8 grid of patches (Gan et al. 2021, section 4.2, Eq. 7).

Patches with a positional encoding go through post-norm layers of multi-head attention, and the mean over patches is the
picture's vector. What the paper does not say is chosen here: greyscale pixels normalised a picture, a linear map and
unit length at the end, and first weights that let training start where linear methods end (`initialise`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mmel.encoders.images.base import finite_grid, pixel_rows
from mmel.errors import InputError
from mmel.schema import validate
from mmel.training.checkpoint import load_module, load_tensors, save_tensors
from mmel.vision_settings import PatchConfig

if TYPE_CHECKING:
    from PIL.Image import Image

KIND = "patch-transformer"
MODEL_FILE = "model.safetensors"
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
_BATCH = 32  # pictures at once: larger ones leave the cache of a core


class PatchTransformer(nn.Module):
    """Pictures to unit vectors (Gan et al. 2021, Eq. 7)."""

    def __init__(self, config: PatchConfig) -> None:
        super().__init__()
        self.config = config
        pixels = (config.side // config.grid) ** 2 * (1 if config.colour == "grey" else 3)
        self.patches = nn.Linear(pixels, config.dim)
        self.positions = nn.Parameter(sinusoids(config.grid, config.dim))
        layer = [
            nn.TransformerEncoderLayer(
                config.dim, config.heads, config.feed_forward, config.dropout, norm_first=False, batch_first=True
            )
            for _ in range(config.layers)
        ]
        self.layers = nn.ModuleList(layer)
        self.output = nn.Linear(config.dim, config.dim)

    def forward(self, pictures: Tensor, kept: Tensor | None = None) -> Tensor:
        """Unit vectors [n, dim] of pictures [n, side, side, 3], bytes or floats of any range.

        kept: [n, k] indices of the patches that are read, all where None (patch dropout, Liu et al. 2023).
        """
        return functional.normalize(self.output(self.pool(pictures, kept)), dim=-1)

    def pool(self, pictures: Tensor, kept: Tensor | None = None) -> Tensor:
        """The mean over patches [n, dim], before the output map; arguments as `forward`."""
        return self.run(self.embed(pictures, kept), 0, len(self.layers)).mean(1)

    def embed(self, pictures: Tensor, kept: Tensor | None = None) -> Tensor:
        """Patches with their positional encodings [n, patches, dim]."""
        tokens = self.patches(cut(normalise_pixels(pictures, self.config), self.config.grid))
        tokens = tokens + self.positions
        if kept is not None:
            tokens = tokens.gather(1, kept.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))
        return tokens

    def run(self, tokens: Tensor, first: int, end: int) -> Tensor:
        """Tokens after layers first .. end - 1."""
        for layer in self.layers[first:end]:
            tokens = layer(tokens)
        return tokens


def grey(pictures: Tensor) -> Tensor:
    """Bytes [n, side, side, 1] of the brightness of pictures [n, side, side, 3]."""
    return torch.cat([(x.float() @ torch.tensor(_LUMA)).round().byte() for x in pictures.split(_BATCH)]).unsqueeze(-1)


def normalise_pixels(pictures: Tensor, config: PatchConfig) -> Tensor:
    """Channels first [n, c, side, side], each picture with mean 0 and variance 1 over all its pixels and channels.

    pictures [n, side, side, 3], for a grey model also [n, side, side, 1]; InputError where they are of another shape.
    """
    size = pictures.shape[1:]
    if size[:2] != (config.side,) * 2 or size[2] not in ((1, 3) if config.colour == "grey" else (3,)):
        raise InputError(
            f"pictures of shape {tuple(size)}, expected ({config.side}, {config.side}, 3)",
            field="pictures",
            remedy="resize the crops, or train a model with another 'side'",
        )
    values = pictures.float()
    if config.colour == "grey" and size[2] == 3:
        values = (values @ values.new_tensor(_LUMA)).unsqueeze(-1)
    values = values.permute(0, 3, 1, 2)
    variance, mean = torch.var_mean(values, dim=(1, 2, 3), keepdim=True, correction=0)
    # A picture of one colour has no contrast to scale up; 1 is far below that of any photograph's bytes.
    return (values - mean) / (variance + 1).sqrt()


def cut(pixels: Tensor, grid: int) -> Tensor:
    """Pictures [n, c, side, side] as patches [n, grid * grid, pixels of a patch], row by row."""
    n, channels, side, _ = pixels.shape
    edge = side // grid
    tiles = pixels.reshape(n, channels, grid, edge, grid, edge).permute(0, 2, 4, 1, 3, 5)
    return tiles.reshape(n, grid * grid, channels * edge * edge)


def sinusoids(grid: int, dim: int) -> Tensor:
    """Positional encodings [grid * grid, dim]: half of the numbers for the row, half for the column.

    Sines and cosines of wavelengths from two patches to four grids, as Vaswani et al. 2017 use for words.
    """
    quarter = -(-dim // 4)
    wavelengths = torch.logspace(np.log10(2), np.log10(4 * grid), quarter)
    angles = 2 * torch.pi * torch.arange(grid).unsqueeze(1) / wavelengths
    codes = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
    rows = codes.unsqueeze(1).expand(grid, grid, -1)
    columns = codes.unsqueeze(0).expand(grid, grid, -1)
    return torch.stack([rows, columns], dim=-1).reshape(grid * grid, -1)[:, :dim].contiguous()


class PatchEncoder:
    """A trained patch transformer as an image encoder.

    Args:
        mirror: average the vector with that of the mirrored picture.
    """

    def __init__(self, model: PatchTransformer, mirror: bool = True) -> None:
        self.model, self.mirror = model.eval(), mirror
        self.dim, self.size = model.config.dim, model.config.side
        self.id = f"{KIND}:{_digest(model)}" + (":mirrored" if mirror else "")

    def encode(self, pictures: Sequence[Image]) -> np.ndarray:
        """Unit vectors [n, dim] float32 of RGB pictures of the model's side (aligned faces, if it was trained so)."""
        return self.encode_crops(pixel_rows(pictures, self.size))

    @torch.inference_mode()
    def encode_crops(self, crops: np.ndarray) -> np.ndarray:
        """Unit vectors [n, dim] float32 of bytes [n, side, side, 3]."""
        device = self.model.positions.device
        parts = [np.empty((0, self.dim), np.float32)]
        for start in range(0, len(crops), _BATCH):
            batch = torch.from_numpy(np.ascontiguousarray(crops[start : start + _BATCH])).to(device)
            vectors = self.model(batch)
            if self.mirror:
                vectors = functional.normalize(vectors + self.model(batch.flip(2)), dim=-1)
            parts.append(vectors.cpu().numpy())
        return np.concatenate(parts)

    @property
    def grid_dim(self) -> int:
        """See GridEncoder."""
        return self.dim

    @torch.inference_mode()
    def grid(self, pictures: Sequence[Image]) -> np.ndarray:
        """Patches after the last layer, before they are pooled: `[n, grid, grid, dim]` float32 (see GridEncoder)."""
        crops, side = pixel_rows(pictures, self.size), self.model.config.grid
        parts = [np.empty((0, side, side, self.dim), np.float32)]
        for start in range(0, len(crops), _BATCH):
            batch = torch.from_numpy(crops[start : start + _BATCH]).to(self.model.positions.device)
            patches = self.model.run(self.model.embed(batch), 0, len(self.model.layers))
            parts.append(patches.reshape(len(batch), side, side, self.dim).cpu().numpy())
        return finite_grid(np.concatenate(parts), self.id)

    def save(self, folder: str | Path) -> Path:
        """Write weights and config as one file, whole or not at all; returns its path."""
        path = Path(folder) / MODEL_FILE
        state = {"kind": KIND, "config": self.model.config.model_dump(), "mirror": self.mirror}
        save_tensors(path, self.model.state_dict(), state)
        return path

    @classmethod
    def load(cls, path: str | Path) -> PatchEncoder:
        """The encoder that `save` wrote to a folder or file; InputError where it holds another model."""
        path = Path(path)
        path = path / MODEL_FILE if path.is_dir() else path
        tensors, state = load_tensors(path)
        if state.get("kind") != KIND:
            raise InputError(
                f"holds no {KIND}",
                file=path,
                remedy="name the folder of a run that trained one, or its model.safetensors",
            )
        model = PatchTransformer(validate(PatchConfig, state["config"], where=str(path)))
        load_module(model, tensors, path)
        return cls(model, state["mirror"])


def _digest(model: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)} ".encode())
        digest.update(value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
