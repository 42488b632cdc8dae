from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmel.config import Config
from mmel.errors import MmelError
from mmel.formats.jsonl import read_documents
from mmel.kb import KnowledgeBase
from mmel.text.batch import TextBatch
from mmel.text.linker import make_preparer, predict
from mmel.text.prepare import TextInputs
from mmel.training import trainer
from mmel.training.run import RunFolder
from mmel.training.trainer import TrainState, accuracy_of, train_text_model
from tests.tiny import small_config

CPU = torch.device("cpu")
Train = Callable[..., tuple[torch.nn.Module, TrainState]]


@pytest.fixture(scope="module")
def prepared(films: Path, tiny_encoder: Path) -> dict[str, TextInputs]:
    config = small_config(films, tiny_encoder, films)
    preparer = make_preparer(config, KnowledgeBase.open(films.parent / "kb"), None)
    return {s: preparer(list(read_documents(films / f"documents.{s}.jsonl"))[:8]) for s in ("train", "val")}


@pytest.fixture
def config(films: Path, tiny_encoder: Path, tmp_path: Path) -> Config:
    return small_config(films, tiny_encoder, tmp_path, "model.scorers=[prior, surface, link_coherence, coreference]")


@pytest.fixture
def train(prepared: dict[str, TextInputs], config: Config, tmp_path: Path) -> Train:
    """Trains in the folder `name`; made anew where it does not exist."""

    def run(name: str, *overrides: str, inputs: TextInputs | None = None) -> tuple[torch.nn.Module, TrainState]:
        (tmp_path / name).mkdir(exist_ok=True)
        kept = {k: columns_of(v, config) for k, v in prepared.items()}
        settings = config.with_overrides(list(overrides))
        return train_text_model(
            settings, [inputs or kept["train"]], {"val": kept["val"]}, RunFolder(tmp_path / name), CPU
        )

    return run


def columns_of(inputs: TextInputs, config: Config) -> TextInputs:
    kept = [i for i, name in enumerate(inputs.feature_names) if name.split(".")[0] in config.model.scorers]
    return replace(inputs, features=inputs.features[..., kept], feature_names=[inputs.feature_names[i] for i in kept])


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def untimed(state: TrainState) -> dict[str, object]:
    history = [{k: v for k, v in row.items() if k != "seconds"} for row in state.history]
    return vars(state) | {"history": history}


