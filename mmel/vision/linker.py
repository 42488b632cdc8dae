"""The visual side of a linker: regions of pictures in, ranked entities of a gallery out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np

from mmel.candidates.ranked import ranked_links
from mmel.config import Config, VisionConfig
from mmel.detection import FaceDetector, make_detector
from mmel.document import NIL, Document, Link
from mmel.encoders.images import make_image_encoder
from mmel.encoders.images.base import ImageEncoder
from mmel.errors import ConfigError, InputError, SkipReport
from mmel.files import read_json, write_json
from mmel.kb import KnowledgeBase
from mmel.vision.adapter import Adapters
from mmel.vision.gallery import Gallery, TextTower, adapted_id, picture_gallery, text_gallery
from mmel.vision.patch_transformer import PatchEncoder
from mmel.vision.regions import UNREADABLE, Region, RegionEncoder, RegionReader
from mmel.vision.tasks import Ranking, View, extend, link

PATCH = "patch-transformer"
CLIP_FILE = "clip.safetensors"  # of a run's folder: weights that `vision.clip_train` gave
_FILE, _ADAPTERS, _GALLERY = "visual.json", "adapters.safetensors", "gallery"
PICTURES, TEXTS = "pictures", "texts"


@dataclass(frozen=True)
class Side:
    """Mentions' pictures against one gallery: of pictures, or of texts.

    `adapters` is None where the frozen encoder is used as it comes; `noise`, `seed`: see `noisy`.
    """

    regions: RegionEncoder
    gallery: Gallery
    adapters: Adapters | None = None
    noise: float = 0.0
    seed: int = 0

    def view(self, regions: Sequence[Region]) -> tuple[View, SkipReport]:
        """Queries `[n, d]` of n regions, NaN where there is none, and what was passed over."""
        features = self.regions.encode(regions)
        return View(self.gallery, self.queries(features.vectors)), features.skips

    def queries(self, vectors: np.ndarray) -> np.ndarray:
        """`[n, d]` of the vectors that `regions` gives: adapted, and noisy where that was asked for."""
        if self.adapters is not None:
            vectors = self.adapters.adapt_mentions(vectors)
        return noisy(vectors, self.noise, self.seed) if self.noise else vectors

    def save(self, folder: Path) -> None:
        """Write gallery and adapters into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        if self.adapters is not None:
            self.adapters.save(folder / _ADAPTERS)
        self.gallery.save(folder / _GALLERY)


def noisy(vectors: np.ndarray, length: float, seed: int) -> np.ndarray:
    """Unit vectors `[n, d]` float32 with Gaussian noise of an expected `length` each, drawn from seed and vector."""
    out = np.empty_like(vectors)
    for i, vector in enumerate(vectors):
        random = np.random.default_rng([seed, crc32(vector.tobytes())])
        out[i] = vector + length * random.normal(size=len(vector)) / np.sqrt(len(vector))
    return np.asarray(out / np.linalg.norm(out, axis=1, keepdims=True))


