"""The nine tasks T, I, I+T -> T, I, I+T of one set of documents: the same model with modalities hidden (M3EL 2024)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from mmel.document import NIL, Document
from mmel.errors import ConfigError
from mmel.evaluation.metrics import mrr, realistic_ranks, recall_at
from mmel.evaluation.protocol import RECALL_AT
from mmel.retrieval_settings import BY_PICTURES, by_pictures
from mmel.text.linker import TextLinker
from mmel.text.modalities import TASKS, allowed, sides
from mmel.text.prepare import TextInputs


@dataclass(frozen=True, slots=True)
class TaskScores:
    """One task: `ranks` `[mentions]` of the golds, ties shared, infinite where a gold is not listed.

    `without_evidence` mentions have, of what the task may read, nothing to compare with any candidate: all candidates
    are equal. `mentions_without_picture` and `candidates_without_picture` are counted where the task needs them.
    """

    task: str
    ranks: np.ndarray
    without_evidence: int
    mentions_without_picture: int
    candidates_without_picture: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; scores are fractions in [0, 1]."""
        return {
            "mentions": len(self.ranks),
            "accuracy": recall_at(self.ranks, 1),
            "mrr": mrr(self.ranks),
            "recall_at": {str(k): recall_at(self.ranks, k) for k in RECALL_AT},
            "without_evidence": self.without_evidence,
            "mentions_without_picture": self.mentions_without_picture,
            "candidates_without_picture": self.candidates_without_picture,
        }


def evaluate_tasks(
    linker: TextLinker, documents: Iterable[Document], pictures: Path | None, documents_per_batch: int = 64
) -> tuple[TaskScores, ...]:
    """The scores of every task over the mentions whose label is an entity (NIL and unlabelled ones are left out).

    Candidates of a task without text still are the listed ones; their order and prior are hidden with the text.

    Args:
        pictures: folder that the images of documents are relative to.

    Raises:
        ConfigError: the model does not score pictures, so that there are no modalities to hide.
    """
    if linker.preparer.pictures is None:
        raise ConfigError(
            "the run scores no pictures of textual mentions, so it knows no tasks. "
            "Remedy: train with 'pictures' in model.scorers, as the experiment m3el-mtmt does"
        )
    rule = linker.config
    if "retrieval" in rule.model.scorers and by_pictures(rule.candidates.retrieval):
        raise ConfigError(
            "the columns of the scorer 'retrieval' tell of pictures in tasks that hide these. Remedy: train without "
            f"it, or without {' and '.join(BY_PICTURES)} in candidates.retrieval"
        )
    stream = iter(documents)
    found: dict[str, list[TaskScores]] = {task: [] for task in TASKS}
    for batch in iter(lambda: list(islice(stream, documents_per_batch)), []):
        inputs = linker.preparer(batch, pictures=pictures)
        for task in TASKS:
            found[task].append(_scored(linker, inputs, task))
    return tuple(_joined(task, parts) for task, parts in found.items())


def _scored(linker: TextLinker, inputs: TextInputs, task: str) -> TaskScores:
    assert inputs.pictures is not None
    known = [m.entity not in (None, NIL) for document in inputs.documents for m in document.text_mentions]
    rows = np.flatnonzero(inputs.asked)[np.array(known, bool)]
    mask, permitted = inputs.candidates.mask[rows], allowed(task)
    told = (inputs.pictures.available & permitted).any((1, 2))
    if inputs.fusion is not None:
        told |= inputs.fusion.compared(sides(permitted), inputs.slot, inputs.candidates.mask)
    told = told[rows]
    # Where nothing is known, rounding must not decide.
    scores = np.where(told[:, None], linker.scores(inputs, task)[rows], 0)
    scores = np.where(mask, scores, -np.inf)
    mention, entity = (side.split("+") for side in task.split("->"))
    pictured = inputs.pictures.pictured[rows]
    return TaskScores(
        task,
        realistic_ranks(scores, inputs.gold[rows]),
        int((~told).sum()),
        int((~inputs.pictures.shown[rows]).sum()) if "I" in mention else 0,
        int((mask & ~pictured).sum()) if "I" in entity else 0,
    )


def _joined(task: str, parts: list[TaskScores]) -> TaskScores:
    ranks = np.concatenate([part.ranks for part in parts]) if parts else np.zeros(0)
    counts = [
        sum(getattr(part, name) for part in parts)
        for name in ("without_evidence", "mentions_without_picture", "candidates_without_picture")
    ]
    return TaskScores(task, ranks, *counts)


def task_rows(tasks: Iterable[TaskScores]) -> list[str]:
    """A row a task, in per cent, for people."""
    lines = [f"{'task':<12}{'mentions':>9}{'accuracy':>10}{'MRR':>8}" + "".join(f"{f'H@{k}':>8}" for k in RECALL_AT)]
    for one in tasks:
        row = f"{one.task:<12}{len(one.ranks):>9,}{100 * recall_at(one.ranks, 1):>10.2f}{100 * mrr(one.ranks):>8.2f}"
        row += "".join(f"{100 * recall_at(one.ranks, k):>8.2f}" for k in RECALL_AT)
        missing = (
            (one.mentions_without_picture, "mentions without a picture"),
            (one.candidates_without_picture, "candidates without one"),
            (one.without_evidence, "mentions that nothing compares: all candidates equal"),
        )
        lines.append(row + "".join(f"   {count:,} {what}" for count, what in missing if count))
    return lines
