"""One training run, from a dataset's documents to a saved linker with its metrics."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

from mmel.candidates import MentionTable
from mmel.candidates.annotations import AnnotationCounts
from mmel.config import Config
from mmel.datasets import open_dataset
from mmel.datasets.base import Dataset
from mmel.datasets.knowledge import dataset_kb
from mmel.document import Document
from mmel.errors import InputError, SkipReport
from mmel.evaluation.protocol import Protocol, evaluate
from mmel.kb import KnowledgeBase
from mmel.linker import Linker, make_preparer, pick_device
from mmel.text.prepare import TextInputs, TextPreparer
from mmel.training.checkpoint import save_tensors
from mmel.training.run import RunFolder, read_json, write_json
from mmel.training.trainer import TrainState, train_text_model

Say = Callable[[str], None]


def train_linker(config: Config, restart: bool, say: Say) -> tuple[dict[str, Any], SkipReport]:
    """Train, save into the run folder and score the validation splits.

    A folder that holds a finished run of the same settings is only read; an unfinished one goes on where it stopped.

    Returns:
        the content of `metrics.json`, and what was skipped while reading.
    """
    run, skips = RunFolder(config.run_folder), SkipReport()
    if not restart:
        run.check(config)
        if run.finished:
            say(f"{run.path} holds this run, finished; --restart trains again")
            return read_json(run.metrics_file, "train again with --restart"), skips
    dataset = open_dataset(config.data.dataset, config.data.root)
    kb = dataset_kb(dataset) if config.kb is None else KnowledgeBase.open(config.kb)
    if restart:  # what is there goes only when what it takes to make it again was found
        run.clear()
    run.start(config, kb)
    device = pick_device(config.device)
    say(f"{dataset.name}: knowledge base of {len(kb):,} entities; reading and encoding documents")
    started = time.perf_counter()
    train_documents = [_read(dataset, split, config, skips) for split in config.data.train_split]
    preparer, annotations = _preparer(config, kb, train_documents, say)
    train = [preparer(documents, leave_out=annotations is not None) for documents in train_documents]
    dev = {split: preparer(_read(dataset, split, config, skips)) for split in config.data.dev_split}
    prepared = time.perf_counter()
    for split, inputs in zip(config.data.train_split, train, strict=True):
        say(f"{split}: {_describe(inputs)}")
    for split, inputs in dev.items():
        say(f"{split}: {_describe(inputs)}")
    model, state = train_text_model(config, train, dev, run, device)
    trained = time.perf_counter()
    if annotations is not None:
        write_json(run.annotations_file, annotations.state(kb))
    columns = train[0].feature_names
    made_with = {"encoder": preparer.encoder.encoder.id, "entities": preparer.entities.id}
    save_tensors(run.model_file, dict(model.state_dict()), {"columns": columns, **made_with})
    linker = Linker(config, preparer, model, device)
    metrics = _metrics(config, dataset, linker, dev, state)
    metrics["seconds"] = {"prepare": round(prepared - started, 1), "train": round(trained - prepared, 1)}
    write_json(run.metrics_file, metrics)
    return metrics, skips


def _read(dataset: Dataset, split: str, config: Config, skips: SkipReport) -> list[Document]:
    documents = list(islice(dataset.documents(split, skips), config.data.limit))
    if not any(document.text_mentions for document in documents):
        raise InputError(
            f"split '{split}' of '{dataset.name}' has no textual mention",
            remedy="check it with `python -m mmel.data check`",
        )
    return documents


def _preparer(
    config: Config, kb: KnowledgeBase, train: Sequence[Sequence[Document]], say: Say
) -> tuple[TextPreparer, AnnotationCounts | None]:
    annotations = None
    if config.candidates.annotations:
        counted = [document for documents in train for document in documents]
        annotations = AnnotationCounts.of(MentionTable.of(counted, kb), len(kb))
    return make_preparer(config, kb, annotations, say=say), annotations


def _describe(inputs: TextInputs) -> str:
    steps = ", ".join(f"{name}: {100 * value:.2f} %" for name, value in inputs.recall.items())
    return f"{len(inputs.table.documents):,} documents, {len(inputs.table):,} mentions; candidate recall {steps}"


def _metrics(
    config: Config, dataset: Dataset, linker: Linker, dev: dict[str, TextInputs], state: TrainState
) -> dict[str, Any]:
    results = {}
    for split, inputs in dev.items():
        protocol = Protocol(candidates=dataset.candidate_protocol)
        results[split] = evaluate(
            linker.link_prepared(inputs), dataset=dataset.name, split=split, protocol=protocol
        ).to_dict()
        results[split]["candidate_recall_steps"] = inputs.recall
    return {
        "name": config.name,
        "seed": config.seed,
        "best_epoch": state.best_epoch,
        "epochs": state.epoch,
        "history": state.history,
        "validation": results,
    }


def metrics_table(metrics: dict[str, Any]) -> str:
    """The final metrics for people: one line a validation split, protocol beside the numbers."""
    name = f"{metrics['name'] or 'run'}, seed {metrics['seed']}"
    lines = [f"{name}: best of {metrics['epochs']} epochs is {metrics['best_epoch']}"]
    for split, result in metrics["validation"].items():
        text, protocol = result["text"], result["protocol"]
        lines.append(
            f"  {result['dataset']} {split:<12} micro-F1 {100 * text['micro_f1']:6.2f}   "
            f"accuracy {100 * text['accuracy']:6.2f}   candidate recall {100 * text['candidate_recall']:6.2f}   "
            f"({text['mentions']:,} mentions; candidates {protocol['candidates']}, NIL {protocol['nil']})"
        )
    return "\n".join(lines)
