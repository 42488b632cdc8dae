"""Names in raw text, found from the knowledge base itself and judged by what training documents link."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence, Set
from math import exp
from pathlib import Path
from typing import Any, NamedTuple

from mmel.detection.evidence import FEATURES, Context, Counts, contexts, features, lower_case
from mmel.detection.lexicon import Lexicon, boundaries, standing_alone
from mmel.detection.spans import Span, TextDetector
from mmel.errors import InputError
from mmel.files import read_json, write_json
from mmel.kb import KnowledgeBase

__all__ = ["Judge", "NameDetector", "Span", "TextDetector"]

_SHORTEST_PART = 3  # letters of a partial name that the knowledge base does not have


class Judge(NamedTuple):
    """A logistic regression over FEATURES, whose probability must reach `threshold` for a mention."""

    weights: Sequence[float]
    bias: float
    threshold: float

    def probability(self, values: Sequence[float]) -> float:
        """That an occurrence with these features is a mention."""
        score = self.bias + sum(w * v for w, v in zip(self.weights, values, strict=True))
        return 1 / (1 + exp(-score)) if score > -500 else 0.0


class NameDetector:
    """Finds every name of a knowledge base that is probably a mention; a TextDetector.

    A word that the base does not have, but that ends a name found in the same document, is a mention too:
    its span has that name.

    Example:
        >>> detector = NameDetector.load("runs/movies-0/detection.json", kb)   # doctest: +SKIP
        >>> detector.detect(["Mira's guide left Otto."])                        # doctest: +SKIP
        [[Span(start=0, end=4, ...), Span(start=18, end=22, ...)]]
    """

    def __init__(self, lexicon: Lexicon, counts: Counts, judge: Judge) -> None:
        self.lexicon, self.counts, self.judge = lexicon, counts, judge
        state = json.dumps(self._state(), sort_keys=True, ensure_ascii=True)
        self.id = f"names-{hashlib.sha256(f'{lexicon.id} {state}'.encode()).hexdigest()[:16]}"

    def detect(self, texts: Sequence[str]) -> list[list[Span]]:
        """See TextDetector."""
        return [self._detect(text) for text in texts]

    def _detect(self, text: str) -> list[Span]:
        found = list(contexts(text, self.lexicon))
        chosen = choose(found, [self.probability(one) for one in found], self.judge.threshold)
        spans = [Span(one.occurrence.start, one.occurrence.end, probability) for one, probability in chosen]
        known = {one.occurrence[:2] for one in found}
        return sorted([*spans, *self._partial(text, spans, known)], key=lambda span: span.start)

    def probability(self, context: Context) -> float:
        """That an occurrence is a mention."""
        return self.judge.probability(features(context, self.lexicon, self.counts))

    def _partial(self, text: str, spans: Sequence[Span], known: Set[tuple[int, int]]) -> Iterator[Span]:
        """Last words of found names that stand alone, where the knowledge base does not know them."""
        whole: dict[str, set[tuple[str, float]]] = {}
        for span in spans:
            name = text[span.start : span.end]
            last = name.split()[-1]
            if last != name and self._is_name(last):
                whole.setdefault(last, set()).add((name, span.probability))
        if not whole:
            return
        taken, allowed = bytearray(len(text)), boundaries(text)
        for span in spans:
            taken[span.start : span.end] = b"\1" * (span.end - span.start)
        for last, names in whole.items():
            if len({name for name, _ in names}) == 1:  # of two who share it nobody knows whom it means
                name, probability = max(names, key=lambda one: one[1])
                for place in standing_alone(text, last, allowed):
                    if place not in known and 1 not in taken[slice(*place)]:
                        yield Span(*place, probability, name)

    def _is_name(self, word: str) -> bool:
        """Whether a word is written with a capital, and not as often without."""
        return (
            len(word) >= _SHORTEST_PART and word.isalpha() and word[0].isupper() and lower_case(word, self.counts) <= 0
        )

    # -- files

    def save(self, path: Path) -> None:
        """Write what was learned; the names themselves stay in the knowledge base."""
        write_json(path, self._state())

    def _state(self) -> dict[str, Any]:
        judge = {"bias": self.judge.bias, "threshold": self.judge.threshold}
        weights = dict(zip(FEATURES, self.judge.weights, strict=True))
        return {"kind": "names", **judge, "weights": weights, "counts": self.counts.to_dict()}

    @classmethod
    def load(cls, path: Path, kb: KnowledgeBase) -> NameDetector:
        """What `save` wrote, over the names of a knowledge base; InputError where another version wrote it."""
        remedy = "train again with --restart"
        state = read_json(path, remedy)
        try:
            if list(state["weights"]) != list(FEATURES):
                raise InputError("was learned on other features than this version computes", file=path, remedy=remedy)
            judge = Judge(tuple(map(float, state["weights"].values())), float(state["bias"]), float(state["threshold"]))
            counts = Counts.from_dict(state["counts"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"holds no mention detection ({error!r})", file=path, remedy=remedy) from error
        return cls(Lexicon(kb), counts, judge)


def choose(found: Sequence[Context], probabilities: Sequence[float], threshold: float) -> list[tuple[Context, float]]:
    """The occurrences of at least this probability by start; of those that overlap the longest, then most probable."""
    likely = [(one.occurrence, p, one) for one, p in zip(found, probabilities, strict=True) if p >= threshold]
    likely.sort(key=lambda item: (item[0].start - item[0].end, -item[1], item[0].start))
    taken = bytearray(max((place.end for place, *_ in likely), default=0))
    chosen = []
    for (start, end, *_), probability, one in likely:
        if 1 not in taken[start:end]:
            taken[start:end] = b"\1" * (end - start)
            chosen.append((one, probability))
    return sorted(chosen, key=lambda item: item[0].occurrence.start)
