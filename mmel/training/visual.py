"""Training of the visual side: from photographs of known people to a saved visual linker."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmel.candidates.folds import document_folds
from mmel.config import Config, VisionConfig
from mmel.datasets import open_dataset
from mmel.datasets.base import Dataset
from mmel.document import NIL, Document, Entity
from mmel.encoders.images import make_image_encoder
from mmel.errors import ConfigError, InputError
from mmel.kb import KnowledgeBase
from mmel.training.run import RunFolder
from mmel.vision.adapter import Adapters
from mmel.vision.gallery import entity_words
from mmel.vision.linker import (
    PATCH,
    PICTURES,
    TEXTS,
    Side,
    VisualLinker,
    make_gallery,
    mention_golds,
    mention_regions,
    needed_sides,
    region_encoder,
    region_reader,
    text_tower,
)
from mmel.vision.patch_transformer import PatchEncoder
from mmel.vision.regions import Region, RegionEncoder, RegionFeatures
from mmel.vision.tasks import Ranking, fusion_weight
from mmel.vision.train_adapter import Epoch, Labelled, fit_pooling, train_adapters
from mmel.vision.train_patch import train_patch

Say = Callable[[str], None]
_TAUGHT = 256  # crops that the teacher sees at a time
_TEMPERATURES = np.geomspace(0.005, 0.5, 60)


@dataclass(frozen=True)
class Photographs:
    """Pictures of known people for training: n regions, each once, of p people.

    Attributes:
        people: `[n]` int64 who is on it. profile: `[n]` bool whether it is an entity's picture of its knowledge base
            rather than a mention's.
        records: the p entities. source: `[p]` int64 which of the datasets each is of.
    """

    regions: tuple[Region, ...]
    people: np.ndarray
    profile: np.ndarray
    records: tuple[Entity, ...]
    source: np.ndarray


class VisualTraining:
    """Training of the visual side as `config.vision` has it, on all training documents or without some of them.

    Args:
        train, dev: documents by split; those of `dev` choose epochs, fusion weight and temperature.
    """

    def __init__(
        self,
        config: Config,
        dataset: Dataset,
        kb: KnowledgeBase,
        train: Mapping[str, Sequence[Document]],
        dev: Mapping[str, Sequence[Document]],
        say: Say,
    ) -> None:
        vision = config.vision
        self.config, self.dataset, self.kb, self.say = config, dataset, kb, say
        self.documents = [document for part in train.values() for document in part]
        learns = vision.encoder == PATCH or vision.adapter == "trained" or vision.train_pictures
        self._further = further_sources(config) if learns else []
        self._people = self._photographs(self.documents) if learns else photographs([])
        asked = [document for documents in dev.values() for document in documents]
        self._regions, self._gold = labelled_regions(asked, kb, dataset.pictures)
        self._crops = self._read_crops() if vision.encoder == PATCH else None
        self._frozen: dict[str, RegionEncoder] = {}

    def linker(self, run: RunFolder) -> tuple[VisualLinker, list[dict[str, Any]]]:
        """Train on all documents, fit what is chosen on validation, save into the run's folder.

        Returns:
            the linker, and what training said of itself.
        """
        vision, regions, gold = self.config.vision, self._regions, self._gold
        sides, history = self._sides(self._people, run.visual, needed_sides(vision))
        linker = VisualLinker(vision, self.kb, sides.get(PICTURES), sides.get(TEXTS))
        if linker.pictures and linker.texts and vision.combination == "fused":
            linker.weight = fusion_weight(linker.pictures.view(regions)[0], linker.texts.view(regions)[0], gold)
        linker.temperature = fit_temperature(linker.rank(regions), gold)
        linker.forget_skips()
        linker.save(run.visual)
        return linker, history

    def held_out(self, folder: Path, whole: Side) -> list[Side]:
        """The side of pictures of each of `vision.folds` parts of the training documents, trained without that part.

        What shows a picture that is also in the part is left out with it. None where nothing is learned.

        Args:
            folder: for what the sides need while they are used. whole: the side that learned from all documents.

        Raises:
            InputError where the other parts have nothing to learn from.
        """
        count, sides = self.config.vision.folds, []
        if not learns_from_documents(self.config.vision):
            return []
        part = document_folds(self.documents, count)
        for number in range(count):
            if not (part == number).any():
                sides.append(whole)
                continue
            people = self._photographs(_without(self.documents, part == number))
            if people.profile.all():
                raise InputError(
                    f"without part {number + 1} of {count} no training document has a labelled picture",
                    field="vision.folds",
                    remedy="give more training documents with pictures of a labelled entity, or take 'pictures' out of "
                    "model.scorers",
                )
            self.say(f"pictures: without part {number + 1} of {count} of the training documents, to score it")
            place = folder / str(number)
            sides.append(self._sides(people, place, (PICTURES,), place / "encodings")[0][PICTURES])
        return sides

    def _photographs(self, documents: Sequence[Document]) -> Photographs:
        return photographs([(self.dataset, documents), *self._further])

    def _sides(
        self, people: Photographs, folder: Path, names: Sequence[str], cache: Path | None = None
    ) -> tuple[dict[str, Side], list[dict[str, Any]]]:
        """Sides that learned from `people`, and what training said of itself.

        folder: of an encoder that is trained. cache: of what it encodes; None: the run's.
        """
        config, kb, pictures = self.config, self.kb, self.dataset.pictures
        vision = config.vision
        history = self._train_patch(people, folder) if vision.encoder == PATCH else []
        sides = {}
        for name in names:
            encoder = self._encoder(name, folder, cache)
            # Adapters are chosen by the best picture of an entity; what pools pictures is learned after them.
            pooling = "max" if vision.adapter == "trained" else None
            gallery, skips = make_gallery(config, name, kb, pictures, encoder, None, pooling=pooling)
            if cache is None:
                skips.print()
            self.say(f"{name}: gallery of {len(gallery.entities):,} entities, {len(gallery.owners):,} rows")
            adapters = None
            if vision.adapter == "trained":
                queries = encoder.encode(self._regions)
                validation = (Labelled(np.asarray(gallery.index.rows), gallery.owners), _found(queries, self._gold))
                adapters = _train_adapters(config, name, people, encoder, validation, history.append, self.say)
            joining = photographs_of_base(people, kb) if vision.train_pictures and name == PICTURES else []
            if adapters is not None or joining:
                gallery, _ = make_gallery(config, name, kb, pictures, encoder, adapters, joining)
            sides[name] = Side(encoder, gallery, adapters, vision.noise, config.seed)
        return sides, history

    def _encoder(self, side: str, folder: Path, cache: Path | None) -> RegionEncoder:
        """What encodes regions for a side; one that is not trained here is opened once."""
        if self._crops is None:
            if side not in self._frozen:
                self._frozen[side] = region_encoder(self.config, side, folder)
            return self._frozen[side]
        config = self.config
        if cache is not None:
            encoder = config.encoder.model_copy(update={"cache": cache})
            config = config.model_copy(update={"encoder": encoder})
        return region_encoder(config, side, folder)

    def _read_crops(self) -> _Crops:
        """All that a patch transformer learns from and is validated on, read once."""
        vision = self.config.vision
        shown = [(i, region) for i, one in enumerate(self.kb) for region in _profiles(one, self.dataset.pictures)]
        regions = [*self._people.regions, *self._unnamed(self._people), *self._regions, *(r for _, r in shown)]
        place = {region: i for i, region in enumerate(dict.fromkeys(regions))}
        crops, found, skips = region_reader(vision, vision.patch.side).crops(list(place))
        skips.print()
        return _Crops(place, crops, found, shown)

    def _unnamed(self, people: Photographs) -> list[Region]:
        """The base's pictures of people that nobody labelled, of whom a teacher says as much."""
        if self.config.vision.patch_train.loss != "distil":
            return []
        known = set(people.regions)
        return [r for entity in self.kb for r in _profiles(entity, self.dataset.pictures) if r not in known]

    def _train_patch(self, people: Photographs, folder: Path) -> list[dict[str, Any]]:
        """Train the patch transformer and keep it in `folder`; the history of its validations."""
        vision, read, say = self.config.vision, self._crops, self.say
        assert read is not None
        unnamed = self._unnamed(people)
        crops, found = read.of([*people.regions, *unnamed])
        labels = np.concatenate([people.people, np.full(len(unnamed), -1)])[found]
        named = len(np.unique(labels[labels >= 0]))
        say(f"patch-transformer: {len(crops):,} photographs, {named:,} people with a label")
        encoder, state = train_patch(
            crops,
            labels,
            vision.patch,
            vision.patch_train,
            self.config.seed,
            _targets(vision, crops) if vision.patch_train.loss == "distil" else None,
            checkpoint=folder / "checkpoint.safetensors",
            validate=_Validation(read, self._regions, self._gold),
            log=lambda line: say("  ".join(f"{key} {value:.4g}" for key, value in line.items() if value is not None)),
        )
        encoder.save(folder)
        return state.history


