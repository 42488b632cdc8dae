"""The text model: scorer columns to local scores, then a joint decision over each document.

Local: every scorer that is on contributes columns; a small network turns a candidate's columns, absolute and relative
to its best rival, into a local score psi. Joint: either MulRel with loopy belief propagation (Le & Titov 2018), or a
few mean-field passes in which a candidate sees, under the current beliefs, its neighbours through K latent relations,
KB links and coreferent names.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmel.config import ModelConfig
from mmel.text.batch import LinkEdges, TextBatch
from mmel.text.context import VIEWS
from mmel.text.fusion import Fused, FusionScorer
from mmel.text.local_attention import LocalAttention
from mmel.text.masking import MASKED_SCORE, mask_scores, masked_softmax, with_rivals
from mmel.text.modalities import TEXTS, ModalColumns
from mmel.text.mulrel import MulRel

_MENTION_VIEWS = ("left", "mention", "right")
_PAIR_COLUMNS = 4  # same sentence, same name, distance, neighbours
_LINK_COLUMNS, _NAME_COLUMNS = 4, 3


class TextModel(nn.Module):
    """Scores the candidates of the mentions of a batch of documents.

    Args:
        config: which scorers are on, sizes and inference.
        columns: number of static feature columns F. dim: d of the text encoder. entity_dim: e of the entity vectors.
        mean, scale: `[F]` standardisation of the columns, fitted on training candidates.
        groups: group of modalities of each column (`mmel.text.modalities`). Where one needs a picture, batches say
            what is there and permitted, and the joint decision is only for mentions whose text may be read.
        evidence: what batches tell of a mention's pictures besides, for the gate.
        grid_dim: width of the pictures' cells that the fusions read; None where they read text alone.
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        config: ModelConfig,
        columns: int,
        dim: int,
        entity_dim: int,
        mean: Tensor,
        scale: Tensor,
        groups: Sequence[int] = (),
        evidence: int = 0,
        grid_dim: int | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        # Copies: callers may pass one tensor for both, and loading a model writes into them.
        self.register_buffer("mean", mean.clone())
        self.register_buffer("scale", scale.clone())
        on = set(config.scorers)
        candidate_dim = dim + entity_dim
        self.entity = nn.Linear(candidate_dim, config.dim)
        extra = 0
        self.attention: LocalAttention | None = None
        if "local_attention" in on:
            self.attention = LocalAttention(config.dim, config.attention_words)
            self.word = nn.Linear(dim, config.dim)
            # Titles and words share the encoder's space: attention starts as their similarity, not as noise.
            with torch.no_grad():
                self.entity.weight[:, :dim] = self.word.weight
            extra += 1
        self.match: ContextMatch | None = None
        if "context" in on:
            self.match = ContextMatch(dim, candidate_dim, config.match_dim, config.input_dropout)
            extra += self.match.columns
        self.fusion = FusionScorer(config, dim, grid_dim) if "fusion" in on else None
        self.modal: ModalColumns | None = None
        if any(group != TEXTS for group in groups):
            every = [*groups, *[TEXTS] * extra]
            self.modal = ModalColumns(every, config.gate, evidence, columns, config.dropout)
        # The fusions read what a task allows: their column is of no group of modalities.
        width = (2 * (columns + extra) if self.modal is None else self.modal.columns) + 2 * (self.fusion is not None)
        self.local = LocalScorer(width, config.hidden, config.dropout)
        self.joint: MulRel | MeanFieldPasses | None = None
        if config.inference == "lbp" and "mulrel" in on:
            self.joint = MulRel(
                config.dim,
                len(_MENTION_VIEWS) * dim,
                relations=config.relations,
                normalisation=config.normalisation,
                rounds=config.lbp_rounds,
                damping=config.lbp_damping,
                dropout=config.dropout,
                log_beliefs=True,
            )
        elif config.passes and on & {"mulrel", "link_coherence", "coreference"}:
            self.joint = MeanFieldPasses(config, dim, candidate_dim)

    def forward(self, batch: TextBatch) -> list[Tensor]:
        """Scores `[m, k]` after each stage, the last one decides; `MASKED_SCORE` at pads.

        Training weighs all stages, so that the local scores stay good beliefs to start from.
        """
        return self.scored(batch)[0]

    def scored(self, batch: TextBatch) -> tuple[list[Tensor], Fused | None, Tensor | None]:
        """The stages of `forward`; what the scorer `fusion` makes of the batch, and its scores `[m, k]`."""
        x = (batch.features - self.mean) / self.scale
        parts = [x.clamp(-8, 8)]
        # Dropout differs from cell to cell; without it every distinct candidate is projected once.
        dropping = self.training and self.config.input_dropout > 0
        slot = None if dropping else batch.slot
        raw = functional.dropout(batch.entities, self.config.input_dropout) if dropping else batch.vectors
        entity = None
        if self.attention is not None or isinstance(self.joint, MulRel):
            entity = _cells(torch.tanh(self.entity(_unit_variance(raw))), slot)
        if self.attention is not None:
            tokens = torch.tanh(self.word(_unit_variance(batch.tokens)))
            score = self.attention(entity, batch.word, batch.word_mask, batch.mask, table=tokens)
            parts.append(torch.where(batch.mask, score, 0).unsqueeze(-1) / self.config.dim**0.5)
        if self.match is not None:
            parts.append(self.match(batch.views, raw, slot))
        columns = torch.cat(parts, -1)
        told = None
        if self.modal is None:
            columns = with_rivals(columns, batch.mask)
        else:
            seen = batch.pictures
            assert seen is not None
            columns, told = self.modal(columns, seen.available, seen.permitted, seen.evidence)
        fused, fusion = None, None
        if self.fusion is not None:
            assert batch.fusion is not None
            fused = self.fusion(batch.fusion)
            fusion = self.fusion.candidates(fused, batch.fusion.slot, _told_prior(batch))
            columns = torch.cat([columns, with_rivals(fusion.unsqueeze(-1), batch.mask)], -1)
        psi, hidden = self.local(columns, batch.mask)
        if told is not None:
            psi = psi + told  # 0 at pads
        if self.joint is None:
            return [psi], fused, fusion
        if isinstance(self.joint, MulRel):
            assert entity is not None
            joint = [self._propagate(self.joint, psi, entity, batch)]
        else:
            joint = self.joint(psi, hidden, raw, batch, slot)
        if batch.pictures is not None:  # what is decided jointly reads names, texts and links
            readable = batch.pictures.permitted[:, TEXTS].unsqueeze(1)
            joint = [torch.where(readable, scores, psi) for scores in joint]
        return [psi, *joint], fused, fusion

    def _propagate(self, mulrel: MulRel, psi: Tensor, entity: Tensor, batch: TextBatch) -> Tensor:
        present = batch.place >= 0
        at = batch.place.clamp(min=0)
        mentions = torch.cat([batch.views[:, VIEWS.index(v)] for v in _MENTION_VIEWS], -1)
        log_prior = torch.log(batch.prior + 1e-4)
        tables = (_rows(x, at) for x in (psi, entity, mentions, log_prior))
        scores = mulrel(*tables, present, batch.mask[at])
        out = torch.full_like(psi, MASKED_SCORE)
        out[at[present]] = scores[present]
        return out


