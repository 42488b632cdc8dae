"""Joint training of both sides on a small film world: from sides that were trained apart to a linker opened again."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmel.config import Config
from mmel.datasets import open_dataset
from mmel.errors import ConfigError, InputError
from mmel.linker import Linker
from mmel.training.run import RunFolder
from mmel.training.session import train_linker
from mmel.training.together import check_together, train_together
from tests.tiny import small_config, write_film_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film world of a few people with its pictures, as a `movies` folder, its base beside it."""
    return write_film_world(tmp_path_factory.mktemp("both") / "films", 6, {"train": 24, "val": 10}, 5)


def settings(world: Path, encoder: Path, run: Path, *overrides: str) -> Config:
    """Sides that have learned almost nothing yet, so that there is something left to learn together."""
    return small_config(
        world, encoder, run, "modalities=[text, visual]", "train.epochs=1", "vision.patch.side=32",
        "vision.patch.grid=4", "vision.patch.dim=24", "vision.patch.layers=1", "vision.patch.heads=2",
        "vision.patch.feed_forward=32", "vision.patch_train.steps=0",
        "vision.patch_train.people=6", "vision.patch_train.initial_crops=200",
        "vision.adapter=trained", "vision.adapter_train.epochs=0", "vision.adapter_train.start=identity",
        "coupling.plan=transport", "coupling.rounds=1", "coupling.together.learning_rate=3e-3", *overrides,
    )  # fmt: skip


@pytest.fixture(scope="module")
def apart(world: Path, tiny_encoder: Path) -> Path:
    """A run whose sides were trained apart; not to be written."""
    train_linker(settings(world, tiny_encoder, world.parent / "apart"), restart=False, say=lambda _: None)
    return world.parent / "apart"


def files(run: Path) -> dict[str, bytes]:
    return {str(path.relative_to(run)): path.read_bytes() for path in sorted(run.rglob("*")) if path.is_file()}


class Trained:
    """A copy of a run that is trained on."""

    def __init__(self, world: Path, apart: Path, run: Path, *overrides: str) -> None:
        shutil.copytree(apart, run)
        self.folder = RunFolder(run)
        self.config = Config.load(run).with_overrides([f"run={run}", *overrides])
        self.linker = Linker.from_pretrained(run)
        self.dataset = open_dataset("movies", world)
        self.train = {"train": list(self.dataset.documents("train"))}
        self.dev = {"val": list(self.dataset.documents("val"))}

    def __call__(self) -> list[dict[str, Any]]:
        assert self.linker.text is not None
        inputs = {split: self.linker.text.preparer(documents) for split, documents in self.dev.items()}
        sides = (self.config, self.linker, self.dataset, self.train, self.dev, inputs)
        return train_together(*sides, self.folder, say=lambda _: None)

    def parameters(self) -> tuple[torch.Tensor, torch.Tensor]:
        assert self.linker.text is not None and self.linker.visual is not None
        assert self.linker.visual.pictures is not None and self.linker.visual.pictures.adapters is not None
        sides = (self.linker.text.model, self.linker.visual.pictures.adapters)
        first, second = (torch.cat([p.detach().flatten() for p in side.parameters()]) for side in sides)
        return first.clone(), second.clone()


def test_both_sides_learn_and_the_best_epoch_is_kept(world: Path, apart: Path, tmp_path: Path) -> None:
    trained = Trained(world, apart, tmp_path / "one", "coupling.together.epochs=3", "coupling.together.documents=4")
    before = trained.parameters()
    history = trained()
    assert [line["epoch"] for line in history] == [0, 1, 2, 3] and history[0]["total_loss"] is None
    for name in ("ranking_loss", "triplet_loss", "total_loss"):
        assert history[-1][name] < history[1][name]
    assert sum(line["unsolved"] or 0 for line in history) == 0
    after = trained.parameters()
    assert all(not torch.equal(*pair) for pair in zip(before, after, strict=True))
    # The files hold what was kept, which is the best epoch.
    best = max(history, key=lambda line: line["text"] + line["visual"])
    again = Trained(world, tmp_path / "one", tmp_path / "two", "coupling.together.epochs=1")
    assert all(torch.equal(*pair) for pair in zip(after, again.parameters(), strict=True))
    opened = again()[0]
    assert (opened["text"], opened["visual"]) == pytest.approx((best["text"], best["visual"]))
    assert best["text"] + best["visual"] > history[0]["text"] + history[0]["visual"]


def test_training_is_deterministic_and_has_a_seed(world: Path, apart: Path, tmp_path: Path) -> None:
    runs = [Trained(world, apart, tmp_path / name, "coupling.together.epochs=1") for name in ("one", "two")]
    assert runs[0]() == runs[1]()
    assert files(tmp_path / "one") == files(tmp_path / "two") != files(apart)
    other = Trained(world, apart, tmp_path / "three", "coupling.together.epochs=1", "seed=1")
    other()
    assert files(tmp_path / "three") != files(tmp_path / "one")


