from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mmel.config import Config
from mmel.errors import InputError
from mmel.kb import KnowledgeBase
from mmel.kb.build import build
from mmel.training.run import RunFolder, versions
from tests.tiny import ENTITIES

ROWS: list[dict[str, Any]] = [
    {"epoch": 0, "step": 1, "loss": 0.5, "rate": 1e-3},
    {"epoch": 0, "loss": 0.5, "accuracy": {"val": 0.25}, "seconds": 0.1},
    {"epoch": 1, "step": 2, "loss": 0.25, "rate": 1e-3},
    {"epoch": 1, "loss": 0.25, "accuracy": {"val": 0.75}, "seconds": 0.1},
]


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run")


def test_start_says_what_the_run_is(run: RunFolder, tiny_kb: KnowledgeBase) -> None:
    config = Config().with_overrides(["seed=3", "train.epochs=2"])
    run.check(config)
    run.start(config, tiny_kb)
    assert Config.load(run.path) == config
    where, meta = run.kb()
    assert (where, meta) == (tiny_kb.folder.resolve(), tiny_kb.meta)
    found = json.loads((run.path / "versions.json").read_text())
    assert found == versions()
    assert {"python", "mmel", "torch", "numpy", "platform"} <= set(found)
    assert not run.finished
    run.check(config)
    run.start(config, tiny_kb)


def test_other_settings_are_refused_however_the_folder_is_named(
    run: RunFolder, tiny_kb: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.start(Config().with_overrides([f"run={run.path}"]), tiny_kb)
    monkeypatch.chdir(run.path.parent)
    RunFolder(Path("run")).check(Config().with_overrides(["run=run"]))
    run.check(Config())
    with pytest.raises(
        InputError, match=r"config.yaml: the folder holds a run with other settings. Remedy: .*--restart"
    ):
        run.check(Config().with_overrides(["seed=1"]))


def test_a_run_begun_on_another_base_is_refused(run: RunFolder, tiny_kb: KnowledgeBase, tmp_path: Path) -> None:
    run.start(Config(), tiny_kb)
    build([replace(ENTITIES[0], links=())], tmp_path / "other")
    with KnowledgeBase.open(tmp_path / "other") as other:
        run.start(Config(), other)  # nothing was learned yet
        run.checkpoint_file.write_bytes(b"x")
        run.start(Config(), other)
        with pytest.raises(InputError, match=r"kb.json: the run was begun on another knowledge base than 'kb'"):
            run.start(Config(), tiny_kb)


def test_clear_removes_what_a_run_writes_and_nothing_else(run: RunFolder, tiny_kb: KnowledgeBase) -> None:
    run.clear()
    run.start(Config(), tiny_kb)
    notes = run.path / "notes.txt"
    files = (run.checkpoint_file, run.model_file, run.metrics_file, run.steps_file, run.annotations_file, notes)
    for file in files:
        file.write_text("x")
    run.clear()
    assert [file for file in files if file.exists()] == [notes]
    run.check(Config().with_overrides(["seed=1"]))


@pytest.mark.parametrize(
    ("files", "finished"),
    [
        ((), False),
        (("model.safetensors",), False),
        (("metrics.json",), False),
        (("model.safetensors", "metrics.json"), True),
    ],
)
def test_a_run_is_finished_with_model_and_metrics(run: RunFolder, files: tuple[str, ...], finished: bool) -> None:
    run.path.mkdir()
    for name in files:
        (run.path / name).write_text("x")
    assert run.finished is finished


def test_steps_cut_anywhere_keep_the_whole_lines_of_whole_epochs(run: RunFolder) -> None:
    run.path.mkdir()
    run.keep_steps(1)
    assert not run.steps_file.exists()
    run.log(ROWS[:2])
    run.log(ROWS[2:])
    text = run.steps_file.read_text()
    assert [json.loads(line) for line in text.splitlines()] == ROWS
    first, second = (len(json.dumps(row)) + 1 for row in ROWS[:2])
    cuts = [(cut, 1) for cut in range(first - 2, first + second + 2)]
    for cut, epochs in [*cuts, (0, 1), *((len(text), epochs) for epochs in range(3))]:
        run.steps_file.write_text(text[:cut])
        run.keep_steps(epochs)
        kept = [json.loads(line) for line in run.steps_file.read_text().splitlines()]
        whole = text[:cut].count("\n")
        assert kept == [row for row in ROWS[:whole] if row["epoch"] < epochs]


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"kb.json: is missing. Remedy: name a folder written by `python -m mmel.train`"
    ):
        RunFolder(tmp_path).kb()
