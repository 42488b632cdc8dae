"""What the fusions read: token vectors of texts and grid features of pictures, of mentions and of entities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from mmel.candidates import MentionTable
from mmel.config import Config
from mmel.document import Document
from mmel.encoders.cache import Encoding
from mmel.encoders.text import CachedTextEncoder
from mmel.errors import ConfigError, SkipReport
from mmel.kb import KnowledgeBase
from mmel.text.entity_text import entity_texts
from mmel.vision.grids import Grid, PictureGrids
from mmel.vision.linker import PICTURES, image_encoder

_CHARACTERS = 8  # of a text that are read for each word piece of it that is kept: pieces are shorter


@dataclass(frozen=True)
class FusionSettings:
    """What is read; see `ModelConfig`."""

    tokens: int = 64
    features: Literal["contextual", "embedding"] = "contextual"
    pictures: int = 0


@dataclass(frozen=True)
class Sources:
    """Text and pictures of n things; a modality that a thing does not have is a list of no rows.

    Attributes:
        tokens: n times `[rows, d]` float16, the vectors of a text's word pieces (views of a memory map where cached).
        cells: n times `[rows, g]` float16, grid features of pictures; None where no pictures are read.
        boxes: n times `[rows, 4]` float16, the share of its picture that a cell covers (x0, y0, x1, y1).
    """

    tokens: Sequence[np.ndarray]
    cells: Sequence[np.ndarray] | None = None
    boxes: Sequence[np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    def take(self, which: np.ndarray, text: np.ndarray, picture: np.ndarray) -> Sources:
        """Some things `[n]`, of each its text and its pictures where these `[n]` bool allow them."""

        def taken(items: Sequence[np.ndarray], shown: np.ndarray) -> list[np.ndarray]:
            return [items[i] if on else items[i][:0] for i, on in zip(which.tolist(), shown.tolist(), strict=True)]

        tokens = taken(self.tokens, text)
        if self.cells is None or self.boxes is None:
            return Sources(tokens)
        return Sources(tokens, taken(self.cells, picture), taken(self.boxes, picture))

    @property
    def lengths(self) -> np.ndarray:
        """`[n, 2]` numbers of tokens and of cells."""
        tokens = [len(one) for one in self.tokens]
        cells = [0] * len(tokens) if self.cells is None else [len(one) for one in self.cells]
        return np.stack([np.array(tokens, np.int64), np.array(cells, np.int64)], 1)


@dataclass(frozen=True)
class FusionInputs:
    """What is read for M mentions and U distinct candidates.

    Attributes:
        mentions: the windows of documents that mentions are read in, W of them; behind them, for each set of swapped
            pictures, the same W texts with the pictures of unrelated documents. entities: the U candidates.
        window: `[M]` which window is a mention's; span `[M, 2]` its first and last token in it, -1 where it has none.
        swaps: number of sets of swapped pictures.
    """

    mentions: Sources
    window: np.ndarray
    span: np.ndarray
    entities: Sources
    swaps: int = 0

    @property
    def grid_dim(self) -> int | None:
        """g, the width of a cell; None where text alone is read."""
        return None if self.entities.cells is None else self.entities.cells[0].shape[1]

    def windows(self, rows: np.ndarray, swapped: np.ndarray) -> np.ndarray:
        """`[m]` what the mentions `rows` are read in, with the set `swapped` `[m]` of pictures, -1 for their own."""
        if self.grid_dim is None:
            return self.window[rows]
        return self.window[rows] + (1 + swapped) * (len(self.mentions) // (1 + self.swaps))

    def compared(self, sides: np.ndarray, slot: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """`[M]` whether a mention and one of its candidates, `slot` and `mask` `[M, K]`, show anything of what `sides`
        `[4]`, as in `FusionBatch.of`, allow."""
        mention = (self.mentions.lengths[self.window] > 0) & sides[:2]
        entity = (self.entities.lengths > 0) & sides[2:]
        return np.asarray(mention.any(1) & (entity.any(1)[slot] & mask).any(1))


@dataclass(frozen=True)
class FusionBatch:
    """The part of `FusionInputs` that a batch of m mentions and u distinct candidates reads.

    Attributes:
        mentions: the distinct windows of the batch; window `[m]` indexes them; span `[m, 2]` as FusionInputs.
        entities: the distinct candidates of the batch; slot `[m, k]` indexes them.
    """

    mentions: Sources
    window: Tensor
    span: Tensor
    entities: Sources
    slot: Tensor

    @classmethod
    def of(
        cls,
        inputs: FusionInputs,
        rows: np.ndarray,
        slot: np.ndarray,
        sides: np.ndarray | None = None,
        swapped: np.ndarray | None = None,
    ) -> FusionBatch:
        """What the mentions `rows` `[m]` read, and their candidates, numbers `slot` `[m, k]` among all.

        sides: `[m, 4]` bool, whether a mention may show its text, its pictures, its candidates' texts, their pictures;
            None: all that there is. A candidate that two mentions may see differently is two.
        swapped: `[m]` which set of swapped pictures a mention shows, -1 for its own; None: all their own.
        """
        sides = np.ones((len(rows), 4), bool) if sides is None else sides
        swapped = np.full(len(rows), -1) if swapped is None else swapped
        windows, window = _distinct(inputs.windows(rows, swapped), sides[:, :2], inputs.mentions)
        entities, places = _distinct(slot, sides[:, None, 2:], inputs.entities)
        span = np.where(sides[:, :1], inputs.span[rows], -1)
        return cls(windows, torch.from_numpy(window), torch.from_numpy(span), entities, torch.from_numpy(places))

    def to(self, device: torch.device) -> FusionBatch:
        """The batch on a device; sources are read from where they are."""
        moved = (each.to(device) for each in (self.window, self.span, self.slot))
        window, span, slot = moved
        return FusionBatch(self.mentions, window, span, self.entities, slot)


def _distinct(number: np.ndarray, sides: np.ndarray, sources: Sources) -> tuple[Sources, np.ndarray]:
    """The distinct things `number` `[..]`, seen from `sides` `[.., 2]`, and which of them each is."""
    key = number * 4 + sides[..., 0] * 2 + sides[..., 1]
    found, place = np.unique(key, return_inverse=True)
    return sources.take(found // 4, found // 2 % 2 > 0, found % 2 > 0), place.reshape(number.shape)


class FusionReader:
    """Reads mentions, titles with descriptions of entities, and pictures of both, as `settings` have it.

    Attributes:
        grids: reads pictures; None where text alone is read.
        kb_pictures: folder that those of entities are relative to.
        skips: pictures that could not be read.
    """

    def __init__(
        self,
        encoder: CachedTextEncoder,
        settings: FusionSettings,
        on_batch: Callable[[int], None] | None = None,
    ) -> None:
        self.encoder, self.settings, self.on_batch = encoder, settings, on_batch
        self.grids: PictureGrids | None = None
        self.kb_pictures: Path | None = None
        self.skips = SkipReport()

    @property
    def grid_dim(self) -> int | None:
        """g, the width of a cell; None where text alone is read."""
        return None if self.grids is None else self.grids.dim

    def open_pictures(
        self, config: Config, folder: Path, kb_pictures: Path | None, keep_documents: bool = True
    ) -> None:
        """Read pictures from now on, where the config asks for them.

        Args:
            folder: of the visual side of the run, with the encoder where it was trained there.
            kb_pictures: folder that the pictures of entities are relative to.
            keep_documents: whether grids are stored, see `RegionEncoder`.
        """
        if self.settings.pictures:
            self.grids = PictureGrids(image_encoder(config.vision, PICTURES, folder), config.encoder.cache)
            self.grids.keep, self.kb_pictures = keep_documents, kb_pictures

    def __call__(
        self,
        table: MentionTable,
        entities: np.ndarray,
        kb: KnowledgeBase,
        pictures: Path | None = None,
        swapped: Sequence[Sequence[Document]] = (),
    ) -> FusionInputs:
        """What is read of the mentions of a table and of the entities (indices `[U]` of the base).

        Args:
            pictures: folder that the images of documents are relative to.
            swapped: sets of the table's documents which have exchanged their pictures.
        """
        encodings = self._vectors([document.text for document in table.documents])
        *windows, span = mention_windows(table, encodings, self.settings.tokens)
        key, window = np.unique(np.stack(windows, 1), axis=0, return_inverse=True)
        vectors = [np.asarray(encoding.vectors) for encoding in encodings]
        tokens = [vectors[d][a:b] for d, a, b in key.tolist()]
        shown = self._grids([document.images for document in table.documents], pictures)
        doc = key[:, 0].tolist()
        if shown is None:
            return FusionInputs(_sources(tokens, None), window.reshape(-1), span, self._entities(entities, kb))
        of_images = dict(zip((document.images for document in table.documents), shown, strict=True))
        seen = [shown[d] for d in doc]
        for documents in swapped:
            seen += [of_images[documents[d].images] for d in doc]
        mentions = _sources(tokens * (1 + len(swapped)), seen)
        return FusionInputs(mentions, window.reshape(-1), span, self._entities(entities, kb), len(swapped))

    def _entities(self, entities: np.ndarray, kb: KnowledgeBase) -> Sources:
        most = self.settings.tokens
        texts = [text[: _CHARACTERS * most] for text in entity_texts(entities, kb, 0)]
        tokens = [np.asarray(one.vectors)[:most] for one in self._vectors(texts, keep=True)]
        images = [entity.images for entity in kb.entities(entities)] if self.grids else []
        return _sources(tokens, self._grids(images, self.kb_pictures))

    def _grids(self, images: Sequence[Sequence[str]], folder: Path | None) -> list[Grid] | None:
        """The grids of each thing's first pictures; None where text alone is read."""
        if self.grids is None:
            return None
        if folder is None and any(images):
            raise ConfigError(
                "model.fusion_pictures reads pictures, and the folder that they lie in is not known. Remedy: give "
                "`pictures`, the folder that `images` are relative to"
            )
        paths = [[(folder or Path()) / image for image in each] for each in images]
        return self.grids.read(paths, self.settings.pictures, self.skips, self.on_batch)

    def _vectors(self, texts: Sequence[str], keep: bool | None = None) -> list[Encoding]:
        contextual = self.settings.features == "contextual"
        return self.encoder.token_vectors(texts, self.on_batch, keep, contextual)


