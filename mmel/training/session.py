"""One training run, from a dataset's documents to a saved linker with its metrics."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from mmel.candidates import MentionTable
from mmel.candidates.annotations import AnnotationCounts
from mmel.candidates.retrieval import Retrieval
from mmel.candidates.retrieval.clip import make_retrievers
from mmel.config import Config
from mmel.datasets import open_dataset
from mmel.datasets.base import Dataset
from mmel.datasets.knowledge import dataset_kb
from mmel.document import Document
from mmel.errors import ConfigError, InputError, SkipReport
from mmel.evaluation.protocol import Protocol, evaluate
from mmel.files import read_json, write_json
from mmel.kb import KnowledgeBase
from mmel.linker import Linker
from mmel.parallel import pick_device
from mmel.retrieval_settings import by_pictures
from mmel.text.linker import TextLinker, make_preparer
from mmel.text.modalities import SWAPS
from mmel.text.pictures import PictureScorer, pictured
from mmel.text.prepare import TextInputs, TextPreparer
from mmel.training.checkpoint import save_tensors
from mmel.training.clip import check_clip, tune_clip
from mmel.training.confidence import Linked, fit_confidence, why_not
from mmel.training.detection import fit_detection
from mmel.training.joint import check_coupling, fit_coupling
from mmel.training.run import RunFolder
from mmel.training.together import check_together, train_together
from mmel.training.trainer import TrainState, check_loss, train_text_model
from mmel.training.visual import VisualTraining, learns_from_documents
from mmel.vision.linker import PATCH, VisualLinker, text_encoder

Say = Callable[[str], None]


def train_linker(config: Config, restart: bool, say: Say) -> tuple[dict[str, Any], SkipReport]:
    """Train, save into the run folder and score the validation splits.

    A folder that holds a finished run of the same settings is only read; an unfinished one goes on where it stopped.

    Returns:
        the content of `metrics.json`, and what was skipped while reading.
    """
    config = _checked(config)
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
    say(f"{dataset.name}: knowledge base of {len(kb):,} entities; reading and encoding documents")
    clock = _Clock()
    train = {split: _read(dataset, split, config, skips) for split in config.data.train_split}
    dev = {split: _read(dataset, split, config, skips) for split in config.data.dev_split}
    session = _Session(config, dataset, kb, run, train, dev, say, clock, Linker(kb))
    session.tune_clip()
    session.train_pictures()
    session.train_text()
    session.train_visual()
    session.couple()
    linked, cost = _best(session.linker, dev, session.inputs, dataset)
    session.learn_confidence(linked)
    session.learn_detection()
    metrics = _metrics(config, dataset, session.linker, linked, cost, session.inputs, session.state)
    metrics |= {"visual_history": session.visual, "seconds": clock.laps, **session.further()}
    shutil.rmtree(run.folds, ignore_errors=True)
    write_json(run.metrics_file, metrics)
    skips.update(session.linker.skips)
    return metrics, skips


def _checked(config: Config) -> Config:
    """The config with the sides that it takes; ConfigError where settings do not go together."""
    config = _with_sides(config)
    check_coupling(config)
    check_together(config)
    check_clip(config)
    check_loss(config)
    _check_pictures(config)
    _check_retrieval(config)
    return config


def _check_pictures(config: Config) -> None:
    """Raise ConfigError where the scorer `pictures` would lack the visual side, or its settings have no use."""
    scored = "pictures" in config.model.scorers
    if scored and (config.coupling.text_run or config.coupling.visual_run or "text" not in config.modalities):
        raise ConfigError(
            "model.scorers has 'pictures': the run trains both sides itself. "
            "Remedy: modalities with 'text', and neither coupling.text_run nor coupling.visual_run"
        )
    model = config.model
    if "fusion" in model.scorers and model.fusion_pictures and config.vision.encoder == PATCH and not scored:
        raise ConfigError(
            f"model.fusion_pictures={model.fusion_pictures} reads grids of vision.encoder={PATCH}, which only a run "
            "with the scorer 'pictures' has trained by then. Remedy: add it to model.scorers, or "
            "vision.encoder=resnet50 or open-clip:MODEL/PRETRAINED"
        )
    for name in ("modality_dropout", "swapped_pictures"):
        if getattr(config.train, name) and not scored:
            raise ConfigError(f"train.{name} has no use. Remedy: add 'pictures' to model.scorers")


def _check_retrieval(config: Config) -> None:
    """Raise ConfigError where a retriever by pictures lacks its encoder, or something else would not bear it."""
    vision, rule, scorers = config.vision, config.train, config.model.scorers
    for name in by_pictures(config.candidates.retrieval):
        texts, has = name == "clip-text-image", f"candidates.retrieval has '{name}'"
        if config.coupling.text_run or config.coupling.visual_run:
            raise ConfigError(
                f"{has}, whose encoder is this run's own. Remedy: neither coupling.text_run nor coupling.visual_run"
            )
        if texts and not text_encoder(vision)[0].startswith("open-clip"):
            raise ConfigError(
                f"{has}, which compares with texts, and '{text_encoder(vision)[0]}' encodes none. "
                "Remedy: vision.encoder=open-clip:MODEL/PRETRAINED, or vision.text_encoder"
            )
        if not texts and vision.encoder == PATCH and ("pictures" not in scorers or learns_from_documents(vision)):
            raise ConfigError(
                f"{has}, and vision.encoder={PATCH} is not there by then, or learned the pictures of the training "
                "documents, which it would find too well. Remedy: vision.encoder=resnet50 or "
                "open-clip:MODEL/PRETRAINED; or 'pictures' in model.scorers and an untrained transformer "
                "(vision.patch_train.steps=0 vision.patch_train.initial_crops=0)"
            )
        if "retrieval" in scorers and (rule.modality_dropout or rule.swapped_pictures):
            raise ConfigError(
                f"{has}, and the columns of the scorer 'retrieval' tell of the own pictures where "
                "train.modality_dropout or train.swapped_pictures hides them. "
                "Remedy: both 0, or no 'retrieval' in model.scorers"
            )


_TEXT_SECTIONS, _VISUAL_SECTIONS = ("candidates", "encoder", "model"), ("vision",)


def _with_sides(config: Config) -> Config:
    """The config with the settings of the sides that it takes from finished runs."""
    taken = ((config.coupling.text_run, _TEXT_SECTIONS), (config.coupling.visual_run, _VISUAL_SECTIONS))
    for path, sections in taken:
        if path is not None:
            if not RunFolder(path).finished:
                raise InputError("is no finished run", file=path, remedy="train it first")
            trained = Config.load(RunFolder(path).config_file)
            config = config.model_copy(update={name: getattr(trained, name) for name in sections})
    return config


def _taken_text(config: Config, kb: KnowledgeBase, run: RunFolder, pictures: Path) -> TextLinker:
    """The textual side of a finished run, copied into this one."""
    assert config.coupling.text_run is not None
    source = RunFolder(config.coupling.text_run)
    for name in ("model_file", "annotations_file", "retrieval_file", "retrieval_heads_file"):
        if getattr(source, name).is_file():
            shutil.copyfile(getattr(source, name), getattr(run, name))
    return TextLinker.from_run(run, config, kb, kb_pictures=pictures)


class _Clock:
    """Seconds of the parts of a run, by name."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = round(now - self._last, 1)
        self._last = now


