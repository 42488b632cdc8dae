"""Both sides trained on with one loss (Gan et al. 2021, Eq. 11), after each was trained alone.

What is trained is the text model and the adapters of pictures; encoders stay frozen. A visual mention is scored against
its candidates by their best pictures of the knowledge base: were the training documents' own photographs among them,
it would find itself.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmel.config import Config
from mmel.coupling.coupler import Sides
from mmel.coupling.loss import JointLoss, ScoredDocument, joint_loss
from mmel.datasets.base import Dataset
from mmel.document import Document
from mmel.errors import ConfigError, InputError, MmelError
from mmel.kb import KnowledgeBase
from mmel.linker import Linker
from mmel.progress import progress
from mmel.text.anchored import AnyModel
from mmel.text.batch import make_batch
from mmel.text.linker import MAX_MENTIONS, TextLinker
from mmel.text.masking import MASKED_SCORE
from mmel.text.mulrel import chunk_mentions
from mmel.text.prepare import TextInputs
from mmel.training.checkpoint import load_tensors, save_tensors
from mmel.training.run import RunFolder
from mmel.training.trainer import accuracy_of, batch_loss
from mmel.training.visual import fit_temperature, labelled_regions, photographs, photographs_of_base
from mmel.vision.adapter import Adapters
from mmel.vision.linker import PICTURES, Side, VisualLinker, make_gallery, mention_golds, mention_regions, noisy
from mmel.vision.losses import triplet_loss
from mmel.vision.regions import Region

Say = Callable[[str], None]


def check_together(config: Config) -> None:
    """Raise ConfigError where the settings ask for training together and do not go with it."""
    coupling, vision = config.coupling, config.vision
    if not coupling.together.epochs:
        return
    needs = (
        ("coupling.plan", coupling.plan, "transport"),
        ("coupling.transport.mass", coupling.transport.mass, "balanced"),
        ("vision.task", vision.task, "V2VEL"),
        ("vision.adapter", vision.adapter, "trained"),
    )
    for name, value, wanted in needs:
        if value != wanted:
            raise ConfigError(
                f"{name}={value}: coupling.together.epochs={coupling.together.epochs} needs {name}={wanted}. Remedy: "
                "set it, or coupling.together.epochs=0"
            )
    if "pictures" in config.model.scorers:
        raise ConfigError(
            f"coupling.together.epochs={coupling.together.epochs} trains the adapters on, which the scorer 'pictures' "
            "has read before. Remedy: coupling.together.epochs=0, or model.scorers without 'pictures'"
        )
    if not coupling.transport.reg or set(config.modalities) != {"text", "visual"}:
        raise ConfigError(
            f"coupling.transport.reg={coupling.transport.reg}, modalities={list(config.modalities)}: "
            f"coupling.together.epochs={coupling.together.epochs} needs reg above 0 and modalities=[text, visual]"
        )


def train_together(
    config: Config,
    linker: Linker,
    dataset: Dataset,
    train: Mapping[str, Sequence[Document]],
    dev: Mapping[str, Sequence[Document]],
    inputs: Mapping[str, TextInputs],
    run: RunFolder,
    say: Say,
) -> list[dict[str, Any]]:
    """Train both sides of `linker` on, in place, and save them into the run's folder.

    Kept is the epoch with the best mean of both validation accuracies, the start (epoch 0) included: where none is
    better than it, the linker and its files stay as they are.

    Args:
        config: that `check_together` lets pass.
        train, dev: documents by split; those of `train` with mentions of both modalities are learned from.
        inputs: prepared texts of `dev`.

    Returns:
        a line an epoch: mean losses (None at epoch 0), accuracies in [0, 1], plans that were not solved to tolerance.

    Raises:
        InputError where no training document has mentions of both modalities.
    """
    rule = config.coupling.together
    if not rule.epochs:
        return []
    assert linker.text is not None and linker.visual is not None and linker.visual.pictures is not None
    watch = _Watch(config, linker, dataset, [d for part in train.values() for d in part], dev, inputs, say)
    material = _material(linker, [d for part in train.values() for d in part], dataset.pictures)
    say(f"together: {len(material.chosen):,} documents with both modalities")
    torch.manual_seed(config.seed)
    sides = _Trained(linker.text, linker.visual.pictures, config)
    watch.see(sides, None)
    for epoch in range(rule.epochs):
        watch.see(sides, _epoch(config, sides, material, linker.kb, linker.visual.temperature, epoch))
    watch.keep(run)
    return watch.history


class _Trained:
    """Copies of both sides' parameters, and their optimizer."""

    def __init__(self, text: TextLinker, side: Side, config: Config) -> None:
        assert side.adapters is not None
        self.device = text.device
        self.model: AnyModel = copy.deepcopy(text.model)
        self.adapters: Adapters = copy.deepcopy(side.adapters).to(self.device)
        self.noise, self.seed = side.noise, side.seed
        groups = [
            {"params": list(self.model.parameters()), "weight_decay": config.train.weight_decay},
            {"params": list(self.adapters.parameters()), "weight_decay": config.vision.adapter_train.weight_decay},
        ]
        self._optimizer = torch.optim.AdamW(groups, config.coupling.together.learning_rate)
        self._clip = config.train.clip_norm

    def step(self, loss: Tensor) -> None:
        """One step of both sides."""
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if self._clip:
            every = [p for group in self._optimizer.param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(every, self._clip)
        self._optimizer.step()


@dataclass(frozen=True)
class _Material:
    """What is learned from.

    Attributes:
        sides: of all documents with faces, whose candidates stay as they are at the start. chosen: the documents among
            them that have candidates of both modalities.
        queries: `[M, d]` frozen vectors of their visual mentions; gold: `[M]` entities in the base, -1 for none.
        rows: `[G, d]` frozen vectors of the base's pictures; owners: `[G]` their entities, never falling.
    """

    sides: Sides
    chosen: np.ndarray
    queries: np.ndarray
    gold: np.ndarray
    rows: np.ndarray
    owners: np.ndarray


def _material(linker: Linker, documents: Sequence[Document], pictures: Path) -> _Material:
    assert linker.text is not None and linker.visual is not None and linker.visual.pictures is not None
    encoder, preparer = linker.visual.pictures.regions, linker.text.preparer
    features = encoder.encode(mention_regions(documents, pictures))
    seen = _with_faces(documents, features.found)
    texts = preparer(seen, leave_out=preparer.learned, pictures=pictures)
    sides = linker.listen(seen, texts, pictures)
    chosen = [
        d
        for d in range(len(seen))
        if (texts.candidates.ids[sides.text_rows(d)] >= 0).any()
        and (sides.ranking.entities[sides.visual_rows(d)] >= 0).any()
    ]
    if not chosen:
        raise InputError("no training document has mentions of both modalities", field="data.train_split")
    profiles = [(n, Region(pictures / image)) for n, entity in enumerate(linker.kb) for image in entity.images]
    shown = encoder.encode([region for _, region in profiles])
    return _Material(
        sides, np.array(chosen), features.vectors[features.found], mention_golds(seen, linker.kb),
        shown.vectors[shown.found], np.array([n for n, _ in profiles], np.int64)[shown.found],
    )  # fmt: skip


def _with_faces(documents: Sequence[Document], found: np.ndarray) -> list[Document]:
    """The documents without the visual mentions that have no vector, those without any left out."""
    place, kept = 0, []
    for document in documents:
        mentions = document.visual_mentions
        there = found[place : place + len(mentions)]
        place += len(mentions)
        if there.any():
            seen = tuple(mention for mention, is_found in zip(mentions, there, strict=True) if is_found)
            kept.append(replace(document, visual_mentions=seen))
    return kept


def _epoch(
    config: Config, sides: _Trained, material: _Material, kb: KnowledgeBase, temperature: float, epoch: int
) -> list[JointLoss]:
    sides.model.train()
    sides.adapters.train()
    order = np.random.default_rng([config.seed, epoch]).permutation(material.chosen)
    size = config.coupling.together.documents
    batches = [order[start : start + size].tolist() for start in range(0, len(order), size)]
    losses = []
    for batch in progress(batches, f"together, epoch {epoch + 1}", len(batches), "batch"):
        loss = _batch_loss(config, sides, material, kb, temperature, batch)
        if not math.isfinite(float(loss.total.detach())):
            raise MmelError(
                f"the joint loss is {float(loss.total.detach())}. Remedy: a lower coupling.together.learning_rate"
            )
        sides.step(loss.total)
        losses.append(_detached(loss))
    return losses


def _batch_loss(
    config: Config, sides: _Trained, material: _Material, kb: KnowledgeBase, temperature: float, documents: list[int]
) -> JointLoss:
    said, first = material.sides, material.sides.inputs.table.first
    counts = [int(first[d + 1] - first[d]) for d in documents]
    pieces = [
        (int(first[documents[i]]) + a, int(first[documents[i]]) + b) for i, a, b in chunk_mentions(counts, MAX_MENTIONS)
    ]
    batch = make_batch(said.inputs, pieces, sides.model.attention is not None).to(sides.device)
    loss, stages = batch_loss(config.train, sides.model, batch)
    graphs = [said.graph(d, kb) for d in documents]
    mentions = np.concatenate([np.arange(s.start, s.stop) for s in map(said.visual_rows, documents)])
    faces = _Faces.of(sides, material, mentions, np.unique(np.concatenate([graph.shown for graph in graphs])))
    text = stages[-1].split(counts)
    visual = faces.split([len(graph.visual) for graph in graphs])
    scored = [
        ScoredDocument(graph, own, their.scores(graph.visual.ids) / temperature, their.queries, faces.mean(graph.shown))
        for graph, own, their in zip(graphs, text, visual, strict=True)
    ]
    return joint_loss(loss, faces.triplet(), scored, config.coupling)


@dataclass(frozen=True)
class _Faces:
    """Adapted vectors of a batch: `queries` `[q, d]` of mentions and `rows` `[r, d]` of pictures of e entities.

    `gold` `[q]` as in _Material; `entities` `[e]` rising, `owner` `[r]` indexes them.
    """

    queries: Tensor
    gold: np.ndarray
    rows: Tensor
    owner: Tensor
    entities: np.ndarray

    @classmethod
    def of(cls, sides: _Trained, material: _Material, mentions: np.ndarray, shown: np.ndarray) -> _Faces:
        gold = material.gold[mentions]
        taken = np.flatnonzero(np.isin(material.owners, np.union1d(shown, gold)))
        entities, owner = np.unique(material.owners[taken], return_inverse=True)
        frozen = (torch.from_numpy(x).to(sides.device) for x in (material.queries[mentions], material.rows[taken]))
        queries, rows = sides.adapters.mention(next(frozen)), sides.adapters.entity(next(frozen))
        if sides.noise:  # what is added depends on the vector's bits and has no gradient
            vectors = queries.detach()
            moved = torch.from_numpy(noisy(vectors.cpu().numpy(), sides.noise, sides.seed)).to(vectors)
            queries = queries + (moved - vectors)
        return cls(queries, gold, rows, torch.from_numpy(owner).to(sides.device), entities)

    def split(self, counts: Sequence[int]) -> Iterator[_Faces]:
        """Those of each document."""
        ends = np.cumsum([0, *counts])
        for a, b in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True):
            yield replace(self, queries=self.queries[a:b], gold=self.gold[a:b])

    def scores(self, ids: np.ndarray) -> Tensor:
        """`[q, l]` cosines with the best picture of entities `[q, l]`; very low for those without one."""
        cosines = self.queries @ self.rows.T
        best = cosines.new_full((len(cosines), len(self.entities)), -torch.inf)
        best = best.scatter_reduce(1, self.owner.expand(len(cosines), -1), cosines, "amax")
        place, there = self._place(ids)
        return torch.where(there, best.gather(1, place), MASKED_SCORE)

    def mean(self, shown: np.ndarray) -> Tensor:
        """`[w, d]` unit mean of the pictures of entities `[w]`, zero for those without one."""
        sums = self.rows.new_zeros(len(self.entities), self.rows.shape[1]).index_add(0, self.owner, self.rows)
        place, there = self._place(shown)
        return torch.nn.functional.normalize(torch.where(there[:, None], sums[place], 0.0), dim=1)

    def triplet(self) -> Tensor:
        """The loss of the mentions whose entity is known, against the pictures of all entities of the batch."""
        known = np.flatnonzero(self.gold >= 0)
        labels = torch.from_numpy(self.gold[known]).to(self.rows.device)
        owners = torch.from_numpy(self.entities).to(self.rows.device)[self.owner]
        return triplet_loss(self.queries[torch.from_numpy(known)], labels, extra=self.rows, extra_labels=owners)

    def _place(self, ids: np.ndarray) -> tuple[Tensor, Tensor]:
        place = np.searchsorted(self.entities, ids).clip(max=len(self.entities) - 1)
        there = self.entities[place] == ids
        return torch.from_numpy(place).to(self.rows.device), torch.from_numpy(there).to(self.rows.device)


