"""What the encoders that are torch modules share: batches, precision, device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mmel.encoders.images.base import check_rgb, unit_rows
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
        from PIL import Image

        if precision not in PRECISIONS:
            raise ConfigError(f"precision is '{precision}'; allowed: {', '.join(PRECISIONS)}")
        if batch < 1:
            raise ConfigError(f"batch = {batch}: must be at least 1")
        self.device, self.precision = device, precision
        self._embed, self._prepare, self._batch = embed, prepare, batch
        self.id = id if precision == "float32" else f"{id}-{precision}"
        self.dim = int(self._rows([Image.new("RGB", (64, 64), (127, 127, 127))]).shape[1])

    def encode(self, pictures: Sequence[Image]) -> np.ndarray:
        """See ImageEncoder."""
        for number, picture in enumerate(pictures):
            check_rgb(picture, number)
        rows = np.empty((len(pictures), self.dim), np.float32)
        for start in range(0, len(pictures), self._batch):
            rows[start : start + self._batch] = self._rows(pictures[start : start + self._batch])
        return unit_rows(rows, self.id)

    def _rows(self, pictures: Sequence[Image]) -> np.ndarray:
        import torch

        prepared = torch.stack([self._prepare(picture) for picture in pictures]).to(self.device)
        kind = torch.device(self.device).type
        with torch.inference_mode(), torch.autocast(kind, torch.bfloat16, enabled=self.precision == "bfloat16"):
            rows = self._embed(prepared)
        return np.asarray(rows.float().cpu().numpy())
