"""The fusions in training: what they learn beyond p(e|m) from texts and pictures, and that a seed decides it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmel.config import Config
from mmel.document import Alias, Document, Entity
from mmel.encoders.text import CachedTextEncoder
from mmel.errors import ConfigError
from mmel.kb import KnowledgeBase
from mmel.kb.build import build
from mmel.text.fusion_inputs import FusionSettings
from mmel.text.prepare import Selection, TextInputs, TextPreparer
from mmel.training.run import RunFolder
from mmel.training.trainer import TrainState, check_loss, train_text_model
from mmel.vision.grids import PictureGrids
from mmel.vision.regions import UNREADABLE
from tests.tiny import OneHotEncoder, document

CPU = torch.device("cpu")
TRADES = {"guide": (250, 10, 10), "pilot": (10, 250, 10), "smuggler": (10, 10, 250), "cook": (250, 250, 10)}
NAMES = ("Mira", "Otto", "Ines")
FILLER = ["the", "of", "and", "saw", "met", "with", "again", "yesterday"]
SIZES = {"train": 100, "val": 40}
SETTINGS = (
    "model.scorers=[prior, fusion]", "model.passes=0", "model.inference=mean-field", "model.hidden=16",
    "model.fusion_dim=32", "model.fusion_heads=2", "model.fusion_tokens=12", "train.loss=contrastive",
    "train.epochs=14", "train.learning_rate=1e-2", "train.schedule=cosine", "train.batch_pairs=6", "train.patience=14",
)  # fmt: skip


class Mosaic:
    """Colours of 2 x 2 cells."""

    id, dim, size, grid_dim = "mosaic", 3, None, 3

    def encode(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        raise AssertionError("grids are no pooled vectors")

    def grid(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        return np.stack([np.asarray(one.resize((2, 2), Image.Resampling.BOX), np.float32) for one in pictures])


def prepare(folder: Path, told: bool) -> tuple[TextPreparer, dict[str, list[Document]]]:
    """Everyone has one of three names and one of four trades: the text tells it, or else the picture's colour."""
    people = [
        Entity(
            f"{name}-{trade}",
            f"{name} {n}",
            "person",
            f"A {trade}." if told else "",
            (Alias(name, 4 - n),),
            images=(f"{trade}.png",),
        )
        for name in NAMES
        for n, trade in enumerate(TRADES)
    ]
    build(people, folder / "kb", date="2020-02-02", source="invented")
    for trade, colour in TRADES.items():
        Image.new("RGB", (8, 8), colour).save(folder / f"{trade}.png")
    words = " ".join([*FILLER, *TRADES, *NAMES, *"0123A"])
    encoder = CachedTextEncoder(OneHotEncoder(words), folder / "encodings")
    random = np.random.default_rng(0)

    def one(id: str) -> Document:
        name, trade, word = random.choice(NAMES), random.choice(list(TRADES)), random.choice(FILLER)
        found = document(f"{word} {trade if told else ''} [{name}|{name}-{trade}]", id)
        colour = np.clip(np.array(TRADES[trade]) + random.integers(-10, 10, (8, 8, 3)), 0, 255)
        Image.fromarray(colour.astype(np.uint8)).save(folder / f"{id}.png")
        return replace(found, images=(f"{id}.png",))

    fusion = FusionSettings(12, pictures=0 if told else 1)
    preparer = TextPreparer(
        KnowledgeBase.open(folder / "kb"), encoder, ("prior", "fusion"), Selection(None, None), fusion=fusion
    )
    return preparer, {split: [one(f"{split}{i}") for i in range(n)] for split, n in SIZES.items()}


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TextInputs]:
    preparer, documents = prepare(tmp_path_factory.mktemp("texts"), told=True)
    return {split: preparer(each) for split, each in documents.items()}


def train(inputs: dict[str, TextInputs], folder: Path, *overrides: str) -> tuple[dict[str, torch.Tensor], TrainState]:
    config = Config().with_overrides([*SETTINGS, *overrides])
    folder.mkdir()
    model, state = train_text_model(config, [inputs["train"]], {"val": inputs["val"]}, RunFolder(folder), CPU)
    return model.state_dict(), state


def prior_of(inputs: TextInputs) -> float:
    return float((inputs.candidates.prior.argmax(1) == inputs.gold).mean())


def test_the_text_says_what_the_prior_does_not(texts: dict[str, TextInputs], tmp_path: Path) -> None:
    _, state = train(texts, tmp_path / "run")
    assert prior_of(texts["val"]) < 0.4 and state.best > 0.8
    assert state.history[-1]["loss"] < state.history[0]["loss"]


def test_the_picture_says_what_neither_prior_nor_text_does(tmp_path: Path) -> None:
    preparer, documents = prepare(tmp_path, told=False)
    assert preparer.fusion is not None
    preparer.fusion.grids, preparer.fusion.kb_pictures = PictureGrids(Mosaic(), tmp_path / "grids"), tmp_path
    (tmp_path / "train0.png").unlink()
    inputs = {split: preparer(each, pictures=tmp_path) for split, each in documents.items()}
    assert preparer.fusion.skips.counts == {UNREADABLE: 1} and preparer.grids_id == "mosaic+pixels+grid"
    _, state = train(inputs, tmp_path / "run")
    assert prior_of(inputs["val"]) < 0.4 and state.best > 0.8
    with pytest.raises(ConfigError, match="model.fusion_pictures reads pictures.*Remedy"):
        preparer(documents["val"])


def test_the_seed_decides(texts: dict[str, TextInputs], tmp_path: Path) -> None:
    one, two = (train(texts, tmp_path / name, "train.epochs=1")[0] for name in ("one", "two"))
    assert all(torch.equal(two[name], value) for name, value in one.items())
    other, _ = train(texts, tmp_path / "other", "seed=1", "train.epochs=1")
    assert not all(torch.equal(other[name], value) for name, value in one.items())


@pytest.mark.parametrize("loss", ["ranking", "cross_entropy"])
def test_the_other_losses_train_it_too(texts: dict[str, TextInputs], tmp_path: Path, loss: str) -> None:
    _, state = train(texts, tmp_path / loss, f"train.loss={loss}", "train.epochs=3")
    assert state.history[-1]["loss"] < state.history[0]["loss"]


@pytest.mark.parametrize("override", ["model.scorers=[prior]", "model.combine=anchored"])
def test_a_contrastive_loss_needs_the_fusion(override: str) -> None:
    config = Config().with_overrides([*SETTINGS, override])
    with pytest.raises(ConfigError, match=r"train.loss=contrastive.*model.scorers=\[..., fusion\]"):
        check_loss(config)
    check_loss(Config().with_overrides(SETTINGS))
