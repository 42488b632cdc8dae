"""Retrieval by the pictures of a mention's document: against the texts of entities, or against their pictures.

The visual modality of Table 4 of Wang et al. 2022 (WIKIDiverse), with an encoder of pictures that has a text tower for
`clip-text-image` (Radford et al. 2021) and any encoder of pictures for `clip-image-image`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from mmel.candidates.mentions import MentionTable
from mmel.candidates.retrieval.base import Retrieved, padded
from mmel.config import Config
from mmel.errors import ConfigError, InputError, SkipReport
from mmel.kb import KnowledgeBase
from mmel.retrieval_settings import PictureRetrieverName, by_pictures
from mmel.vision.gallery import Gallery, RegionSource, text_gallery
from mmel.vision.linker import PICTURES, TEXTS, make_gallery, region_encoder, text_tower
from mmel.vision.regions import UNREADABLE, Region, RegionEncoder


@dataclass
class PictureRetriever:
    """Entities of a gallery that are most like one of the pictures of the mention's document.

    A mention whose document has no picture that can be read finds nothing; its scores, and those of entities that the
    gallery does not have, are NaN.

    Attributes:
        gallery: of the entities' texts (`mmel.vision.gallery.text_gallery`) or pictures (`picture_gallery`).
        regions: of whole pictures, the encoder that the gallery was made with.
        skips: pictures that could not be read so far, each counted once and not tried again.
    """

    name: PictureRetrieverName
    gallery: Gallery
    regions: RegionSource
    skips: SkipReport = field(default_factory=SkipReport)
    _lost: set[Region] = field(default_factory=set, repr=False)
    # A table is searched and then scored: what is not kept on disk would be encoded twice.
    _last: tuple[MentionTable, tuple[np.ndarray, np.ndarray]] | None = field(default=None, repr=False)

    def retrieve(self, table: MentionTable, k: int, leave_out: bool = False) -> Retrieved:
        """See Retriever; a document's picture is never among what it is compared with."""
        vectors, owner = self._pictures(table)
        nothing = np.empty(0, np.int64), np.empty(0, np.float32)
        by_document = [nothing] * len(table.documents)
        if len(vectors):
            scores, entities = self.gallery.search(vectors, k)
            for document in np.unique(owner):
                mine = owner == document
                by_document[document] = _best(entities[mine].ravel(), scores[mine].ravel(), k)
        return padded([by_document[document] for document in table.doc.tolist()], k)

    def score(self, table: MentionTable, ids: np.ndarray, leave_out: bool = False) -> np.ndarray:
        """See Retriever."""
        vectors, owner = self._pictures(table)
        out = np.full(ids.shape, -np.inf, np.float32)
        for picture, document in enumerate(owner.tolist()):
            rows = np.flatnonzero(table.doc == document)
            own = self.gallery.score(np.repeat(vectors[picture][None], len(rows), 0), ids[rows])
            out[rows] = np.maximum(out[rows], own)
        return np.where(ids >= 0, np.where(np.isfinite(out), out, np.nan), 0).astype(np.float32)

    def on(self, kb: KnowledgeBase, own: KnowledgeBase) -> PictureRetriever:
        """The retriever on another base; `own` is the base that it is of. What is lost is counted by both together."""
        return replace(self, gallery=self.gallery.on(kb, own))

    def _pictures(self, table: MentionTable) -> tuple[np.ndarray, np.ndarray]:
        """`[n, d]` unit vectors of the documents' pictures that can be read, `[n]` which document each is of."""
        last = self._last
        if last is None or last[0] is not table:
            last = self._last = table, self._read(table)
        return last[1]

    def _read(self, table: MentionTable) -> tuple[np.ndarray, np.ndarray]:
        folder = table.pictures
        if folder is None and any(document.images for document in table.documents):
            raise ConfigError(
                f"candidates.retrieval has '{self.name}', and the folder of the documents' pictures is not known. "
                "Remedy: give `pictures`, the folder that their `images` are relative to"
            )
        shown = [
            (d, Region((folder or Path()) / image))
            for d, document in enumerate(table.documents)
            for image in dict.fromkeys(document.images)
        ]
        wanted = [region for region in dict.fromkeys(region for _, region in shown) if region not in self._lost]
        features = self.regions.encode(wanted)
        self.skips.update(features.skips.only(UNREADABLE))
        row = {region: i for i, region in enumerate(wanted) if features.found[i]}
        self._lost.update(region for region in wanted if region not in row)
        seen = [(d, row[region]) for d, region in shown if region in row]
        owner, place = np.array(seen, np.int64).reshape(-1, 2).T
        return features.vectors[place], owner


