"""The scorer `pictures`: the pictures around a mention, and its text, against pictures and texts of its candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from mmel.candidates import Candidates, MentionTable
from mmel.candidates.folds import document_folds
from mmel.config import DetectionConfig
from mmel.detection import detect_mentions
from mmel.document import Document, VisualMention
from mmel.errors import ConfigError, SkipReport
from mmel.text.modalities import EVIDENCE, GROUPS, PREFIX, TEXTS
from mmel.vision.gallery import Gallery, TextTower, entity_words
from mmel.vision.linker import Side, VisualLinker
from mmel.vision.mention_text import mention_words
from mmel.vision.regions import UNREADABLE, Region

_IMAGE_IMAGE = ("image_image_best", "image_image_mean", "image_image_above")
_WITH_TEXT = ("text_image", "text_image_above", "image_text", "image_text_above")


@dataclass(frozen=True)
class PictureColumns:
    """What pictures say of M mentions, K candidates each.

    Attributes:
        values: `[M, K, P]` float32 score columns, 0 where not available.
        available: `[M, K, 4]` bool, by group (`mmel.text.modalities.GROUPS`); False at pads.
        evidence: `[M, EVIDENCE]` float32 of the mention's pictures, 0 where it has none.
        shown: `[M]` bool whether the mention has a picture. pictured: `[M, K]` bool whether the candidate has one.
    """

    values: np.ndarray
    available: np.ndarray
    evidence: np.ndarray
    shown: np.ndarray
    pictured: np.ndarray


@dataclass(frozen=True)
class _Read:
    """Distinct pictures as they were read: `vectors` `[n, d]`, `confidence` and `size` `[n]` of n regions, faces where
    a picture has several, and `rows` of a picture by its name: none where it cannot be read, or is not among
    them."""

    vectors: np.ndarray
    confidence: np.ndarray
    size: np.ndarray
    rows: Mapping[str, Sequence[int]]

    def of(self, documents: Sequence[Document]) -> _Seen:
        """What each of D documents shows."""
        rows = [[i for image in dict.fromkeys(one.images) for i in self.rows.get(image, ())] for one in documents]
        place = np.array([i for each in rows for i in each], np.int64)
        counts = np.array([len(each) for each in rows], np.int64)
        owner = np.repeat(np.arange(len(rows)), counts)
        evidence = np.zeros((len(rows), EVIDENCE), np.float32)
        evidence[:, 0] = np.log1p(counts)
        for column, values in ((1, self.confidence[place]), (2, np.log1p(self.size[place]) / 5)):
            np.maximum.at(evidence[:, column], owner, values)
        return _Seen(self.vectors[place], np.concatenate([[0], np.cumsum(counts)]), evidence)


@dataclass(frozen=True)
class _Seen:
    """The pictures of D documents: `vectors` `[n, d]` of those that were read, `first` `[D + 1]` where each begins,
    `evidence` `[D, EVIDENCE]`."""

    vectors: np.ndarray
    first: np.ndarray
    evidence: np.ndarray


class PictureScorer:
    """Computes the columns with the encoder, detector, adapter and gallery of a visual linker.

    With a detector, a mention's picture with several faces counts as several pictures. A candidate without a picture,
    and a mention without one that can be read, have no columns there: they are masked. Columns that compare texts with
    pictures need an encoder with a text tower and without an adapter, which would leave the space that both share.

    Attributes:
        columns: names `pictures.column`.
        held_out: where the linker learned from documents, a side for each part of these (`document_folds`) that did not
            learn from it, and scores it in training.
        skips: pictures that could not be read. faceless: as in VisualLinker.
    """

    def __init__(self, visual: VisualLinker, detection: DetectionConfig | None = None) -> None:
        if visual.pictures is None or visual.config.train_pictures:
            # A gallery with the training documents' pictures would show each of them itself.
            raise ConfigError(
                f"model.scorers has 'pictures', which vision.task={visual.config.task} with vision.train_pictures="
                f"{str(visual.config.train_pictures).lower()} does not serve. "
                "Remedy: vision.task=V2VEL vision.train_pictures=false"
            )
        self.side: Side = visual.pictures
        self.kb, self._text, self._form = visual.kb, visual.config.text, visual.config.mention_text
        encoder = self.side.regions.encoder
        self._tower = encoder if isinstance(encoder, TextTower) and self.side.adapters is None else None
        self._texts: dict[int, np.ndarray] = {}
        self._detection = detection or DetectionConfig()
        names = _IMAGE_IMAGE if self._tower is None else (*_IMAGE_IMAGE, *_WITH_TEXT)
        self.columns = [f"{PREFIX}{name}" for name in names]
        self.held_out: Sequence[Side] = ()
        self.skips, self.faceless = SkipReport(), 0

    def __call__(self, table: MentionTable, candidates: Candidates, folder: Path | None) -> PictureColumns:
        """The columns of a table's mentions; `folder` is what `Document.images` are relative to.

        Raises ConfigError where documents have pictures and `folder` is None.
        """
        return self.each([table], candidates, folder)[0]

    def each(
        self, tables: Sequence[MentionTable], candidates: Candidates, folder: Path | None, leave_out: bool = False
    ) -> tuple[PictureColumns, ...]:
        """The columns of tables of the same mentions, whose documents differ in their pictures; each is read once.

        leave_out: the documents are those that the linker learned from, in the first table with their own pictures,
            which the others only exchange; every picture is scored by a side that did not learn from it.
        """
        images = dict.fromkeys(image for table in tables for one in table.documents for image in one.images)
        if folder is None and images:
            raise ConfigError(
                "documents have pictures, and the folder of these is not known. "
                "Remedy: give `pictures`, the folder that their `images` are relative to"
            )
        shown = dict(zip(images, self._regions(list(images), folder or Path()), strict=True))
        if leave_out and self.held_out and len(tables[0]):
            return self._held_out(tables, candidates.ids, shown)
        read = self._read(shown, self.side)
        return tuple(
            self._columns(table.documents, table.doc, candidates.ids, read.of(table.documents), self.side)
            for table in tables
        )

    def _held_out(
        self, tables: Sequence[MentionTable], ids: np.ndarray, shown: Mapping[str, list[Region]]
    ) -> tuple[PictureColumns, ...]:
        """The columns of `each`, the pictures of a document scored by the side of the part that shows them."""
        fold: dict[tuple[str, ...], int] = {}
        parts = document_folds(tables[0].documents, len(self.held_out)).tolist()
        for document, part in zip(tables[0].documents, parts, strict=True):
            fold.setdefault(document.images, part)  # no side learned from a picture that its part shows, too
        side_of = [np.array([fold[one.images] for one in table.documents])[table.doc] for table in tables]
        found: list[list[PictureColumns]] = [[] for _ in tables]
        for number, side in enumerate(self.held_out):
            own = {image for images, part in fold.items() if part == number for image in images}
            read = self._read({image: regions for image, regions in shown.items() if image in own}, side)
            for table, which, columns in zip(tables, side_of, found, strict=True):
                rows = which == number
                if rows.any():
                    seen = read.of(table.documents)
                    columns.append(self._columns(table.documents, table.doc[rows], ids[rows], seen, side))
        return tuple(_together(columns, which) for columns, which in zip(found, side_of, strict=True))

    def _columns(
        self, documents: Sequence[Document], doc: np.ndarray, ids: np.ndarray, seen: _Seen, side: Side
    ) -> PictureColumns:
        """The columns of mentions of the documents `doc` `[m]`, candidates `ids` `[m, K]`."""
        mention, picture = _pairs(seen.first, doc)
        shown = np.diff(seen.first)[doc] > 0
        mask = ids >= 0
        pictured = mask & np.isin(ids, side.gallery.entities)
        available = np.zeros((*mask.shape, len(GROUPS)), bool)
        available[..., TEXTS] = mask
        available[..., GROUPS.index("I-I")] = pictured & shown[:, None]
        evidence = seen.evidence[doc]
        best, mean = _image_image(side.gallery, seen.vectors, mention, picture, ids)
        there = available[..., GROUPS.index("I-I")]
        columns = [_kept(best, there), _kept(mean, there), above(best, there)]
        if self._tower is not None:
            words = [mention_words(one.text, one.text_mentions, self._form) for one in documents]
            text = self._tower.encode_text([each for own in words for each in own])
            with_text = _kept(side.gallery.score(text, ids), pictured)
            image = self._image_text(seen.vectors, mention, picture, ids)
            shows = mask & shown[:, None]
            available[..., GROUPS.index("T-I")], available[..., GROUPS.index("I-T")] = pictured, shows
            columns += [with_text, above(with_text, pictured), _kept(image, shows), above(image, shows)]
            fit = (seen.vectors[picture] * text[mention]).sum(1)
            evidence[:, -1] = np.where(shown, _by_mention(np.maximum, fit, mention, len(mask), -np.inf), 0)
        return PictureColumns(np.stack(columns, -1).astype(np.float32), available, evidence, shown, pictured)

    def _read(self, shown: Mapping[str, list[Region]], side: Side) -> _Read:
        """Pictures by name as a side sees their regions."""
        features = side.regions.encode([region for each in shown.values() for region in each])
        self.skips.update(features.skips.only(UNREADABLE))
        self.faceless += int((~features.found).sum()) - features.skips.counts[UNREADABLE]
        found = np.flatnonzero(features.found)
        owner = np.repeat(np.arange(len(shown)), [len(each) for each in shown.values()])[found]
        images = list(shown)
        rows: dict[str, list[int]] = {image: [] for image in images}
        for row, number in enumerate(owner.tolist()):
            rows[images[number]].append(row)
        vectors = side.queries(features.vectors[found])
        return _Read(vectors, features.confidence[found], features.size[found], rows)

    def _regions(self, images: Sequence[str], folder: Path) -> list[list[Region]]:
        """The regions of each picture: its faces where it has several, else all of it, in which the encoder looks."""
        detector, rule = self.side.regions.reader.detector, self._detection
        if detector is None:
            return [[Region(folder / image)] for image in images]
        # What cannot be read is counted where it is encoded.
        found = detect_mentions(
            images, detector, folder, skips=SkipReport(), threshold=rule.face_confidence, least=rule.face_size
        )
        faces = [[Region(folder / mention.image, mention.box) for mention in mentions] for mentions in found]
        return [each if len(each) > 1 else [Region(folder / image)] for each, image in zip(faces, images, strict=True)]

    def _image_text(self, vectors: np.ndarray, mention: np.ndarray, picture: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """`[M, K]` cosines of the best picture with the text of each candidate; minus infinity without a picture."""
        unique, slot = np.unique(np.maximum(ids, 0), return_inverse=True)
        texts = self._entity_texts(unique)[slot.reshape(ids.shape)]
        scores = (texts[mention] @ vectors[picture][..., None])[..., 0]
        return _by_mention(np.maximum, scores, mention, len(ids), -np.inf)

    def _entity_texts(self, entities: np.ndarray) -> np.ndarray:
        """`[e, d]` unit vectors of the texts of entities, each encoded once."""
        assert self._tower is not None
        new = [e for e in entities.tolist() if e not in self._texts]
        if new:
            words = [entity_words(entity, self._text) for entity in self.kb.entities(new)]
            self._texts.update(zip(new, self._tower.encode_text(words), strict=True))
        return np.stack([self._texts[e] for e in entities.tolist()])


def _image_image(
    gallery: Gallery, vectors: np.ndarray, mention: np.ndarray, picture: np.ndarray, ids: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """`[M, K]` cosines of the best pair of pictures, and of their means; minus infinity where there is none."""
    best = _by_mention(np.maximum, gallery.score(vectors[picture], ids[mention]), mention, len(ids), -np.inf)
    unique, slot = np.unique(ids, return_inverse=True)
    total = _by_mention(np.add, vectors[picture], mention, len(ids), 0)
    length = np.linalg.norm(total, axis=1, keepdims=True)
    mean = (gallery.means(unique)[slot.reshape(ids.shape)] @ (total / np.maximum(length, 1e-12))[..., None])[..., 0]
    return best, mean


def _together(parts: Sequence[PictureColumns], which: np.ndarray) -> PictureColumns:
    """Columns of mentions in parts, `which` `[M]` says the number of each one's, none of the parts empty."""
    order = np.argsort(np.argsort(which, kind="stable"), kind="stable")
    names = [field.name for field in fields(PictureColumns)]
    return PictureColumns(*(np.concatenate([getattr(part, name) for part in parts])[order] for name in names))


