"""Losses over unit vectors of mentions and entities, aware of labels.

All compare each vector of a batch with the others of the batch, and with `extra` vectors given beside it: hard
negatives, a memory of earlier batches. Two vectors of one label are never a negative pair; label -1 is 'nobody', equal
to no label, not even to another -1. A vector without a positive or without a negative has no part in a loss.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from mmel.errors import ConfigError, InputError, did_you_mean

Mining = Literal["random", "semi-hard", "batch-hard"]
_MINING = ("random", "semi-hard", "batch-hard")
_ABSENT = 4.0  # beyond every difference of two cosines


def compare(
    vectors: Tensor, labels: Tensor, extra: Tensor | None = None, extra_labels: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Cosines of n vectors with each other and with m extra ones: scores, positives, negatives, each [n, n + m].

    vectors [n, d] and extra [m, d] of unit length; labels [n] and extra_labels [m] integer. A vector is neither a
    positive nor a negative of itself. Raises InputError where extra vectors come without labels or of another width.
    """
    keys, key_labels = vectors, labels
    if extra is not None:
        if extra_labels is None or len(extra_labels) != len(extra) or extra.shape[-1] != vectors.shape[-1]:
            raise InputError(
                f"{tuple(extra.shape)} vectors with "
                f"{'no' if extra_labels is None else len(extra_labels)} labels beside vectors {tuple(vectors.shape)}",
                field="extra",
                remedy="give a label for each, -1 for nobody, and vectors of the same width",
            )
        keys, key_labels = torch.cat([vectors, extra]), torch.cat([labels, extra_labels])
    same = (labels.unsqueeze(1) == key_labels) & (key_labels >= 0)
    other = torch.ones_like(same)
    rows = torch.arange(len(vectors), device=vectors.device)
    other[rows, rows] = False
    return vectors @ keys.T, same & other, ~same & other


def info_nce(images: Tensor, texts: Tensor, scale: Tensor, alike: Tensor) -> Tensor:
    """InfoNCE of n pairs of picture and text, both ways, a scalar (Radford et al. 2021; Wang et al. 2024, Eq. 2).

    Eq. 2 has only matching pairs below its fraction, taken for a misprint: here are all texts of a picture, and all
    pictures of a text.

    Args:
        images, texts: `[n, d]` of unit length, row i of both one pair. scale: one over the temperature.
        alike: `[n, n]` bool, symmetric: pairs that are not held against each other, as they are of one entity.
    """
    other = ~torch.eye(len(images), dtype=torch.bool, device=images.device)
    scores = (scale * images @ texts.T).masked_fill(alike & other, -torch.inf)
    own = torch.arange(len(scores), device=scores.device)
    return (functional.cross_entropy(scores, own) + functional.cross_entropy(scores.T, own)) / 2


def triplet_loss(
    vectors: Tensor,
    labels: Tensor,
    margin: float = 0.2,
    mining: Mining = "batch-hard",
    extra: Tensor | None = None,
    extra_labels: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Mean of max(0, margin - s(positive) + s(negative)) over the batch's vectors, a scalar (Gan et al. 2021, Eq. 8).

    One triplet a vector. mining: "random" draws its positive and its negative; "semi-hard" draws the positive and
    takes the most similar negative that is less similar than it, else the least similar one (Schroff et al. 2015);
    "batch-hard" takes the least similar positive and the most similar negative (Hermans et al. 2017).
    Arguments as `compare`; generator: of the draws. The loss is 0 where no vector has both.
    """
    if mining not in _MINING:
        raise ConfigError(f"mining = '{mining}' is not known.{did_you_mean(mining, _MINING)}")
    scores, positives, negatives = compare(vectors, labels, extra, extra_labels)
    usable = positives.any(1) & negatives.any(1)
    if not bool(usable.any()):
        return vectors.sum() * 0
    scores, positives, negatives = scores[usable], positives[usable], negatives[usable]
    known = scores.detach()
    if mining == "batch-hard":
        positive = known.masked_fill(~positives, _ABSENT).argmin(1)
        negative = known.masked_fill(~negatives, -_ABSENT).argmax(1)
    else:
        positive = _draw(positives, generator)
        negative = _draw(negatives, generator) if mining == "random" else _semi_hard(known, positive, negatives)
    pick = torch.arange(len(scores), device=scores.device)
    return (margin - scores[pick, positive] + scores[pick, negative]).clamp_min(0).mean()


def _draw(mask: Tensor, generator: torch.Generator | None) -> Tensor:
    """One column of each row, uniformly among the true ones."""
    lots = torch.rand(mask.shape, generator=generator, device=mask.device)
    return lots.masked_fill(~mask, -1).argmax(1)


def _semi_hard(scores: Tensor, positive: Tensor, negatives: Tensor) -> Tensor:
    easier = negatives & (scores < scores.gather(1, positive.unsqueeze(1)))
    hardest = scores.masked_fill(~easier, -_ABSENT).argmax(1)
    return torch.where(easier.any(1), hardest, scores.masked_fill(~negatives, _ABSENT).argmin(1))


def contrastive_loss(
    vectors: Tensor,
    labels: Tensor,
    temperature: float = 0.1,
    extra: Tensor | None = None,
    extra_labels: Tensor | None = None,
) -> Tensor:
    """In-batch contrastive loss, a scalar: each positive against all negatives, -log softmax of cosine / temperature.

    The mean over a vector's positives (Khosla et al. 2020, L_out), then over vectors; the other positives of a vector
    are left out of the denominator, so that none of them is treated as a negative. Arguments as `compare`. The loss is
    0 where no vector has a positive and a negative.
    """
    if not temperature > 0:
        raise ConfigError(f"temperature = {temperature}: must be above 0")
    scores, positives, negatives = compare(vectors, labels, extra, extra_labels)
    usable = positives.any(1) & negatives.any(1)
    if not bool(usable.any()):
        return vectors.sum() * 0
    scores, positives, negatives = scores[usable] / temperature, positives[usable], negatives[usable]
    against = scores.masked_fill(~negatives, -torch.inf).logsumexp(1, keepdim=True)
    # log(e^s + e^against) - s, stable for any size of either.
    terms = functional.softplus(against - scores).masked_fill(~positives, 0)
    return (terms.sum(1) / positives.sum(1)).mean()


def distillation_loss(vectors: Tensor, targets: Tensor, similarity_weight: float = 0.0) -> Tensor:
    """Mean of 1 - cosine with a teacher's vectors, and the mean squared error of cosines within the batch, a scalar.

    Args:
        vectors: the student's unit vectors [n, d]. targets: the teacher's unit vectors [n, t], t <= d; they are
            compared with the first t numbers of the student's, and the others are to be 0.
        similarity_weight: of the error of vectors vectorsᵀ against targets targetsᵀ without their diagonals
            (similarity-preserving distillation, Tung & Mori 2019).
    """
    loss = 1 - (vectors[:, : targets.shape[1]] * targets).sum(1).mean()
    if similarity_weight and len(vectors) > 1:
        off = ~torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
        loss = loss + similarity_weight * (vectors @ vectors.T - targets @ targets.T)[off].square().mean()
    return loss
