"""Runs experiments and compares what they give with what was measured before.

A seed of an experiment has one folder, `OUT/EXPERIMENT/seedS-HASH/`, with its logs, its trained run and the evaluation
JSON of each split, `DATASET-SPLIT-HASH.json`. The hashes are of what leads there: commands, configs they name, data
roots, the engine's version. So a result that is there can be used again. Only a change of the engine's code within one
version does not show, and asks for `--rerun`.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.spec import ROOTS, Benchmarks, Experiment, Measured, Score, absent, mentions, placeholders, root_of
from mmel import __version__
from mmel.config import experiments
from mmel.errors import ConfigError, InputError, did_you_mean
from mmel.files import atomic_write

CHECKOUT = Path(__file__).resolve().parents[1]
OK, OFF, FAILED, NEW, NEEDS_DATA = "OK", "off", "failed", "not measured", "needs DATA"
STATUSES = (OK, OFF, FAILED, NEW, NEEDS_DATA)


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one score: status, per-seed values in per cent, and the words that explain them."""

    experiment: str
    score: Score
    status: str
    values: Mapping[int, float] = field(default_factory=dict)
    note: str = ""

    @property
    def mean(self) -> float | None:
        return statistics.fmean(self.values.values()) if self.values else None

    @property
    def std(self) -> float:
        """Sample standard deviation over seeds; 0 for one seed."""
        return statistics.stdev(self.values.values()) if len(self.values) > 1 else 0.0

    def measured(self, date: str) -> Measured | None:
        """This row as it would stand in the experiment's file."""
        if self.mean is None or self.status == FAILED:
            return None
        return Measured(mean=round(self.mean, 2), std=round(self.std, 2), seeds=tuple(sorted(self.values)), date=date)

    def line(self) -> str:
        """One line for people."""
        got = "" if self.mean is None else f"{self.mean:6.2f} ± {self.std:.2f}"
        expected = self.score.measured
        beside = [f"expected {expected.mean:.2f} ± {self.score.tolerance:g}"] if expected else []
        if self.score.published:
            beside.append(f"published {self.score.published.value:g}")
        words = "; ".join([*beside, *([self.note] if self.note else [])])
        where = f"{self.score.on} {self.score.metric}"
        return f"{self.status:<12}  {self.experiment:<24} {where:<38} {got:<14} {words}".rstrip()

    def to_dict(self) -> dict[str, object]:
        """The row for `--json`; scores in per cent."""
        return {
            "experiment": self.experiment,
            "on": self.score.on,
            "metric": self.score.metric,
            "status": self.status,
            "mean": self.mean,
            "std": self.std if self.values else None,
            "seeds": {str(seed): value for seed, value in self.values.items()},
            "expected": self.score.measured.mean if self.score.measured else None,
            "tolerance": self.score.tolerance,
            "note": self.note,
        }


def parse_roots(words: Sequence[str], environment: Mapping[str, str] = os.environ) -> dict[str, Path]:
    """Data roots from `DIR` (holds all, as `$MMEL_DATA` does) and `NAME=DIR` words; a later word wins."""
    base = [environment["MMEL_DATA"]] if environment.get("MMEL_DATA") else []
    roots: dict[str, Path] = {}
    for word in [*base, *words]:
        name, separator, folder = word.partition("=")
        if not separator:
            roots |= {known: Path(word).expanduser().resolve() / below for known, below in ROOTS.items()}
        elif name not in ROOTS:
            raise ConfigError(f"--root {word}: unknown data root '{name}'.{did_you_mean(name, ROOTS)}")
        else:
            roots[name] = Path(folder).expanduser().resolve()
    return roots