@dataclass
class _Session:
    """The parts of a run in their order: each fills a side of the linker, and keeps what `metrics.json` tells of it."""

    config: Config
    dataset: Dataset
    kb: KnowledgeBase
    run: RunFolder
    train: dict[str, list[Document]]
    dev: dict[str, list[Document]]
    say: Say
    clock: _Clock
    linker: Linker
    scorer: PictureScorer | None = None
    inputs: dict[str, TextInputs] = field(default_factory=dict)
    state: TrainState | None = None
    visual: list[dict[str, Any]] = field(default_factory=list)
    tuned: dict[str, Any] = field(default_factory=dict)
    together: list[dict[str, Any]] = field(default_factory=list)
    detection: dict[str, dict[str, float]] = field(default_factory=dict)

    def tune_clip(self) -> None:
        """Fine-tune the encoder of pictures and texts where the config says so."""
        if self.config.vision.clip_train.epochs and self.config.coupling.visual_run is None:
            pictures = self.dataset.pictures
            self.tuned = tune_clip(self.config, self.kb, pictures, self.train, self.dev, self.run, self.say)
            self.clock.lap("clip")

    def train_pictures(self) -> None:
        """The visual side that the scorer `pictures` asks, which names need before they are trained."""
        if "pictures" not in self.config.model.scorers:
            return
        train, dev = _pictured(self.train), _pictured(self.dev)
        training = VisualTraining(self.config, self.dataset, self.kb, train, dev, self.say)
        seen, self.visual = training.linker(self.run)
        self.scorer = PictureScorer(seen, self.config.detection)
        self.scorer.held_out = training.held_out(self.run.folds, self.scorer.side)
        self.clock.lap("visual")
        self.linker.visual = seen if "visual" in self.config.modalities else None

    def train_text(self) -> None:
        """The textual side: taken from a finished run, or trained."""
        config, pictures = self.config, self.dataset.pictures
        if config.coupling.text_run is not None:
            self.linker.text = _taken_text(config, self.kb, self.run, pictures)
            prepare = partial(self.linker.text.preparer, pictures=pictures)
            self.inputs = {split: prepare(documents) for split, documents in self.dev.items()}
        elif "text" in config.modalities:
            self.linker.text, self.inputs, self.state = _train_text(
                config, self.kb, self.train, self.dev, self.run, self.say, self.clock, self.scorer, pictures
            )

    def train_visual(self) -> None:
        """The visual side where the scorer `pictures` has not made it: taken from a finished run, or trained."""
        config, run = self.config, self.run
        if config.coupling.visual_run is not None:
            shutil.copytree(RunFolder(config.coupling.visual_run).visual, run.visual, dirs_exist_ok=True)
            self.linker.visual = VisualLinker.from_run(run.visual, config, self.kb, self.dataset.pictures)
        elif "visual" in config.modalities and self.scorer is None:
            training = VisualTraining(config, self.dataset, self.kb, self.train, self.dev, self.say)
            self.linker.visual, self.visual = training.linker(run)
            self.clock.lap("visual")

    def couple(self) -> None:
        """Train both sides together, then fit what couples them, each where the config says so."""
        config, linker = self.config, self.linker
        if config.coupling.together.epochs:
            self.together = train_together(
                config, linker, self.dataset, self.train, self.dev, self.inputs, self.run, self.say
            )
            self.clock.lap("together")
        if config.coupling.plan != "none":
            linker.coupler = fit_coupling(config, linker, self.dev, self.inputs, self.dataset.pictures, self.say)
            linker.coupler.save(self.run.coupling_file)
            self.clock.lap("coupling")

    def learn_confidence(self, linked: Mapping[str, Linked]) -> None:
        """Fit how sure a link is on the best candidates of validation documents, or say why not."""
        why = why_not(self.config, self.dataset, self.kb)
        if why is None:
            self.linker.confidence = fit_confidence(self.config, self.dataset, self.linker, self.dev, linked, self.say)
            self.linker.confidence.save(self.run.confidence_file)
            self.clock.lap("confidence")
        else:
            self.say(f"no confidence is learned: {why}")

    def learn_detection(self) -> None:
        """Learn which names of raw texts are mentions, where the run finds them by names."""
        config, linker = self.config, self.linker
        if config.detection.text == "names" and linker.text is not None:
            texts = [document for documents in self.train.values() for document in documents]
            linker.detector, self.detection = fit_detection(config.detection, self.kb, texts, self.dev, self.say)
            linker.detector.save(self.run.detection_file)
            self.clock.lap("detection")

    def further(self) -> dict[str, Any]:
        """What only some runs have to tell."""
        told = {"together_history": self.together, "detection": self.detection, "clip": self.tuned}
        return {name: value for name, value in told.items() if value}


