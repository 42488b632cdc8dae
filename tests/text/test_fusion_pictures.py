"""The scorers `fusion` and `pictures` together: both see the same pictures, and of a task what it may read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from mmel.datasets import open_dataset
from mmel.document import Document
from mmel.evaluate import main
from mmel.formats.jsonl import read_linked
from mmel.linker import Linker
from mmel.pictures.swap import swap_pictures
from mmel.text.batch import make_batch
from mmel.text.linker import TextLinker, predict
from mmel.text.modalities import GROUPS, TASKS, Drawn, allowed, sides
from mmel.text.prepare import TextInputs
from mmel.training.session import train_linker
from tests.tiny import nine_tasks_settings

if TYPE_CHECKING:
    from PIL.Image import Image

CPU = torch.device("cpu")
SEEDS = (1, 2)
FUSION = (
    "model.fusion_pictures=1", "model.fusion_dim=16", "model.fusion_heads=2", "model.fusion_tokens=12",
    "train.epochs=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def linker(nine_tasks: Path, tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> TextLinker:
    run = tmp_path_factory.mktemp("fusion") / "run"
    config = nine_tasks_settings(nine_tasks, tiny_encoder, run, "model.scorers=[context, fusion, pictures]", *FUSION)
    train_linker(config, restart=False, say=lambda _: None)
    found = Linker.from_pretrained(run, pictures=nine_tasks).text
    assert found is not None
    torch.manual_seed(3)
    with torch.no_grad():  # so that everything that is read has a part in the scores
        for parameter in found.model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return found


@pytest.fixture(scope="module")
def documents(nine_tasks: Path) -> list[Document]:
    return list(open_dataset("m3el-mtmt", nine_tasks).documents("val"))


@pytest.fixture(scope="module")
def inputs(linker: TextLinker, documents: list[Document], nine_tasks: Path) -> TextInputs:
    return linker.preparer(documents, pictures=nine_tasks, swap=SEEDS)


@pytest.fixture(scope="module")
def swapped(linker: TextLinker, documents: list[Document], nine_tasks: Path) -> list[TextInputs]:
    """Documents that really have the pictures of others, as `mmel.evaluate --swap-pictures` makes them."""
    return [linker.preparer(swap_pictures(documents, seed), pictures=nine_tasks) for seed in SEEDS]


@torch.no_grad()
def test_a_swapped_mention_shows_both_scorers_the_same_pictures(
    linker: TextLinker, inputs: TextInputs, swapped: list[TextInputs]
) -> None:
    rows = len(inputs.table)
    drawn = np.arange(rows) % 3 - 1
    pieces = [(i, i + 1) for i in range(rows)]
    batch = make_batch(inputs, pieces, False, Drawn(np.ones((rows, 4), bool), drawn))
    found = linker.model(batch)[-1].numpy()
    assert batch.fusion is not None and batch.fusion.mentions.cells is not None
    own = linker.model(make_batch(inputs, pieces, False))[-1].numpy()
    for number, other in ((-1, inputs), *enumerate(swapped)):
        expected = make_batch(other, pieces, False)
        mine = drawn == number
        np.testing.assert_allclose(found[mine], linker.model(expected)[-1].numpy()[mine], atol=1e-5)
        assert expected.fusion is not None and expected.fusion.mentions.cells is not None
        for i in np.flatnonzero(mine):
            cells = batch.fusion.mentions.cells[int(batch.fusion.window[i])]
            np.testing.assert_array_equal(cells, expected.fusion.mentions.cells[int(expected.fusion.window[i])])
    assert (np.abs(found - own).max(1) > 1e-3)[drawn >= 0].mean() > 0.8
    assert len(batch.fusion.mentions) == rows, "nothing is read twice"


def test_a_task_without_pictures_does_not_see_which_they_are(
    linker: TextLinker, inputs: TextInputs, swapped: list[TextInputs]
) -> None:
    for task in TASKS:
        own, other = (predict(linker.model, each, 1000, CPU, task) for each in (inputs, swapped[0]))
        if "I" in task.split("->")[0]:
            assert np.abs(own - other).max() > 1e-3, task
        else:
            np.testing.assert_array_equal(own, other, err_msg=task)


def test_a_task_without_texts_does_not_see_what_names_tell(linker: TextLinker, inputs: TextInputs) -> None:
    random = np.random.default_rng(0)
    prior = random.random(inputs.candidates.prior.shape).astype(np.float32)
    told = replace(inputs, candidates=replace(inputs.candidates, prior=prior))
    for task in TASKS:
        own, other = (predict(linker.model, each, 1000, CPU, task) for each in (inputs, told))
        if allowed(task)[GROUPS.index("T-T")]:
            assert np.abs(own - other).max() > 1e-3, task
        else:
            np.testing.assert_array_equal(own, other, err_msg=task)


def test_sides_of_a_task() -> None:
    for task in TASKS:
        mention, entity = (side.split("+") for side in task.split("->"))
        expected = ["T" in mention, "I" in mention, "T" in entity, "I" in entity]
        assert sides(allowed(task)).tolist() == expected
    assert sides(np.stack([allowed("T->I"), allowed("I->I+T")])).tolist() == [
        [True, False, False, True],
        [False] + [True] * 3,
    ]


def test_the_fusion_compares_texts_with_pictures_where_columns_cannot(
    linker: TextLinker, inputs: TextInputs, nine_tasks: Path, tmp_path: Path
) -> None:
    assert inputs.fusion is not None and inputs.pictures is not None
    assert not inputs.pictures.available[..., GROUPS.index("T-I")].any()
    mask, shown = inputs.candidates.mask, inputs.pictures.shown

    def compared(task: str) -> np.ndarray:
        assert inputs.fusion is not None
        return inputs.fusion.compared(sides(allowed(task)), inputs.slot, mask)

    pictured = (inputs.pictures.pictured & mask).any(1)
    np.testing.assert_array_equal(compared("T->T"), np.ones(len(mask), bool))
    np.testing.assert_array_equal(compared("T->I"), pictured)
    np.testing.assert_array_equal(compared("I->T"), shown)
    np.testing.assert_array_equal(compared("I->I"), shown & pictured)
    from mmel.evaluation.tasks import evaluate_tasks

    tasks = {one.task: one for one in evaluate_tasks(linker, inputs.documents, nine_tasks)}
    assert tasks["T->I"].without_evidence == 0 and tasks["I->T"].without_evidence == 1
    assert len(set(tasks["T->I"].ranks.tolist())) > 1


class Cells:
    """Brightness in 2 x 2 cells of 4 x 4 pixels."""

    id, dim, size, grid_dim = "cells", 4, None, 16

    def encode(self, pictures: Sequence[Image]) -> np.ndarray:
        raise AssertionError("grids are no pooled vectors")

    def grid(self, pictures: Sequence[Image]) -> np.ndarray:
        pixels = np.stack([np.asarray(one.convert("L").resize((8, 8)), np.float32) for one in pictures])
        return pixels.reshape(-1, 2, 4, 2, 4).swapaxes(2, 3).reshape(-1, 2, 2, 16)


def test_a_fusion_alone_is_evaluated_with_its_pictures_own_or_swapped(
    nine_tasks: Path, tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmel.vision.linker.make_image_encoder", lambda *_, **__: Cells())
    config = nine_tasks_settings(
        nine_tasks, tiny_encoder, tmp_path / "run", "model.scorers=[fusion]", *FUSION, "model.gate=false",
        "train.swapped_pictures=0", "train.modality_dropout=0", "vision.encoder=resnet50", "confidence.hide=none",
        f"encoder.cache={tmp_path / 'encodings'}",
    )  # fmt: skip
    train_linker(config, restart=False, say=lambda _: None)
    arguments = ["--model", str(tmp_path / "run"), "--dataset", "m3el-mtmt", "--root", str(nine_tasks), "--split",
                 "val", "--kb", str(nine_tasks.parent / "kb")]  # fmt: skip
    scores = []
    for further in ([], ["--swap-pictures", "1"]):
        out = tmp_path / f"{len(further)}.jsonl"
        assert main([*arguments, *further, "--out", str(out)]) == 0
        scores.append([one.text_links[0].candidates for one in read_linked(out)])
    assert scores[0] != scores[1]
