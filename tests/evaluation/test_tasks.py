"""The nine tasks of a trained model, from the command line and one by one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mmel.training.trainer as trainer
from mmel.datasets import open_dataset
from mmel.errors import ConfigError
from mmel.evaluate import main
from mmel.kb import KnowledgeBase
from mmel.linker import Linker
from mmel.text.modalities import TASKS
from mmel.training.session import train_linker
from tests.tiny import nine_tasks_settings


@pytest.fixture
def arguments(nine_tasks: Path, nine_tasks_run: Path) -> list[str]:
    kb = nine_tasks.parent / "kb"
    return ["--model", str(nine_tasks_run), "--dataset", "m3el-mtmt", "--root", str(nine_tasks), "--split", "val",
            "--kb", str(kb), "--tasks"]  # fmt: skip


def scored(arguments: list[str], file: Path) -> dict[str, Any]:
    assert main([*arguments, "--json", str(file)]) == 0
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def test_every_task_is_scored(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = scored(arguments, tmp_path / "scores.json")
    tasks = found["tasks"]
    assert list(tasks) == list(TASKS)
    assert {one["mentions"] for one in tasks.values()} == {24}
    assert found["protocol"]["tasks"] == "I+T->I+T" and "pictures" not in found["protocol"]
    assert tasks["I+T->I+T"]["accuracy"] == found["text"]["accuracy"]
    assert tasks["I+T->I+T"]["accuracy"] > 0.6 and tasks["I->I"]["accuracy"] > 0.6  # chance: 0.33
    # Without a text tower nothing compares texts with pictures: three equal candidates share rank 2.
    for task in ("T->I", "I->T"):
        assert tasks[task]["without_evidence"] == 24
        assert tasks[task]["accuracy"] == 0 and tasks[task]["mrr"] == pytest.approx(0.5)
        assert tasks[task]["recall_at"]["3"] == 1
    missing = {
        task: (one["mentions_without_picture"], one["candidates_without_picture"]) for task, one in tasks.items()
    }
    candidates = missing["I->I"][1]
    assert candidates > 0 and missing["T->T"] == (0, 0)
    assert missing["I->T"] == (1, 0) and missing["I+T->I"] == (1, candidates) and missing["T->I"] == (0, candidates)
    assert tasks["I->I"]["without_evidence"] >= 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line.split()[0] in TASKS] == list(TASKS)


def test_swapped_pictures_cost_and_are_named(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = scored(arguments, tmp_path / "own.json")
    swapped = scored([*arguments, "--swap-pictures", "1"], tmp_path / "swapped.json")
    assert swapped["protocol"]["pictures"] == "of unrelated documents (seed 1)"
    assert "pictures of unrelated documents (seed 1)" in capsys.readouterr().out
    assert swapped["tasks"]["I->I"]["accuracy"] < own["tasks"]["I->I"]["accuracy"] - 0.2
    assert swapped["tasks"]["T->T"] == own["tasks"]["T->T"]


def test_a_model_without_pictures_knows_no_tasks(films: Path, film_run: Path) -> None:
    with pytest.raises(ConfigError, match="'pictures' in model.scorers"):
        main(["--model", str(film_run), "--dataset", "movies", "--root", str(films), "--split", "val",
              "--kb", str(films.parent / "kb"), "--tasks"])  # fmt: skip


def test_the_linker_links_with_pictures(nine_tasks: Path, nine_tasks_run: Path) -> None:
    kb = KnowledgeBase.open(nine_tasks.parent / "kb")
    linker = Linker.from_pretrained(nine_tasks_run, kb, pictures=nine_tasks)
    assert linker.visual is None
    documents = list(open_dataset("m3el-mtmt", nine_tasks).documents("val"))
    linked = list(linker.link(documents, nine_tasks))
    right = np.mean([one.text_links[0].entity == one.document.text_mentions[0].entity for one in linked])
    saved = json.loads((nine_tasks_run / "metrics.json").read_text())["validation"]["val"]
    assert right == pytest.approx(saved["text"]["accuracy"])
    with pytest.raises(ConfigError, match="folder of these is not known"):
        list(linker.link(documents))


def test_training_goes_on_where_it_stopped(
    nine_tasks: Path, nine_tasks_run: Path, tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tasks and swapped pictures are drawn as if it had never stopped."""
    config = nine_tasks_settings(nine_tasks, tiny_encoder, tmp_path / "run")
    save, count = trainer.save_checkpoint, 0

    def stop(*given: object) -> None:
        nonlocal count
        save(*given)  # type: ignore[arg-type]
        count += 1
        if count == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "save_checkpoint", stop)
        with pytest.raises(KeyboardInterrupt):
            train_linker(config, restart=False, say=lambda _: None)
    train_linker(config, restart=False, say=lambda _: None)
    from mmel.training.checkpoint import load_tensors

    whole, resumed = (load_tensors(folder / "model.safetensors")[0] for folder in (nine_tasks_run, tmp_path / "run"))
    assert set(whole) == set(resumed)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("model.scorers=[surface, context]", "model.gate.*needs 'pictures'"),
        ("modalities=visual", "modalities with 'text'"),
    ],
)
def test_settings_that_do_not_fit(
    nine_tasks: Path, tiny_encoder: Path, tmp_path: Path, override: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        train_linker(
            nine_tasks_settings(nine_tasks, tiny_encoder, tmp_path, override), restart=False, say=lambda _: None
        )


def test_drawn_tasks_need_pictures(nine_tasks: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    config = nine_tasks_settings(nine_tasks, tiny_encoder, tmp_path, "model.scorers=[context]", "model.gate=false")
    with pytest.raises(ConfigError, match=r"train\.modality_dropout has no use"):
        train_linker(config, restart=False, say=lambda _: None)
