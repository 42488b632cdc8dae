"""Retrieval by the pictures of a mention's document: against the texts of entities, or against their pictures.

The visual modality of Table 4 of Wang et al. 2022 (WIKIDiverse), with an encoder of pictures that has a text tower for
`clip-text-image` (Radford et al. 2021) and any encoder of pictures for `clip-image-image`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from mmel.candidates.mentions import MentionTable
from mmel.candidates.retrieval.base import Retrieved, padded
from mmel.errors import SkipReport
from mmel.vision.gallery import Gallery, RegionSource
from mmel.vision.regions import Region

ABSENT = -1.0  # of an entity that the gallery does not have: no cosine is less


@dataclass
class PictureRetriever:
    """Entities of a gallery that are most like one of the pictures of the mention's document.

    A mention whose document has no picture that can be read finds nothing, and all entities have the score 0.

    Attributes:
        gallery: of the entities' texts (`mmel.vision.gallery.text_gallery`) or pictures (`picture_gallery`).
        regions: of whole pictures, the encoder that the gallery was made with.
        folder: what `Document.images` are relative to.
        skips: pictures that could not be read so far, each counted once and not tried again.
    """

    name: Literal["clip-text-image", "clip-image-image"]
    gallery: Gallery
    regions: RegionSource
    folder: Path
    skips: SkipReport = field(default_factory=SkipReport)
    _lost: set[Region] = field(default_factory=set, repr=False)

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
        pictured = np.isin(table.doc, owner)[:, None] & (ids >= 0)
        return np.where(pictured, np.where(np.isfinite(out), out, ABSENT), 0).astype(np.float32)

    def _pictures(self, table: MentionTable) -> tuple[np.ndarray, np.ndarray]:
        """`[n, d]` unit vectors of the documents' pictures that can be read, `[n]` which document each is of."""
        shown = [
            (d, Region(self.folder / image))
            for d, document in enumerate(table.documents)
            for image in dict.fromkeys(document.images)
        ]
        wanted = [region for region in dict.fromkeys(region for _, region in shown) if region not in self._lost]
        features = self.regions.encode(wanted)
        self.skips.update(features.skips)
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
