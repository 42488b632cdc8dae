"""Training of the adapters over a frozen encoder, from the vectors of pictures of known people.

They begin as the linear map under which the pictures of one person differ alike in all directions (within-class
covariance normalisation: Hatch et al. 2006), which ResidualAdapter holds exactly: ReLU(f Q) - ReLU(-f Q) = f Q. From
there they learn with the in-batch contrastive loss: a mention against other mentions, its person's pictures and the
most similar pictures of others (Sun et al. 2022, section 3).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mmel.errors import InputError
from mmel.evaluation.metrics import mrr_at, realistic_ranks, recall_at
from mmel.vision.adapter import Adapters, ResidualAdapter
from mmel.vision.index import build_index
from mmel.vision.losses import contrastive_loss
from mmel.vision_settings import AdapterConfig

_MRR_AT = 10


class Labelled(NamedTuple):
    """Vectors of known people: `vectors` `[n, d]` unit float32, `people` `[n]` the id or number of each one's."""

    vectors: np.ndarray
    people: np.ndarray


@dataclass(frozen=True, slots=True)
class Epoch:
    """What an epoch came to: mean `loss` (NaN before the first step), and R@1 and MRR@10 in [0, 1] on validation.

    `recall` and `mrr` are NaN without validation.
    """

    number: int
    loss: float
    recall: float
    mrr: float


