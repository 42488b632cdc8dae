"""Galleries: the entities of a knowledge base by the vectors of their pictures, or of their texts, searched alike.

A gallery is an index of unit rows and the entity of each row. An entity's score is that of its best row; pooling to the
mean or by attention leaves one row an entity. What has no picture is absent, and counted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from mmel.document import Entity
from mmel.errors import ConfigError, InputError, SkipReport, did_you_mean
from mmel.files import atomic_folder
from mmel.kb import KnowledgeBase
from mmel.progress import progress
from mmel.text.entity_text import entity_text
from mmel.vision.index import VectorIndex, build_index, open_index, pair_scores
from mmel.vision.regions import Region, RegionFeatures

if TYPE_CHECKING:
    from mmel.vision.adapter import Adapters

POOLINGS = ("max", "mean", "learned")
TEXTS = ("name", "name+description")
PICTURES = "pictures"
_META, _OWNERS, _INDEX = "gallery.json", "owners.npy", "index"
_FORMAT = 1
_PAIRS = 16_384  # of a query and a row, scored at a time
_TEXTS = 1024  # encoded at a time
_AGAIN = "build the gallery again"


class RegionSource(Protocol):
    """What a gallery asks of a `mmel.vision.regions.RegionEncoder`."""

    id: str

    def encode(self, regions: Sequence[Region], on_batch: Callable[[int], None] | None = None) -> RegionFeatures: ...


@runtime_checkable
class TextTower(Protocol):
    """What a gallery of texts asks of an encoder, such as that of open_clip; unit rows in the space of its pictures."""

    @property
    def id(self) -> str: ...

    @property
    def dim(self) -> int: ...

    def encode_text(self, texts: Sequence[str]) -> np.ndarray: ...


@dataclass(frozen=True, slots=True)
class GalleryMeta:
    """What a gallery is.

    `encoder_id` of the encoder (and the adapters) whose queries it takes; `source` PICTURES or one of TEXTS; `kb_name`
    and `kb_hash` (content hash) of its base; `entities` in it; `absent` entities without a picture; `lost` pictures
    that gave no vector.
    """

    encoder_id: str
    source: str
    pooling: str
    kb_name: str
    kb_hash: str
    entities: int
    absent: int
    lost: int


class Gallery:
    """Entities by the rows of an index.

    Attributes:
        meta: see GalleryMeta. index: of the rows.
        owners: `[n]` int64, the index in the knowledge base of each row's entity, never falling.
    """

    def __init__(self, meta: GalleryMeta, index: VectorIndex, owners: np.ndarray) -> None:
        self.meta, self.index, self.owners = meta, index, owners

    @cached_property
    def entities(self) -> np.ndarray:
        """`[e]` int64, the entities in the gallery, rising."""
        return np.unique(self.owners)

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """`(scores [q, k] float32, entities [q, k] int64)` of unit `queries` `[q, d]`, best first, equals by index.

        Where there are fewer than k entities, -1 with a score of minus infinity pads. InputError as
        `VectorIndex.search`.
        """
        wanted, width = min(k, len(self.entities)), k
        while True:
            scores, rows = self.index.search(queries, width)
            owners = np.where(rows >= 0, self.owners[rows], -1)
            first = _first_of_each(owners)
            # Rows of one entity take the places of others; an index that gives fewer rows than asked has no more.
            if width >= len(self.owners) or ((first.sum(1) >= wanted) | (rows[:, -1] < 0)).all():
                return _left(scores, owners, first, k)
            width = min(2 * width, len(self.owners))

    def score(self, queries: np.ndarray, entities: np.ndarray) -> np.ndarray:
        """`[q, c]` float32 scores of `entities` `[q, c]` for unit `queries` `[q, d]`, as `search` would give them.

        Minus infinity for what the gallery does not have, and for the padding -1.
        """
        out = np.full(entities.shape, -np.inf, np.float32)
        begin, end = (np.searchsorted(self.owners, entities, side) for side in ("left", "right"))
        step = max(1, _PAIRS // max(entities.shape[1], 1))
        for start in range(0, len(entities), step):
            part = slice(start, start + step)
            rows, starts, counts = _spans(begin[part].ravel(), end[part].ravel())
            query = start + np.repeat(np.arange(len(counts)) // entities.shape[1], counts)
            there = counts > 0
            if there.any():
                values = pair_scores(self.index.rows, queries[query], rows[:, None])[:, 0]
                out[part].reshape(-1)[there] = np.maximum.reduceat(values, starts[there])
        return out

    def means(self, entities: np.ndarray) -> np.ndarray:
        """`[c, d]` float32 unit means of the rows of `entities` `[c]`; zero for what the gallery does not have."""
        rows, _, counts = _spans(*(np.searchsorted(self.owners, entities, side) for side in ("left", "right")))
        out = np.zeros((len(entities), self.index.rows.shape[1]), np.float32)
        np.add.at(out, np.repeat(np.arange(len(entities)), counts), np.asarray(self.index.rows[rows], np.float32))
        return np.asarray(out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12))

    def on(self, kb: KnowledgeBase, own: KnowledgeBase) -> Gallery:
        """The gallery over another base: its rows of the entities that are there too.

        Args:
            own: the base that it was built for.
        """
        known = kb.indices(own.ids(self.entities))
        owners = known[np.searchsorted(self.entities, self.owners)]
        order = np.argsort(owners, kind="stable")
        order = order[owners[order] >= 0]
        _check_owners(owners[order], kb, self.meta.source, self.meta.entities, self.meta.lost)
        rows = build_index(np.asarray(self.index.rows)[order], self.index.kind)
        count = int((known >= 0).sum())
        absent = len(kb) - count if self.meta.source == PICTURES else self.meta.absent
        meta = replace(self.meta, kb_name=kb.meta.name, kb_hash=kb.meta.content_hash, entities=count, absent=absent)
        return Gallery(meta, rows, owners[order])

    def save(self, folder: str | Path) -> None:
        """Write the gallery as a folder for `open`, whole or not at all."""
        with atomic_folder(folder) as temporary:
            self.index.save(temporary / _INDEX)
            np.save(temporary / _OWNERS, self.owners)
            meta = {"format": _FORMAT, **asdict(self.meta)}
            (temporary / _META).write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def open(cls, folder: str | Path, encoder_id: str, kb: KnowledgeBase) -> Gallery:
        """The gallery that `save` wrote, its rows memory-mapped.

        Raises:
            InputError where it is missing or damaged, built with another encoder than `encoder_id`, or for another
            state of the knowledge base.
        """
        folder = Path(folder)
        try:
            values = json.loads((folder / _META).read_text(encoding="utf-8"))
            if values.pop("format") != _FORMAT:
                raise ValueError(f"its format is not {_FORMAT}")
            meta = GalleryMeta(**values)
            owners: np.ndarray = np.load(folder / _OWNERS, mmap_mode="r")
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"holds no whole gallery ({error})", file=folder, remedy=_AGAIN) from error
        if meta.encoder_id != encoder_id:
            raise InputError(
                f"was built with the encoder '{meta.encoder_id}', queries come from '{encoder_id}'",
                file=folder,
                field="encoder_id",
                remedy="use the encoder that it was built with, or build it again",
            )
        if meta.kb_hash != kb.meta.content_hash:
            raise InputError(
                f"was built for another state of a knowledge base ('{meta.kb_name}', {meta.kb_hash[:12]}) than "
                f"'{kb.meta.name}' ({kb.meta.content_hash[:12]})",
                file=folder,
                remedy=_AGAIN,
            )
        index = open_index(folder / _INDEX)
        if len(index.rows) != len(owners):
            raise InputError(f"has {len(index.rows)} rows of {len(owners)}", file=folder, remedy=_AGAIN)
        return cls(meta, index, owners)


def _spans(begin: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The numbers of spans from `begin` to before `end` `[c]`, the place of each span's first, and their lengths."""
    counts = end - begin
    starts = np.cumsum(counts) - counts
    return np.arange(counts.sum()) + np.repeat(begin - starts, counts), starts, counts


