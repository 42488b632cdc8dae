"""MulRel one document at a time: the stand-in for the authors' published implementation, to pair speed against.

Written from the papers (Ganea and Hofmann 2017; Le and Titov 2018), with the structure of the published code
(one document a step, the padding mention as one more row of the document, all pairwise scores of all relations at
once, max-product with autograd through every round) and none of its text. Embeddings are frozen, as there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass
class ReferenceDocument:
    """One document of at most 100 mentions: indices into the word and entity tables, masks as 0/1 floats.

    words [n, w], word_mask [n, w]; left, mention, right [n, ...] with masks of the same shapes; candidates,
    candidate_mask and prior [n, k]; gold [n].
    """

    words: Tensor
    word_mask: Tensor
    left: Tensor
    left_mask: Tensor
    mention: Tensor
    mention_mask: Tensor
    right: Tensor
    right_mask: Tensor
    candidates: Tensor
    candidate_mask: Tensor
    prior: Tensor
    gold: Tensor


class ReferenceMulRel(nn.Module):
    """Local attention, ment-norm relations with a padding mention, and max-product, for one document a call."""

    def __init__(
        self,
        word_table: Tensor,
        entity_table: Tensor,
        *,
        relations: int = 3,
        keep: int = 25,
        rounds: int = 10,
        damping: float = 0.5,
        dropout: float = 0.3,
        hidden: int = 100,
    ) -> None:
        super().__init__()
        dim = entity_table.shape[1]
        self.words = nn.Embedding.from_pretrained(word_table, freeze=True)
        self.entities = nn.Embedding.from_pretrained(entity_table, freeze=True)
        self.relations, self.keep, self.rounds, self.damping = relations, keep, rounds, damping
        self.attention = nn.Parameter(torch.ones(dim))
        self.compatibility = nn.Parameter(torch.ones(dim))
        self.context = nn.Sequential(nn.Linear(3 * dim, dim), nn.Tanh(), nn.Dropout(dropout))
        self.pad_context = nn.Parameter(torch.randn(dim) * 0.1)
        self.pad_entity = nn.Parameter(torch.randn(dim) * 0.1)
        self.relation = nn.Parameter(torch.randn(relations, dim) * 0.01)
        with torch.no_grad():
            self.relation[0] += 1
        self.mention_relation = nn.Parameter(torch.randn(relations, dim) * 0.01)
        self.combine = nn.Sequential(nn.Linear(2, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, document: ReferenceDocument) -> Tensor:
        """Scores [n, k] of one document."""
        entity = self.entities(document.candidates)
        local = self.local_scores(document, entity)
        entity, local, mask, prior = self._with_pad(document, entity, local)
        phi = self.pairwise(document, entity, mask)
        marginal = propagate(local, phi, self.rounds, self.damping)
        inputs = torch.stack((marginal.flatten(), torch.log(prior + 1e-20).flatten()), dim=1)
        scores: Tensor = self.combine(inputs).view_as(marginal)
        return scores[:-1]

    def local_scores(self, document: ReferenceDocument, entity: Tensor) -> Tensor:
        words = self.words(document.words)
        relevance = torch.bmm(entity * self.attention, words.transpose(1, 2))
        word_mask = document.word_mask.unsqueeze(1)
        relevance = (relevance * word_mask + (word_mask - 1) * 1e10).amax(1)
        top, positions = relevance.topk(min(self.keep, relevance.shape[1]), dim=1)
        beta = functional.softmax(top, dim=1).unsqueeze(-1)
        kept = words.gather(1, positions.unsqueeze(-1).expand(-1, -1, words.shape[2]))
        context = (kept * self.compatibility * beta).sum(1, keepdim=True)
        scores = torch.bmm(entity, context.transpose(1, 2)).squeeze(-1)
        return scores * document.candidate_mask + (document.candidate_mask - 1) * 1e10

    def _average(self, words: Tensor, mask: Tensor) -> Tensor:
        vectors = self.words(words) * mask.unsqueeze(-1)
        return vectors.sum(1) / (mask.sum(1, keepdim=True) + 1e-5)

    def _with_pad(
        self, document: ReferenceDocument, entity: Tensor, local: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        size = entity.shape[1]
        entity = torch.cat((entity, self.pad_entity.view(1, 1, -1).repeat(1, size, 1)))
        first = local.new_zeros(1, size)
        first[0, 0] = 1
        mask = torch.cat((document.candidate_mask, first))
        prior = torch.cat((document.prior, first))
        return entity, torch.cat((local, local.new_zeros(1, size))), mask, prior

    def pairwise(self, document: ReferenceDocument, entity: Tensor, mask: Tensor) -> Tensor:
        """phi [n, k, n, k] with the padding mention as the last of n."""
        average = [
            self._average(document.left, document.left_mask),
            self._average(document.mention, document.mention_mask),
            self._average(document.right, document.right_mask),
        ]
        f = torch.cat((self.context(torch.cat(average, dim=1)), self.pad_context.unsqueeze(0)))
        n, size, dim = entity.shape
        related = f.unsqueeze(0) * self.mention_relation.unsqueeze(1)
        scores = torch.matmul(related, f.t().unsqueeze(0))
        scores = (scores - torch.eye(n).unsqueeze(0) * 1e10) * (1 / math.sqrt(dim))
        alpha = functional.softmax(scores, dim=2)
        weights = alpha + alpha.transpose(1, 2)
        vectors = entity.unsqueeze(0) * self.relation.view(-1, 1, 1, dim)
        each = torch.matmul(vectors.unsqueeze(2), entity.transpose(1, 2).view(1, 1, n, dim, size))
        each = each.permute(0, 1, 3, 2, 4)
        each = each * mask + (mask - 1) * 1e10
        return (each * weights.view(-1, n, 1, n, 1)).sum(0) / self.relations

    def loss(self, scores: Tensor, gold: Tensor, margin: float = 0.01) -> Tensor:
        """Mean margin loss over mentions and candidates, less 1e-7 times the distances between relations."""
        loss = functional.multi_margin_loss(scores, gold, margin=margin)
        for vectors in (self.relation, self.mention_relation):
            unit = functional.normalize(vectors)
            distance = ((unit.unsqueeze(0) - unit.unsqueeze(1)).pow(2).sum(2) + 1e-5).sqrt()
            loss = loss - 1e-7 * (distance * (distance < 1).float()).sum()
        return loss


def propagate(local: Tensor, phi: Tensor, rounds: int, damping: float) -> Tensor:
    """Max-product marginals [n, k] of local [n, k] and phi [n, k, n, k]; messages [n, k, n] hold the sender last."""
    n, size = local.shape
    others = 1 - torch.eye(n, dtype=local.dtype)
    messages = local.new_zeros(n, size, n)
    for _ in range(rounds):
        received = (messages.unsqueeze(0) * others.view(n, 1, 1, n)).sum(3)
        votes = (phi + local + received.view(n, 1, n, size)).max(dim=3)[0]
        new = functional.softmax(votes, dim=1)
        messages = (damping * new + (1 - damping) * messages.exp()).log()
    belief = local + (messages * others.view(n, 1, n)).sum(2)
    return functional.softmax(belief, dim=1)