@pytest.mark.parametrize("stop", ["log", "save", "saved"])
@pytest.mark.parametrize("epoch", [0, 1])
def test_an_epoch_that_was_cut_off_is_done_again_bitwise(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: str, epoch: int
) -> None:
    straight, state = train("straight")
    saves = {"count": 0}

    class Stopped(Exception):
        pass

    def log(self: RunFolder, rows: list[object]) -> None:
        if stop == "log" and saves["count"] == epoch:
            with open(self.steps_file, "a") as stream:
                stream.write('{"epoch": 0, "st')
            raise Stopped
        write(self, rows)  # type: ignore[arg-type]

    def save(*arguments: object) -> None:
        if stop == "save" and saves["count"] == epoch:
            raise Stopped
        put(*arguments)  # type: ignore[arg-type]
        saves["count"] += 1
        if stop == "saved" and saves["count"] == epoch + 1:
            raise Stopped

    write, put = RunFolder.log, trainer.save_checkpoint
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "log", log)
        patch.setattr(trainer, "save_checkpoint", save)
        with pytest.raises(Stopped):
            train("stopped")
    torch.manual_seed(99)
    resumed, again = train("stopped")
    assert same(resumed, straight)
    assert untimed(again) == untimed(state)
    files = [(tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("straight", "stopped")]
    rows = [[{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines] for lines in files]
    assert rows[0] == rows[1]
    assert [row["epoch"] for row in rows[0]] == sorted(row["epoch"] for row in rows[0])


def test_a_finished_training_is_not_touched_again(train: Train) -> None:
    model, state = train("once")
    again, twice = train("once")
    assert same(model, again) and state == twice


def test_every_epoch_sees_every_mention_once_in_an_order_of_its_own(
    train: Train, prepared: dict[str, TextInputs], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[int]] = []
    make = trainer.make_batch

    def watch(*arguments: Any) -> TextBatch:
        batch = make(*arguments)
        seen[-1].extend(batch.rows.tolist())
        return batch

    epoch = trainer._epoch
    monkeypatch.setattr(trainer, "_epoch", lambda *arguments: seen.append([]) or epoch(*arguments))  # type: ignore[func-returns-value]
    monkeypatch.setattr(trainer, "make_batch", watch)
    train("orders")
    assert [sorted(rows) for rows in seen] == [list(range(len(prepared["train"].table)))] * 3
    assert len({tuple(rows) for rows in seen}) == 3


def test_the_seed_decides(train: Train) -> None:
    one, _ = train("one")
    two, _ = train("two")
    other, _ = train("other", "seed=1")
    assert same(one, two) and not same(one, other)


def test_the_best_epoch_is_returned_and_patience_ends(
    train: Train, prepared: dict[str, TextInputs], monkeypatch: pytest.MonkeyPatch
) -> None:
    accuracies = iter([0.3, 0.5, 0.5, 0.4, 0.9, 0.95])
    weights = []

    def scripted(model: torch.nn.Module, *_: object) -> float:
        weights.append({k: v.clone() for k, v in model.state_dict().items()})
        return next(accuracies)

    monkeypatch.setattr(trainer, "accuracy_of", scripted)
    model, state = train("patience", "train.patience=2", "train.epochs=6")
    assert (state.epoch, state.best_epoch, state.best) == (4, 1, 0.5)
    assert [row["accuracy"]["val"] for row in state.history] == [0.3, 0.5, 0.5, 0.4]
    assert all(torch.equal(v, weights[1][k]) for k, v in model.state_dict().items())
    assert not model.training


def test_the_last_epoch_may_be_kept(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    accuracies = iter([0.9, 0.5, 0.4])
    monkeypatch.setattr(trainer, "accuracy_of", lambda *_: next(accuracies))
    _, state = train("last", "train.keep=last")
    assert (state.epoch, state.best_epoch) == (3, 2)


def test_no_epoch_keeps_the_initial_model(train: Train, tmp_path: Path) -> None:
    model, state = train("none", "train.epochs=0")
    assert state == TrainState()
    assert all(torch.isfinite(v).all() for v in model.state_dict().values())
    assert not (tmp_path / "none" / "checkpoint.safetensors").exists()


@pytest.mark.parametrize("loss", ["ranking", "cross_entropy"])
@pytest.mark.parametrize("schedule", ["threshold", "cosine"])
def test_the_loss_falls(train: Train, loss: str, schedule: str) -> None:
    _, state = train(f"{loss}-{schedule}", f"train.loss={loss}", f"train.schedule={schedule}", "train.epochs=4")
    losses = [row["loss"] for row in state.history]
    assert losses[-1] < losses[0] and all(map(math.isfinite, losses))


def test_lbfgs_stands_at_the_optimum_of_the_anchored_model_after_one_epoch(train: Train) -> None:
    settings = ("model.combine=anchored", "train.optimizer=lbfgs", "train.loss=cross_entropy", "train.keep=last",
                "train.batch_pairs=1000000")  # fmt: skip
    train("once", *settings, "train.epochs=1")
    longer, state = train("longer", *settings, "train.epochs=3")
    start, found, again = (row["loss"] for row in state.history)
    assert found < start and again == pytest.approx(found, abs=1e-4)
    resumed, _ = train("once", *settings, "train.epochs=3")
    assert same(resumed, longer)


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_a_loss_that_is_not_finite_stops(
    train: Train, prepared: dict[str, TextInputs], config: Config, value: float
) -> None:
    inputs = columns_of(prepared["train"], config)
    features = inputs.features.copy()
    features[3, 0, 0] = value
    with pytest.raises(MmelError, match="the loss is nan at step .*Remedy: a lower train.learning_rate"):
        train("broken", inputs=replace(inputs, features=features))


def test_rates() -> None:
    def rates(*overrides: str, states: list[TrainState], steps: int = 50) -> list[float]:
        rule = Config().with_overrides(list(overrides)).train
        return [trainer._rate(rule, state, steps) for state in states]

    threshold = ["train.schedule=threshold", "train.learning_rate=0.5", "train.lowered_rate=0.25"]
    assert rates(*threshold, states=[TrainState(), TrainState(lowered=True)]) == [0.5, 0.25]
    cosine = ["train.schedule=cosine", "train.learning_rate=0.5", "train.epochs=10"]
    steps = [TrainState(step=step) for step in range(501)]
    found = rates(*cosine, states=steps)
    assert found[0] == pytest.approx(0.5 / 100)
    assert max(found) == found[np.argmax(found)] and 90 <= np.argmax(found) <= 100
    assert found[250] == pytest.approx(0.5 * (0.05 + 0.95 / 2))
    assert found[500] == pytest.approx(0.5 * 0.05)
    assert (np.diff(found[100:]) < 0).all()


def test_the_rate_is_lowered_once_validation_is_good(
    train: Train, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    accuracies = iter([0.5, 0.92, 0.4])
    monkeypatch.setattr(trainer, "accuracy_of", lambda *_: next(accuracies))
    train("lowered", "train.schedule=threshold", "train.learning_rate=0.01", "train.lowered_rate=0.001")
    rows = [json.loads(line) for line in (tmp_path / "lowered" / "metrics.jsonl").read_text().splitlines()]
    rates = {row["epoch"]: row["rate"] for row in rows if "rate" in row}
    assert rates == {0: 0.01, 1: 0.01, 2: 0.001}


def test_all_stages_count_and_the_last_most() -> None:
    scores = torch.tensor([[0.0, 0.0]])
    gold, mask = torch.tensor([0]), torch.ones(1, 2, dtype=torch.bool)
    rule = Config().with_overrides(["train.loss=cross_entropy"]).train
    assert trainer.text_loss(rule, [scores], gold, mask).item() == pytest.approx(math.log(2))
    assert trainer.text_loss(rule, [scores] * 3, gold, mask).item() == pytest.approx(2 * math.log(2))


def test_averaged_parameters() -> None:
    average, model = torch.nn.Linear(1, 1, bias=False), torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        average.weight.fill_(0.0)
        model.weight.fill_(1.0)
    trainer._follow(average, model, 0.9, 1)  # type: ignore[arg-type]
    assert average.weight.item() == pytest.approx(1 - 2 / 11)  # early, (1 + step) / (10 + step) is less than 0.9
    before = average.weight.item()
    trainer._follow(average, model, 0.9, 1000)  # type: ignore[arg-type]
    assert average.weight.item() == pytest.approx(before + 0.1 * (1 - before))
    trainer._follow(average, model, 0.0, 5)  # type: ignore[arg-type]
    assert average.weight.item() == 1


def test_accuracy_is_over_known_golds(train: Train, prepared: dict[str, TextInputs], config: Config) -> None:
    model, _ = train("accuracy", "train.epochs=1")
    inputs = columns_of(prepared["val"], config)
    best = predict(model, inputs, 300, CPU).argmax(1)  # type: ignore[arg-type]
    right = inputs.candidates.ids[np.arange(len(best)), best] == inputs.table.gold
    assert accuracy_of(model, inputs, 300, CPU) == pytest.approx(right.mean())  # type: ignore[arg-type]
    unknown = replace(inputs, table=replace(inputs.table, gold=np.full_like(inputs.table.gold, -1)))
    assert accuracy_of(model, unknown, 300, CPU) == 0  # type: ignore[arg-type]
    missed = replace(inputs, gold=np.full_like(inputs.gold, -1))
    assert accuracy_of(model, missed, 300, CPU) == 0  # type: ignore[arg-type]