def build_gallery(
    kb: KnowledgeBase,
    owners: np.ndarray,
    vectors: np.ndarray,
    *,
    encoder_id: str,
    source: str = PICTURES,
    pooling: str = "max",
    adapters: Adapters | None = None,
    confidence: np.ndarray | None = None,
    size: np.ndarray | None = None,
    asked: int | None = None,
    lost: int = 0,
    index: str = "exact",
    parameters: Mapping[str, int] | None = None,
) -> Gallery:
    """A gallery of vectors that are there.

    Args:
        owners: `[n]` entity of each vector, an index in the base, in any order.
        vectors: `[n, d]` unit float32 or float16.
        encoder_id: of the encoder; that of the adapters is added.
        pooling: `max` keeps all vectors of an entity, `mean` and `learned` (the attention of `adapters`) make them one.
        adapters: what is trained over the encoder; the entities' one is applied first.
        confidence, size: `[n]` of the faces, for `learned` (see AttentionPooling).
        asked: entities that might have been in it, all of the base unless given. lost: pictures without a vector.
        index, parameters: see `build_index`.

    Raises:
        ConfigError for an unknown pooling, or `learned` without what it needs; InputError where there is no vector,
        or an owner outside the base.
    """
    asked = len(kb) if asked is None else asked
    _check_pooling(pooling, adapters, confidence, size)
    _check_owners(owners, kb, source, asked, lost)
    order = np.argsort(owners, kind="stable")
    owners, vectors = np.asarray(owners, np.int64)[order], vectors[order]
    if adapters is not None:
        vectors = adapters.adapt_entities(vectors)
    if pooling == "mean":
        vectors = _mean(vectors, owners)
    elif adapters is not None and confidence is not None and size is not None and pooling == "learned":
        vectors = _attended(adapters, vectors, owners, confidence[order], size[order])
    entities = np.unique(owners)
    meta = GalleryMeta(
        encoder_id=adapted_id(encoder_id, adapters),
        source=source,
        pooling=pooling,
        kb_name=kb.meta.name,
        kb_hash=kb.meta.content_hash,
        entities=len(entities),
        absent=asked - len(entities),
        lost=lost,
    )
    rows = build_index(vectors, index, **(parameters or {}))
    return Gallery(meta, rows, owners if pooling == "max" else entities)


