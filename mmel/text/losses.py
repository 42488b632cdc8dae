"""Losses over padded candidates. A mention whose gold index is -1 is ignored."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from mmel.errors import InputError
from mmel.text.masking import mask_scores

Reduction = Literal["mean", "sum"]


def ranking_loss(
    scores: Tensor, gold: Tensor, candidate_mask: Tensor, margin: float = 0.01, reduction: Reduction = "mean"
) -> Tensor:
    """Margin ranking loss, a scalar (Gan et al. 2021, Eq. 5-6).

    Sums max(0, margin - score of the gold + score of another candidate) over the other candidates of each mention; the
    gold's own term, the constant margin, is left out. reduction: "sum" over the mentions as in Eq. 5, or "mean".

    scores [..., k]; gold [...] integer index of the gold candidate or -1; candidate_mask [..., k] boolean.
    Raises InputError where a gold index points at an absent candidate.
    """
    scores, gold, candidate_mask = _labelled(scores, gold, candidate_mask)
    others = candidate_mask.scatter(-1, gold.unsqueeze(-1), False)
    violation = (margin - scores.gather(-1, gold.unsqueeze(-1)) + scores).clamp_min(0)
    total = violation.masked_fill(~others, 0).sum()
    return total if reduction == "sum" else total / max(len(gold), 1)


def cross_entropy_loss(scores: Tensor, gold: Tensor, candidate_mask: Tensor, reduction: Reduction = "mean") -> Tensor:
    """Negative log-probability of the gold under a softmax over the present candidates; shapes as `ranking_loss`."""
    scores, gold, candidate_mask = _labelled(scores, gold, candidate_mask)
    total = functional.cross_entropy(mask_scores(scores, candidate_mask), gold, reduction="sum")
    return total if reduction == "sum" else total / max(len(gold), 1)


def contrastive_loss(
    scores: Tensor,
    gold: Tensor,
    candidate_mask: Tensor,
    others: Tensor,
    negative: Tensor,
    reduction: Reduction = "mean",
) -> Tensor:
    """Negative log-likelihood of the gold among its hard and in-batch negatives (Wang et al. 2022, Eq. 4).

    scores, gold and mask as `ranking_loss`, the other candidates being the hard negatives; others `[m, b]` are scores
    of each mention and the gold entities of others, negative `[m, b]` says which of them count.
    """
    candidate_mask = torch.cat([candidate_mask, negative], -1)
    return cross_entropy_loss(torch.cat([scores, others], -1), gold, candidate_mask, reduction)


def _labelled(scores: Tensor, gold: Tensor, candidate_mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rows that have a gold candidate, flattened: scores [m, k], gold [m], mask [m, k]."""
    size = scores.shape[-1]
    labelled = (gold >= 0).flatten()
    scores, gold = scores.reshape(-1, size)[labelled], gold.flatten()[labelled]
    candidate_mask = candidate_mask.reshape(-1, size)[labelled]
    if bool((gold >= size).any()) or not bool(candidate_mask.gather(-1, gold.unsqueeze(-1)).all()):
        raise InputError(
            "a gold index points at an absent candidate",
            field="gold",
            remedy="use -1 for mentions whose gold is not among their candidates",
        )
    return scores, gold, candidate_mask
