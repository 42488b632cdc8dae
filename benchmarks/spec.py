"""Benchmarks as files: experiments (what we run and measured) and tables (beside what others published).

All scores in these files are in per cent. A score is addressed by where it is measured and by its path in the
evaluation JSON: `on: msnbc/test`, `metric: text.micro_f1`. How many mentions it must cover says the dataset's card.
"""

from __future__ import annotations

import shlex
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from mmel.datasets import Dataset, dataset_class, dataset_names, open_dataset
from mmel.datasets.card import read_card
from mmel.errors import ConfigError, InputError, did_you_mean
from mmel.schema import Section, as_tuple, read_yaml, validate

HERE = Path(__file__).resolve().parent
# Data roots by name, and where each lies in the folder $MMEL_DATA. Datasets without a root of their name share uiuc's.
# `weights` holds the ONNX files of a face embedder and a detector.
ROOTS = {
    "aida": "aida",
    "uiuc": "",
    "movies": "movies",
    "wikiperson": "wikiperson",
    "wikidiverse": "wikidiverse",
    "wikimel": "wikimel",
    "m3el-mtmt": "m3el-mtmt",
    "newsfaces": "newsfaces",
    "weights": "weights",
}
# `shared` is a folder a seed that all experiments have in common, for runs that several of them start from.
TRAIN_PLACES = frozenset({"seed", "run", "shared", *ROOTS})
EVALUATE_PLACES = TRAIN_PLACES | {"dataset", "split", "root", "out"}

Split = Annotated[str, StringConstraints(pattern=r"^[\w-]+/[\w-]+$")]
# Names of the nine tasks have an arrow, as in `tasks.I->I+T.accuracy`.
Metric = Annotated[str, StringConstraints(pattern=r"^[\w>+-]+(\.[\w>+-]+)+$")]
Day = Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\d$")]


class Measured(Section):
    """What we measured, in per cent: mean and sample standard deviation over seeds."""

    mean: float = Field(description="per cent")
    std: float = Field(default=0.0, ge=0, description="per cent")
    seeds: tuple[int, ...] = Field(min_length=1, description="seeds that were run")
    date: Day = Field(description="day of the measurement")


class Published(Section):
    """What the method's authors report for the same setting."""

    value: float = Field(description="per cent")
    source: str = Field(description="paper and table")


class Score(Section):
    """One number of an experiment."""

    on: Split = Field(description="DATASET/SPLIT")
    metric: Metric = Field(default="text.micro_f1", description="path in the evaluation JSON")
    published: Published | None = Field(default=None, description="the authors' number")
    measured: Measured | None = Field(default=None, description="ours; null before the first measurement")
    tolerance: float = Field(default=0.2, ge=0, description="largest distance from the measured mean that is OK")

    @property
    def key(self) -> tuple[str, str]:
        return self.on, self.metric


class Experiment(Section):
    """What to run for each seed, and the scores it must give again."""

    title: str = Field(description="the row's name in a table")
    note: str = Field(default="", description="what differs from the paper, or is not stated there")
    protocol: str = Field(default="", description="what the numbers stand for, in words")
    needs: str = Field(default="", description="data and weights that it takes and that cannot be had at once")
    pictures: bool = Field(default=False, description="the documents' own pictures must be there")
    train: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] = Field(
        default=(), description="command template, or several that run in order"
    )
    evaluate: str = Field(description="command template, run once for each split")
    scores: tuple[Score, ...] = Field(min_length=1, description="what is compared")

    @model_validator(mode="after")
    def _consistent(self) -> Experiment:
        for templates, allowed in ((self.train, TRAIN_PLACES), ((self.evaluate,), EVALUATE_PLACES)):
            for template in templates:
                for place in placeholders(template):
                    if place not in allowed:
                        raise ValueError(f"'{template}': unknown place {{{place}}}.{did_you_mean(place, allowed)}")
        if "out" not in placeholders(self.evaluate):
            raise ValueError("evaluate: {out} is missing, the file the evaluation JSON is written to")
        keys = [score.key for score in self.scores]
        if len(set(keys)) < len(keys):
            raise ValueError("scores: one DATASET/SPLIT and metric stand twice")
        return self


class Column(Section):
    """A column of a table."""

    title: str = Field(description="heading")
    on: Split | None = Field(default=None, description="DATASET/SPLIT; none: only others measured it")
    metric: Metric = Field(default="text.micro_f1", description="path in the evaluation JSON")

    @property
    def key(self) -> tuple[str, str] | None:
        return None if self.on is None else (self.on, self.metric)


class TableRow(Section):
    """Either one of our experiments, by name, or what somebody published."""

    experiment: str | None = Field(default=None, description="file name of an experiment, without .yaml")
    title: str = Field(default="", description="of a published row")
    source: str = Field(default="", description="paper and table of a published row")
    protocol: str = Field(
        default="", description="what the numbers of a published row stand for, as far as it is known"
    )
    published: dict[str, float] = Field(default={}, description="by column title, in per cent")

    @model_validator(mode="after")
    def _one_kind(self) -> TableRow:
        if self.experiment is None and not (self.title and self.source and self.published):
            raise ValueError("a row is an experiment, or has title, source and published")
        if self.experiment is not None and (self.title or self.source or self.published or self.protocol):
            raise ValueError(f"row '{self.experiment}': an experiment brings its own title, protocol and numbers")
        return self


