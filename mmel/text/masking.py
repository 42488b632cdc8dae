"""What padding means for every textual scorer: absent candidates score `MASKED_SCORE`, absent words weigh nothing."""

from __future__ import annotations

import torch
from torch import Tensor

# Finite, so that sums and gradients stay finite where everything is masked; far below any real score.
MASKED_SCORE = -1e9


def mask_scores(scores: Tensor, mask: Tensor) -> Tensor:
    """`scores` with `MASKED_SCORE` where the boolean `mask` (same shape) is False."""
    return scores.masked_fill(~mask, MASKED_SCORE)


def masked_softmax(scores: Tensor, mask: Tensor, dim: int) -> Tensor:
    """Softmax over the True positions of `mask` along `dim`; zeros elsewhere, and everywhere where none is True."""
    return torch.softmax(mask_scores(scores, mask), dim) * mask


def with_rivals(columns: Tensor, mask: Tensor) -> Tensor:
    """`[m, k, 2 c]`: columns, and their distance to the mention's best candidate in that column; 0 at pads.

    mask: `[m, k]` which candidates there are, or `[m, k, c]` for which column.
    """
    inside = mask if mask.ndim == columns.ndim else mask.unsqueeze(-1)
    best = columns.masked_fill(~inside, -1e4).amax(1, keepdim=True)
    both = inside if inside.shape[-1] == 1 else torch.cat([inside, inside], -1)
    return torch.cat([columns, (columns - best).clamp(-8, 0)], -1) * both
