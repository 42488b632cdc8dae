"""Training of a patch transformer on aligned crops: deterministic for a seed, resumable with the same result.

Every step draws its people, photographs and views from the seed and its own number, so that a run that was stopped
goes on as if it never had been.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmel.errors import ConfigError, InputError, MmelError
from mmel.progress import progress
from mmel.training.checkpoint import load_checkpoint, save_checkpoint
from mmel.vision.augment import augment
from mmel.vision.losses import Mining, contrastive_loss, distillation_loss, triplet_loss
from mmel.vision.patch_init import initialise
from mmel.vision.patch_transformer import PatchEncoder, PatchTransformer, grey
from mmel.vision_settings import PatchConfig, PatchTrainConfig

Validate = Callable[[PatchEncoder], float]
_FLOOR = 0.02  # of the learning rate, at the end
_SINGLE = 0.3  # how often a person with one photograph is drawn, beside one with many
_MANY = 12  # photographs beyond which a person is drawn no oftener


@dataclass
class PatchState:
    """Where training stands; all of it is in the checkpoint. `history`: a line for each validation."""

    step: int = 0
    best: float = -math.inf
    best_step: int = -1
    history: list[dict[str, Any]] = field(default_factory=list)


class _Memory(nn.Module):
    """The last vectors that training saw, with their labels; -1 where there is none yet."""

    vectors: Tensor
    labels: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("vectors", torch.zeros(size, dim))
        self.register_buffer("labels", torch.full((size,), -1))

    def known(self) -> tuple[Tensor | None, Tensor | None]:
        there = self.vectors.any(1)
        return (self.vectors[there], self.labels[there]) if bool(there.any()) else (None, None)

    def add(self, vectors: Tensor, labels: Tensor) -> None:
        size = len(self.vectors)
        self.vectors = torch.cat([vectors.detach(), self.vectors])[:size]
        self.labels = torch.cat([labels, self.labels])[:size]


def train_patch(
    crops: np.ndarray,
    labels: np.ndarray,
    architecture: PatchConfig,
    rule: PatchTrainConfig,
    seed: int = 0,
    targets: np.ndarray | None = None,
    checkpoint: Path | None = None,
    validate: Validate | None = None,
    log: Callable[[dict[str, Any]], None] = lambda line: None,
) -> tuple[PatchEncoder, PatchState]:
    """Train on crops; returns the encoder of the best validation, or of the last step without `validate`.

    Args:
        crops: bytes [n, side, side, 3]. labels: [n] integers, who is on each; -1 for nobody known.
        targets: [n, t], t <= dim, unit vectors of a teacher; needed by loss = distil, which reads no labels.
        checkpoint: file to go on from where it exists, and to write at each validation.
        validate: gives the score of an encoder, higher is better, R@1 of a validation split for example.
        log: gets each line of the history as it is made.

    Raises InputError where the arrays do not fit each other or hold nothing to learn from.
    """
    _check(crops, labels, targets, architecture, rule)
    torch.manual_seed(seed)
    data = torch.from_numpy(np.ascontiguousarray(crops))
    if architecture.colour == "grey":
        data = grey(data)
    wanted = None if targets is None else torch.from_numpy(np.asarray(targets, np.float32))
    model = PatchTransformer(architecture)
    modules: dict[str, nn.Module] = {"model": model, "memory": _Memory(rule.memory, architecture.dim)}
    state = PatchState()
    resumed = checkpoint is not None and checkpoint.is_file()
    if not resumed and rule.initial_crops:
        rows = np.random.default_rng(seed).permutation(len(data))[: rule.initial_crops]
        generator = torch.Generator().manual_seed(seed)
        taught = wanted if rule.loss == "distil" else None
        people = torch.from_numpy(labels[rows].astype(np.int64)) if taught is None else None
        initialise(model.eval(), data[rows], generator, None if taught is None else taught[rows], people)
    modules |= {"average": copy.deepcopy(model), "best": copy.deepcopy(model)}
    optimizer = _optimizer(model, rule)
    if resumed and checkpoint is not None:
        state = PatchState(**load_checkpoint(checkpoint, modules, optimizer))
    run = _Run(modules, optimizer, data, labels, wanted, rule, seed)
    while state.step < rule.steps or not state.history:
        # The first weights are validated, too: what training adds is seen from there.
        end = min(state.step + rule.every, rule.steps) if state.history else 0
        losses = [run.step(step) for step in progress(range(state.step, end), "patches", end - state.step, "batch")]
        state.step = end
        line = {"step": end, "loss": float(np.mean(losses)) if losses else None}
        _keep_best(modules, state, line, validate)
        log(line)
        if checkpoint is not None:
            save_checkpoint(checkpoint, modules, optimizer, vars(state))
    best = modules["best"]
    assert isinstance(best, PatchTransformer)
    return PatchEncoder(best), state


def _check(
    crops: np.ndarray, labels: np.ndarray, targets: np.ndarray | None, config: PatchConfig, rule: PatchTrainConfig
) -> None:
    if crops.dtype != np.uint8 or crops.shape[1:] != (config.side, config.side, 3) or not len(crops):
        raise InputError(
            f"{crops.dtype} of shape {crops.shape}, expected uint8 (n, {config.side}, {config.side}, 3), n > 0",
            field="crops",
        )
    if len(labels) != len(crops) or (targets is not None and len(targets) != len(crops)):
        raise InputError(f"{len(crops)} crops have {len(labels)} labels", field="labels", remedy="one for each crop")
    if rule.loss == "distil":
        if targets is None or targets.shape[1] > config.dim:
            found = "none" if targets is None else f"shape {targets.shape}"
            raise ConfigError(f"loss = distil needs targets of at most dim = {config.dim} numbers, found {found}")
    elif len(np.unique(labels[labels >= 0])) < rule.people:
        raise InputError(
            f"{len(np.unique(labels[labels >= 0]))} people, fewer than people = {rule.people} of a batch",
            field="labels",
            remedy="lower 'people'",
        )


def _optimizer(model: nn.Module, rule: PatchTrainConfig) -> torch.optim.AdamW:
    """Matrices decay, biases and gains do not."""
    groups = [
        {"params": [p for p in model.parameters() if (p.ndim > 1) == matrix], "weight_decay": decay}
        for matrix, decay in ((True, rule.weight_decay), (False, 0.0))
    ]
    return torch.optim.AdamW(groups, lr=rule.learning_rate, betas=(0.9, 0.98))


def _keep_best(
    modules: dict[str, nn.Module], state: PatchState, line: dict[str, Any], validate: Validate | None
) -> None:
    average = modules["average"]
    assert isinstance(average, PatchTransformer)
    score = float(state.step) if validate is None else validate(PatchEncoder(average))
    if validate is not None:
        line["score"] = score
    if score > state.best:
        state.best, state.best_step = score, state.step
        modules["best"].load_state_dict(average.state_dict())
    state.history.append(line)


class _Run:
    """What a step needs."""

    def __init__(
        self,
        modules: dict[str, nn.Module],
        optimizer: torch.optim.Optimizer,
        data: Tensor,
        labels: np.ndarray,
        targets: Tensor | None,
        rule: PatchTrainConfig,
        seed: int,
    ) -> None:
        self.modules, self.optimizer, self.rule, self.seed = modules, optimizer, rule, seed
        self.data, self.labels, self.targets = data, torch.from_numpy(labels.astype(np.int64)), targets
        people, self.person = np.unique(labels, return_inverse=True)
        self.rows = np.argsort(self.person, kind="stable")
        counts = np.bincount(self.person, minlength=len(people))
        self.first = np.concatenate([[0], np.cumsum(counts)])
        weights = np.where(counts > 1, np.sqrt(np.minimum(counts, _MANY)), _SINGLE) * (people >= 0)
        self.weights = weights / max(weights.sum(), 1e-9)

    def step(self, step: int) -> float:
        """One batch; returns its loss."""
        rule, model = self.rule, self.modules["model"].train()
        generator = torch.Generator().manual_seed(hash((self.seed, step)) % 2**62)
        rows = torch.from_numpy(self.draw(np.random.default_rng([self.seed, step])))
        views = augment(self.data[rows], rule.augment, generator)
        vectors = model(views, self._kept(len(rows), generator))
        loss = self._loss(vectors, rows, step, generator)
        if not bool(torch.isfinite(loss)):
            raise MmelError(f"the loss is {loss.item()} at step {step}. Remedy: a lower learning_rate")
        for group in self.optimizer.param_groups:
            group["lr"] = _rate(rule, step)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if rule.clip_norm:
            nn.utils.clip_grad_norm_(model.parameters(), rule.clip_norm)
        self.optimizer.step()
        _follow(self.modules["average"], model, rule.ema_decay, step)
        return float(loss.detach())

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """Rows of a batch: people, then photographs of each; any crops where labels are not read.

        A person with fewer photographs than are asked for is on some of them twice, in different views.
        """
        rule = self.rule
        if rule.loss == "distil":
            return rng.integers(0, len(self.data), rule.people * rule.photographs)
        rows = []
        for person in rng.choice(len(self.weights), rule.people, replace=False, p=self.weights):
            own = self.rows[self.first[person] : self.first[person + 1]]
            rows.append(rng.choice(own, rule.photographs, replace=len(own) < rule.photographs))
        return np.concatenate(rows)

    def _kept(self, n: int, generator: torch.Generator) -> Tensor | None:
        patches = len(self.modules["model"].get_parameter("positions"))
        if self.rule.kept_patches is None or self.rule.kept_patches >= patches:
            return None
        return torch.rand(n, patches, generator=generator).argsort(1)[:, : self.rule.kept_patches]

    def _loss(self, vectors: Tensor, rows: Tensor, step: int, generator: torch.Generator) -> Tensor:
        rule = self.rule
        if self.targets is not None and rule.loss == "distil":
            return distillation_loss(vectors, self.targets[rows], rule.similarity_weight)
        labels, memory = self.labels[rows], self.modules["memory"]
        assert isinstance(memory, _Memory)
        extra, extra_labels = memory.known()
        if rule.loss == "contrastive":
            loss = contrastive_loss(vectors, labels, rule.temperature, extra, extra_labels)
        else:
            mining: Mining = "random" if step < rule.easy_steps else rule.mining
            loss = triplet_loss(vectors, labels, rule.margin, mining, extra, extra_labels, generator)
        memory.add(vectors, labels)
        return loss


def _rate(rule: PatchTrainConfig, step: int) -> float:
    fall = _FLOOR + (1 - _FLOOR) * (1 + math.cos(math.pi * step / rule.steps)) / 2
    return rule.learning_rate * min(1.0, (step + 1) / rule.warm_up) * fall


@torch.no_grad()
def _follow(average: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Move the averaged weights towards the current ones; early steps count more."""
    weight = 1 - min(decay, (1 + step) / (10 + step))
    for kept, value in zip(average.parameters(), model.parameters(), strict=True):
        kept.lerp_(value, weight)