def _train_text(
    config: Config,
    kb: KnowledgeBase,
    train: Mapping[str, list[Document]],
    dev: Mapping[str, list[Document]],
    run: RunFolder,
    say: Say,
    clock: _Clock,
    scorer: PictureScorer | None,
    pictures: Path,
) -> tuple[TextLinker, dict[str, TextInputs], TrainState]:
    device = pick_device(config.device)
    preparer, annotations = _preparer(config, kb, list(train.values()), run, pictures, say)
    if preparer.retrieval is not None:
        _fit_retrieval(config, preparer.retrieval, train, dev, pictures, say)
    preparer.pictures = scorer
    if preparer.fusion is not None:
        preparer.fusion.open_pictures(config, run.visual, pictures)
    swap = range(SWAPS * config.seed, SWAPS * (config.seed + 1)) if config.train.swapped_pictures else ()
    prepared = {split: preparer(documents, preparer.learned, pictures, swap) for split, documents in train.items()}
    inputs = {split: preparer(documents, pictures=pictures) for split, documents in dev.items()}
    clock.lap("prepare")
    for split, part in [*prepared.items(), *inputs.items()]:
        say(f"{split}: {_describe(part)}")
    model, state = train_text_model(config, list(prepared.values()), inputs, run, device)
    clock.lap("train")
    if annotations is not None:
        write_json(run.annotations_file, annotations.state(kb))
    if preparer.retrieval is not None:
        preparer.retrieval.save(run.retrieval_file, run.retrieval_heads_file, run.galleries)
    columns = next(iter(prepared.values())).feature_names
    made_with = {"encoder": preparer.encoder.encoder.id, "entities": preparer.entities.id}
    if preparer.grids_id is not None:
        made_with["grids"] = preparer.grids_id
    save_tensors(run.model_file, dict(model.state_dict()), {"columns": columns, **made_with})
    return TextLinker(config, preparer, model, device), inputs, state