def pictured(documents: Sequence[Document]) -> list[Document]:
    """The documents with visual mentions where they have none: all their pictures, whole, of the one gold they name.

    What trains encoders and adapters are labelled pictures; a document that names several does not tell who is where.
    """
    out = []
    for document in documents:
        golds = {mention.entity for mention in document.text_mentions}
        if document.visual_mentions or len(golds) != 1:
            out.append(document)
            continue
        (gold,) = golds
        seen = tuple(VisualMention(image, None, gold) for image in dict.fromkeys(document.images))
        out.append(replace(document, visual_mentions=seen))
    return out


def above(scores: np.ndarray, there: np.ndarray) -> np.ndarray:
    """`[M, K]` how far each score stands above the best other one that is `there` `[M, K]`; 0 where it is alone."""
    kept = np.where(there, scores, -np.inf)
    place = np.arange(kept.shape[1])
    ranked = np.sort(kept, axis=1)
    top = ranked[:, -1:]
    second = ranked[:, -2:-1] if kept.shape[1] > 1 else np.full_like(top, -np.inf)
    rival = np.where(place == kept.argmax(1)[:, None], second, top)
    return np.subtract(kept, rival, out=np.zeros_like(kept), where=there & np.isfinite(rival))


def _kept(scores: np.ndarray, there: np.ndarray) -> np.ndarray:
    return np.where(there, scores, 0)


def _pairs(first: np.ndarray, doc: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every mention (rising) with every picture of its document: indices `[p]` of both."""
    counts = np.diff(first)[doc]
    mention = np.repeat(np.arange(len(doc)), counts)
    place = np.arange(len(mention)) - np.repeat(np.cumsum(counts) - counts, counts)
    return mention, first[doc[mention]] + place


def _by_mention(how: np.ufunc, values: np.ndarray, mention: np.ndarray, count: int, start: float) -> np.ndarray:
    """`[count, ...]` float32: the values `[p, ...]` of a mention put together by `how`; `start` where it has none."""
    out = np.full((count, *values.shape[1:]), start, np.float32)
    how.at(out, mention, values)
    return out
