"""The training loop of the text model: deterministic for a seed, resumable at any moment with the same result."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmel.config import Config, TrainConfig
from mmel.errors import ConfigError, MmelError
from mmel.progress import progress
from mmel.text.anchored import AnyModel, make_text_model
from mmel.text.batch import TextBatch, make_batch, plan_batches
from mmel.text.linker import MAX_MENTIONS, predict
from mmel.text.losses import contrastive_loss, cross_entropy_loss, ranking_loss
from mmel.text.modalities import TEXTS, column_groups, draw
from mmel.text.model import TextModel, standardisation
from mmel.text.prepare import TextInputs
from mmel.training.checkpoint import load_checkpoint, save_checkpoint
from mmel.training.run import RunFolder

_STAGE_WEIGHT = 0.5  # of the loss on every stage but the last
_WARM_UP, _FLOOR = 100, 0.05
_LBFGS_ITERATIONS = 100


@dataclass
class TrainState:
    """Where training stands after whole epochs; all of it is in the checkpoint."""

    epoch: int = 0
    step: int = 0
    best: float = -1.0
    best_epoch: int = -1
    lowered: bool = False
    history: list[dict[str, Any]] = field(default_factory=list)


def train_text_model(
    config: Config, train: list[TextInputs], dev: dict[str, TextInputs], run: RunFolder, device: torch.device
) -> tuple[AnyModel, TrainState]:
    """Train until the validation score stands still; returns the best epoch's averaged model.

    Args:
        train: prepared training documents, one item a split. dev: prepared validation splits by name; the epoch is
            chosen by their mean accuracy over mentions whose gold the knowledge base has.
    """
    torch.manual_seed(config.seed)
    mean, scale = column_scales(train)
    dims = train[0].titles.shape[-1], train[0].entities.shape[-1]
    grid_dim = None if train[0].fusion is None else train[0].fusion.grid_dim
    model = make_text_model(config.model, train[0].feature_names, *dims, mean, scale, grid_dim).to(device)
    if isinstance(model, TextModel) and model.modal is not None and model.modal.likelihood is not None:
        model.modal.likelihood.start(*picture_ratios(train, model.modal.likelihood.leading, mean, scale))
    average, best = copy.deepcopy(model), copy.deepcopy(model)
    rule = config.train
    optimizer = _optimizer(rule, model)
    modules: dict[str, torch.nn.Module] = {"model": model, "average": average, "best": best}
    state = TrainState()
    if run.checkpoint_file.is_file():
        state = TrainState(**load_checkpoint(run.checkpoint_file, modules, optimizer))
    run.keep_steps(state.epoch)
    while state.epoch < rule.epochs and state.epoch - state.best_epoch <= rule.patience:
        started = time.perf_counter()
        rows = _epoch(config, model, average, optimizer, train, state, device)
        scored = average if rule.ema_decay else model
        accuracy = {name: accuracy_of(scored.eval(), x, rule.batch_pairs, device) for name, x in dev.items()}
        mean_accuracy = float(np.mean(list(accuracy.values())))
        state.history.append(
            {"epoch": state.epoch, "loss": float(np.mean([r["loss"] for r in rows])), "accuracy": accuracy,
             "seconds": round(time.perf_counter() - started, 2)}
        )  # fmt: skip
        if mean_accuracy > state.best or rule.keep == "last":
            state.best, state.best_epoch = mean_accuracy, state.epoch
            best.load_state_dict(scored.state_dict())
        state.lowered |= mean_accuracy >= rule.lower_at_f1
        state.epoch += 1
        run.log([*rows, state.history[-1]])
        save_checkpoint(run.checkpoint_file, modules, optimizer, vars(state))
    return best.eval(), state


def accuracy_of(model: AnyModel, inputs: TextInputs, max_pairs: int, device: torch.device) -> float:
    """Share of mentions with a known gold whose best-scored candidate it is."""
    known = inputs.table.gold >= 0
    right = predict(model, inputs, max_pairs, device).argmax(1) == inputs.gold
    return float(right[known].mean()) if known.any() else 0.0


def column_scales(train: Sequence[TextInputs]) -> tuple[Tensor, Tensor]:
    """Standardisation `[F]` of the columns over the training candidates, of pictures over those that have them."""
    mean, scale = standardisation([torch.from_numpy(x.features[x.candidates.mask]) for x in train])
    for c, group in enumerate(column_groups(train[0].feature_names)):
        if group != TEXTS:
            parts = [x.features[..., c][x.pictures.available[..., group]] for x in train if x.pictures is not None]
            there = torch.from_numpy(np.concatenate(parts))
            if len(there):
                mean[c : c + 1], scale[c : c + 1] = standardisation([there[:, None]])
    return mean, scale


def picture_ratios(
    train: Sequence[TextInputs], leading: Sequence[tuple[int, int]], mean: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor]:
    """Slope and offset `[l]` of log p(x given gold) / p(x given another candidate), by logistic regression.

    leading: group and column x of l groups of pictures. mean, scale: standardisation `[F]` of all columns. A group of
    which the training candidates show golds only, or none, has slope 1 and offset 0.
    """
    from sklearn.linear_model import LogisticRegression

    slope, offset = torch.ones(len(leading)), torch.zeros(len(leading))
    for i, (group, c) in enumerate(leading):
        values, golds = [np.zeros(0, np.float32)], [np.zeros(0, bool)]
        for x in train:
            if x.pictures is not None:
                there = x.pictures.available[..., group] & (x.gold >= 0)[:, None]
                values.append(x.features[..., c][there])
                golds.append((np.arange(there.shape[1]) == x.gold[:, None])[there])
        value, gold = np.concatenate(values), np.concatenate(golds)
        if gold.any() and not gold.all():
            fitted = LogisticRegression().fit((value[:, None] - float(mean[c])) / float(scale[c]), gold)
            slope[i] = float(fitted.coef_[0, 0])
            # What is fitted are odds; without those of a candidate that is not looked at they are a ratio.
            offset[i] = float(fitted.intercept_[0]) - math.log(gold.mean() / (1 - gold.mean()))
    return slope, offset


def _epoch(
    config: Config,
    model: AnyModel,
    average: AnyModel,
    optimizer: torch.optim.Optimizer,
    train: list[TextInputs],
    state: TrainState,
    device: torch.device,
) -> list[dict[str, Any]]:
    rule = config.train
    order = np.random.default_rng([config.seed, state.epoch])
    tasks = np.random.default_rng([config.seed, state.epoch, 1])
    plan = [(x, batch) for x in train for batch in plan_batches(x, rule.batch_pairs, MAX_MENTIONS, order)]
    model.train()
    rows = []
    shuffled = [plan[i] for i in order.permutation(len(plan))]
    for inputs, pieces in progress(shuffled, f"epoch {state.epoch}", len(plan), "batch"):
        drawn = None if inputs.pictures is None else draw(rule, sum(b - a for a, b in pieces), tasks)
        batch = make_batch(inputs, pieces, model.attention is not None, drawn).to(device)
        rate = _rate(rule, state, len(plan))
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = _step(rule, model, optimizer, batch)
        if not math.isfinite(loss):
            raise MmelError(f"the loss is {loss} at step {state.step}. Remedy: a lower train.learning_rate")
        state.step += 1
        _follow(average, model, rule.ema_decay, state.step)
        rows.append({"epoch": state.epoch, "step": state.step, "loss": loss, "rate": rate})
    if rule.optimizer == "lbfgs":  # its history is no part of a checkpoint: every epoch starts anew
        optimizer.state.clear()
    return rows


def _optimizer(rule: TrainConfig, model: AnyModel) -> torch.optim.Optimizer:
    if rule.optimizer == "lbfgs":
        return torch.optim.LBFGS(model.parameters(), max_iter=_LBFGS_ITERATIONS, line_search_fn="strong_wolfe")
    return torch.optim.AdamW(model.parameters(), lr=rule.learning_rate, weight_decay=rule.weight_decay)


def _step(rule: TrainConfig, model: AnyModel, optimizer: torch.optim.Optimizer, batch: TextBatch) -> float:
    """One step on a batch, for L-BFGS a whole descent; returns the loss before it."""

    def closure() -> float:
        optimizer.zero_grad()
        loss, _ = batch_loss(rule, model, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        if rule.clip_norm:
            torch.nn.utils.clip_grad_norm_(model.parameters(), rule.clip_norm)
        return float(loss.detach())

    return float(optimizer.step(closure))  # type: ignore[arg-type]


def check_loss(config: Config) -> None:
    """Raise ConfigError where the loss needs a scorer that is off."""
    scores = config.model
    if config.train.loss == "contrastive" and ("fusion" not in scores.scorers or scores.combine != "network"):
        raise ConfigError(
            "train.loss=contrastive compares entities of other mentions, which only the scorer 'fusion' can. Remedy: "
            "model.scorers=[..., fusion] with model.combine=network, or train.loss=cross_entropy"
        )


def batch_loss(rule: TrainConfig, model: AnyModel, batch: TextBatch) -> tuple[Tensor, list[Tensor]]:
    """The loss that `rule.loss` names of a batch of documents, and the scores of all stages."""
    if rule.loss != "contrastive":
        stages = model(batch)
        return text_loss(rule, stages, batch.gold, batch.mask), stages
    assert isinstance(model, TextModel) and model.fusion is not None and batch.fusion is not None
    stages, fused, scores = model.scored(batch)
    assert fused is not None and scores is not None
    others = model.fusion.negatives(fused, batch.fusion.slot, batch.slot, batch.mask, batch.gold)
    contrast = contrastive_loss(scores, batch.gold, batch.mask, *others)
    return text_loss(rule, stages, batch.gold, batch.mask) + contrast, stages


def text_loss(rule: TrainConfig, stages: list[Tensor], gold: Tensor, mask: Tensor) -> Tensor:
    """The loss that `rule.loss` names of all stages' scores `[m, k]`; gold and mask as `ranking_loss`."""
    total = torch.zeros((), device=mask.device)
    for i, scores in enumerate(stages):
        if rule.loss == "ranking":
            value = ranking_loss(scores, gold, mask, rule.margin)
        else:
            value = cross_entropy_loss(scores, gold, mask)
        total = total + (1.0 if i + 1 == len(stages) else _STAGE_WEIGHT) * value
    return total


def _rate(rule: TrainConfig, state: TrainState, steps_per_epoch: int) -> float:
    if rule.optimizer == "lbfgs":
        return 1.0
    if rule.schedule == "threshold":
        return rule.lowered_rate if state.lowered else rule.learning_rate
    done = state.step / max(rule.epochs * steps_per_epoch, 1)
    fall = _FLOOR + (1 - _FLOOR) * (1 + math.cos(math.pi * min(done, 1.0))) / 2
    return rule.learning_rate * min(1.0, (state.step + 1) / _WARM_UP) * fall


@torch.no_grad()
def _follow(average: AnyModel, model: AnyModel, decay: float, step: int) -> None:
    """Move the averaged parameters towards the current ones; early steps count more."""
    weight = 1 - min(decay, (1 + step) / (10 + step))
    for kept, value in zip(average.parameters(), model.parameters(), strict=True):
        kept.lerp_(value, weight)
