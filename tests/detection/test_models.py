"""Pretrained detectors behind the protocol: spaCy's with rules for entities, a GLiNER that was told what to say."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import pytest

from mmel.detection import Span
from mmel.detection.models import GlinerDetector, SpacyDetector
from mmel.errors import ConfigError, InputError, MissingDependencyError


def test_spacy_gives_entities_of_the_types_asked_for() -> None:
    spacy = pytest.importorskip("spacy")
    pipeline = spacy.blank("en")
    rules = [{"label": "PERSON", "pattern": "Ada Lund"}, {"label": "GPE", "pattern": "Porto"}]
    pipeline.add_pipe("entity_ruler").add_patterns(rules)
    texts = ["Ada Lund left Porto.", "", "Nobody"]
    people, every = SpacyDetector(pipeline), SpacyDetector(pipeline, ())
    assert people.detect(texts) == [[Span(0, 8, 1.0)], [], []]
    assert every.detect(texts)[0] == [Span(0, 8, 1.0), Span(14, 19, 1.0)]
    assert people.id != every.id
    with pytest.raises(InputError, match="no_such_pipeline.*spacy download"):
        SpacyDetector("no_such_pipeline")


class Told:
    """Says of each text the same."""

    def predict_entities(self, text: str, labels: Sequence[str], threshold: float) -> list[dict[str, Any]]:
        said = [(9, 14, 0.9), (0, 8, 0.6), (0, 3, 0.7), (10, 12, 0.8)]
        return [{"start": a, "end": b, "score": p, "label": labels[0]} for a, b, p in said if p >= threshold]


def test_of_overlapping_entities_gliner_keeps_the_most_probable() -> None:
    detector = GlinerDetector(Told(), threshold=0.65)
    assert detector.detect(["Ada Lund Porto"]) == [[Span(0, 3, 0.7), Span(9, 14, 0.9)]]
    assert detector.id != GlinerDetector(Told(), ("film",)).id


@pytest.mark.parametrize("arguments", [{"labels": ()}, {"threshold": 0.0}, {"threshold": 1.0}])
def test_bad_settings_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="labels = .*threshold = "):
        GlinerDetector(Told(), **arguments)


@pytest.mark.parametrize(("package", "make"), [("spacy", SpacyDetector), ("gliner", GlinerDetector)])
def test_a_missing_package_is_named(package: str, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=f"pip install 'mmel\\[{package}\\]'"):
        make("model")