def adapted_id(encoder_id: str, adapters: Adapters | None) -> str:
    """The id of an encoder with what is trained over it."""
    return encoder_id if adapters is None else f"{encoder_id}+{adapters.id}"


def picture_gallery(
    kb: KnowledgeBase,
    root: str | Path,
    encoder: RegionSource,
    *,
    further: Sequence[tuple[int, Region]] = (),
    pooling: str = "max",
    adapters: Adapters | None = None,
    on_batch: Callable[[int], None] | None = None,
    index: str = "exact",
    parameters: Mapping[str, int] | None = None,
) -> tuple[Gallery, SkipReport]:
    """The gallery of a base's pictures, and what was passed over.

    Args:
        root: folder that the entities' `images` are relative to.
        encoder: of whole pictures, a RegionEncoder.
        further: regions of pictures beside the base's own, each with the index of its entity.
        on_batch: told how many pictures were encoded. Others: see `build_gallery`.
    """
    owners, regions = [], []
    for number, entity in enumerate(kb):
        owners += [number] * len(entity.images)
        regions += [Region(Path(root) / image) for image in entity.images]
    owners += [owner for owner, _ in further]
    regions += [region for _, region in further]
    if not regions:
        raise InputError(
            f"no entity of '{kb.meta.name}' has a picture", field="images", remedy="build it with 'images'"
        )
    features = encoder.encode(regions, on_batch)
    found = features.found
    gallery = build_gallery(
        kb,
        np.array(owners, np.int64)[found],
        features.vectors[found],
        encoder_id=encoder.id,
        pooling=pooling,
        adapters=adapters,
        confidence=features.confidence[found],
        size=features.size[found],
        lost=int((~found).sum()),
        index=index,
        parameters=parameters,
    )
    return gallery, features.skips


