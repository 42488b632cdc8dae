from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmel.cli import run
from mmel.config import Config
from mmel.errors import ConfigError, InputError
from mmel.train import main
from tests.tiny import small_config


@pytest.fixture
def config(films: Path, tiny_encoder: Path, tmp_path: Path) -> Path:
    """A config file of a run of a moment."""
    file = tmp_path / "moment.yaml"
    small_config(films, tiny_encoder, tmp_path / "run", "data.limit=4", "train.epochs=1").save(file)
    return file


def test_a_run_ends_with_its_metrics_and_where_it_lies(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(config), "seed=4"]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[0] == "small, seed 4: best of 1 epochs is 0"
    assert "movies val" in lines[1] and "candidates kb, NIL ignored" in lines[1]
    assert "H@1" in lines[2] and "MRR" in lines[2]
    assert lines[3].startswith(f"run folder: {tmp_path / 'run'} (")
    assert "train: 4 documents" in printed.err and "candidate recall" in printed.err
    assert Config.load(tmp_path / "run").seed == 4
    names = {"config.yaml", "versions.json", "kb.json", "metrics.jsonl", "metrics.json"}
    assert {path.name for path in (tmp_path / "run").iterdir()} == names | {
        "checkpoint.safetensors",
        "model.safetensors",
        "confidence.json",
        "detection.json",
    }
    # The folder begun with seed 4 goes on with that; the metrics come as JSON too.
    assert main([str(tmp_path / "run"), "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) == json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert "holds this run, finished" in printed.err
    with pytest.raises(InputError, match="other settings"):
        main([str(config)])
    assert main([str(config), "--restart"]) == 0
    assert Config.load(tmp_path / "run").seed == 0


def test_skipped_records_are_reported_and_set_the_exit_code(
    config: Path, films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "films"
    root.mkdir()
    for file in films.iterdir():
        (root / file.name).write_text(
            "\n".join(file.read_text().splitlines()[: 5 if "train" in file.name else None]) + "\n"
        )
    with open(root / "documents.train.jsonl", "a") as stream:
        stream.write('{"id": "x", "text": "Abc", "text_mentions": [{"start": 1, "end": 3, "text": "Abc"}]}\n')
    assert main([str(config), f"data.root={root}", "data.limit=none"]) == 1
    printed = capsys.readouterr()
    assert "best of 1 epochs" in printed.out
    assert "skipped 1: " in printed.err and "documents.train.jsonl:6" in printed.err


def test_settings_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--settings"]) == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("train.epochs=30", "candidates.prior_k=30", "model.scorers=["))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train.epoch=3"], "unknown key 'train.epoch'. Did you mean 'train.epochs'?"),
        (["sampel"], "experiment 'sampel' does not exist. Did you mean 'sample'?"),
        (["sample", "data.roots=x"], "Did you mean 'data.root'?"),
        (["train.epochs=many"], "train.epochs"),
        (["model.scorers=[prior, mulrell]"], "mulrell"),
        (["--restrat"], "Did you mean '--restart'?"),
        (["movies-text"], "dataset 'movies' needs its folder"),
        (["data.dataset=moveis"], "Did you mean 'movies'?"),
    ],
    ids=" ".join,
)
def test_mistakes_are_named(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        main(arguments)
    assert message in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_one_line_on_stderr(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["mmel.train", "movies-text", "data.root=nowhere", f"run={tmp_path / 'run'}"])
    with pytest.raises(SystemExit) as ended:
        run(main)
    printed = capsys.readouterr()
    assert ended.value.code == 2 and printed.out == ""
    assert printed.err.count("\n") == 1 and printed.err.startswith("error: nowhere: is no folder")
    assert "kb.jsonl" in printed.err
    assert not (tmp_path / "run").exists()
