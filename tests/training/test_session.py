"""Whole training runs on a small film world: better than the prior, the same each time, and after any kill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mmel.config import Config
from mmel.errors import ConfigError, InputError
from mmel.formats.jsonl import read_documents, write_documents
from mmel.linker import Linker
from mmel.training.session import metrics_table, train_linker
from tests.tiny import small_config

# Runs in a process of its own. Each attempt is a child that is killed: by the clock, or by itself at a file operation.
KILLING = """
import os, random, signal, sys, time
import transformers.models.bert.modeling_bert
from mmel.config import Config
from mmel.training.session import train_linker

def attempt(config, prepare=lambda: None):
    child = os.fork()
    if child == 0:
        prepare()
        train_linker(config, False, lambda _: None)
        os._exit(0)
    return child

def wait(child):
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), status
    return status == 0

def die_at(nth, after):
    replace, count = os.replace, 0
    def counted(*names):
        nonlocal count
        count += 1
        if count == nth and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(*names)
        if count == nth:
            os.kill(os.getpid(), signal.SIGKILL)
    os.replace = counted

straight, clocked, counted = (Config.load(path) for path in sys.argv[1:])
started = time.perf_counter()
assert wait(attempt(straight))
whole = time.perf_counter() - started
dice, kills = random.Random(1), 0
for _ in range(4):
    child = attempt(clocked)
    time.sleep(whole * dice.uniform(0.1, 1.0))
    os.kill(child, signal.SIGKILL)
    kills += not wait(child)
assert wait(attempt(clocked))
assert kills
nth = 1
while not wait(attempt(counted, lambda: die_at(nth, after=nth % 2 == 0))):
    nth += 1