def _fit_retrieval(
    config: Config,
    retrieval: Retrieval,
    train: Mapping[str, Sequence[Document]],
    dev: Mapping[str, Sequence[Document]],
    pictures: Path,
    say: Say,
) -> None:
    """Train the bi-encoder's heads on the training documents, and tune the ensemble's weights on validation."""
    known = [document for documents in train.values() for document in documents]
    retrieval.train(MentionTable.of(known, retrieval.kb), config.candidates.dense_train, config.seed)
    retrieval.tune([MentionTable.of(documents, retrieval.kb, pictures) for documents in dev.values()], list(dev))
    weights = zip(retrieval.names, retrieval.ensemble.weights, strict=True)
    recall = ", ".join(f"R@{k} {100 * value:.2f} %" for k, value in retrieval.tuned["recall_at"].items())
    recall = recall or "no mention has an entity of the base, so all weights are equal"
    say(f"retrieval: {' '.join(f'{name} {weight:.1f}' for name, weight in weights)} on {' '.join(dev)}: {recall}")


def _pictured(splits: Mapping[str, list[Document]]) -> dict[str, list[Document]]:
    return {split: pictured(documents) for split, documents in splits.items()}


def _read(dataset: Dataset, split: str, config: Config, skips: SkipReport) -> list[Document]:
    documents = list(islice(dataset.documents(split, skips), config.data.limit))
    for modality, name in (("text", "textual"), ("visual", "visual")):
        if modality in config.modalities and not any(getattr(d, f"{modality}_mentions") for d in documents):
            raise InputError(
                f"split '{split}' of '{dataset.name}' has no {name} mention",
                remedy="check it with `python -m mmel.data check`, or name other `modalities`",
            )
    return documents


def _preparer(
    config: Config,
    kb: KnowledgeBase,
    train: Sequence[Sequence[Document]],
    run: RunFolder,
    pictures: Path,
    say: Say,
) -> tuple[TextPreparer, AnnotationCounts | None]:
    annotations = None
    if config.candidates.annotations:
        counted = [document for documents in train for document in documents]
        annotations = AnnotationCounts.of(MentionTable.of(counted, kb), len(kb))
    pictured = make_retrievers(config, kb, run.visual, pictures)
    for one in pictured:
        meta = one.gallery.meta
        say(f"{one.name}: {meta.entities:,} entities, {meta.absent:,} absent, {meta.lost:,} pictures could not be read")
    return make_preparer(config, kb, annotations, say=say, pictured=pictured), annotations


def _describe(inputs: TextInputs) -> str:
    steps = ", ".join(f"{name}: {100 * value:.2f} %" for name, value in inputs.recall.items())
    return f"{len(inputs.table.documents):,} documents, {len(inputs.table):,} mentions; candidate recall {steps}"


class _Cost(NamedTuple):
    """Of linking a split: seconds, and pictures that could not be read."""

    seconds: float
    missing_images: int