def _told_prior(batch: TextBatch) -> Tensor:
    """p(e|m) `[m, k]`, which names tell: 0 for all candidates where a task hides texts."""
    if batch.pictures is None:
        return batch.prior
    return batch.prior * batch.pictures.permitted[:, TEXTS].unsqueeze(1)


class LocalScorer(nn.Module):
    """A two-layer network with a residual: columns `[m, k, c]` -> psi `[m, k]` and hidden state `[m, k, h]`."""

    def __init__(self, columns: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.first = nn.Linear(columns, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.out = nn.Linear(hidden, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, columns: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        hidden = functional.relu(self.first(self.dropout(columns)))
        hidden = hidden + functional.relu(self.second(self.dropout(hidden)))
        return mask_scores(self.out(self.dropout(hidden)).squeeze(-1), mask), hidden


class ContextMatch(nn.Module):
    """Learned similarities of a mention's views with a candidate's vectors, `[m, k, columns]`.

    One bilinear score a view, the elementwise products of a joint projection, and the projected candidate itself, from
    which the scorer learns what kind of entity the corpus likes.
    """

    def __init__(self, dim: int, candidate_dim: int, size: int, dropout: float) -> None:
        super().__init__()
        self.views = nn.ModuleList(nn.Linear(dim, size) for _ in VIEWS)
        self.candidate, self.product, self.kind = (nn.Linear(candidate_dim, size) for _ in range(3))
        self.dropout = nn.Dropout(dropout)
        self.columns = len(VIEWS) + 2 * size

    def forward(self, views: Tensor, candidates: Tensor, slot: Tensor | None = None) -> Tensor:
        """views `[m, V, d]`; candidates `[m, k, c]`, or `[u, c]` with `slot` `[m, k]` indexing them."""
        seen = self.dropout(views)
        projected = torch.stack([layer(seen[:, i]) for i, layer in enumerate(self.views)], 1)
        candidate, product, kind = (
            _cells(x, slot)
            for x in (self.candidate(candidates), self.product(candidates), torch.tanh(self.kind(candidates)))
        )
        bilinear = candidate @ projected.transpose(1, 2) / projected.shape[-1] ** 0.5
        return torch.cat([bilinear, projected.mean(1, keepdim=True) * product, kind], -1)


class MeanFieldPasses(nn.Module):
    """Passes of belief over a document: each corrects psi by what the current beliefs of other mentions support.

    Support of a candidate: e^T R_k sum_j alpha_ijk E_q[e_j] for K latent relations (`mulrel`), beliefs that meet it in
    a KB link, over document and sentence (`link_coherence`), and beliefs in itself under the same or another name
    (`coreference`). alpha is the ment-norm attention of Eq. 3, with learned biases for sentence, name and distance.
    """

    def __init__(self, config: ModelConfig, dim: int, candidate_dim: int) -> None:
        super().__init__()
        on = set(config.scorers)
        self.relations = config.relations if "mulrel" in on else 0
        self.links, self.names = "link_coherence" in on, "coreference" in on
        size = config.match_dim
        if self.relations:
            self.entity = nn.Linear(candidate_dim, size)
            self.mention = nn.Linear(len(_MENTION_VIEWS) * dim, size)
            self.relation = nn.Parameter(torch.randn(self.relations, size) * 0.1)
            self.mention_relation = nn.Parameter(torch.randn(self.relations, size) * 0.1)
            self.bias = nn.Parameter(torch.zeros(self.relations, _PAIR_COLUMNS))
        support = self.relations + _LINK_COLUMNS * self.links + _NAME_COLUMNS * self.names
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.Linear(config.hidden + 2 * support + 1, 64),
                nn.ReLU(),
                nn.Dropout(config.dropout / 2),
                nn.Linear(64, 1),
            )
            for _ in range(config.passes)
        )

    def forward(
        self, psi: Tensor, hidden: Tensor, candidates: Tensor, batch: TextBatch, slot: Tensor | None = None
    ) -> list[Tensor]:
        """psi `[m, k]`, hidden `[m, k, h]` -> scores `[m, k]` of every pass; candidates and slot as ContextMatch."""
        entity = _cells(torch.tanh(self.entity(candidates)), slot) if self.relations else None
        alpha = self._attention(batch) if self.relations else None
        scores, out = psi, []
        for stage in self.stages:
            q = masked_softmax(scores, batch.mask, -1)
            support = []
            if entity is not None and alpha is not None:
                support.append(self._related(q, entity, alpha, batch))
            if self.links:
                support.append(_linked(q, batch.edges))
            if self.names:
                support.append(_named(q, batch))
            columns = with_rivals(torch.cat(support, -1), batch.mask)
            scores = mask_scores(psi + stage(torch.cat([hidden, columns, q.unsqueeze(-1)], -1)).squeeze(-1), batch.mask)
            out.append(scores)
        return out

    def _attention(self, batch: TextBatch) -> Tensor:
        """alpha `[D, K, n, n]`, rows sum to 1 over other mentions of the document (0 where there is none)."""
        views = torch.cat([batch.views[:, VIEWS.index(v)] for v in _MENTION_VIEWS], -1)
        at, present = batch.place.clamp(min=0), batch.place >= 0
        f = _rows(torch.tanh(self.mention(views)), at)
        scores = torch.einsum("dis,ks,djs->dkij", f, self.mention_relation, f) / f.shape[-1] ** 0.5
        sentence, group, position = batch.sentence[at], batch.group[at], batch.position[at].float()
        distance = (position.unsqueeze(2) - position.unsqueeze(1)).abs()
        pairs = (
            (sentence.unsqueeze(2) == sentence.unsqueeze(1)).float(),
            (group.unsqueeze(2) == group.unsqueeze(1)).float(),
            -torch.log1p(distance / 3),
            (distance == 1).float(),
        )
        scores = scores + torch.einsum("kc,cdij->dkij", self.bias, torch.stack(pairs))
        other = ~torch.eye(at.shape[1], dtype=torch.bool, device=at.device)
        allowed = (present.unsqueeze(1) & present.unsqueeze(2) & other).unsqueeze(1)
        return masked_softmax(scores, allowed.expand_as(scores), -1)

    def _related(self, q: Tensor, entity: Tensor, alpha: Tensor, batch: TextBatch) -> Tensor:
        at, present = batch.place.clamp(min=0), batch.place >= 0
        expected = _rows(torch.einsum("mk,mks->ms", q, entity), at) * present.unsqueeze(-1)
        around = torch.einsum("dkij,djs->diks", alpha, expected)
        mine = torch.zeros(len(q), *around.shape[2:], dtype=q.dtype, device=q.device)
        mine = mine.index_copy(0, at[present], around[present])
        return torch.einsum("mcs,ks,mks->mck", entity, self.relation, mine)


def _unit_variance(vectors: Tensor) -> Tensor:
    """Encoder vectors `[.., d]` on the scale that the layers' starting values expect; unit norm would train slowly."""
    return functional.layer_norm(vectors, vectors.shape[-1:])


def _cells(values: Tensor, slot: Tensor | None) -> Tensor:
    """`[m, k, c]`: the rows `slot` `[m, k]` of `[u, c]`; with None the values are those of cells already."""
    return values if slot is None else _rows(values, slot)


def _rows(values: Tensor, index: Tensor) -> Tensor:
    """`values[index]`, several times as fast and so is its gradient."""
    return values.index_select(0, index.flatten()).view(*index.shape, *values.shape[1:])


def _linked(q: Tensor, edges: LinkEdges) -> Tensor:
    """`[m, k, 4]`: beliefs that other names send over shared hubs, sum and best hub, over document and sentence."""
    sent = _rows(q.reshape(-1), edges.cell)
    shared = sent * edges.share
    columns = []
    for own, everywhere, value in (
        (edges.group_slot, edges.doc_slot, shared),
        (edges.sentence_group_slot, edges.sentence_slot, sent),
    ):
        received = (_shared_total(value, everywhere) - _shared_total(value, own)).clamp(min=0)
        flat = torch.zeros(q.numel(), dtype=q.dtype, device=q.device)
        columns += [
            flat.scatter_add(0, edges.cell, received),
            flat.scatter_reduce(0, edges.cell, received, "amax", include_self=True),
        ]
    return torch.log1p(torch.stack(columns, -1)).reshape(*q.shape, _LINK_COLUMNS)


def _named(q: Tensor, batch: TextBatch) -> Tensor:
    """`[m, k, 3]`: belief in the same entity: mean under this name, sum under other names, mean at other mentions."""
    flat = torch.where(batch.mask, q, 0).reshape(-1)
    name = _shared_total(flat, batch.same_name)
    document = _shared_total(flat, batch.same_doc)
    count = _shared_total(torch.ones_like(flat), batch.same_name)
    columns = [name / count, (document - name).clamp(min=0), (name - flat).clamp(min=0) / (count - 1).clamp(min=1)]
    return torch.log1p(torch.stack(columns, -1)).reshape(*q.shape, _NAME_COLUMNS)


def _shared_total(values: Tensor, slots: Tensor) -> Tensor:
    """The sum of the values that share a slot, for each of them."""
    size = int(slots.max()) + 1 if len(slots) else 0
    total = torch.zeros(size, dtype=values.dtype, device=values.device).scatter_add(0, slots, values)
    return _rows(total, slots)


def standardisation(features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and scale `[F]` of the candidates' columns `[.., F]`; a constant column gets scale 1."""
    rows = torch.cat([f.flatten(0, -2) for f in features])
    scale = rows.std(0) if rows.numel() > rows.shape[1] else torch.ones(rows.shape[1])
    return rows.mean(0), torch.where(scale > 1e-3, scale, torch.ones_like(scale)).clamp(min=0.05)