class Runner:
    """Runs experiments one after the other; what is there already is not run again."""

    def __init__(
        self,
        benchmarks: Benchmarks,
        roots: Mapping[str, Path],
        *,
        seeds: Sequence[int] = (0,),
        out: Path = CHECKOUT / "runs" / "benchmarks",
        rerun: bool = False,
    ) -> None:
        self.benchmarks, self.roots, self.seeds = benchmarks, roots, seeds
        self.out, self.rerun = out.resolve(), rerun

    def run(self, name: str) -> Iterator[Row]:
        """Train and evaluate an experiment for every seed, then give one row for each of its scores.

        Never raises for what a command does: a failing one makes its own scores `failed`.
        """
        experiment = self.benchmarks.experiments[name]
        missing = {split: self._missing(experiment, split) for split in _splits(experiment)}
        wanted = [split for split, why in missing.items() if not why]
        outcomes = {seed: self._run_seed(name, experiment, seed, wanted) for seed in self.seeds} if wanted else {}
        for score in experiment.scores:
            if missing[score.on]:
                yield Row(name, score, NEEDS_DATA, note=missing[score.on])
            else:
                yield self._row(name, score, {seed: outcome[score.on] for seed, outcome in outcomes.items()})

    def commands(self, name: str) -> Iterator[str]:
        """The commands that `run` would run, for `--dry-run`; a comment with the reason for those it would not."""
        experiment = self.benchmarks.experiments[name]
        for seed in self.seeds:
            folder = self.folder(name, seed)
            reasons = {split: self._missing(experiment, split) for split in _splits(experiment)}
            for split, reason in reasons.items():
                if (
                    not reason
                    and not self.rerun
                    and Path(self._values(experiment, folder, seed, split)["out"]).exists()
                ):
                    reasons[split] = "there already"
            idle = next(iter(reasons.values())) if all(reasons.values()) else ""
            trained = "there already" if (folder / "trained.json").exists() and not self.rerun else ""
            for template in experiment.train:
                yield _shown(template, self._values(experiment, folder, seed), idle or trained)
            for split, reason in reasons.items():
                yield _shown(experiment.evaluate, self._values(experiment, folder, seed, split), reason)

    def folder(self, name: str, seed: int) -> Path:
        """Where a seed of an experiment keeps its files."""
        templates = self.benchmarks.experiments[name].train
        words = {word for template in templates for word in shlex.split(template)}
        configs = [path.read_text(encoding="utf-8") for config, path in experiments().items() if config in words]
        return self.out / name / f"seed{seed}-{self._hash(templates, configs)}"

    def _hash(self, templates: Sequence[str], more: Sequence[str | None]) -> str:
        """Eight hex digits of commands, the roots they name, and what else leads to a result."""
        roots = [str(self.roots.get(place)) for text in templates for place in placeholders(text) if place in ROOTS]
        return hashlib.sha256(json.dumps([__version__, templates, roots, more]).encode()).hexdigest()[:8]

    # --- one seed ---

    def _run_seed(self, name: str, experiment: Experiment, seed: int, splits: Sequence[str]) -> dict[str, Path | str]:
        """The evaluation file of each split, or why there is none."""
        folder = self.folder(name, seed)
        if self.rerun:
            shutil.rmtree(folder, ignore_errors=True)
        results: dict[str, Path | str] = {}
        due = []
        for split in splits:
            path = Path(self._values(experiment, folder, seed, split)["out"])
            if path.exists():
                results[split] = path
            else:
                due.append(split)
        trouble = self._train(experiment, folder, seed) if due else ""
        for split in due:
            values = self._values(experiment, folder, seed, split)
            problem = trouble or self._call(experiment.evaluate, values, folder / f"{Path(values['out']).stem}.log")
            if not problem and not Path(values["out"]).exists():
                problem = f"the command succeeded and wrote no {values['out']}"
            results[split] = problem or Path(values["out"])
        return results

    def _train(self, experiment: Experiment, folder: Path, seed: int) -> str:
        """Run the training commands unless they are done; the reason where one failed."""
        done = folder / "trained.json"
        if done.exists():
            return ""
        start = time.perf_counter()
        for number, template in enumerate(experiment.train):
            problem = self._call(template, self._values(experiment, folder, seed), folder / f"train{number or ''}.log")
            if problem:
                return problem
        with atomic_write(done) as stream:
            json.dump({"commands": experiment.train, "seconds": time.perf_counter() - start}, stream, indent=2)
        return ""

    def _call(self, template: str, values: Mapping[str, str], log: Path) -> str:
        """Run a command with its output in `log`; the reason where it failed, else nothing."""
        words = arguments(template, values)
        if sys.stderr.isatty():
            print(f"running: {shlex.join(words)}", file=sys.stderr)
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "wb") as stream:
            try:
                code = subprocess.run(
                    words, cwd=CHECKOUT, stdout=stream, stderr=subprocess.STDOUT, check=False
                ).returncode
            except OSError as error:
                return f"cannot start: {error}"
        if code == 0:
            return ""
        last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        return f"exit code {code}: {''.join(last) or 'no output'} (log: {log})"

    def _values(self, experiment: Experiment, folder: Path, seed: int, split: str | None = None) -> dict[str, str]:
        shared = self.out / "shared" / f"seed{seed}"
        values = {"seed": str(seed), "run": str(folder / "run"), "shared": str(shared)}
        values |= {name: str(root) for name, root in self.roots.items()}
        if split is not None:
            dataset, part = split.split("/")
            name = root_of(split)
            root = None if name is None else values.get(name)
            key = self._hash([experiment.evaluate], [root])
            values |= {"dataset": dataset, "split": part, "out": str(folder / f"{dataset}-{part}-{key}.json")}
            values |= {} if root is None else {"root": root}
        return values

    # --- data and scores ---

    def _missing(self, experiment: Experiment, split: str) -> str:
        """Why an experiment cannot be scored on a split for want of data; empty where it can."""
        for template in (*experiment.train, experiment.evaluate):
            for root in placeholders(template):
                if root in ROOTS and root not in self.roots:
                    return f"--root {root}=DIR"
                if root in ROOTS and not self.roots[root].is_dir():
                    return f"no folder {self.roots[root]}"
        visual = any(score.on == split and score.metric.startswith("visual.") for score in experiment.scores)
        return absent(split, self.roots, experiment.pictures or visual)

    def _row(self, name: str, score: Score, outcomes: Mapping[int, Path | str]) -> Row:
        """Compare one score over its seeds with what was measured."""
        expected = mentions(score.key)
        values: dict[int, float] = {}
        problems, notes, complete = [], set(), True
        for seed, outcome in outcomes.items():
            if isinstance(outcome, str):
                problems.append(f"seed {seed}: {outcome}")
                continue
            try:
                reading = read_score(outcome, score.metric)
            except InputError as error:
                problems.append(f"seed {seed}: {error}")
                continue
            values[seed] = reading.value
            notes.add(f"{reading.mentions} mentions, candidates {reading.candidates}")
            complete = complete and expected in (None, reading.mentions)
        if problems:
            return Row(name, score, FAILED, values, "; ".join(problems))
        note = "; ".join(sorted(notes))
        if not complete:
            return Row(name, score, FAILED, values, f"{note}; {expected} mentions expected")
        if score.measured is None:
            return Row(name, score, NEW, values, note)
        near = within(statistics.fmean(values.values()), score.measured.mean, score.tolerance)
        return Row(name, score, OK if near else OFF, values, note)


