"""What the encoders that are torch modules share: batches, precision, device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from mmel.encoders.images.base import check_rgb, finite_grid, unit_rows
from mmel.errors import ConfigError

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

PRECISIONS = ("float32", "bfloat16")


class TorchImageEncoder:
    """Pictures of any size through a transform, one by one, and a module in `eval()` mode, in batches.

    Args:
        id: see ImageEncoder; the precision is added here.
        embed: `[b, 3, h, w]` on `device` to `[b, d]`.
        prepare: an RGB picture to `[3, h, w]`, the same h and w for all.
        precision: of the module, `float32` or `bfloat16` (autocast).
        batch: pictures of one pass.
    """

    size: int | None = None

    def __init__(
        self,
        id: str,
        embed: Callable[[torch.Tensor], torch.Tensor],
        prepare: Callable[[Image], torch.Tensor],
        *,
        device: str = "cpu",
        precision: str = "float32",
        batch: int = 32,
    ) -> None:
        if precision not in PRECISIONS:
            raise ConfigError(f"precision is '{precision}'; allowed: {', '.join(PRECISIONS)}")
        if batch < 1:
            raise ConfigError(f"batch = {batch}: must be at least 1")
        self.device, self.precision = device, precision
        self._embed, self._prepare, self._batch = embed, prepare, batch
        self.id = id if precision == "float32" else f"{id}-{precision}"
        self.dim = int(self._rows([_grey()], embed).shape[1])

    def encode(self, pictures: Sequence[Image]) -> np.ndarray:
        """See ImageEncoder."""
        return unit_rows(self._batches(pictures, self._embed, (self.dim,)), self.id)

    def _batches(
        self, pictures: Sequence[Image], embed: Callable[[torch.Tensor], torch.Tensor], shape: tuple[int, ...]
    ) -> np.ndarray:
        for number, picture in enumerate(pictures):
            check_rgb(picture, number)
        rows = np.empty((len(pictures), *shape), np.float32)
        for start in range(0, len(pictures), self._batch):
            rows[start : start + self._batch] = self._rows(pictures[start : start + self._batch], embed)
        return rows

    def _rows(self, pictures: Sequence[Image], embed: Callable[[torch.Tensor], torch.Tensor]) -> np.ndarray:
        import torch

        prepared = torch.stack([self._prepare(picture) for picture in pictures]).to(self.device)
        kind = torch.device(self.device).type
        with torch.inference_mode(), torch.autocast(kind, torch.bfloat16, enabled=self.precision == "bfloat16"):
            rows = embed(prepared)
        return np.asarray(rows.float().cpu().numpy())


class TorchGridEncoder(TorchImageEncoder):
    """A TorchImageEncoder that is a GridEncoder, too; a class gives `_cells`."""

    def _cells(self, pictures: torch.Tensor) -> torch.Tensor:
        """`[b, 3, h, w]` on `device` to `[b, g, rows, columns]`."""
        raise NotImplementedError

    @cached_property
    def _grid_shape(self) -> tuple[int, int, int]:
        """Rows, columns, g."""
        shape = self._rows([_grey()], self._by_row).shape
        return int(shape[1]), int(shape[2]), int(shape[3])

    @property
    def grid_dim(self) -> int:
        """See GridEncoder."""
        return self._grid_shape[2]

    def grid(self, pictures: Sequence[Image]) -> np.ndarray:
        """See GridEncoder."""
        return finite_grid(self._batches(pictures, self._by_row, self._grid_shape), self.id)

    def _by_row(self, pictures: torch.Tensor) -> torch.Tensor:
        return self._cells(pictures).permute(0, 2, 3, 1)


def _grey() -> Image:
    from PIL import Image

    return Image.new("RGB", (64, 64), (127, 127, 127))