def text_gallery(
    kb: KnowledgeBase,
    encoder: TextTower,
    text: str = "name",
    *,
    entities: np.ndarray | None = None,
    adapters: Adapters | None = None,
    index: str = "exact",
    parameters: Mapping[str, int] | None = None,
) -> Gallery:
    """The gallery of entities' texts (Sun et al. 2022, V2TEL), for queries of the same encoder's pictures.

    Args:
        text: `name` (CLIP_N in the paper) or `name+description` (CLIP_N_D).
        entities: `[e]` those that are in it, all unless given. Others: see `build_gallery`.
    """
    if text not in TEXTS:
        raise ConfigError(f"text is '{text}'.{did_you_mean(text, TEXTS)}")
    wanted = np.arange(len(kb)) if entities is None else np.asarray(entities, np.int64)
    vectors = np.empty((len(wanted), encoder.dim), np.float32)
    for start in progress(range(0, len(wanted), _TEXTS), "texts of entities"):
        part = wanted[start : start + _TEXTS]
        vectors[start : start + len(part)] = encoder.encode_text([entity_words(e, text) for e in kb.entities(part)])
    return build_gallery(
        kb,
        wanted,
        vectors,
        encoder_id=encoder.id,
        source=text,
        adapters=adapters,
        asked=len(wanted),
        index=index,
        parameters=parameters,
    )


def entity_words(entity: Entity, text: str) -> str:
    """What a text encoder reads of an entity; `text` is one of TEXTS."""
    return entity.title if text == "name" else entity_text(entity)


def _check_pooling(
    pooling: str, adapters: Adapters | None, confidence: np.ndarray | None, size: np.ndarray | None
) -> None:
    if pooling not in POOLINGS:
        raise ConfigError(f"pooling is '{pooling}'.{did_you_mean(pooling, POOLINGS)}")
    if pooling == "learned" and (adapters is None or confidence is None or size is None):
        raise ConfigError(
            "pooling = 'learned' needs adapters, and confidence and size of the faces. Remedy: train it, or use 'max'"
        )


def _check_owners(owners: np.ndarray, kb: KnowledgeBase, source: str, asked: int, lost: int) -> None:
    if not len(owners):
        raise InputError(
            f"the gallery is empty: none of {asked:,} entities of '{kb.meta.name}' has a vector "
            f"({lost:,} pictures gave none)",
            field=source,
            remedy="check the 'images' of the knowledge base and the folder that they are relative to",
        )
    if owners.min() < 0 or owners.max() >= len(kb):
        raise InputError(f"owners from {owners.min()} to {owners.max()} in a base of {len(kb):,}", field="owners")


def _mean(vectors: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """`[e, d]` float32: the mean of each entity's vectors at unit norm, entities rising as in `owners`."""
    sums = np.add.reduceat(np.asarray(vectors, np.float64), np.flatnonzero(np.diff(owners, prepend=-1)))
    return np.asarray(sums / np.linalg.norm(sums, axis=1, keepdims=True), np.float32)


def _attended(
    adapters: Adapters, vectors: np.ndarray, owners: np.ndarray, confidence: np.ndarray, size: np.ndarray
) -> np.ndarray:
    """`[e, d]` float32: each entity's vectors pooled by attention, entities rising as in `owners`."""
    import torch

    device = adapters.pooling.weights.device
    given = [torch.from_numpy(np.array(one, np.float32)).to(device) for one in (vectors, confidence, size)]
    owner = torch.from_numpy(np.unique(owners, return_inverse=True)[1]).to(device)
    with torch.inference_mode():
        return np.asarray(adapters.pooling(given[0], owner, given[1], given[2]).cpu().numpy())


def _first_of_each(owners: np.ndarray) -> np.ndarray:
    """`[q, w]` bool: whether a place is the first in its row that holds its owner; never for -1."""
    order = np.argsort(owners, axis=1, kind="stable")
    ranked = np.take_along_axis(owners, order, 1)
    new = np.ones(owners.shape, bool)
    new[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
    first = np.empty(owners.shape, bool)
    np.put_along_axis(first, order, new, 1)
    return np.asarray(first & (owners >= 0))


def _left(scores: np.ndarray, owners: np.ndarray, kept: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The first k kept places of each row, moved to the left."""
    place = np.cumsum(kept, axis=1) - 1
    query, column = np.nonzero(kept & (place < k))
    best = np.full((len(scores), k), -np.inf, np.float32)
    entities = np.full((len(scores), k), -1, np.int64)
    best[query, place[query, column]] = scores[query, column]
    entities[query, place[query, column]] = owners[query, column]
    return best, entities