def train_adapters(
    pictures: Labelled,
    mentions: Labelled,
    validation: tuple[Labelled, Labelled] | None = None,
    config: AdapterConfig | None = None,
    *,
    seed: int = 0,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> Adapters:
    """Adapters for the vectors of one encoder; the same for the same seed and machine.

    Args:
        pictures: of entities, all of them: those of people without a mention are negatives.
        mentions: of the same people and perhaps others, of any number of collections.
        validation: pictures of a gallery and mentions; the epoch with the best MRR@10 is kept, the last one without.
        on_epoch: told the start (number 0) and each epoch.

    Raises:
        InputError where there is nothing to learn from, or parts do not fit or hold rows that are not finite.
    """
    config = config or AdapterConfig()
    parts = {"pictures": pictures, "mentions": mentions}
    if validation is not None:
        parts["gallery"], parts["queries"] = validation
    for name, part in parts.items():
        _check(name, part, pictures.vectors.shape[-1])
    generator = torch.Generator().manual_seed(seed)
    adapters = start_adapters(pictures, mentions, config, generator)
    watch = _Watch(adapters, validation, config.patience, on_epoch)
    watch.see(math.nan)
    for loss in _epochs(adapters, _Material.of(pictures, mentions), config, generator):
        if watch.see(loss):
            break
    return watch.best.eval()


def start_adapters(
    pictures: Labelled, mentions: Labelled, config: AdapterConfig, generator: torch.Generator
) -> Adapters:
    """Untrained adapters as `config.start` has them."""
    dim = pictures.vectors.shape[1]
    adapters = Adapters(dim, config.hidden, config.shared)
    for adapter in (adapters.mention, adapters.entity):
        torch.nn.init.kaiming_uniform_(adapter.first.weight, a=math.sqrt(5), generator=generator)
        if config.start == "within":
            if adapter.first.out_features < 2 * dim:
                raise InputError(
                    f"{adapter.first.out_features} numbers hold no linear map of {dim}",
                    field="hidden",
                    remedy=f"at least {2 * dim}, or start = identity",
                )
            whole = Labelled(*(np.concatenate(both) for both in zip(pictures, mentions, strict=True)))
            set_linear(adapter, normalising_map(whole, config.shrinkage), generator)
    return adapters


def normalising_map(faces: Labelled, shrinkage: float) -> np.ndarray:
    """`[d, d]` float64 symmetric M, so that f M differs alike in all directions among the pictures of a person.

    M = C^(-1/2) at a mean eigenvalue of 1, of C = (1 - shrinkage) S + shrinkage tr(S) / d I, S the covariance within
    people. The identity where nobody has two pictures.
    """
    people = np.unique(faces.people, return_inverse=True)[1]
    counts = np.bincount(people)
    vectors = np.asarray(faces.vectors, np.float64)
    sums = np.zeros((len(counts), vectors.shape[1]))
    np.add.at(sums, people, vectors)
    residuals = vectors - (sums / counts[:, None])[people]
    dim, freedom = vectors.shape[1], len(people) - len(counts)
    spread = residuals.T @ residuals / max(freedom, 1)
    mean = np.trace(spread) / dim
    if mean <= 0:
        return np.eye(dim)
    values, directions = np.linalg.eigh((1 - shrinkage) * spread + shrinkage * mean * np.eye(dim))
    scales = values**-0.5
    return np.asarray(directions * (scales / scales.mean()) @ directions.T)


def set_linear(adapter: ResidualAdapter, matrix: np.ndarray, generator: torch.Generator) -> None:
    """Make the adapter the map f -> normalise(f `matrix`), `[d, d]`: W1 = [Q, -Q], W2 = [Qᵀ; -Qᵀ] (matrix - I).

    Q is drawn, orthogonal; hidden units beyond 2 d have no part at first.
    """
    dim = len(matrix)
    turn = torch.nn.init.orthogonal_(torch.empty(dim, dim), generator=generator)
    change = turn.T @ torch.from_numpy(matrix - np.eye(dim)).float()
    with torch.no_grad():
        adapter.first.weight[: 2 * dim] = torch.cat([turn.T, -turn.T])
        adapter.second.weight.zero_()
        adapter.second.weight[:, : 2 * dim] = torch.cat([change, -change]).T


def ranks_of(adapters: Adapters | None, gallery: Labelled, queries: Labelled) -> np.ndarray:
    """`[n]` rank from 1 of each query's person by the best of its pictures, ties shared; infinite without a picture."""
    rows, asked = gallery.vectors, queries.vectors
    if adapters is not None:
        rows, asked = adapters.adapt_entities(rows), adapters.adapt_mentions(asked)
    people, owner = np.unique(gallery.people, return_inverse=True)
    order = np.argsort(owner, kind="stable")
    first = np.searchsorted(owner[order], np.arange(len(people)))
    scores = np.maximum.reduceat(asked @ rows[order].T, first, axis=1)
    place = np.searchsorted(people, queries.people)
    known = people[np.minimum(place, len(people) - 1)] == queries.people
    return np.asarray(realistic_ranks(scores, np.where(known, place, -1)))


def fit_pooling(
    adapters: Adapters,
    faces: Labelled,
    confidence: np.ndarray,
    size: np.ndarray,
    *,
    temperature: float = 0.05,
    steps: int = 100,
    seed: int = 0,
) -> None:
    """Learn in place what `adapters.pooling` trusts, the adapters themselves as they are.

    At each step one picture of each person is drawn and is to be found among the pooled others of all people.

    Args:
        faces: all pictures of known people, profiles and mentions; only people with several have a part.
        confidence, size: `[n]` of the faces, as in RegionFeatures.

    Raises:
        InputError where parts do not fit, or nobody has three pictures, so that there is nothing to weigh.
    """
    _check("faces", faces, adapters.config["dim"])
    owner, counts = np.unique(faces.people, return_inverse=True, return_counts=True)[1:]
    if not len(owner) == len(confidence) == len(size) or counts.max() < 3:
        raise InputError(
            f"{len(owner)} vectors, {len(confidence)} confidences and {len(size)} sizes; a person has at most "
            f"{counts.max()} pictures",
            field="faces",
            remedy="give one of each a picture, and three pictures of somebody; or use pooling = max",
        )
    several = np.flatnonzero(counts[owner] > 1)
    owner = np.unique(owner[several], return_inverse=True)[1]
    queries = torch.from_numpy(adapters.adapt_mentions(faces.vectors[several]))
    entities = torch.from_numpy(adapters.adapt_entities(faces.vectors[several]))
    quality = [torch.from_numpy(np.array(one[several], np.float32)) for one in (confidence, size)]
    random, optimizer = np.random.default_rng(seed), torch.optim.Adam(adapters.pooling.parameters(), 0.1)
    for _ in range(steps):
        order = np.lexsort((random.random(len(owner)), owner))
        last = np.diff(owner[order], append=-1) != 0
        asked, rest = order[last], order[~last]
        pooled = adapters.pooling(entities[rest], torch.from_numpy(owner[rest]), *(one[rest] for one in quality))
        optimizer.zero_grad()
        loss = functional.cross_entropy(queries[asked] @ pooled.T / temperature, torch.arange(len(asked)))
        loss.backward()
        optimizer.step()


class _Material(NamedTuple):
    """Vectors and labels of pictures and mentions, labels in one numbering, and each label's pictures."""

    pictures: Tensor
    picture_labels: Tensor
    mentions: Tensor
    mention_labels: Tensor
    of_label: list[np.ndarray]

    @classmethod
    def of(cls, pictures: Labelled, mentions: Labelled) -> _Material:
        labels = np.unique(np.concatenate([pictures.people, mentions.people]), return_inverse=True)[1]
        mine, theirs = labels[: len(pictures.people)], labels[len(pictures.people) :]
        order = np.argsort(mine, kind="stable")
        of_label = np.split(order, np.searchsorted(mine[order], np.arange(1, labels.max() + 1)))
        vectors = (torch.from_numpy(np.array(part.vectors, np.float32)) for part in (pictures, mentions))
        return cls(next(vectors), torch.from_numpy(mine), next(vectors), torch.from_numpy(theirs), of_label)


def _epochs(
    adapters: Adapters, material: _Material, config: AdapterConfig, generator: torch.Generator
) -> Iterator[float]:
    """Train; yield the mean loss of each epoch."""
    count = len(material.mentions)
    optimizer = torch.optim.AdamW(adapters.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    steps = config.epochs * math.ceil(count / config.batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1))
    mined = np.empty((count, 0), np.int64)
    for epoch in range(config.epochs):
        if config.negatives and epoch % config.mine_every == 0:
            mined = _mine(adapters, material, config.negatives)
        losses = []
        for batch in torch.randperm(count, generator=generator).split(config.batch):
            optimizer.zero_grad()
            loss = _loss(adapters, material, batch, mined, config.temperature)
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(float(loss.detach()))
        yield float(np.mean(losses))


def _loss(adapters: Adapters, material: _Material, batch: Tensor, mined: np.ndarray, temperature: float) -> Tensor:
    labels = material.mention_labels[batch]
    own = [material.of_label[label] for label in labels.unique().tolist()]
    rows = torch.from_numpy(np.unique(np.concatenate([*own, mined[batch.numpy()].ravel()])))
    return contrastive_loss(
        adapters.mention(material.mentions[batch]),
        labels,
        temperature,
        adapters.entity(material.pictures[rows]),
        material.picture_labels[rows],
    )


def _mine(adapters: Adapters, material: _Material, count: int) -> np.ndarray:
    """`[n, <= count]` the pictures of others that are most similar to each mention, as the adapters are now."""
    index = build_index(adapters.adapt_entities(material.pictures.numpy()))
    own = max(map(len, material.of_label))
    width = min(count + own, len(material.pictures))
    rows = index.search(adapters.adapt_mentions(material.mentions.numpy()), width)[1]
    wrong = material.picture_labels.numpy()[rows] != material.mention_labels.numpy()[:, None]
    # Others before one's own, each in the order of similarity.
    order = np.argsort(~wrong, axis=1, kind="stable")[:, : max(min(count, int(wrong.sum(1).min())), 0)]
    return np.take_along_axis(rows, order, 1)


class _Watch:
    """Keeps the best epoch on validation, the last one without, and says when to stop."""

    def __init__(
        self,
        adapters: Adapters,
        validation: tuple[Labelled, Labelled] | None,
        patience: int,
        on_epoch: Callable[[Epoch], None] | None,
    ) -> None:
        self._adapters, self._validation, self._patience, self._tell = adapters, validation, patience, on_epoch
        self._number, self._best_number, self._best_mrr = -1, 0, -math.inf
        self.best = adapters

    def see(self, loss: float) -> bool:
        """Whether to stop after this epoch."""
        self._number += 1
        recall = mrr = math.nan
        if self._validation is not None:
            ranks = ranks_of(self._adapters, *self._validation)
            recall, mrr = recall_at(ranks, 1), mrr_at(ranks, _MRR_AT)
            if mrr > self._best_mrr:
                self._best_number, self._best_mrr = self._number, mrr
                self.best = copy.deepcopy(self._adapters)
        if self._tell:
            self._tell(Epoch(self._number, loss, recall, mrr))
        return self._validation is not None and self._number - self._best_number >= self._patience


def _check(name: str, part: Labelled, dim: int) -> None:
    vectors, people = part
    if vectors.ndim != 2 or not vectors.size or vectors.shape[1] != dim or people.shape != (len(vectors),):
        raise InputError(
            f"vectors {list(vectors.shape)} of people {list(people.shape)}, pictures have {dim} numbers",
            field=name,
            remedy="give one person a vector, at least one vector, and those of one encoder",
        )
    if not np.isfinite(vectors).all():
        raise InputError(
            f"{int((~np.isfinite(vectors).all(1)).sum())} of {len(vectors)} vectors are not finite",
            field=name,
            remedy="leave out what RegionFeatures does not list as found",
        )