class VisualLinker:
    """Links visual mentions to entities by pictures, texts, or both (`vision.task`).

    Args:
        temperature: of the softmax over a mention's candidates that makes cosines probabilities.
        weight: of the texts where `vision.combination` is `fused`.

    Attributes:
        skips: regions that could not be read. faceless: how many had no face, by what was done.
    """

    def __init__(
        self,
        config: VisionConfig,
        kb: KnowledgeBase,
        pictures: Side | None,
        texts: Side | None = None,
        temperature: float = 0.05,
        weight: float = 0.5,
    ) -> None:
        self.config, self.kb = config, kb
        self.pictures, self.texts = pictures, texts
        self.temperature, self.weight = temperature, weight
        self.skips, self.faceless = SkipReport(), Counter[str]()

    @classmethod
    def from_run(
        cls, folder: Path, config: Config, kb: KnowledgeBase, pictures: Path | None, keep_documents: bool = True
    ) -> VisualLinker:
        """Open what `save` wrote; for another state of the knowledge base its pictures are encoded anew.

        keep_documents: whether the vectors of documents' regions are stored, see `RegionEncoder`.
        """
        vision = config.vision
        state = read_json(folder / _FILE, "train again with --restart")
        sides = {}
        for name in needed_sides(vision):
            regions = region_encoder(config, name, folder)
            file = folder / name / _ADAPTERS
            adapters = Adapters.load(file, regions.dim) if file.is_file() else None
            gallery = folder / name / _GALLERY
            if state["kb_hash"] == kb.meta.content_hash:
                # Texts are compared with a region's vector however it was read: their gallery knows the encoder only.
                queries = regions.id if name == PICTURES else regions.encoder.id
                opened = Gallery.open(gallery, adapted_id(queries, adapters), kb)
            elif name == PICTURES and pictures is None:
                raise InputError(
                    "was made of another knowledge base, and the folder of this one's pictures is not known",
                    file=gallery,
                    remedy="name the folder (`pictures`), or use the run's own knowledge base",
                )
            else:
                opened, _ = make_gallery(config, name, kb, pictures, regions, adapters)
            regions.keep = keep_documents
            sides[name] = Side(regions, opened, adapters, vision.noise, config.seed)
        return cls(vision, kb, sides.get(PICTURES), sides.get(TEXTS), state["temperature"], state["weight"])

    def save(self, folder: Path) -> None:
        """Write galleries, adapters and what was learned into `folder`, the small file that says so last."""
        for name, side in ((PICTURES, self.pictures), (TEXTS, self.texts)):
            if side is not None:
                side.save(folder / name)
        state = {"kb_hash": self.kb.meta.content_hash, "temperature": self.temperature, "weight": self.weight}
        write_json(folder / _FILE, state)

    def links_of(self, documents: Sequence[Document], ranking: Ranking) -> Iterator[tuple[Link, ...]]:
        """One link a visual mention for each document; candidates are ranked, their scores probabilities.

        A mention without a vector links to NIL, has no candidates, and is counted in `skips`.

        Args:
            ranking: of the visual mentions of the documents, from `rank`.
        """
        links = ranked_links(
            ranking.entities, ranking.scores, self.kb, temperature=self.temperature, most=self.config.candidates
        )
        place = 0
        for document in documents:
            count = len(document.visual_mentions)
            yield tuple(links[place : place + count])
            place += count

    @property
    def detector(self) -> FaceDetector | None:
        """What finds faces; None where regions are encoded as they are."""
        return next(side.regions.reader.detector for side in (self.pictures, self.texts) if side is not None)

    @property
    def entities(self) -> np.ndarray:
        """Sorted indices of the entities that a region can be linked to."""
        sides = [side.gallery.entities for side in (self.pictures, self.texts) if side is not None]
        return np.unique(np.concatenate(sides))

    def rank(self, regions: Sequence[Region], further: np.ndarray | None = None) -> Ranking:
        """The first `vision.candidates` entities of each region.

        further: `[n, c]` entities that are ranked besides (-1 pads); not with V2VTEL, whose scores are of the first
            ones only.
        """
        views = {}
        for name, side in ((PICTURES, self.pictures), (TEXTS, self.texts)):
            if side is not None and regions:
                views[name], passed_over = side.view(regions)
                if name == PICTURES or self.pictures is None:
                    self._report(passed_over)
        if not views:
            return Ranking(np.empty((0, 1), np.int64), np.empty((0, 1)))
        ranking = link(
            self.config.task,
            pictures=views.get(PICTURES),
            texts=views.get(TEXTS),
            combination=self.config.combination,
            k=self.config.candidates,
            length=self.config.rerank,
            weight=self.weight,
        )
        if further is None or len(views) > 1:
            return ranking
        return extend(ranking, next(iter(views.values())), further)

    def forget_skips(self) -> None:
        """Count from zero again."""
        self.skips, self.faceless = SkipReport(), Counter()

    def _report(self, passed_over: SkipReport) -> None:
        self.skips.update(passed_over.only(UNREADABLE))
        self.faceless.update({why: count for why, count in passed_over.counts.items() if why != UNREADABLE})