def learns_from_documents(vision: VisionConfig) -> bool:
    """Whether what encodes pictures is trained on those of the documents (fine-tuning by `clip_train` apart)."""
    rule, adapters = vision.patch_train, vision.adapter_train
    patch = vision.encoder == PATCH and bool(rule.steps or rule.initial_crops)
    starts_so = adapters.epochs == 0 and adapters.start == "identity" and vision.pooling != "learned"
    return patch or (vision.adapter == "trained" and not starts_so)


def _without(documents: Sequence[Document], left_out: np.ndarray) -> list[Document]:
    """The documents but those `left_out` `[D]` bool, and those with a visual mention on one of their pictures."""
    shown: set[str] = set()
    for document, out in zip(documents, left_out, strict=True):
        if out:
            shown.update(document.images, (mention.image for mention in document.visual_mentions))
    return [
        document
        for document, out in zip(documents, left_out, strict=True)
        if not out and shown.isdisjoint(mention.image for mention in document.visual_mentions)
    ]


def _train_adapters(
    config: Config,
    side: str,
    people: Photographs,
    encoder: RegionEncoder,
    validation: tuple[Labelled, Labelled],
    log: Callable[[dict[str, Any]], None],
    say: Say,
) -> Adapters:
    """Adapters of a side, trained on photographs of known people and their entities' pictures or texts."""
    mentions = np.flatnonzero(~people.profile)
    queries = _found(encoder.encode([people.regions[i] for i in mentions]), people.people[mentions])
    if side == TEXTS:
        tower = text_tower(encoder, f"vision.task={config.vision.task}")
        texts = [entity_words(record, config.vision.text) for record in people.records]
        entities = Labelled(tower.encode_text(texts), np.arange(len(texts)))
    else:
        rows = np.flatnonzero(people.profile)
        entities = _found(encoder.encode([people.regions[i] for i in rows]), people.people[rows])
    say(f"{side}: adapters learn from {len(queries.people):,} mentions and {len(entities.people):,} of entities")

    def note(epoch: Epoch) -> None:
        say(
            f"  epoch {epoch.number}  loss {epoch.loss:.4f}  R@1 {100 * epoch.recall:.2f}  MRR@10 {100 * epoch.mrr:.2f}"
        )
        values = {"side": side, "epoch": epoch.number, "loss": epoch.loss, "recall": epoch.recall, "mrr": epoch.mrr}
        log({key: None if value != value else value for key, value in values.items()})

    adapters = train_adapters(
        entities, queries, validation, config.vision.adapter_train, seed=config.seed, on_epoch=note
    )
    if side == PICTURES and config.vision.pooling == "learned":
        every = encoder.encode(people.regions)
        found = every.found
        fit_pooling(
            adapters, _found(every, people.people), every.confidence[found], every.size[found], seed=config.seed
        )
    return adapters