def _best(entities: np.ndarray, scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k best entities, each with its best score; equals by index, -1 left out."""
    order = np.lexsort((entities, -scores))
    order = order[entities[order] >= 0]
    first = np.sort(np.unique(entities[order], return_index=True)[1])[:k]
    return entities[order][first], scores[order][first]


def make_retrievers(config: Config, kb: KnowledgeBase, folder: Path, pictures: Path) -> list[PictureRetriever]:
    """The retrievers by pictures that the config names, with galleries of a whole base.

    Args:
        folder: of the visual side of the run, with the encoder where it was trained there.
        pictures: folder that those of entities are relative to.
    """
    return [
        PictureRetriever(name, _gallery(config, name, kb, regions, pictures), regions)
        for name, regions in _encoders(config, folder).items()
    ]


def open_retrievers(
    config: Config,
    kb: KnowledgeBase,
    folder: Path,
    galleries: Path,
    made_of: str,
    pictures: Path | None,
    keep_documents: bool = True,
) -> list[PictureRetriever]:
    """As `make_retrievers`, with the galleries that were saved; for another state of the base they are made anew.

    Args:
        made_of: hash of the base that the `galleries` are of.
        keep_documents: whether the vectors of documents' pictures are stored, see `RegionEncoder`.

    Raises:
        InputError where a gallery is missing, damaged or of another encoder, and where pictures of another base are
        needed and their folder is not known.
    """
    found = []
    for name, regions in _encoders(config, folder).items():
        file = galleries / name
        if made_of == kb.meta.content_hash:
            gallery = Gallery.open(file, regions.encoder.id if name == "clip-text-image" else regions.id, kb)
        elif name == "clip-image-image" and pictures is None:
            raise InputError(
                "was made of another knowledge base, and the folder of this one's pictures is not known",
                file=file,
                remedy="name the folder (`pictures`), or use the run's own knowledge base",
            )
        else:
            gallery = _gallery(config, name, kb, regions, pictures)
        found.append(PictureRetriever(name, gallery, regions))
    for one in found:
        one.regions.keep = keep_documents  # type: ignore[attr-defined]
    return found


def _encoders(config: Config, folder: Path) -> dict[PictureRetrieverName, RegionEncoder]:
    """What encodes pictures, by the name of the retriever; one encoder where both need the same."""
    sides: dict[str, RegionEncoder] = {}
    out: dict[PictureRetrieverName, RegionEncoder] = {}
    for name in by_pictures(config.candidates.retrieval):
        side = TEXTS if name == "clip-text-image" and config.vision.text_encoder is not None else PICTURES
        if side not in sides:
            sides[side] = region_encoder(config, side, folder)
        out[name] = sides[side]
    return out


def _gallery(
    config: Config, name: PictureRetrieverName, kb: KnowledgeBase, regions: RegionEncoder, pictures: Path | None
) -> Gallery:
    """Of the texts of all entities, or of all their pictures: an entity is found by the best of them."""
    if name == "clip-text-image":
        tower = text_tower(regions, f"candidates.retrieval has '{name}', which")
        return text_gallery(kb, tower, config.vision.text, index=config.vision.index)
    return make_gallery(config, PICTURES, kb, pictures, regions, None, pooling="max")[0]