def _best(
    linker: Linker, dev: Mapping[str, Sequence[Document]], inputs: Mapping[str, TextInputs], dataset: Dataset
) -> tuple[dict[str, Linked], dict[str, _Cost]]:
    """Links of validation splits to the best candidates, with what they were made of; what each cost."""
    linked: dict[str, Linked] = {}
    cost = {}
    for split, documents in dev.items():
        started, missing = time.perf_counter(), linker.missing_images
        found, ranking = linker.best(documents, inputs.get(split), dataset.pictures if linker.visual else None)
        cost[split] = _Cost(time.perf_counter() - started, linker.missing_images - missing)
        linked[split] = (found, inputs.get(split), ranking)
    return linked, cost


def _metrics(
    config: Config,
    dataset: Dataset,
    linker: Linker,
    linked: Mapping[str, Linked],
    cost: Mapping[str, _Cost],
    inputs: Mapping[str, TextInputs],
    state: TrainState | None,
) -> dict[str, Any]:
    validation = {}
    for split, (documents, texts, ranking) in linked.items():
        seconds, missing = cost[split]
        result = evaluate(
            linker.judged(documents, texts, ranking, nil=False),
            dataset=dataset.name,
            split=split,
            protocol=Protocol(linker.candidate_source(dataset.candidate_protocol), missing_images=missing),
            seconds=seconds,
            entities=dataset.choice(linker.choice),
        )
        validation[split] = result.to_dict()
    for split, part in inputs.items():
        validation[split]["candidate_recall_steps"] = part.recall
    epochs = {} if state is None else {"best_epoch": state.best_epoch, "epochs": state.epoch, "history": state.history}
    return {"name": config.name, "seed": config.seed, **epochs, "validation": validation}


def _ranks(letter: str, modality: Mapping[str, Any]) -> str:
    """Hits at k, also called recall, and MRR; a run of an earlier version has none."""
    hits = [f"{letter}@{k} {100 * value:6.2f}" for k, value in modality["recall_at"].items()]
    return "   ".join([*hits, f"MRR {100 * modality['mrr']:6.2f}"] if "mrr" in modality else hits)


def _competition(protocol: Mapping[str, Any]) -> str:
    """What ranks are worth: among how many, how ties are broken, and what became of missing pictures."""
    missing = f"missing images {protocol['missing_images']} ({protocol['missing_policy']})"
    return f"candidates {protocol['competing']}; ties {protocol['ties']}; {missing}"


def metrics_table(metrics: dict[str, Any]) -> str:
    """The final metrics for people: a line a validation split and modality, protocol beside the numbers."""
    name = f"{metrics['name'] or 'run'}, seed {metrics['seed']}"
    lines = [f"{name}: best of {metrics['epochs']} epochs is {metrics['best_epoch']}" if "epochs" in metrics else name]
    for split, result in metrics["validation"].items():
        place, protocol = f"  {result['dataset']} {split:<12}", result["protocol"]
        if "text" in result:
            text = result["text"]
            lines.append(
                f"{place} text    micro-F1 {100 * text['micro_f1']:6.2f}   accuracy {100 * text['accuracy']:6.2f}   "
                f"candidate recall {100 * text['candidate_recall']:6.2f}   "
                f"({text['mentions']:,} mentions; candidates {protocol['candidates']}, NIL {protocol['nil']})"
            )
            if text.get("mrr") is not None:
                lines.append(f"{place} text    {_ranks('H', text)}   ({_competition(protocol)})")
        if "visual" in result:
            visual = result["visual"]
            among = f"; {_competition(protocol)}" if "mrr" in visual else ""
            counted = f"{visual['mentions']:,} mentions; NIL {protocol['nil']}{among}"
            lines.append(f"{place} visual  {_ranks('R', visual)}   ({counted})")
        for name, beside in result.get("alone", {}).items():
            gain = beside["gain"]
            lines.append(
                f"{place} {name:<8}accuracy alone {100 * beside['accuracy']:6.2f}   joint "
                f"{100 * result[name]['accuracy']:6.2f}   {100 * gain['accuracy']:+.2f} "
                f"[{100 * gain['low']:+.2f}, {100 * gain['high']:+.2f}]"
            )
    return "\n".join(lines)