def _found(features: RegionFeatures, people: np.ndarray) -> Labelled:
    return Labelled(features.vectors[features.found], people[features.found])


def photographs_of_base(people: Photographs, kb: KnowledgeBase) -> list[tuple[int, Region]]:
    """The training documents' own photographs, with the index of their entities."""
    own = np.flatnonzero(~people.profile & (people.source[people.people] == 0))
    index = kb.indices([people.records[people.people[i]].id for i in own])
    return [(int(entity), people.regions[i]) for entity, i in zip(index, own, strict=True)]


def _targets(vision: VisionConfig, crops: np.ndarray) -> np.ndarray:
    """`[n, t]` float32 unit vectors of the teacher for crops, t the transformer's d or less.

    Wider ones are projected on their first d principal directions, which keep most of every cosine.
    """
    from PIL import Image
    from sklearn.decomposition import TruncatedSVD

    if vision.teacher is None:
        raise ConfigError("vision.patch_train.loss=distil needs vision.teacher. Remedy: vision.teacher=onnx-face")
    teacher = make_image_encoder(vision.teacher, vision.teacher_weights, download=vision.download)
    parts = (crops[start : start + _TAUGHT] for start in range(0, len(crops), _TAUGHT))
    vectors = np.concatenate([teacher.encode([Image.fromarray(crop) for crop in part]) for part in parts])
    if vectors.shape[1] > vision.patch.dim:
        vectors = TruncatedSVD(vision.patch.dim, random_state=0).fit_transform(vectors)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