def within(value: float, expected: float, tolerance: float) -> bool:
    """Whether two scores in per cent are no further apart than the tolerance; a rounding error is forgiven."""
    return math.isclose(value, expected, rel_tol=0, abs_tol=tolerance + 1e-9)


def arguments(template: str, values: Mapping[str, str]) -> list[str]:
    """Words of a command; `python` is this interpreter. Split first, so that a value with a space is one word."""
    words = [part.format_map(values) for part in shlex.split(template)]
    return [sys.executable, *words[1:]] if words[0] == "python" else words


@dataclass(frozen=True, slots=True)
class Reading:
    """A score in per cent with the counts and protocol it was measured under."""

    value: float
    mentions: int | None
    candidates: str


def read_score(path: Path, metric: str) -> Reading:
    """The number at the dotted path `metric` of an evaluation JSON; InputError where there is none."""
    try:
        evaluation = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"is no JSON ({error})", file=path, remedy="--rerun") from error
    value: object = evaluation
    for part in metric.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise InputError(f"no number at '{metric}'", file=path, remedy="--rerun, or mend the metric's name")
    modality = evaluation[metric.split(".")[0]]
    protocol = evaluation.get("protocol") or {}
    return Reading(100 * value, modality.get("mentions"), protocol.get("candidates", "unknown"))


def _shown(template: str, values: Mapping[str, str], reason: str) -> str:
    complete = {place: f"{{{place}}}" for place in placeholders(template)} | dict(values)
    line = shlex.join(arguments(template, complete))
    return f"# {reason}: {line}" if reason else line


def _splits(experiment: Experiment) -> list[str]:
    return list(dict.fromkeys(score.on for score in experiment.scores))
