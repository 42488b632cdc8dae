"""End-to-end scores: mentions that were found, and their links, against gold mentions, kept by document.

Three questions, as GERBIL asks them (Röder, Usbeck & Ngonga Ngomo, "GERBIL", Semantic Web 2018; Cornolti et al. 2013):

- *detection*: is a gold mention found? Strong match: the same characters, nothing of them less or more.
- *linking* (D2KB): gold mentions are given; is the entity right?
- *both* (A2KB): is a gold mention found and its entity right?

A gold mention matches one found mention at most, so of two found at one place one is wrong. NIL three ways: *in KB*
has gold mentions with an entity, and answers that are one (an entity where gold says NIL costs precision); *with NIL*
takes NIL for an entity as any other; *emerging* has NIL alone, in gold and answers. What is found at a gold mention
without a label is to be found, and its link is not scored. Micro pools documents, macro is the mean over all of them,
and where there is nothing to find and nothing is found all is well: 1. No threshold is searched for.

A region of a picture matches at an intersection over union of 0.5 or more. A gold mention of a whole photograph, which
says no place, matches the largest face that is found on it.

Where gold is distant (made by a rule, not by people) it leaves names out. What is found there counts as wrong though it
may be right, so precision and F1 of *detection* and *both* are lower bounds; their recall is what it says.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmel.document import NIL, Box, Document, Link, LinkedDocument, TextMention, VisualMention
from mmel.errors import InputError
from mmel.evaluation.metrics import Floats, Integers, precision_recall_f1

Booleans = NDArray[np.bool_]
Treatment = Literal["in_kb", "with_nil", "emerging"]
LEAST_IOU = 0.5
# Which entities of gold and of answers have a part.
_TREATMENTS: dict[Treatment, Callable[[str | None], bool]] = {
    "in_kb": lambda entity: entity is not None and entity != NIL,
    "with_nil": lambda entity: entity is not None,
    "emerging": lambda entity: entity == NIL,
}
_WORDS: dict[Treatment, str] = {"in_kb": "in KB", "with_nil": "with NIL", "emerging": "NIL alone"}


@dataclass(frozen=True, slots=True)
class SpanScores:
    """Precision, recall and F1 in [0, 1]; `gold`, `found` and `correct` are the counts behind the micro ones."""

    gold: int
    found: int
    correct: int
    micro_precision: float
    micro_recall: float
    micro_f1: float
    macro_precision: float
    macro_recall: float
    macro_f1: float


def span_scores(counts: ArrayLike) -> SpanScores:
    """Scores of counts by document `[documents, 3]` (gold, found, correct); no document at all is all well."""
    counts = np.asarray(counts, dtype=np.int64).reshape(-1, 3)
    sums = counts.sum(axis=0)
    macro = _measures(counts).mean(axis=0) if len(counts) else np.ones(3)
    return SpanScores(*sums.tolist(), *_measures(sums).tolist(), *macro.tolist())


def _measures(counts: Integers) -> Floats:
    """Precision, recall, F1 `[..., 3]`; 1 where nothing is to be found and nothing is."""
    empty = (counts[..., :2] == 0).all(axis=-1, keepdims=True)
    return np.where(empty, 1.0, precision_recall_f1(counts))


# --- one document ---------------------------------------------------------------------------------------------------


def without_gold(document: Document) -> Document:
    """The document as its author had it: text and whole pictures, no mention of either kind."""
    images = dict.fromkeys([*document.images, *(mention.image for mention in document.visual_mentions)])
    return dataclasses.replace(document, text_mentions=(), visual_mentions=(), images=tuple(images))


def same_spans(gold: Sequence[TextMention], found: Sequence[TextMention]) -> Booleans:
    """`[gold, found]`: which pairs are of the same characters."""
    one, two = (np.array([(m.start, m.end) for m in side], np.int64).reshape(-1, 2) for side in (gold, found))
    return np.asarray((one[:, None] == two[None]).all(axis=-1))


def same_regions(gold: Sequence[VisualMention], found: Sequence[VisualMention]) -> Booleans:
    """`[gold, found]`: which pairs are of the same region of the same picture, see the module.

    A picture with several gold mentions without a box has as many faces for them, the largest that no gold box has.
    """
    same = np.zeros((len(gold), len(found)), dtype=np.bool_)
    for image in dict.fromkeys(mention.image for mention in gold):
        rows = [i for i, mention in enumerate(gold) if mention.image == image]
        columns = [j for j, mention in enumerate(found) if mention.image == image]
        same[np.ix_(rows, columns)] = _same_boxes([gold[i].box for i in rows], [found[j].box for j in columns])
    return same


def _same_boxes(gold: Sequence[Box | None], found: Sequence[Box | None]) -> Booleans:
    same = np.array([[_overlap(one, two) >= LEAST_IOU for two in found] for one in gold], dtype=np.bool_)
    same = same.reshape(len(gold), len(found))
    whole = [i for i, box in enumerate(gold) if box is None]
    free = [j for j in np.argsort([-_area(box) for box in found], kind="stable") if not same[:, j].any()]
    same[np.ix_(whole, free[: len(whole)])] = True
    return same


def _overlap(one: Box | None, two: Box | None) -> float:
    """Intersection over union; 0 where one is a whole picture, whose size nobody says."""
    if one is None or two is None:
        return 0.0
    width, height = min(one[2], two[2]) - max(one[0], two[0]), min(one[3], two[3]) - max(one[1], two[1])
    shared = max(width, 0.0) * max(height, 0.0)
    return shared / (_area(one) + _area(two) - shared)


def _area(box: Box | None) -> float:
    return math.inf if box is None else (box[2] - box[0]) * (box[3] - box[1])


def annotation_counts(
    same: Booleans, gold: Sequence[str | None], answers: Sequence[str]
) -> dict[Treatment, tuple[int, int, int]]:
    """`(gold, found, correct)` of one document for each treatment of NIL.

    Args:
        same: `[gold, found]`, which pairs are of one place. gold: entities, None where unlabelled. answers: entities.
    """
    labelled = np.array([entity is not None for entity in gold], dtype=np.bool_)
    # What is found at a mention without a label is neither right nor wrong.
    scored = np.logical_or(same[labelled].any(axis=0), ~same[~labelled].any(axis=0)).tolist()
    right = same & np.array([[one == two for two in answers] for one in gold], dtype=np.bool_).reshape(same.shape)
    counts: dict[Treatment, tuple[int, int, int]] = {}
    for treatment, counted in _TREATMENTS.items():
        rows = [i for i, entity in enumerate(gold) if counted(entity)]
        columns = [j for j, entity in enumerate(answers) if scored[j] and counted(entity)]
        counts[treatment] = len(rows), len(columns), pairs(right[np.ix_(rows, columns)])
    return counts


def pairs(same: Booleans) -> int:
    """The most pairs that can be made of `same` `[gold, found]`, none of them twice (maximum bipartite matching)."""
    if not same.any():
        return 0
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_bipartite_matching

    return int((maximum_bipartite_matching(csr_array(same), perm_type="column") >= 0).sum())


# --- many documents -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ends:
    """One modality: counts by document `[documents, 3]` (gold, found, correct) of detection, linking and both.

    `unlabelled`: gold mentions that carry no label, which are to be found and not scored further.
    """

    detection: Integers
    linking: Mapping[Treatment, Integers]
    both: Mapping[Treatment, Integers]
    unlabelled: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `gold_mentions` is the recall in KB of linking and of both."""
        given, found = span_scores(self.linking["in_kb"]), span_scores(self.both["in_kb"])
        return {
            "detection": dataclasses.asdict(span_scores(self.detection)),
            "linking": {name: dataclasses.asdict(span_scores(counts)) for name, counts in self.linking.items()},
            "both": {name: dataclasses.asdict(span_scores(counts)) for name, counts in self.both.items()},
            "gold_mentions": {
                "mentions": given.gold,
                "right_where_given": given.micro_recall,
                "right_where_found": found.micro_recall,
                "difference": found.micro_recall - given.micro_recall,
            },
            "unlabelled": self.unlabelled,
        }

    def rows(self, name: str) -> Iterator[str]:
        """The block of a table, in per cent."""
        yield _row(f"{name} detection", self.detection)
        for part, all_counts in (("linking (D2KB)", self.linking), ("both (A2KB)", self.both)):
            for treatment, counts in all_counts.items():
                if treatment != "emerging" or counts[:, :2].any():
                    yield _row(f"{name} {part}, {_WORDS[treatment]}", counts)
        told = self.to_dict()["gold_mentions"]
        yield (
            f"{name} mentions with the right link: {100 * told['right_where_found']:.2f} found and linked, "
            f"{100 * told['right_where_given']:.2f} where given ({100 * told['difference']:+.2f}), "
            f"of {told['mentions']:,} in KB"
        )
        if self.unlabelled:
            yield f"{self.unlabelled:,} {name} mentions without a label: whether they are found is scored, no link is"


