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
