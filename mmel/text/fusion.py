"""Text and picture of a mention against those of an entity, by three fusions (Wang et al. 2022, section 5.2).

A mention's context and an entity are read by encoders of one structure with parameters of their own, over frozen token
vectors and grid features. `uniter` concatenates both modalities and lets them attend to each other; `uniter-star` lets
each attend to itself first; `lxmert` then lets each attend to the other. A modality that is not there is not attended
to: what has no picture is encoded as if there were no pictures anywhere.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mmel.config import ModelConfig
from mmel.text.fusion_inputs import FusionBatch, Sources, padded
from mmel.vision.grids import BOX

_CHUNK = 256  # things that are encoded at a time, those of like length together
_PRIOR, _LOG_SCALE = 1e-4, 5.0  # log p(e|m) is finite, and of the size of what stands beside it
_LOCATION = BOX + 3  # what is said of a cell's place: its corners, width, height and area (Chen et al. 2020)
_INITIAL = 0.02  # standard deviation of embeddings at the start


class States(NamedTuple):
    """Hidden states `[R, s]`; those of thing i begin at row `first[i]`: its start token, then its text's tokens."""

    rows: Tensor
    first: Tensor


class Fused(NamedTuple):
    """`mentions` `[m, s]` and the distinct `entities` `[u, s]` of a batch."""

    mentions: Tensor
    entities: Tensor