def mention_regions(documents: Sequence[Document], pictures: Path | None) -> list[Region]:
    """The regions of the visual mentions of documents, in order, below the folder `pictures`."""
    mentions = [mention for document in documents for mention in document.visual_mentions]
    if mentions and pictures is None:
        raise ConfigError(
            "documents have visual mentions, and the folder of their pictures is not known. "
            "Remedy: give `pictures`, the folder that their `image` is relative to"
        )
    return [Region((pictures or Path()) / mention.image, mention.box) for mention in mentions]


def mention_golds(documents: Sequence[Document], kb: KnowledgeBase) -> np.ndarray:
    """`[n]` int64 gold entities of the visual mentions of documents, in order; -1 for no label, NIL, or an unknown id.

    Entities are indices of the base.
    """
    names = [mention.entity for document in documents for mention in document.visual_mentions]
    return kb.indices(["" if name is None or name == NIL else name for name in names])


def needed_sides(vision: VisionConfig) -> tuple[str, ...]:
    """`pictures`, `texts` or both, as the task has it."""
    return {"V2VEL": (PICTURES,), "V2TEL": (TEXTS,)}.get(vision.task, (PICTURES, TEXTS))


def region_encoder(config: Config, side: str, folder: Path) -> RegionEncoder:
    """What encodes regions for a side; a patch transformer is read from the run's `folder`."""
    vision = config.vision
    encoder = image_encoder(vision, side, folder)
    return RegionEncoder(encoder, face_detector(vision), config.encoder.cache, unaligned=vision.unaligned)


def region_reader(vision: VisionConfig, side: int) -> RegionReader:
    """What reads regions as squares of `side` pixels, for an encoder to be trained on."""
    return RegionReader(face_detector(vision), side, unaligned=vision.unaligned)


def face_detector(vision: VisionConfig) -> FaceDetector | None:
    """The detector that a config names."""
    return None if vision.detector == "none" else make_detector(vision.detector, vision.detector_weights)


def image_encoder(vision: VisionConfig, side: str, folder: Path) -> ImageEncoder:
    """The encoder of a side: `vision.text_encoder` for texts where it is named, else `vision.encoder`."""
    texts = side == TEXTS and vision.text_encoder is not None
    if vision.encoder == PATCH and not texts:
        return PatchEncoder.load(folder)
    name, weights, sha256 = text_encoder(vision) if texts else (vision.encoder, vision.weights, vision.sha256)
    tuned = folder / CLIP_FILE if vision.clip_train.epochs and name == text_encoder(vision)[0] else None
    return make_image_encoder(name, weights, sha256, download=vision.download, tuned=tuned)


def text_encoder(vision: VisionConfig) -> tuple[str, Path | None, str | None]:
    """Name, file of weights and its digest of the encoder that reads texts, which is what `vision.clip_train` tunes."""
    if vision.text_encoder is None:
        return vision.encoder, vision.weights, vision.sha256
    return vision.text_encoder, vision.text_weights, None


def make_gallery(
    config: Config,
    side: str,
    kb: KnowledgeBase,
    pictures: Path | None,
    regions: RegionEncoder,
    adapters: Adapters | None,
    further: Sequence[tuple[int, Region]] = (),
    pooling: str | None = None,
) -> tuple[Gallery, SkipReport]:
    """The gallery of a side over a knowledge base, with `further` pictures, and those that gave nothing.

    pooling: instead of `vision.pooling`.
    """
    vision = config.vision
    if side == TEXTS:
        tower = text_tower(regions, f"vision.task={vision.task}")
        with_picture = np.array([number for number, entity in enumerate(kb) if entity.images], np.int64)
        return text_gallery(kb, tower, vision.text, entities=with_picture, adapters=adapters), SkipReport()
    return picture_gallery(
        kb, pictures or Path(), regions,
        further=further, pooling=pooling or vision.pooling, adapters=adapters, index=vision.index,
    )  # fmt: skip


def text_tower(regions: RegionEncoder, what: str) -> TextTower:
    """The text tower beside an image encoder; ConfigError, saying `what` compares with texts, where it has none."""
    tower = regions.encoder
    if not isinstance(tower, TextTower):
        raise ConfigError(
            f"{what} compares with texts, and '{tower.id}' encodes none. "
            "Remedy: vision.text_encoder=open-clip:MODEL/PRETRAINED"
        )
    return tower