class Table(Section):
    """Published numbers and ours, side by side."""

    title: str = Field(description="heading")
    note: str = Field(default="", description="protocol, printed below the heading")
    columns: tuple[Column, ...] = Field(min_length=1, description="what is compared")
    rows: tuple[TableRow, ...] = Field(min_length=1, description="in reading order")

    def disputed(self) -> frozenset[tuple[str, str]]:
        """Titles of a row and of a column under which two sources publish different numbers."""
        told: dict[tuple[str, str], set[float]] = {}
        for row in self.rows:
            for column, value in row.published.items():
                told.setdefault((row.title, column), set()).add(value)
        return frozenset(place for place, values in told.items() if len(values) > 1)


@dataclass(frozen=True, slots=True)
class Benchmarks:
    """Everything in the YAML files, checked against each other and against the datasets there are."""

    experiments: Mapping[str, Experiment]
    tables: Mapping[str, Table]
    folder: Path

    def experiment_file(self, name: str) -> Path:
        return self.folder / "experiments" / f"{name}.yaml"

    def of_table(self, name: str) -> list[str]:
        """The experiments of a table, in its order."""
        return [row.experiment for row in self.tables[name].rows if row.experiment is not None]


def load(folder: Path = HERE) -> Benchmarks:
    """Read `experiments/*.yaml` and `tables/*.yaml`; ConfigError names file, key and what is allowed."""
    experiments = {
        path.stem: validate(Experiment, read_yaml(path), str(path)) for path in _files(folder / "experiments")
    }
    tables = {path.stem: validate(Table, read_yaml(path), str(path)) for path in _files(folder / "tables")}
    benchmarks = Benchmarks(experiments, tables, folder)
    for problem in _contradictions(benchmarks):
        raise ConfigError(problem)
    return benchmarks


def placeholders(template: str) -> list[str]:
    """The names in braces of a command template; ConfigError where the braces do not close."""
    try:
        return [name for part in shlex.split(template) for _, name, _, _ in string.Formatter().parse(part) if name]
    except ValueError as error:
        raise ConfigError(f"command '{template}': {error}") from error


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.yaml"))


def root_of(on: str) -> str | None:
    """The name of the data root that `DATASET/SPLIT` lies in; None for a dataset that comes with the engine."""
    dataset = on.split("/")[0]
    if not dataset_class(dataset).needs_root:
        return None
    return dataset if dataset in ROOTS else "uiuc"


def absent(on: str, roots: Mapping[str, Path], pictures: bool = False) -> str:
    """Why `DATASET/SPLIT`, if asked with its pictures, cannot be read from these data roots; empty where it can."""
    dataset, split = on.split("/")
    name = root_of(on)
    if name is not None and name not in roots:
        return f"--root {name}=DIR"
    root = None if name is None else roots[name]
    try:
        opened = open_dataset(dataset, root)
    except InputError:
        return f"no {dataset} in {root}"
    if split not in opened.splits:
        return f"no {dataset} {split} in {root}"
    return f"no pictures of {dataset} {split} in {root}" if pictures and not _has_pictures(opened, split) else ""


def _has_pictures(dataset: Dataset, split: str) -> bool:
    """Whether the first picture of a split is there: annotations are often given away without."""
    images = (
        image
        for document in dataset.documents(split)
        for image in (*(mention.image for mention in document.visual_mentions), *document.images)
    )
    first = next(images, None)
    return first is not None and (dataset.pictures / first).is_file()


def mentions(key: tuple[str, str]) -> int | None:
    """How many mentions the card says a score covers; None where it does not say."""
    (dataset, split), metric = key[0].split("/"), key[1]
    counts = read_card(dataset).splits.get(split)
    if counts is None or not metric.startswith(("text.", "visual.")):
        return None
    if metric.startswith("visual."):
        return counts.visual
    return counts.mentions if counts.linked is None else counts.linked


def _contradictions(benchmarks: Benchmarks) -> Iterator[str]:
    """What is well-formed in one file and wrong beside another."""
    for name, experiment in benchmarks.experiments.items():
        for score in experiment.scores:
            where = benchmarks.experiment_file(name)
            yield from _unknown_dataset(score.on, where)
            if "root" in placeholders(experiment.evaluate) and root_of(score.on) is None:
                yield f"{where}: evaluate: '{score.on}' has no {{root}}, it comes with the engine"
    for name, table in benchmarks.tables.items():
        where = benchmarks.folder / "tables" / f"{name}.yaml"
        titles = [column.title for column in table.columns]
        for column in table.columns:
            if column.on is not None:
                yield from _unknown_dataset(column.on, where)
        for row in table.rows:
            if row.experiment is not None and row.experiment not in benchmarks.experiments:
                hint = did_you_mean(row.experiment, benchmarks.experiments)
                yield f"{where}: experiment '{row.experiment}' does not exist.{hint}"
            for title in row.published:
                if title not in titles:
                    yield f"{where}: row '{row.title}': no column '{title}'.{did_you_mean(title, titles)}"


def _unknown_dataset(on: str, where: Path) -> Iterator[str]:
    dataset = on.split("/")[0]
    if dataset not in dataset_names():
        yield f"{where}: '{on}': no dataset '{dataset}'.{did_you_mean(dataset, dataset_names())}"
