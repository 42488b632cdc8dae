"""Coherence by latent relations between mentions (MulRel: Le and Titov 2018; Gan et al. 2021, Eq. 1-4)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mmel.errors import ConfigError, InputError
from mmel.text.belief_propagation import max_product, mean_field, pair_mask
from mmel.text.local_attention import PriorCombiner
from mmel.text.masking import mask_scores, masked_softmax

Normalisation = Literal["ment-norm", "rel-norm"]
Inference = Literal["max-product", "mean-field"]
# A tensor [D, n, k, n, k], or what returns one: called once a forward pass, so that it may hold learned weights.
PairPotential = Tensor | Callable[[], Tensor]


class MulRel(nn.Module):
    """Scores candidates jointly over each document, in padded batches of documents.

    The pairwise score is phi(e_i, e_j) = sum_k alpha_ijk e_i^T R_k e_j with R_k diagonal and alpha from
    f(m_i)^T D_k f(m_j) / sqrt(d), normalised over mentions ("ment-norm", Eq. 3-4, with a learned padding mention that
    takes the weight of mentions related to no other) or over relations ("rel-norm"). Both directions of a pair are
    added, and ment-norm divides by K, as the authors' published implementation does. Beliefs come from max-product
    or mean field, and a two-layer net joins them with log p(e|m).

    dim: size of entity vectors. feature_dim: size of mention features, typically the averages of left context, mention
    and right context word vectors, concatenated. context_dim: size of f(m), `dim` unless given. dropout: on f(m).
    log_beliefs: give the net log-beliefs instead of the probabilities of the papers.
    """

    def __init__(
        self,
        dim: int,
        feature_dim: int,
        *,
        relations: int = 3,
        normalisation: Normalisation = "ment-norm",
        inference: Inference = "max-product",
        rounds: int = 10,
        damping: float = 0.5,
        dropout: float = 0.3,
        context_dim: int | None = None,
        prior_hidden: int = 100,
        log_beliefs: bool = False,
    ) -> None:
        super().__init__()
        _check(relations, normalisation, inference, rounds, damping)
        context_dim = context_dim or dim
        self.normalisation, self.inference = normalisation, inference
        self.rounds, self.damping, self.log_beliefs = rounds, damping, log_beliefs
        self.context = nn.Sequential(nn.Linear(feature_dim, context_dim), nn.Tanh(), nn.Dropout(dropout))
        self.combine = PriorCombiner(prior_hidden)
        # Starting values of the authors' implementation: for ment-norm, the first relation starts as plain similarity.
        if normalisation == "ment-norm":
            relation = torch.randn(relations, dim) * 0.01
            relation[0] += 1
            self.pad_context = nn.Parameter(torch.randn(context_dim) * 0.1)
            self.pad_entity = nn.Parameter(torch.randn(dim) * 0.1)
        else:
            relation = torch.randn(relations, dim) * 0.1
        self.relation = nn.Parameter(relation)
        spread = 0.01 if normalisation == "ment-norm" else 0.1
        self.mention_relation = nn.Parameter(torch.randn(relations, context_dim) * spread)

    def forward(
        self,
        psi: Tensor,
        entity_vectors: Tensor,
        mention_features: Tensor,
        log_prior: Tensor,
        mention_mask: Tensor,
        candidate_mask: Tensor,
        extra_potential: PairPotential | None = None,
    ) -> Tensor:
        """Scores [D, n, k]; `MASKED_SCORE` at absent candidates. Padding and the order of mentions change no score.

        psi [D, n, k] local scores; entity_vectors [D, n, k, d]; mention_features [D, n, feature_dim]; log_prior
        [D, n, k] natural logarithm of p(e|m); mention_mask [D, n] and candidate_mask [D, n, k] boolean.
        extra_potential: [D, n, k, n, k] added to phi (symmetric, see `belief_propagation`), or a callable giving it.
        """
        candidate_mask = candidate_mask & mention_mask.unsqueeze(-1)
        if psi.numel() == 0:
            return psi
        beliefs = self.beliefs(psi, entity_vectors, mention_features, candidate_mask, extra_potential)
        scores: Tensor = self.combine(beliefs if self.log_beliefs else beliefs.exp(), log_prior)
        return mask_scores(scores, candidate_mask)

    def beliefs(
        self,
        psi: Tensor,
        entity_vectors: Tensor,
        mention_features: Tensor,
        candidate_mask: Tensor,
        extra_potential: PairPotential | None = None,
    ) -> Tensor:
        """Log-beliefs [D, n, k] before the prior joins in; arguments as `forward`."""
        if psi.shape != candidate_mask.shape or entity_vectors.shape[:-1] != psi.shape:
            raise InputError(
                f"shapes disagree: psi {tuple(psi.shape)}, candidate_mask {tuple(candidate_mask.shape)}, "
                f"entity_vectors {tuple(entity_vectors.shape)}",
                remedy="pass [D, n, k], [D, n, k] and [D, n, k, d]",
            )
        weights, pad_weights = self.relation_weights(mention_features, candidate_mask)
        phi = pairwise_scores(entity_vectors, self.relation, weights)
        if extra_potential is not None:
            phi = phi + (extra_potential() if callable(extra_potential) else extra_potential)
        pad_potential = None
        if pad_weights is not None:
            pad_potential = _pad_scores(entity_vectors, self.relation * self.pad_entity, pad_weights)
        infer = max_product if self.inference == "max-product" else mean_field
        return infer(psi, phi, candidate_mask, rounds=self.rounds, damping=self.damping, pad_potential=pad_potential)

    def relation_weights(self, mention_features: Tensor, candidate_mask: Tensor) -> tuple[Tensor, Tensor | None]:
        """Weights of the relations between mentions, [D, K, n, n], and with the padding mention, [D, K, n].

        Symmetric, both directions added (ment-norm), scaled by 1/K; zero for i = j and for mentions without candidates.
        """
        f = self.context(mention_features)
        (documents, mentions, _), relations = f.shape, len(self.mention_relation)
        related = f.unsqueeze(1) * (self.mention_relation / math.sqrt(f.shape[-1])).unsqueeze(1)
        scores = torch.bmm(related.flatten(1, 2), f.transpose(1, 2)).view(documents, relations, mentions, mentions)
        pairs = pair_mask(candidate_mask).unsqueeze(1)
        if self.normalisation == "rel-norm":
            return torch.softmax(scores, 1) * pairs, None
        with_pad = (related @ self.pad_context).unsqueeze(-1)
        present = candidate_mask.any(-1)[:, None, :, None].expand_as(with_pad)
        alpha = masked_softmax(torch.cat((scores, with_pad), -1), torch.cat((pairs.expand_as(scores), present), -1), -1)
        from_pad = masked_softmax(with_pad, present, 2).squeeze(-1)
        between, to_pad = alpha[..., :-1], alpha[..., -1]
        return (between + between.transpose(-1, -2)) / relations, (to_pad + from_pad) / relations

    def diversity(self) -> Tensor:
        """Sum of distances below 1 between relations, a scalar; the authors subtract 1e-7 times it from the loss."""
        total = self.relation.new_zeros(())
        for vectors in (self.relation, self.mention_relation):
            unit = nn.functional.normalize(vectors)
            distance = ((unit.unsqueeze(0) - unit.unsqueeze(1)).pow(2).sum(-1) + 1e-5).sqrt()
            total = total + (distance * (distance < 1)).sum()
        return total


def pairwise_scores(entity_vectors: Tensor, relation: Tensor, weights: Tensor) -> Tensor:
    """phi[:, i, a, j, b] = sum_k weights_kij e_ia^T R_k e_jb, [D, n, k, n, k] (Gan et al. 2021, Eq. 2).

    entity_vectors [D, n, k, d]; relation [K, d], the diagonals of R_k; weights [D, K, n, n], symmetric in
    the two mentions, so that phi is symmetric too.
    """
    table: Tensor = _PairTable.apply(
        entity_vectors.transpose(1, 2).contiguous(), relation, weights, torch.is_grad_enabled()
    )
    return table.permute(0, 3, 2, 4, 1)


class _PairTable(torch.autograd.Function):
    """phi in the layout [D, b, a, i, j] of `belief_propagation.pair_table`, from vectors [D, k, n, d].

    The table is symmetric, so each candidate is multiplied with those up to it, under all relations at once, and the
    other half is mirrored. Training keeps the products, [D, K, n, c + 1, n] for candidate c: relation, mention of c,
    other candidate, its mention.
    """

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, relation: Tensor, weights: Tensor, keep: bool) -> Tensor:
        documents, size, mentions, _ = vectors.shape
        table = vectors.new_empty(documents, size, size, mentions, mentions)
        products: list[Tensor] = []
        for c in range(size):
            others = vectors[:, : c + 1].flatten(1, 2)
            product = torch.bmm(_related(vectors[:, c], relation), others.transpose(1, 2))
            product = product.view(documents, len(relation), mentions, c + 1, mentions)
            towards = table[:, : c + 1, c].transpose(1, 2)
            torch.mul(product[:, 0], weights[:, 0].unsqueeze(2), out=towards)
            for k in range(1, len(relation)):
                towards.addcmul_(product[:, k], weights[:, k].unsqueeze(2))
            table[:, c, :c] = table[:, :c, c].transpose(-1, -2)
            if keep:
                products.append(product)
        ctx.save_for_backward(vectors, relation, weights, *products)
        return table

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None]:  # type: ignore[override]
        vectors, relation, weights, *products = ctx.saved_tensors
        grad_vectors = torch.zeros_like(vectors) if ctx.needs_input_grad[0] else None
        grad_relation, grad_weights = torch.zeros_like(relation), torch.zeros_like(weights)
        for c, product in enumerate(products):
            others = vectors[:, : c + 1].flatten(1, 2)
            towards = grad[:, : c + 1, c].clone()
            towards[:, :c] += grad[:, c, :c].transpose(-1, -2)
            each = towards.transpose(1, 2).unsqueeze(1)
            grad_weights += (product * each).sum(3)
            weighted = (weights.unsqueeze(3) * each).flatten(3, 4).flatten(1, 2)
            pulled = torch.bmm(weighted, others).unflatten(1, (len(relation), -1))
            grad_relation += (pulled * vectors[:, c, None]).sum(2).sum(0)
            if grad_vectors is not None:
                grad_vectors[:, c] += (pulled * relation.unsqueeze(1)).sum(1)
                back = torch.bmm(weighted.transpose(1, 2), _related(vectors[:, c], relation))
                grad_vectors[:, : c + 1] += back.view_as(vectors[:, : c + 1])
        return grad_vectors, grad_relation, grad_weights, None


def _related(vectors: Tensor, relation: Tensor) -> Tensor:
    """R_k e for every relation and mention: [D, n, d] -> [D, K * n, d]."""
    return (vectors.unsqueeze(1) * relation.unsqueeze(1)).flatten(1, 2)


def bucket_documents(mention_counts: Sequence[int], max_pairs: int, max_mentions: int | None = None) -> list[list[int]]:
    """Batches of document indices, similar sizes together, with D * n_max^2 <= max_pairs in each.

    max_mentions bounds D * n_max too, for collections of many tiny documents. Every document is in exactly one batch;
    one that exceeds a bound alone is a batch of its own. Cut documents with `chunk_mentions` first where they may be
    large.
    """
    if max_pairs < 1 or (max_mentions is not None and max_mentions < 1):
        raise ConfigError(f"max_pairs = {max_pairs}, max_mentions = {max_mentions}: must be at least 1")
    batches: list[list[int]] = []
    for index in sorted(range(len(mention_counts)), key=lambda i: mention_counts[i]):
        count, documents = mention_counts[index], len(batches[-1]) + 1 if batches else 0
        fits = documents * count**2 <= max_pairs and (max_mentions is None or documents * count <= max_mentions)
        if batches and fits:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def chunk_mentions(mention_counts: Sequence[int], max_mentions: int = 100) -> list[tuple[int, int, int]]:
    """(document, first mention, end) of pieces of at most `max_mentions` mentions; documents without any give none."""
    if max_mentions < 1:
        raise ConfigError(f"max_mentions = {max_mentions}: must be at least 1")
    return [
        (document, start, min(start + max_mentions, count))
        for document, count in enumerate(mention_counts)
        for start in range(0, count, max_mentions)
    ]


def _pad_scores(entity_vectors: Tensor, pad: Tensor, pad_weights: Tensor) -> Tensor:
    """sum_k weight_ki e_ia^T R_k e_pad, [D, n, k]; pad [K, d] holds R_k e_pad, pad_weights [D, K, n]."""
    return ((entity_vectors @ pad.T) @ pad_weights.transpose(1, 2).unsqueeze(-1)).squeeze(-1)


def _check(relations: int, normalisation: str, inference: str, rounds: int, damping: float) -> None:
    if relations < 1 or rounds < 1:
        raise ConfigError(f"relations = {relations}, rounds = {rounds}: both must be at least 1")
    if not 0 < damping <= 1:
        raise ConfigError(f"damping = {damping}: the share of the new message must be above 0 and at most 1")
    for name, value, allowed in (
        ("normalisation", normalisation, ("ment-norm", "rel-norm")),
        ("inference", inference, ("max-product", "mean-field")),
    ):
        if value not in allowed:
            raise ConfigError(f"{name} = '{value}': allowed are {', '.join(allowed)}")
