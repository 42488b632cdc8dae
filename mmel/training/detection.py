"""Mention detection in texts, learned from training documents and tuned on validation documents."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from mmel.config import DetectionConfig
from mmel.detection.evidence import Context, Counts, case_counts, contexts, features
from mmel.detection.lexicon import Lexicon
from mmel.detection.names import Judge, NameDetector, choose
from mmel.document import Document
from mmel.errors import InputError
from mmel.kb import KnowledgeBase
from mmel.sentences import sentence_starts

_SEEN_BESIDE = 5  # occurrences from which on a neighbouring word tells something
_STEPS = 40  # thresholds that are tried, quantiles of the probabilities of true mentions up to the share to be lost


class Quality(NamedTuple):
    """Exact spans against the labelled mentions; where not every mention is labelled, precision is a lower bound."""

    recall: float
    precision: float


def fit_detection(
    rule: DetectionConfig,
    kb: KnowledgeBase,
    train: Sequence[Document],
    dev: Mapping[str, Sequence[Document]],
    say: Callable[[str], None],
) -> tuple[NameDetector, dict[str, dict[str, float]]]:
    """A detector whose probabilities are learned on `train` and whose threshold is the highest that keeps the recall.

    The recall is kept in each validation split on its own.

    Args:
        dev: validation documents by split.

    Returns:
        the detector, and its recall and precision in [0, 1] on each split.

    Raises:
        InputError where no mention of the training documents is a name of the base, or none of a validation split.
    """
    lexicon = Lexicon(kb)
    judge, counts = _fit(train, lexicon)
    detector = NameDetector(lexicon, counts, judge)
    judged = {split: [_Judged.of(detector, document) for document in documents] for split, documents in dev.items()}
    threshold = min(_threshold(documents, rule.recall) for documents in judged.values())
    reached = {split: quality(documents, threshold) for split, documents in judged.items()}
    for split, one in reached.items():
        say(f"{split}: detection recall {100 * one.recall:.2f} %, precision at least {100 * one.precision:.2f} %")
        if one.recall < rule.recall:
            say(f"{split}: names of the knowledge base reach no recall of detection.recall={rule.recall:g}")
    detector = NameDetector(lexicon, counts, judge._replace(threshold=threshold))
    return detector, {split: one._asdict() for split, one in reached.items()}


# -- learning


@dataclass
class _Tally:
    """Mentions and occurrences by key, those of one source of a name apart."""

    names: dict[str, list[float]] = field(default_factory=lambda: defaultdict(lambda: [0.0, 0.0]))
    own: dict[tuple[str, int], list[float]] = field(default_factory=lambda: defaultdict(lambda: [0.0, 0.0]))
    before: dict[str, list[float]] = field(default_factory=lambda: defaultdict(lambda: [0.0, 0.0]))
    after: dict[str, list[float]] = field(default_factory=lambda: defaultdict(lambda: [0.0, 0.0]))

    def add(self, row: _Row, surface: str) -> None:
        for counted in (
            self.names[surface],
            self.own[surface, row.source],
            self.before[row.context.before],
            self.after[row.context.after],
        ):
            counted[0] += row.mention
            counted[1] += 1

    def without_own(self, row: _Row, surface: str) -> tuple[float, float]:
        """Counts of the name in other documents than the row's."""
        (a, b), (own_a, own_b) = self.names[surface], self.own.get((surface, row.source), (0.0, 0.0))
        return a - own_a, b - own_b


class _Row(NamedTuple):
    """An occurrence to learn from; `source` is the first document that has its sentence, `first` whether it is this."""

    context: Context
    mention: bool
    source: int
    first: bool


def _fit(documents: Sequence[Document], lexicon: Lexicon) -> tuple[Judge, Counts]:
    rows = list(_rows(documents, lexicon))
    if not any(row.mention for row in rows):
        raise InputError(
            "no mention of the training documents is a name of the knowledge base",
            field="data.train_split",
            remedy="train on whole documents with labelled mentions, or set detection.text=none",
        )
    surfaces = [lexicon.surfaces[row.context.occurrence.name] for row in rows]
    tally = _Tally()
    for row, surface in zip(rows, surfaces, strict=True):
        if row.first:
            tally.add(row, surface)
    counts = _counts(tally, documents, lexicon)
    values = np.array(
        [
            features(row.context, lexicon, counts, tally.without_own(row, surface))
            for row, surface in zip(rows, surfaces, strict=True)
        ]
    )
    return _regress(values, np.array([row.mention for row in rows])), counts


