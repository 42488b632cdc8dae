"""Local scores by hard attention over context words (Ganea and Hofmann 2017, section 3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmel.errors import ConfigError, InputError
from mmel.text.masking import MASKED_SCORE, mask_scores, masked_softmax

# Mentions whose context words are looked up at once: their vectors then stay in the processor's cache.
CHUNK = 16
DEVICE_CHUNK = 1024
# Distinct words of such mentions, in context lengths, up to which one product with all of them is the faster way.
MOST_OVERLAP = 3


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
        words: Tensor,
        word_mask: Tensor,
        candidate_mask: Tensor,
        log_prior: Tensor | None = None,
        table: Tensor | None = None,
    ) -> Tensor:
        """Scores [..., k] of the candidates; `MASKED_SCORE` where `candidate_mask` is False.

        entity_vectors [..., k, d]; words [..., w, d] vectors or, with `table` [V, d], [..., w] indices into it, which
        is faster and leaner; word_mask [..., w] and candidate_mask [..., k] boolean; log_prior [..., k], needed exactly
        when the module was made with `prior_hidden`. The leading dimensions, at least one,
        are free: documents, mentions. A mention without words scores 0 for all its candidates.
        """
        if (self.combine is None) != (log_prior is None):
            raise InputError(
                "a log prior was given to a module that has no net for it"
                if self.combine is None
                else "the log prior is missing",
                field="log_prior",
                remedy="make LocalAttention with prior_hidden exactly when log_prior is passed",
            )
        if candidate_mask.numel() == 0:
            return entity_vectors.sum(-1)
        context = self.context_vectors(entity_vectors, words, word_mask, candidate_mask, table)
        scores = (entity_vectors @ context.unsqueeze(-1)).squeeze(-1)
        if self.combine is not None and log_prior is not None:
            scores = self.combine(scores, log_prior)
        return mask_scores(scores, candidate_mask)

    def context_vectors(
        self,
        entity_vectors: Tensor,
        words: Tensor,
        word_mask: Tensor,
        candidate_mask: Tensor,
        table: Tensor | None = None,
    ) -> Tensor:
        """B sum_w beta(w) w, [..., d]: the attended context that is multiplied with each candidate."""
        leading, dim = entity_vectors.shape[:-2], entity_vectors.shape[-1]
        mentions = leading[-1]
        entities, word_mask = entity_vectors.flatten(0, -3), word_mask.flatten(0, -2)
        absent = ~candidate_mask.flatten(0, -2).unsqueeze(-1)
        words = words.flatten(0, -3) if table is None else words.flatten(0, -2).long()
        # Words that are not kept get no weight and no gradient, so that choosing them needs no autograd.
        positions, top = self._choose(entities.detach(), words.detach(), word_mask, absent, table, mentions)
        kept_mask = word_mask.gather(-1, positions)
        if table is not None and positions.shape[1] and not torch.is_grad_enabled():
            beta = masked_softmax(top, kept_mask, dim=-1)
            kept = words.gather(1, positions)
            context = functional.embedding_bag(kept, table, per_sample_weights=beta, mode="sum")
        else:
            kept = _take(words, positions, table)
            top = _relevance(entities * self.attention, kept, absent)
            context = (masked_softmax(top, kept_mask, dim=-1).unsqueeze(-2) @ kept).squeeze(-2)
        return (context * self.compatibility).view(*leading, dim)

    @torch.no_grad()
    def _choose(
        self, entities: Tensor, words: Tensor, word_mask: Tensor, absent: Tensor, table: Tensor | None, mentions: int
    ) -> tuple[Tensor, Tensor]:
        """Positions of the kept words and their u(w), [m, min(keep, w)] each, a few mentions at a time."""
        on_cpu = entities.device.type == "cpu"
        slots = words.new_empty(len(table)) if table is not None and on_cpu else None
        pieces = _pieces(len(entities), mentions) if on_cpu else _pieces(len(entities), DEVICE_CHUNK, DEVICE_CHUNK)
        parts = [
            _shared_relevance(entities[rows] * self.attention, words[rows], absent[rows], table, slots)
            for rows in pieces
        ]
        top = mask_scores(torch.cat(parts), word_mask).topk(min(self.keep, word_mask.shape[-1]), dim=-1)
        return top.indices, top.values


def _pieces(total: int, mentions: int, chunk: int = CHUNK) -> list[slice]:
    """About `chunk` of `total` rows at a time, cut where documents of `mentions` rows end, so that words are shared."""
    unit = max(mentions * (chunk // max(mentions, 1)), mentions, 1)
    step = -(-unit // max(1, round(unit / chunk)))
    ends = ((start, min(start + unit, total)) for start in range(0, max(total, 1), unit))
    return [slice(i, min(i + step, end)) for start, end in ends for i in range(start, max(end, 1), step)]


def _shared_relevance(
    queries: Tensor, words: Tensor, absent: Tensor, table: Tensor | None, slots: Tensor | None
) -> Tensor:
    """u(w), [m, w], with each distinct word multiplied once where the mentions' contexts overlap, as in one document.

    words [m, w, d], or indices [m, w] into `table`; slots [V] integers, a buffer of any content, or None not to share.
    """
    if table is None or slots is None:
        vectors = words if table is None else functional.embedding(words, table)
        return _relevance(queries, vectors, absent)
    flat = words.flatten()
    order = torch.arange(len(flat), device=flat.device)
    slots[flat] = order
    representative = slots[flat]
    distinct = representative == order
    vocabulary = flat[distinct]
    if len(vocabulary) > words.shape[1] * MOST_OVERLAP:
        return _relevance(queries, functional.embedding(words, table), absent)
    scores = functional.linear(queries.flatten(0, 1), functional.embedding(vocabulary, table))
    best = scores.view(*queries.shape[:2], len(vocabulary)).masked_fill_(absent, MASKED_SCORE).amax(1)
    number = (distinct.cumsum(0) - 1)[representative].view(words.shape)
    return best.gather(1, number)


def _relevance(queries: Tensor, words: Tensor, absent: Tensor) -> Tensor:
    """u(w) = max over the present candidates of (A e)^T w, [m, w]; queries [m, k, d], words [m, w, d]."""
    return torch.bmm(queries, words.transpose(1, 2)).masked_fill_(absent, MASKED_SCORE).amax(1)


def _take(words: Tensor, positions: Tensor, table: Tensor | None) -> Tensor:
    """Vectors [m, r, d] of the words at `positions` [m, r]."""
    if table is not None:
        return functional.embedding(words.gather(1, positions), table)
    return words.gather(1, positions.unsqueeze(-1).expand(-1, -1, words.shape[-1]))