@dataclass(frozen=True, slots=True)
class EndToEnd:
    """Both modalities, None where no mention of one was linked. `distant`: gold leaves out what it should have.

    `seconds` is what finding and linking took, for `documents`.
    """

    text: Ends | None
    visual: Ends | None
    documents: int
    distant: bool = False
    seconds: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; scores are fractions in [0, 1], a modality that was not linked is absent."""
        result: dict[str, Any] = {
            "match": "strong",
            "least_iou": LEAST_IOU,
            "gold": "distant: precision and F1 of detection and both are lower bounds" if self.distant else "annotated",
            "seconds": self.seconds,
            "documents_per_second": self.documents / self.seconds if self.seconds else None,
        }
        sides = {"text": self.text, "visual": self.visual}
        return result | {name: ends.to_dict() for name, ends in sides.items() if ends is not None}

    def table(self) -> list[str]:
        """Lines for people."""
        rate = f", {self.documents / self.seconds:,.1f} documents/s" if self.seconds else ""
        lines = [f"end to end, from raw texts and whole pictures: strong match, boxes at IoU {LEAST_IOU}{rate}"]
        if self.distant:
            lines.append(
                "gold is distant, it leaves names out: precision and F1 of detection and both are lower bounds"
            )
        lines.append(f"{'':<32}" + "".join(f"{f'{kind} {what}':>10}" for kind in ("micro", "macro") for what in "PRF"))
        for name, ends in (("text", self.text), ("visual", self.visual)):
            lines += ends.rows(name) if ends is not None else []
        return lines


def evaluate_ends(
    given: Iterable[LinkedDocument],
    found: Iterable[LinkedDocument],
    *,
    distant: bool = False,
    seconds: float | None = None,
) -> EndToEnd:
    """Score documents with mentions that were found against the same documents with gold mentions.

    Args:
        given: linked on their gold mentions, whose entities are the gold.
        found: the same in the same order, linked on mentions that a detector made.

    Raises:
        InputError: the two are not of the same documents, or mentions and links do not match one to one.
    """
    text, visual, count = _Side("text"), _Side("visual"), 0
    for one, two in zip_longest(given, found):
        _check_same(one, two)
        count += 1
        gold, made = one.document, two.document
        spans = same_spans(gold.text_mentions, made.text_mentions)
        regions = same_regions(gold.visual_mentions, made.visual_mentions)
        text.add(gold.id, [m.entity for m in gold.text_mentions], one.text_links, spans, two.text_links)
        visual.add(gold.id, [m.entity for m in gold.visual_mentions], one.visual_links, regions, two.visual_links)
    return EndToEnd(text.ends(), visual.ends(), count, distant, seconds)


def _check_same(one: LinkedDocument | None, two: LinkedDocument | None) -> None:
    if one is None or two is None:
        more = one or two
        assert more is not None
        raise InputError(f"document '{more.document.id}' is only among those {'given' if one else 'found'}")
    if (one.document.id, one.document.text) != (two.document.id, two.document.text):
        raise InputError(
            f"document '{one.document.id}' stands beside '{two.document.id}'"
            + (", whose text is another" if one.document.id == two.document.id else ""),
            remedy="give the same documents in the same order",
        )


class _Side:
    """Adds up one modality document by document."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._detection: list[tuple[int, int, int]] = []
        self._linking: dict[Treatment, list[tuple[int, int, int]]] = {name: [] for name in _TREATMENTS}
        self._both: dict[Treatment, list[tuple[int, int, int]]] = {name: [] for name in _TREATMENTS}
        self._unlabelled = 0
        self._linked = False
        self._unlinked: str | None = None

    def add(
        self, document: str, gold: Sequence[str | None], given: Sequence[Link], same: Booleans, found: Sequence[Link]
    ) -> None:
        """A document's gold entities, the links of gold mentions and of found ones, and which are of one place."""
        self._linked = self._linked or bool(given) or bool(found)
        wanted, made = same.shape
        if len(given) != wanted or len(found) != made:
            if given or found:
                raise InputError(
                    f"document '{document}': {len(given)} links of {wanted} gold {self._name} mentions, "
                    f"{len(found)} of {made} that were found"
                )
            self._unlinked = self._unlinked or document
        if self._unlinked is not None:
            if self._linked:
                raise InputError(f"document '{self._unlinked}' has {self._name} mentions and no {self._name} link")
            return  # the modality is not linked, as long as no document has a link
        self._detection.append((wanted, made, pairs(same)))
        self._unlabelled += sum(entity is None for entity in gold)
        linking = annotation_counts(np.eye(wanted, dtype=np.bool_), gold, [link.entity for link in given])
        both = annotation_counts(same, gold, [link.entity for link in found])
        for treatment in _TREATMENTS:
            self._linking[treatment].append(linking[treatment])
            self._both[treatment].append(both[treatment])

    def ends(self) -> Ends | None:
        """What was added up; None where no mention was linked."""
        if not self._linked:
            return None
        linking, both = ({name: _rows(counts) for name, counts in each.items()} for each in (self._linking, self._both))
        return Ends(_rows(self._detection), linking, both, self._unlabelled)


def _rows(counts: Sequence[tuple[int, int, int]]) -> Integers:
    return np.array(counts, dtype=np.int64).reshape(-1, 3)


def _row(label: str, counts: Integers) -> str:
    score = span_scores(counts)
    values = (
        score.micro_precision, score.micro_recall, score.micro_f1,
        score.macro_precision, score.macro_recall, score.macro_f1,
    )  # fmt: skip
    numbers = "".join(f"{100 * value:>10.2f}" for value in values)
    return f"{label:<32}{numbers}   {score.correct:,} right of {score.found:,} found, {score.gold:,} gold"