def _rows(documents: Sequence[Document], lexicon: Lexicon) -> Iterator[_Row]:
    """Names as the base spells them; parts of mentions are no counterexamples, since they are never asked about."""
    sources: dict[str, int] = {}
    for number, document in enumerate(documents):
        gold = {(mention.start, mention.end) for mention in document.text_mentions}
        inside = bytearray(len(document.text))
        for start, end in gold:
            inside[start:end] = b"\1" * (end - start)
        starts = [*sentence_starts(document.text), len(document.text)]
        source = [sources.setdefault(document.text[a:b].strip(), number) for a, b in pairwise(starts)]
        for context in contexts(document.text, lexicon):
            start, end, _, exact = context.occurrence
            mention = (start, end) in gold
            if exact and (mention or 0 in inside[start:end]):
                yield _Row(context, mention, source[context.sentence], source[context.sentence] == number)


def _counts(tally: _Tally, documents: Sequence[Document], lexicon: Lexicon) -> Counts:
    mentions, occurrences = np.array(list(tally.names.values())).sum(0)
    known = {word.lower() for surface in lexicon.surfaces for word in surface.split()}
    texts = list(dict.fromkeys(document.text for document in documents))
    spelled = {word: seen for word, seen in case_counts(texts).items() if word in known}
    return Counts(
        names={key: (a, b) for key, (a, b) in tally.names.items()},
        before={key: (a, b) for key, (a, b) in tally.before.items() if b >= _SEEN_BESIDE},
        after={key: (a, b) for key, (a, b) in tally.after.items() if b >= _SEEN_BESIDE},
        words=spelled,
        rate=float((mentions + 1) / (occurrences + 2)),
    )


def _regress(values: np.ndarray, mention: np.ndarray) -> Judge:
    """Logistic regression over standardised features, its weights those of the features as they are."""
    from sklearn.linear_model import LogisticRegression

    if mention.all():  # nothing tells them apart: every name is one
        return Judge((0.0,) * values.shape[1], float(np.log(len(mention) + 1)), 0.5)
    mean, scale = values.mean(0), values.std(0)
    scale[scale == 0] = 1
    model = LogisticRegression(max_iter=1000).fit((values - mean) / scale, mention)
    weights = model.coef_[0] / scale
    return Judge(tuple(weights.tolist()), float(model.intercept_[0] - weights @ mean), 0.5)


# -- the threshold


class _Judged(NamedTuple):
    """A document's occurrences with their probabilities, and its labelled mentions."""

    found: list[Context]
    probabilities: list[float]
    gold: set[tuple[int, int]]

    @classmethod
    def of(cls, detector: NameDetector, document: Document) -> _Judged:
        found = list(contexts(document.text, detector.lexicon))
        gold = {(mention.start, mention.end) for mention in document.text_mentions}
        return cls(found, [detector.probability(one) for one in found], gold)


def quality(documents: Sequence[_Judged], threshold: float) -> Quality:
    """Of the occurrences that are chosen at a threshold."""
    right = chosen = mentions = 0
    for document in documents:
        spans = {one.occurrence[:2] for one, _ in choose(document.found, document.probabilities, threshold)}
        right, chosen = right + len(spans & document.gold), chosen + len(spans)
        mentions += len(document.gold)
    return Quality(right / max(mentions, 1), right / max(chosen, 1))


def _threshold(documents: Sequence[_Judged], recall: float) -> float:
    """The highest of some thresholds that keeps this recall, else the one of the highest recall."""
    true = [
        p
        for one in documents
        for context, p in zip(one.found, one.probabilities, strict=True)
        if context.occurrence[:2] in one.gold
    ]
    if not true:
        raise InputError(
            "no mention of the validation documents is a name of the knowledge base",
            field="data.dev_split",
            remedy="name validation splits with labelled mentions, or set detection.text=none",
        )
    steps = np.quantile(true, np.linspace(0, min(2 * (1 - recall), 1), _STEPS)).tolist()
    reached = [(quality(documents, step).recall, step) for step in steps]
    kept = [step for value, step in reached if value >= recall]
    return float(max(kept)) if kept else float(max(reached)[1])