class FusionScorer(nn.Module):
    """Psi(m, e) = MLP(m * e, P(e|m)) (Wang et al. 2022, Eq. 1).

    dim: d of the token vectors. grid_dim: g of the grid features; None where no pictures are read.
    """

    def __init__(self, config: ModelConfig, dim: int, grid_dim: int | None = None) -> None:
        super().__init__()
        self.size = size = config.fusion_dim
        self.pooling = config.fusion_pooling
        self.mention = FusionEncoder(config, dim, grid_dim)
        self.entity = FusionEncoder(config, dim, grid_dim)
        # Both read vectors of one space: they start as the same map of it, not as two unrelated ones.
        self.entity.load_state_dict(self.mention.state_dict())
        half = max(size // 2, 1)
        width = 2 * size if self.pooling == "first-last" else size
        self.pool = nn.Sequential(nn.Linear(width, size), nn.GELU(), nn.Linear(size, size))
        self.match = nn.Sequential(
            nn.Linear(size + 3, half), nn.GELU(), nn.Dropout(config.fusion_dropout), nn.Linear(half, 1)
        )

    def forward(self, batch: FusionBatch) -> Fused:
        """The vectors of a batch's mentions and of its distinct candidates."""
        states = self.mention(batch.mentions)
        read = pooled(states, batch.window, batch.span, self.pooling)
        mentions = read.unflatten(-1, (-1, self.size)).mean(-2) + self.pool(read)
        # An entity is no span of a text: what stands for it is a token put first, which has read all others.
        entities = self.entity(batch.entities, start_only=True)
        return Fused(mentions, entities.rows[entities.first])

    def score(self, mentions: Tensor, entities: Tensor, prior: Tensor) -> Tensor:
        """Psi `[..]` of vectors `[.., s]`, broadcast against each other, and p(e|m) `[..]`."""
        evidence = torch.stack([prior, torch.log(prior + _PRIOR) / _LOG_SCALE], -1)
        product = mentions * entities
        dot = product.sum(-1, keepdim=True) / product.shape[-1] ** 0.5
        matched: Tensor = self.match(torch.cat([product, dot, evidence], -1))
        return matched.squeeze(-1)

    def candidates(self, fused: Fused, slot: Tensor, prior: Tensor) -> Tensor:
        """Psi `[m, k]` of each mention and its candidates: rows `slot` `[m, k]` of the entities; prior `[m, k]`."""
        entities = functional.embedding(slot, fused.entities)
        return self.score(fused.mentions.unsqueeze(1), entities, prior)

    def negatives(self, fused: Fused, slot: Tensor, ids: Tensor, mask: Tensor, gold: Tensor) -> tuple[Tensor, Tensor]:
        """Psi `[m, b]` of each mention and the gold entities of the b mentions that have one; where it is a negative.

        What is among a mention's own candidates is none: its own gold, or a hard negative already. Of the others the
        name never meant one, p(e|m) = 0. slot as `candidates`; ids, mask `[m, k]` of the candidates, numbers that are
        equal for one entity; gold `[m]` column or -1.
        """
        labelled = gold >= 0
        column = gold[labelled].unsqueeze(1)
        entity, row = ids[labelled].gather(1, column).squeeze(1), slot[labelled].gather(1, column).squeeze(1)
        own = ((ids.unsqueeze(-1) == entity) & mask.unsqueeze(-1)).any(1)
        zero = fused.mentions.new_zeros(own.shape)
        return self.score(fused.mentions.unsqueeze(1), fused.entities[row].unsqueeze(0), zero), ~own


def pooled(states: States, window: Tensor, span: Tensor, how: Literal["first-last", "first", "mean"]) -> Tensor:
    """A mention's hidden states as one: of its first and last token side by side, of its first, or their mean.

    window: `[m]` which thing of `states` a mention stands in; span `[m, 2]` its first and last token there. A mention
    without a token (-1) has the state of the start token.
    """
    at = states.first[window].unsqueeze(1) + 1 + span  # -1 is the start token
    if how == "first":
        return states.rows[at[:, 0]]
    if how == "first-last":
        return states.rows[at].flatten(1)
    count = span[:, 1] - span[:, 0] + 1
    owner = torch.repeat_interleave(torch.arange(len(span), device=span.device), count)
    step = torch.arange(len(owner), device=span.device) - (count.cumsum(0) - count)[owner]
    total = states.rows.new_zeros(len(span), states.rows.shape[1])
    return total.index_add(0, owner, states.rows[at[owner, 0] + step]) / count.unsqueeze(1)


class FusionEncoder(nn.Module):
    """Token vectors and grid features to hidden states; pre-norm transformers (see the module's docstring)."""

    def __init__(self, config: ModelConfig, dim: int, grid_dim: int | None) -> None:
        super().__init__()
        size, self.kind = config.fusion_dim, config.fusion
        self.text = TextEmbedding(dim, size, config.fusion_tokens, config.fusion_dropout)
        self.cells = None if grid_dim is None else CellEmbedding(grid_dim, size, config.fusion_dropout)
        # The seed's proportion: of 12 layers 8 read a modality alone, before 4 that join them (appendix B.2).
        joint = config.fusion_layers if self.kind == "uniter" else -(-config.fusion_layers // 3)
        alone = config.fusion_layers - joint
        self.alone_text = _layers(config, alone)
        self.alone_cells = _layers(config, alone if grid_dim is not None else 0)
        self.joint = _layers(config, joint if self.kind != "lxmert" else 0)
        crossing = joint if self.kind == "lxmert" else 0
        self.cross = nn.ModuleList(CrossLayer(config, grid_dim is not None, i + 1 < crossing) for i in range(crossing))
        self.norm = nn.LayerNorm(size)

    def forward(self, sources: Sources, start_only: bool = False) -> States:
        """The hidden states of n things, encoded with those of one length and of one set of modalities.

        start_only: those of their start tokens alone, which spares the last layer all others.
        """
        device, size = self.norm.weight.device, self.norm.normalized_shape[0]
        parts, first, total = [], torch.zeros(len(sources), dtype=torch.long), 0
        for chunk in chunks(sources.lengths):
            states = self.norm(self._encoded(sources, chunk, device, 1 if start_only else None))
            width = states.shape[1]
            first[torch.from_numpy(chunk)] = total + torch.arange(len(chunk)) * width
            total += len(chunk) * width
            parts.append(states.reshape(-1, size))
        return States(torch.cat(parts), first.to(device))

    def _encoded(self, sources: Sources, which: np.ndarray, device: torch.device, most: int | None) -> Tensor:
        text, there = self.text(*padded([sources.tokens[i] for i in which], device))
        if sources.cells is None or not len(sources.cells[which[0]]):
            return self._fused(text, ~there, most)
        assert self.cells is not None and sources.boxes is not None
        cells, shown = padded([sources.cells[i] for i in which], device)
        boxes, _ = padded([sources.boxes[i] for i in which], device)
        return self._fused(text, ~there, most, self.cells(cells, boxes), ~shown)

    def _fused(
        self, text: Tensor, pads: Tensor, most: int | None, cells: Tensor | None = None, void: Tensor | None = None
    ) -> Tensor:
        """States `[n, 1 + L, s]` of the text, the first `most` of them, which have read the cells `[n, C, s]`.

        pads and void are True where there is no token and no cell.
        """
        for layer in self.alone_text:
            text = layer(text, src_key_padding_mask=pads)
        if cells is not None:
            for layer in self.alone_cells:
                cells = layer(cells, src_key_padding_mask=void)
        for i, layer in enumerate(self.cross):
            text, cells = layer(text, pads, cells, void, most if i + 1 == len(self.cross) else None)
        length = text.shape[1]
        if cells is not None and void is not None and len(self.joint):
            text, pads = torch.cat([text, cells], 1), torch.cat([pads, void], 1)
        for i, layer in enumerate(self.joint):
            text = _read(layer, text, pads, (most or length) if i + 1 == len(self.joint) else None)
        return text


class TextEmbedding(nn.Module):
    """Token vectors `[n, L, d]` behind a learned start token `[n, 1 + L, s]`: projection, position, modality."""

    def __init__(self, dim: int, size: int, most: int, dropout: float) -> None:
        super().__init__()
        self.project = nn.Linear(dim, size)
        self.start, self.modality = (nn.Parameter(torch.randn(size) * _INITIAL) for _ in range(2))
        self.position = nn.Parameter(torch.randn(most, size) * _INITIAL)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """See the class; and `[n, 1 + L]` where there is a token, at most `most` of them."""
        read = self.project(functional.layer_norm(tokens, tokens.shape[-1:])) + self.position[: tokens.shape[1]]
        begun = torch.cat([self.start.expand(len(tokens), 1, -1), read], 1) + self.modality
        return self.dropout(begun), torch.cat([there.new_ones(len(there), 1), there], 1)


class CellEmbedding(nn.Module):
    """Grid features `[n, C, g]` and boxes `[n, C, 4]` to `[n, C, s]`: projection, location, modality."""

    def __init__(self, dim: int, size: int, dropout: float) -> None:
        super().__init__()
        self.project, self.location = nn.Linear(dim, size), nn.Linear(_LOCATION, size)
        self.modality = nn.Parameter(torch.randn(size) * _INITIAL)
        self.dropout = nn.Dropout(dropout)

    def forward(self, cells: Tensor, boxes: Tensor) -> Tensor:
        sides = boxes[..., 2:] - boxes[..., :2]
        location = torch.cat([boxes, sides, sides.prod(-1, keepdim=True)], -1)
        seen = self.project(functional.layer_norm(cells, cells.shape[-1:])) + self.location(location)
        return self.dropout(seen + self.modality)


class CrossLayer(nn.Module):
    """LXMERT's layer (Tan & Bansal 2019): each modality attends to the other, with shared weights, then to itself.

    pictures: whether there are any; onwards: whether a layer follows that reads the cells.
    """

    def __init__(self, config: ModelConfig, pictures: bool, onwards: bool) -> None:
        super().__init__()
        size, heads = config.fusion_dim, config.fusion_heads
        self.norm, self.attention = None, None
        if pictures:
            self.norm = nn.LayerNorm(size)
            self.attention = nn.MultiheadAttention(size, heads, batch_first=True)
        self.text = _layer(config)
        self.cells = _layer(config) if pictures and onwards else None

    def forward(
        self, text: Tensor, pads: Tensor, cells: Tensor | None, void: Tensor | None, most: int | None
    ) -> tuple[Tensor, Tensor | None]:
        """Text `[n, 1 + L, s]` and, where there are pictures, cells `[n, C, s]`, each with its pads (True).

        most: of the text's states only the first ones, None: all.
        """
        if cells is None or void is None:
            return _read(self.text, text, pads, most), None
        assert self.norm is not None and self.attention is not None
        words, looks = self.norm(text), self.norm(cells)
        text = text + self.attention(words, looks, looks, key_padding_mask=void, need_weights=False)[0]
        if self.cells is not None:
            cells = cells + self.attention(looks, words, words, key_padding_mask=pads, need_weights=False)[0]
            cells = self.cells(cells, src_key_padding_mask=void)
        return _read(self.text, text, pads, most), cells


def _layer(config: ModelConfig) -> nn.TransformerEncoderLayer:
    # Dropout of what goes in and of what is matched does the same for such small models, in three quarters of the time.
    size = config.fusion_dim
    return nn.TransformerEncoderLayer(
        size, config.fusion_heads, 2 * size, 0.0, functional.gelu, batch_first=True, norm_first=True
    )


def _read(layer: nn.Module, states: Tensor, pads: Tensor, most: int | None) -> Tensor:
    """What the layer makes of the first `most` states, which read all of them; None: of all."""
    assert isinstance(layer, nn.TransformerEncoderLayer)
    if most is None or most == states.shape[1]:
        read: Tensor = layer(states, src_key_padding_mask=pads)
        return read
    seen, own = layer.norm1(states), states[:, :most]
    own = own + layer.self_attn(seen[:, :most], seen, seen, key_padding_mask=pads, need_weights=False)[0]
    return own + layer.linear2(functional.gelu(layer.linear1(layer.norm2(own))))


def _layers(config: ModelConfig, count: int) -> nn.ModuleList:
    return nn.ModuleList(_layer(config) for _ in range(count))


def chunks(lengths: np.ndarray, most: int = _CHUNK) -> list[np.ndarray]:
    """Numbers of things in chunks of at most `most`, by their `[n, 2]` numbers of tokens and cells.

    Those with and without cells are never together; like lengths are, so that little is padded.
    """
    order = np.lexsort((lengths[:, 0], lengths[:, 1], lengths[:, 1] > 0))
    dark = int((lengths[:, 1] == 0).sum())
    halves = (order[:dark], order[dark:])
    return [half[i : i + most] for half in halves for i in range(0, len(half), most)]