class _Watch:
    """Scores each epoch on validation, and keeps the best one."""

    def __init__(
        self,
        config: Config,
        linker: Linker,
        dataset: Dataset,
        train: Sequence[Document],
        dev: Mapping[str, Sequence[Document]],
        inputs: Mapping[str, TextInputs],
        say: Say,
    ) -> None:
        self.config, self.linker, self.pictures, self.inputs, self._say = config, linker, dataset.pictures, inputs, say
        documents = [d for part in dev.values() for d in part]
        self._regions, self._gold = labelled_regions(documents, linker.kb, dataset.pictures)
        people = photographs([(dataset, train)] if config.vision.train_pictures else [])
        self._joining = photographs_of_base(people, linker.kb)
        self.history: list[dict[str, Any]] = []
        self._best, self._kept = -1.0, 0
        self._state: tuple[dict[str, Tensor], Side] | None = None

    def see(self, sides: _Trained, losses: list[JointLoss] | None) -> None:
        """Score the sides as they are after an epoch, the first time before any."""
        assert self.linker.text is not None and self.linker.visual is not None
        visual = self.linker.visual if losses is None else self._visual(sides.adapters)
        model = sides.model.eval()
        pairs = self.config.train.batch_pairs
        text = float(np.mean([accuracy_of(model, x, pairs, sides.device) for x in self.inputs.values()]))
        found = float((visual.rank(self._regions).entities[:, 0] == self._gold).mean())
        epoch = len(self.history)
        line = {"epoch": epoch, **_means(losses), "text": text, "visual": found}
        self.history.append(line)
        self._say("together: " + "  ".join(f"{k} {v:.4g}" for k, v in line.items() if v is not None))
        if text + found > self._best:
            self._best, self._kept = text + found, epoch
            if losses is not None and visual.pictures is not None:
                state = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
                self._state = state, visual.pictures

    def _visual(self, adapters: Adapters) -> VisualLinker:
        """The visual linker with these adapters, its gallery adapted anew."""
        visual = self.linker.visual
        assert visual is not None and visual.pictures is not None
        trained = copy.deepcopy(adapters).cpu().eval()
        encoder = visual.pictures.regions
        gallery, _ = make_gallery(self.config, PICTURES, self.linker.kb, self.pictures, encoder, trained, self._joining)
        side = replace(visual.pictures, gallery=gallery, adapters=trained)
        return VisualLinker(visual.config, visual.kb, side, None, visual.temperature, visual.weight)

    def keep(self, run: RunFolder) -> None:
        """Give the linker the best epoch, and save it."""
        text, visual = self.linker.text, self.linker.visual
        assert text is not None and visual is not None
        self._say(f"together: epoch {self._kept} is kept")
        if self._state is None:
            visual.forget_skips()
            return
        state, visual.pictures = self._state
        text.model.load_state_dict(state)
        visual.temperature = fit_temperature(visual.rank(self._regions), self._gold)
        visual.forget_skips()
        save_tensors(run.model_file, dict(text.model.state_dict()), load_tensors(run.model_file)[1])
        visual.save(run.visual)


def _means(losses: list[JointLoss] | None) -> dict[str, float | None]:
    names = ("ranking", "triplet", "transport", "total")
    if losses is None:
        return dict.fromkeys([*(f"{name}_loss" for name in names), "unsolved"])
    means = {f"{name}_loss": float(np.mean([float(getattr(one, name)) for one in losses])) for name in names}
    return {**means, "unsolved": sum(one.unsolved for one in losses)}


def _detached(loss: JointLoss) -> JointLoss:
    names = ("ranking", "triplet", "transport", "total")
    return replace(loss, **{name: getattr(loss, name).detach() for name in names})
