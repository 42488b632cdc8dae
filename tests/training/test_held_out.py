"""Training documents in the eyes of what learned without them: adapters and the patch transformer, part by part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np
import pytest

from mmel.candidates import Candidates, MentionTable
from mmel.candidates.folds import document_folds
from mmel.config import Config
from mmel.datasets import open_dataset
from mmel.datasets.base import Dataset
from mmel.document import Document
from mmel.errors import InputError
from mmel.kb import KnowledgeBase
from mmel.linker import Linker
from mmel.text.modalities import GROUPS
from mmel.text.pictures import PictureColumns, PictureScorer, pictured
from mmel.training.run import RunFolder
from mmel.training.session import train_linker
from mmel.training.visual import VisualTraining, learns_from_documents
from tests.tiny import nine_tasks_settings

if TYPE_CHECKING:
    from PIL.Image import Image

ADAPTERS = (
    "vision.encoder=onnx-face", "vision.adapter=trained", "vision.adapter_train.epochs=6",
    "vision.adapter_train.learning_rate=1e-2", "vision.adapter_train.patience=9",
)  # fmt: skip
PATCH = ("vision.patch_train.steps=4", "vision.patch_train.every=2", "vision.patch_train.initial_crops=60")
AS_IT_IS = ("vision.adapter_train.epochs=0", "vision.adapter_train.start=identity")
KINDS = {"adapters": ADAPTERS, "patch": PATCH, "both": (*PATCH, *ADAPTERS[1:])}


class Shades:
    """A picture is its brightness in 4 x 4 cells; what is common to all is much, so that adapters have work."""

    id, dim, size = "shades", 16, 32

    def __init__(self) -> None:
        self.encoded = 0

    def encode(self, pictures: Sequence[Image]) -> np.ndarray:
        self.encoded += len(pictures)
        rows = np.stack([np.asarray(one.convert("L").resize((4, 4), 4), np.float32).ravel() for one in pictures])
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


class Noise(Shades):
    """Pictures that have nothing in common: each a direction of its own."""

    id, dim = "noise", 96

    def encode(self, pictures: Sequence[Image]) -> np.ndarray:
        rows = np.stack([np.random.default_rng(crc32(one.tobytes())).normal(size=self.dim) for one in pictures])
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


@pytest.fixture
def shades(monkeypatch: pytest.MonkeyPatch) -> Shades:
    """What `vision.encoder=onnx-face` names here."""
    made = Shades()
    monkeypatch.setattr("mmel.vision.linker.make_image_encoder", lambda *_, **__: made)
    return made


@pytest.fixture(scope="module")
def dataset(nine_tasks: Path) -> Dataset:
    return open_dataset("m3el-mtmt", nine_tasks)


@pytest.fixture(scope="module")
def kb(nine_tasks: Path) -> KnowledgeBase:
    return KnowledgeBase.open(nine_tasks.parent / "kb")


@pytest.fixture(scope="module")
def splits(dataset: Dataset) -> dict[str, list[Document]]:
    return {split: pictured(list(dataset.documents(split))) for split in ("train", "val")}


def trained(
    config: Config, dataset: Dataset, kb: KnowledgeBase, documents: Sequence[Document], dev: Sequence[Document]
) -> tuple[PictureScorer, VisualTraining]:
    """The scorer of a visual side that learned from documents."""
    training = VisualTraining(config, dataset, kb, {"train": documents}, {"val": dev}, lambda _: None)
    linker, _ = training.linker(RunFolder(config.run_folder))
    return PictureScorer(linker), training


def everybody(table: MentionTable, kb: KnowledgeBase) -> Candidates:
    ids = np.tile(np.arange(len(kb)), (len(table), 1))
    return Candidates(ids, np.zeros(ids.shape, np.float32), np.ones(ids.shape, np.uint8))


def assert_same(found: PictureColumns, rows: np.ndarray, expected: PictureColumns) -> None:
    for name in ("values", "available", "evidence", "shown", "pictured"):
        np.testing.assert_array_equal(getattr(found, name)[rows], getattr(expected, name), err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_columns_are_those_of_a_linker_that_never_saw_the_document(
    kind: str, dataset: Dataset, kb: KnowledgeBase, splits: dict[str, list[Document]], nine_tasks: Path, tmp_path: Path,
    tiny_encoder: Path, shades: Shades,
) -> None:  # fmt: skip
    def settings(name: str) -> Config:
        cache = f"encoder.cache={tmp_path / 'encodings'}"
        return nine_tasks_settings(nine_tasks, tiny_encoder, tmp_path / name, cache, *KINDS[kind])

    train = splits["train"]
    whole, training = trained(settings("run"), dataset, kb, train, splits["val"])
    before = shades.encoded
    whole.held_out = training.held_out(tmp_path / "run" / "folds", whole.side)
    table = MentionTable.of(train, kb)
    exchanged = [*train[7:], *train[:7]]
    other = replace(table, documents=[replace(a, images=b.images) for a, b in zip(train, exchanged, strict=True)])
    candidates = everybody(table, kb)
    left_out, swapped = whole.each([table, other], candidates, nine_tasks, leave_out=True)
    seen, seen_swapped = whole.each([table, other], candidates, nine_tasks)
    if kind == "adapters":
        assert shades.encoded == before, "every picture was read once"
        assert not (tmp_path / "run" / "folds").exists()
    part = document_folds(train, 2)
    assert set(part) == {0, 1}
    givers = document_folds(exchanged, 2)
    for number in range(2):
        rest = [document for document, own in zip(train, part, strict=True) if own != number]
        apart, _ = trained(settings(f"without-{number}"), dataset, kb, rest, splits["val"])
        rows, shown = np.flatnonzero(part[table.doc] == number), np.flatnonzero(givers[table.doc] == number)
        for wanted, given, found in ((rows, table, left_out), (shown, other, swapped)):
            documents = [given.documents[d] for d in table.doc[wanted]]
            mine = MentionTable.of(documents, kb)
            assert_same(found, wanted, apart(mine, everybody(mine, kb), nine_tasks))
    assert (left_out.values != seen.values).any() and (swapped.values != seen_swapped.values).any()
    np.testing.assert_array_equal(left_out.available, seen.available)


def test_what_was_learned_by_heart_is_not_believed(
    dataset: Dataset, kb: KnowledgeBase, splits: dict[str, list[Document]], nine_tasks: Path, tmp_path: Path,
    tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("mmel.vision.linker.make_image_encoder", lambda *_, **__: Noise())
    settings = nine_tasks_settings(
        nine_tasks, tiny_encoder, tmp_path / "run", *ADAPTERS, "vision.adapter_train.epochs=20",
        "vision.adapter_train.start=identity", "vision.adapter_train.patience=20",
    )  # fmt: skip
    train = splits["train"]
    scorer, training = trained(settings, dataset, kb, train, train)  # chosen where it knows most by heart
    scorer.held_out = training.held_out(tmp_path / "folds", scorer.side)
    table = MentionTable.of(train, kb)
    by_heart, left_out = (
        scorer.each([table], everybody(table, kb), nine_tasks, leave_out)[0] for leave_out in (False, True)
    )

    def right(columns: PictureColumns) -> float:
        there = columns.available[..., GROUPS.index("I-I")]
        return float((np.where(there, columns.values[..., 0], -2).argmax(1) == table.gold).mean())

    assert right(by_heart) > 0.8 and right(left_out) < 0.4


def test_a_picture_that_its_part_shows_too_is_not_learned_from(
    dataset: Dataset, kb: KnowledgeBase, splits: dict[str, list[Document]], nine_tasks: Path, tmp_path: Path,
    tiny_encoder: Path, shades: Shades,
) -> None:  # fmt: skip
    train = splits["train"]
    part = document_folds(train, 2)
    first, second = (train[int(np.flatnonzero(part == number)[0])] for number in (0, 1))
    shared = replace(second, images=first.images, visual_mentions=first.visual_mentions)
    settings = [
        nine_tasks_settings(nine_tasks, tiny_encoder, tmp_path / name, *ADAPTERS) for name in ("shared", "without")
    ]
    with_it = [shared if one is second else one for one in train]
    scorer, training = trained(settings[0], dataset, kb, with_it, splits["val"])
    side = training.held_out(tmp_path / "folds", scorer.side)[0]
    rest = [one for one, own in zip(train, part, strict=True) if own == 1 and one is not second]
    apart, _ = trained(settings[1], dataset, kb, rest, splits["val"])
    assert side.adapters is not None and apart.side.adapters is not None
    assert side.adapters.id == apart.side.adapters.id != scorer.side.adapters.id  # type: ignore[union-attr]


def test_nothing_to_learn_from_is_told(
    dataset: Dataset, kb: KnowledgeBase, splits: dict[str, list[Document]], nine_tasks: Path, tmp_path: Path,
    tiny_encoder: Path, shades: Shades,
) -> None:  # fmt: skip
    settings = nine_tasks_settings(nine_tasks, tiny_encoder, tmp_path / "run", *ADAPTERS)
    scorer, training = trained(settings, dataset, kb, splits["train"][:1], splits["val"])
    with pytest.raises(InputError, match="no training document has a labelled picture.*Remedy"):
        training.held_out(tmp_path / "folds", scorer.side)


@pytest.mark.parametrize(
    ("overrides", "learns"),
    [
        ((), False),
        (PATCH, True),
        (("vision.patch_train.initial_crops=1",), True),
        (("vision.encoder=resnet50",), False),
        (ADAPTERS, True),
        ((*ADAPTERS, "vision.adapter_train.epochs=0"), True),
        ((*ADAPTERS, "vision.adapter_train.start=identity"), True),
        ((*ADAPTERS, *AS_IT_IS), False),
        ((*ADAPTERS, *AS_IT_IS, "vision.pooling=learned"), True),
    ],
)
def test_what_learns_from_documents(
    overrides: tuple[str, ...], learns: bool, nine_tasks: Path, tiny_encoder: Path, tmp_path: Path
) -> None:
    config = nine_tasks_settings(nine_tasks, tiny_encoder, tmp_path / "run", *overrides)
    assert learns_from_documents(config.vision) == learns


def test_an_untrained_encoder_scores_training_documents_as_any(
    dataset: Dataset, kb: KnowledgeBase, splits: dict[str, list[Document]], nine_tasks: Path, tmp_path: Path,
    tiny_encoder: Path,
) -> None:  # fmt: skip
    config = nine_tasks_settings(nine_tasks, tiny_encoder, tmp_path / "run")
    scorer, training = trained(config, dataset, kb, splits["train"], splits["val"])
    scorer.held_out = training.held_out(tmp_path / "folds", scorer.side)
    assert scorer.held_out == []
    table = MentionTable.of(splits["train"], kb)
    one, two = (scorer.each([table], everybody(table, kb), nine_tasks, leave_out)[0] for leave_out in (False, True))
    assert_same(one, np.arange(len(table)), two)


def test_a_run_leaves_nothing_behind_and_opens_as_it_was_trained(
    nine_tasks: Path, tiny_encoder: Path, tmp_path: Path, splits: dict[str, list[Document]], kb: KnowledgeBase
) -> None:
    config = nine_tasks_settings(nine_tasks, tiny_encoder, tmp_path / "run", *KINDS["both"], "train.epochs=2")
    said: list[str] = []
    metrics, _ = train_linker(config, restart=False, say=said.append)
    assert [line for line in said if line.startswith("pictures: without part")] == [
        f"pictures: without part {n} of 2 of the training documents, to score it" for n in (1, 2)
    ]
    assert not RunFolder(tmp_path / "run").folds.exists()
    linker = Linker.from_pretrained(tmp_path / "run", kb, pictures=nine_tasks)
    assert linker.text is not None and linker.text.preparer.pictures is not None
    assert not linker.text.preparer.pictures.held_out and not linker.text.preparer.learned
    linked = list(linker.link(splits["val"], nine_tasks, nil=False))
    right = np.mean([one.text_links[0].entity == one.document.text_mentions[0].entity for one in linked])
    assert right == pytest.approx(metrics["validation"]["val"]["text"]["accuracy"])
