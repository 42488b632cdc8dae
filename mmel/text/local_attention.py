"""Local scores by hard attention over context words (Ganea and Hofmann 2017, section 3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmel.errors import ConfigError, InputError
from mmel.text.masking import mask_scores, masked_softmax


class PriorCombiner(nn.Module):
    """The two-layer net that joins a score with the log prior: f(score, log p(e|m)) (Ganea and Hofmann 2017, Eq. 7)."""

    def __init__(self, hidden: int = 100) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, scores: Tensor, log_prior: Tensor) -> Tensor:
        """`scores` and `log_prior` of one shape (natural logarithm) -> combined scores of that shape."""
        combined: Tensor = self.net(torch.stack((scores, log_prior), dim=-1)).squeeze(-1)
        return combined


class LocalAttention(nn.Module):
    """How well each candidate fits the words around its mention (Ganea and Hofmann 2017, Eq. 3-7).

    A word counts by the candidate it speaks for most, u(w) = max_e e^T A w; the `keep` best words are weighed by
    softmax, and Psi(e, c) = sum_w beta(w) e^T B w, with A and B diagonal.

    dim: size of entity and word vectors. keep: the R of the paper. prior_hidden: width of the net that joins Psi with
    log p(e|m); None leaves Psi alone, as the global model wants it.
    """

    def __init__(self, dim: int, keep: int = 25, prior_hidden: int | None = None) -> None:
        super().__init__()
        if keep < 1:
            raise ConfigError(f"keep = {keep}: at least one context word must be kept")
        self.keep = keep
        self.attention = nn.Parameter(torch.ones(dim))
        self.compatibility = nn.Parameter(torch.ones(dim))
        self.combine = None if prior_hidden is None else PriorCombiner(prior_hidden)

    def forward(
        self,
        entity_vectors: Tensor,
        word_vectors: Tensor,
        word_mask: Tensor,
        candidate_mask: Tensor,
        log_prior: Tensor | None = None,
    ) -> Tensor:
        """Scores [..., k] of the candidates; `MASKED_SCORE` where `candidate_mask` is False.

        entity_vectors [..., k, d]; word_vectors [..., w, d]; word_mask [..., w] and candidate_mask [..., k] boolean;
        log_prior [..., k], needed exactly when the module was made with `prior_hidden`. The leading dimensions
        (documents, mentions) are free. A mention without words scores 0 for all its candidates.
        """
        if (self.combine is None) != (log_prior is None):
            raise InputError(
                "a log prior was given to a module that has no net for it"
                if self.combine is None
                else "the log prior is missing",
                field="log_prior",
                remedy="make LocalAttention with prior_hidden exactly when log_prior is passed",
            )
        context = self.context_vectors(entity_vectors, word_vectors, word_mask, candidate_mask)
        scores = (entity_vectors @ context.unsqueeze(-1)).squeeze(-1)
        if self.combine is not None and log_prior is not None:
            scores = self.combine(scores, log_prior)
        return mask_scores(scores, candidate_mask)

    def context_vectors(
        self, entity_vectors: Tensor, word_vectors: Tensor, word_mask: Tensor, candidate_mask: Tensor
    ) -> Tensor:
        """B sum_w beta(w) w, [..., d]: the attended context that is multiplied with each candidate."""
        relevance = (entity_vectors * self.attention) @ word_vectors.transpose(-1, -2)
        relevance = mask_scores(mask_scores(relevance, candidate_mask.unsqueeze(-1)).amax(-2), word_mask)
        top, positions = relevance.topk(min(self.keep, relevance.shape[-1]), dim=-1)
        beta = masked_softmax(top, word_mask.gather(-1, positions), dim=-1)
        weights = torch.zeros_like(relevance).scatter(-1, positions, beta)
        return (weights.unsqueeze(-2) @ word_vectors).squeeze(-2) * self.compatibility