@pytest.mark.parametrize("cost", ["wasserstein", "fused"])
def test_transport_alone_reaches_both_sides(
    world: Path, apart: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cost: str
) -> None:
    steps: list[tuple[bool, bool]] = []

    def step(sides: Any, loss: torch.Tensor) -> None:
        loss.backward()  # type: ignore[no-untyped-call]
        found = [[p.grad for p in side.parameters() if p.grad is not None] for side in (sides.model, sides.adapters)]
        assert all(bool(grad.isfinite().all()) for side in found for grad in side)
        steps.append((any(bool(g.any()) for g in found[0]), any(bool(g.any()) for g in found[1])))

    monkeypatch.setattr("mmel.training.together._Trained.step", step)
    weights = [f"coupling.together.{name}" for name in ("epochs=1", "ranking=0", "triplet=0", "documents=12")]
    more = (f"coupling.transport.cost={cost}", "coupling.cross=both", "coupling.structure=both", "vision.noise=0.5")
    trained = Trained(world, apart, tmp_path / "run", *weights, *more)
    trained.config.save(tmp_path / "run" / "config.yaml")
    trained.linker = Linker.from_pretrained(tmp_path / "run")
    trained()
    assert steps and all(text and visual for text, visual in steps)


def test_without_epochs_everything_stays(world: Path, apart: Path, tmp_path: Path) -> None:
    trained = Trained(world, apart, tmp_path / "run")
    before, parameters = files(tmp_path / "run"), trained.parameters()
    assert trained() == [] and files(tmp_path / "run") == before
    assert all(torch.equal(*pair) for pair in zip(parameters, trained.parameters(), strict=True))


def test_epochs_that_do_not_help_leave_the_files(world: Path, apart: Path, tmp_path: Path) -> None:
    trained = Trained(
        world, apart, tmp_path / "run", "coupling.together.epochs=1", "coupling.together.learning_rate=1e-12"
    )
    before = files(tmp_path / "run")
    history = trained()
    assert len(history) == 2 and files(tmp_path / "run") == before


def test_a_run_with_training_together(world: Path, apart: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    taken = (f"coupling.text_run={apart}", f"coupling.visual_run={apart}", "coupling.together.epochs=1")
    metrics, _ = train_linker(settings(world, tiny_encoder, tmp_path / "run", *taken), False, lambda _: None)
    history = metrics["together_history"]
    assert len(history) == 2 and "together" in metrics["seconds"]
    assert "together_history" not in json.loads((apart / "metrics.json").read_text())
    linker = Linker.from_pretrained(tmp_path / "run")
    documents = list(open_dataset("movies", world).documents("val"))
    linked = list(linker.link(documents, world, nil=False))
    pairs = [
        (mention.entity, link.entity)
        for one in linked
        for mention, link in zip(one.document.text_mentions, one.text_links, strict=True)
    ]
    accuracy = np.mean([gold == found for gold, found in pairs])
    assert accuracy == pytest.approx(metrics["validation"]["val"]["text"]["accuracy"])


def test_nothing_to_learn_from(world: Path, apart: Path, tmp_path: Path) -> None:
    trained = Trained(world, apart, tmp_path / "run", "coupling.together.epochs=1")
    trained.train = {"train": [replace(document, visual_mentions=()) for document in trained.train["train"]]}
    with pytest.raises(InputError, match="'data.train_split': no training document has mentions of both modalities"):
        trained()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("vision.adapter=none", r"vision.adapter=none: coupling.together.epochs=2 needs vision.adapter=trained"),
        ("coupling.plan=uniform", "needs coupling.plan=transport"),
        ("coupling.transport.mass=partial", "needs coupling.transport.mass=balanced"),
        ("vision.task=V2TEL", "needs vision.task=V2VEL"),
        ("coupling.transport.reg=0", "needs reg above 0"),
        ("model.scorers=[surface, pictures]", "which the scorer .pictures. has read before"),
        ("modalities=text", r"needs reg above 0 and modalities=\[text, visual\]"),
    ],
)
def test_settings_that_do_not_go_together(override: str, said: str) -> None:
    base = ["modalities=[text, visual]", "vision.adapter=trained", "coupling.plan=transport"]
    config = Config().with_overrides([*base, "coupling.together.epochs=2"])
    check_together(config)
    with pytest.raises(ConfigError, match=said):
        check_together(config.with_overrides([override]))
    check_together(config.with_overrides([override, "coupling.together.epochs=0"]))