@dataclass(frozen=True)
class _Crops:
    """Crops `[n, side, side, 3]` of distinct regions, `found` `[n]` which could be read, and the regions of the base's
    pictures with their entities."""

    place: Mapping[Region, int]
    crops: np.ndarray
    found: np.ndarray
    base: Sequence[tuple[int, Region]]

    def of(self, regions: Sequence[Region]) -> tuple[np.ndarray, np.ndarray]:
        """The crops of those of `regions` that could be read, and `[len(regions)]` bool which these are."""
        rows = np.array([self.place[region] for region in regions], np.int64)
        found = self.found[rows]
        return self.crops[rows[found]], found


class _Validation:
    """R@1 of a patch encoder on the validation mentions, against the base's pictures."""

    def __init__(self, read: _Crops, regions: Sequence[Region], gold: np.ndarray) -> None:
        self._queries, asked = read.of(regions)
        self._gallery, shown = read.of([region for _, region in read.base])
        self._gold, self._owners = gold[asked], np.array([owner for owner, _ in read.base], np.int64)[shown]

    def __call__(self, encoder: PatchEncoder) -> float:
        scores = encoder.encode_crops(self._queries) @ encoder.encode_crops(self._gallery).T
        return float((self._owners[scores.argmax(1)] == self._gold).mean())


def photographs(sources: Sequence[tuple[Dataset, Sequence[Document]]]) -> Photographs:
    """The labelled mentions of documents and the pictures of their datasets' people.

    Args:
        sources: datasets with their training documents. Entities of no document's mention are left out, so that
            nothing is learned of people who are only to be found.
    """
    rows: dict[Region, tuple[int, bool]] = {}
    records: list[Entity] = []
    origin: list[int] = []
    for source, (dataset, documents) in enumerate(sources):
        seen: dict[str, list[Region]] = {}
        named = [mention.entity for document in documents for mention in document.visual_mentions]
        for region, entity in zip(mention_regions(documents, dataset.pictures), named, strict=True):
            if entity is not None and entity != NIL:
                seen.setdefault(entity, []).append(region)
        for record in dataset.entities():
            for region in seen.get(record.id, ()):
                rows.setdefault(region, (len(records), False))
            if record.id in seen:
                for region in _profiles(record, dataset.pictures):
                    rows.setdefault(region, (len(records), True))
                records.append(record)
                origin.append(source)
    people, profile = zip(*rows.values(), strict=True) if rows else ((), ())
    return Photographs(
        tuple(rows), np.array(people, np.int64), np.array(profile, bool), tuple(records), np.array(origin, np.int64)
    )


def further_sources(config: Config) -> list[tuple[Dataset, list[Document]]]:
    """The datasets of `data.photographs`, each NAME=ROOT, with the documents of their training splits."""
    sources = []
    for word in config.data.photographs:
        name, _, root = word.partition("=")
        if not root:
            raise ConfigError(f"data.photographs has '{word}'; allowed: NAME=ROOT, as in wikiperson=DATA/newsfaces")
        dataset = open_dataset(name, Path(root).expanduser())
        splits = [split for split in dataset.splits if split.startswith("train")]
        sources.append((dataset, [document for split in splits for document in dataset.documents(split)]))
    return sources


def _profiles(record: Entity, pictures: Path) -> Iterator[Region]:
    return (Region(pictures / image) for image in record.images)


def labelled_regions(
    documents: Sequence[Document], kb: KnowledgeBase, pictures: Path
) -> tuple[list[Region], np.ndarray]:
    """Regions of mentions whose entity the base has, and its index `[n]`."""
    regions, index = mention_regions(documents, pictures), mention_golds(documents, kb)
    kept = np.flatnonzero(index >= 0)
    if not len(kept):
        raise InputError("no visual mention of the validation splits has an entity of the base", field="dev_split")
    return [regions[i] for i in kept], index[kept]


def fit_temperature(ranking: Ranking, gold: np.ndarray) -> float:
    """The softmax temperature under which the golds that are found are most likely; 0.05 where none is.

    Args:
        gold: `[n]` entity of each ranked mention.
    """
    hit = (ranking.entities == gold[:, None]) & (ranking.entities >= 0)
    found = hit.any(1)
    if not found.any():
        return 0.05
    scores = np.where(ranking.entities[found] >= 0, ranking.scores[found], -np.inf)
    right = np.where(hit[found], ranking.scores[found], 0).sum(1)
    top = scores.max(1, keepdims=True)
    losses = []
    for t in _TEMPERATURES:
        total = np.log(np.exp((scores - top) / t).sum(1))
        losses.append(float((total - (right - top[:, 0]) / t).mean()))
    return float(_TEMPERATURES[int(np.argmin(losses))])
