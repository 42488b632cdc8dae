"""The prior alone on real documents gives the numbers known for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mmel.datasets import open_dataset
from mmel.document import NIL, Link, LinkedDocument, ScoredCandidate, TextMention
from mmel.evaluation.protocol import Protocol, evaluate


def first_candidate(mention: TextMention) -> Link:
    """The decision of a source that orders by p(e|m): rank is the only score."""
    listed = sorted(mention.candidates or (), key=lambda candidate: candidate.rank or 0)
    scored = tuple(ScoredCandidate(c.entity, 1 / (2 + i), 1 / (2 + i)) for i, c in enumerate(listed))
    return Link(scored[0].entity, 1.0, scored) if scored else Link(NIL, 1.0)


def by_prior(name: str, root: Path) -> Iterator[LinkedDocument]:
    for document in open_dataset(name, root).documents("test"):
        yield LinkedDocument(document, tuple(map(first_candidate, document.text_mentions)))


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "mentions", "accuracy", "recall", "top30"),
    [("msnbc", 656, 0.8933, 0.986, 0.986), ("ace2004", 257, 0.8444, 0.922, 0.907)],
)
def test_prior_alone(name: str, mentions: int, accuracy: float, recall: float, top30: float, data_root: Path) -> None:
    result = evaluate(by_prior(name, data_root), dataset=name, split="test", protocol=Protocol("kilt"))
    text = result.to_dict()["text"]
    assert text["mentions"] == mentions
    assert text["accuracy"] == text["micro_recall"] == pytest.approx(accuracy, abs=5e-5)
    assert text["micro_precision"] >= text["micro_f1"] >= text["accuracy"]
    assert text["candidate_recall"] == pytest.approx(recall, abs=5e-4)
    assert text["details"]["candidate_recall_at"]["30"] == pytest.approx(top30, abs=5e-4)
    assert text["details"]["recall_at"]["1"] == pytest.approx(text["accuracy"])
