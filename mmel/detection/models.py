"""Names in raw text by pretrained models: spaCy's entity recognisers, and GLiNER."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.metadata import version
from typing import Any

from mmel.detection.spans import Span
from mmel.errors import ConfigError, InputError, MissingDependencyError

PERSON_TYPES, PERSON_LABELS = ("PERSON", "PER"), ("person",)


class SpacyDetector:
    """The entities of a spaCy pipeline; a TextDetector. They come without a probability, which is 1.

    Args:
        model: an installed pipeline such as `en_core_web_sm`, a folder of one, or a loaded pipeline.
        types: entity types (`ent.label_`) that are mentions; empty: all.

    Raises:
        MissingDependencyError without spaCy; InputError where there is no such pipeline.
    """

    def __init__(self, model: str | Any = "en_core_web_sm", types: Sequence[str] = PERSON_TYPES) -> None:
        try:
            import spacy
        except ImportError as error:
            raise MissingDependencyError("spacy", "spacy") from error
        if isinstance(model, str):
            try:
                model = spacy.load(model)
            except OSError as error:
                remedy = f"install it: python -m spacy download {model}"
                raise InputError(f"spaCy has no pipeline '{model}'", remedy=remedy) from error
        self._pipeline, self._types = model, frozenset(types)
        name = f"{model.meta.get('lang')}_{model.meta.get('name')}-{model.meta.get('version')}"
        self.id = f"spacy-{spacy.__version__}-{name}-{'+'.join(sorted(types)) or 'all'}"

    def detect(self, texts: Sequence[str]) -> list[list[Span]]:
        """See TextDetector."""
        return [
            [
                Span(entity.start_char, entity.end_char, 1.0)
                for entity in parsed.ents
                if not self._types or entity.label_ in self._types
            ]
            for parsed in self._pipeline.pipe(texts)
        ]


class GlinerDetector:
    """The entities that GLiNER (Zaratiana et al. 2024) finds for labels in words; a TextDetector.

    Args:
        model: the name or folder of a GLiNER model, or a loaded one.
        labels: what is looked for, such as `person` or `film`.
        threshold: the least probability, in (0, 1).

    Raises:
        MissingDependencyError without gliner; ConfigError for no label or a threshold out of range.
    """

    def __init__(
        self,
        model: str | Any = "urchade/gliner_small-v2.1",
        labels: Sequence[str] = PERSON_LABELS,
        threshold: float = 0.5,
    ) -> None:
        if not labels or not 0 < threshold < 1:
            raise ConfigError(
                f"labels = {list(labels)}, threshold = {threshold}: allowed are one label or more, 0 < threshold < 1"
            )
        name = model if isinstance(model, str) else type(model).__name__
        if isinstance(model, str):
            try:
                from gliner import GLiNER
            except ImportError as error:
                raise MissingDependencyError("gliner", "gliner") from error
            name = f"{version('gliner')}-{model}"
            model = GLiNER.from_pretrained(model)
        self._model, self._labels, self._threshold = model, list(labels), threshold
        self.id = f"gliner-{name}-{'+'.join(labels)}-{threshold:g}"

    def detect(self, texts: Sequence[str]) -> list[list[Span]]:
        """See TextDetector."""
        return [
            _apart(
                Span(found["start"], found["end"], float(found["score"]))
                for found in self._model.predict_entities(text, self._labels, threshold=self._threshold)
            )
            for text in texts
        ]


def _apart(spans: Iterable[Span]) -> list[Span]:
    """By start; of those that overlap the most probable, then the longest."""
    kept: list[Span] = []
    for span in sorted(spans, key=lambda one: (-one.probability, one.start - one.end, one.start)):
        if all(span.end <= other.start or other.end <= span.start for other in kept):
            kept.append(span)
    return sorted(kept, key=lambda one: one.start)