assert nth > 6
"""


def untimed(value: Any) -> Any:
    """Metrics without what the clock says."""
    if isinstance(value, dict):
        return {k: untimed(v) for k, v in value.items() if k not in ("seconds", "documents_per_second")}
    return [untimed(v) for v in value] if isinstance(value, list) else value


def result(run: Path) -> tuple[bytes, Any, Any]:
    """Bytes of the model, metrics and steps."""
    steps = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    metrics = json.loads((run / "metrics.json").read_text())
    return (run / "model.safetensors").read_bytes(), untimed(metrics), untimed(steps)


def quietly(config: Config, restart: bool = False) -> dict[str, Any]:
    return train_linker(config, restart, say=lambda _: None)[0]


def test_training_beats_the_prior(film_run: Path) -> None:
    metrics = json.loads((film_run / "metrics.json").read_text())
    text = metrics["validation"]["val"]["text"]
    prior = text["details"]["candidate_recall_at"]["1"]
    assert text["mentions"] > 100
    assert text["accuracy"] > prior + 0.1
    assert text["accuracy"] == metrics["history"][metrics["best_epoch"]]["accuracy"]["val"]
    protocol = metrics["validation"]["val"]["protocol"]
    assert protocol["candidates"] == "kb" and not protocol["gold_injected"]
    steps = metrics["validation"]["val"]["candidate_recall_steps"]
    assert list(steps) == ["prior 30", "6 by prior", "+ 3 by context", "+ 6 by document graph"]
    assert metrics["seconds"].keys() == {"prepare", "train", "confidence", "detection"}
    table = metrics_table(metrics)
    assert "small, seed 0: best of 3 epochs is" in table
    assert f"accuracy {100 * text['accuracy']:6.2f}" in table and "candidates kb, NIL ignored" in table
    assert f"H@1 {100 * text['recall_at']['1']:6.2f}" in table and f"MRR {100 * text['mrr']:6.2f}" in table
    assert f"candidates {protocol['competing']}; ties realistic; missing images 0 (masked)" in table
    assert text["recall_at"]["10"] <= text["candidate_recall"] and text["mrr"] <= text["candidate_recall"]


def test_a_table_of_an_earlier_version_has_no_ranks(film_run: Path) -> None:
    metrics = json.loads((film_run / "metrics.json").read_text())
    text = metrics["validation"]["val"]["text"]
    for key in ("recall_at", "mrr_at", "mrr"):
        del text[key]
    assert "MRR" not in metrics_table(metrics)


def test_two_runs_are_bitwise_equal(films: Path, tiny_encoder: Path, film_run: Path, tmp_path: Path) -> None:
    quietly(small_config(films, tiny_encoder, tmp_path / "again"))
    assert result(tmp_path / "again") == result(film_run)
    quietly(small_config(films, tiny_encoder, tmp_path / "seed", "seed=1"))
    assert result(tmp_path / "seed")[0] != result(film_run)[0]


def test_a_run_killed_at_any_moment_ends_bitwise_equal(films: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    runs = [tmp_path / name for name in ("straight", "clocked", "counted")]
    files = []
    for run in runs:
        # Encodings of their own, so that kills fall into encoding too.
        overrides = (f"encoder.cache={run}-encodings", "data.limit=8", "train.epochs=2", "candidates.annotations=true")
        files.append(Path(f"{run}.yaml"))
        small_config(films, tiny_encoder, run, *overrides).save(files[-1])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, "-c", KILLING, *map(str, files)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    expected = result(runs[0])
    for run in runs[1:]:
        assert result(run) == expected
        left = {path.name for path in run.iterdir()}
        assert {name for name in left if not name.startswith(".")} == {path.name for path in runs[0].iterdir()}


def test_a_finished_run_is_only_read(films: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    config = small_config(films, tiny_encoder, tmp_path / "run", "data.limit=4", "train.epochs=1")
    metrics = quietly(config)
    before = {path: path.stat().st_mtime_ns for path in config.run_folder.iterdir()}
    said: list[str] = []
    again, skips = train_linker(config, False, said.append)
    assert again == metrics and not skips.counts
    assert said == [f"{config.run_folder} holds this run, finished; --restart trains again"]
    assert {path: path.stat().st_mtime_ns for path in config.run_folder.iterdir()} == before
    with pytest.raises(InputError, match=r"other settings.*--restart"):
        quietly(config.with_overrides(["seed=5"]))
    assert {path: path.stat().st_mtime_ns for path in config.run_folder.iterdir()} == before
    # What is there stays where it cannot be made again.
    with pytest.raises(InputError, match="nowhere"):
        quietly(config.with_overrides(["data.root=nowhere"]), restart=True)
    assert {path: path.stat().st_mtime_ns for path in config.run_folder.iterdir()} == before
    model = (config.run_folder / "model.safetensors").read_bytes()
    quietly(config.with_overrides(["seed=5"]), restart=True)
    assert Config.load(config.run_folder).seed == 5
    assert (config.run_folder / "model.safetensors").read_bytes() != model


def test_a_cut_checkpoint_is_one_clear_error(films: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    config = small_config(films, tiny_encoder, tmp_path / "run", "data.limit=4", "train.epochs=1")
    quietly(config)
    run = config.run_folder
    (run / "metrics.json").unlink()
    whole = (run / "checkpoint.safetensors").read_bytes()
    for cut in (0, 7, 100, len(whole) // 2, len(whole) - 1):
        (run / "checkpoint.safetensors").write_bytes(whole[:cut])
        with pytest.raises(InputError, match=r"checkpoint.safetensors: is no whole checkpoint .*Remedy: .*--restart"):
            quietly(config)
    model = (run / "model.safetensors").read_bytes()
    quietly(config, restart=True)
    assert (run / "model.safetensors").read_bytes() == model


def test_annotations_are_saved_with_the_run(films: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    config = small_config(
        films, tiny_encoder, tmp_path / "run", "data.limit=6", "train.epochs=1", "candidates.annotations=true"
    )
    metrics = quietly(config)
    rows = json.loads((config.run_folder / "annotations.json").read_text())
    train = list(read_documents(films / "documents.train.jsonl"))[:6]
    counted = {(m.text.casefold(), m.entity) for d in train for m in d.text_mentions}
    assert {(name, entity) for name, entity, _ in rows} == counted
    linker = Linker.from_pretrained(config.run_folder)
    assert linker.text is not None and linker.text.preparer.annotations is not None
    linked = list(linker.link(list(read_documents(films / "documents.val.jsonl"))[:6]))
    pairs = [
        (m.entity, link.entity) for d in linked for m, link in zip(d.document.text_mentions, d.text_links, strict=True)
    ]
    accuracy = sum(gold == found for gold, found in pairs) / len(pairs)
    assert accuracy == pytest.approx(metrics["validation"]["val"]["text"]["accuracy"])


def test_several_splits_and_skipped_records(films: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    documents = list(read_documents(films / "documents.train.jsonl"))
    root = tmp_path / "films"
    root.mkdir()
    (root / "kb.jsonl").write_bytes((films / "kb.jsonl").read_bytes())
    for split, part in {
        "one": documents[:5],
        "two": documents[5:9],
        "val": documents[9:13],
        "more": documents[13:15],
    }.items():
        write_documents(root / f"documents.{split}.jsonl", part)
    with open(root / "documents.two.jsonl", "a") as stream:
        stream.write('{"id": "broken"\n')
    overrides = (f"data.root={root}", "data.train_split=[one, two]", "data.dev_split=[val, more]", "train.epochs=1")
    config = small_config(films, tiny_encoder, tmp_path / "run", *overrides)
    metrics, skips = train_linker(config, False, lambda _: None)
    assert list(metrics["validation"]) == list(metrics["history"][0]["accuracy"]) == ["val", "more"]
    assert sum(skips.counts.values()) == 1 and skips.exit_code == 1
    (root / "documents.more.jsonl").write_text('{"id": "x", "text": "no name"}\n')
    with pytest.raises(InputError, match="split 'more' of 'movies' has no textual mention. Remedy: check it with"):
        quietly(config, restart=True)


def test_unknown_names_are_refused_before_anything_is_written(films: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    def config(*overrides: str) -> Config:
        return small_config(films, tiny_encoder, tmp_path / "run", *overrides)

    with pytest.raises(ConfigError, match="Did you mean 'movies'?"):
        quietly(config("data.dataset=movie"))
    with pytest.raises(InputError, match="nowhere: is no folder. .*kb.jsonl"):
        quietly(config("data.root=nowhere"))
    with pytest.raises(InputError, match="nowhere"):
        quietly(config("kb=nowhere"))
    assert not (tmp_path / "run").exists()