def _sources(tokens: Sequence[np.ndarray], grids: Sequence[Grid] | None) -> Sources:
    if grids is None:
        return Sources(tokens)
    return Sources(tokens, [grid.cells for grid in grids], [grid.boxes for grid in grids])


def mention_windows(
    table: MentionTable, encodings: Sequence[Encoding], most: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Where each mention is read: its whole document, or `most` tokens of it around the mention.

    Returns:
        `[M]` document, first token and end of the window; `[M, 2]` first and last token of the mention in the window,
        -1 where it covers none (white space, characters that the encoder drops).
    """
    low, high = np.empty(len(table), np.int64), np.empty(len(table), np.int64)
    total = np.array([len(encoding.spans) for encoding in encodings], np.int64)[table.doc]
    for d, encoding in enumerate(encodings):
        rows = slice(table.first[d], table.first[d + 1])
        low[rows] = np.searchsorted(encoding.spans[:, 1], table.start[rows], side="right")
        high[rows] = np.searchsorted(encoding.spans[:, 0], table.end[rows], side="left")
    high = np.minimum(high, low + most)
    first = np.clip((low + high) // 2 - most // 2, 0, np.maximum(total - most, 0))
    span = np.where((high > low)[:, None], np.stack([low, high - 1], 1) - first[:, None], -1)
    return table.doc, first, np.minimum(first + most, total), span


def padded(items: Sequence[np.ndarray], device: torch.device) -> tuple[Tensor, Tensor]:
    """`[n, L, w]` float32 of n arrays `[rows, w]`, zeros behind the shorter ones, and `[n, L]` bool what is there."""
    length = max(map(len, items))
    out = np.zeros((len(items), length, items[0].shape[1]), np.float16)
    there = np.zeros((len(items), length), bool)
    for i, item in enumerate(items):
        out[i, : len(item)], there[i, : len(item)] = item, True
    return torch.from_numpy(out).to(device).float(), torch.from_numpy(there).to(device)
