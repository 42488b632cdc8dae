"""An evaluation with its protocol: the JSON a benchmark reads and the table a person reads.

A number without its protocol cannot be compared: papers differ in candidates, in whether the gold entity is put
among them, in what happens to NIL and in how many mentions they keep. So the two always stand together.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mmel.document import Link, LinkedDocument
from mmel.errors import InputError
from mmel.evaluation.calibration import Certainty
from mmel.evaluation.metrics import (
    Interval,
    Scores,
    Tally,
    TallyBuilder,
    mean,
    mrr,
    mrr_at,
    paired_bootstrap,
    recall_at,
    scores,
)
from mmel.evaluation.spans import EndToEnd
from mmel.files import atomic_write

if TYPE_CHECKING:
    from mmel.evaluation.tasks import TaskScores

RECALL_AT = (1, 3, 5, 10)
MRR_AT = (3, 5, 10)
CANDIDATES_AT = (1, 4, 7, 30)
MODALITIES: tuple[Literal["text", "visual"], ...] = ("text", "visual")


@dataclass(frozen=True, slots=True)
class Protocol:
    """What the numbers stand for.

    `candidates`: where they come from ("PPRforNED", "kilt", "kb", ...). `gold_injected`: whether the gold entity was
    put among them. `nil`: whether mentions with gold NIL are "ignored" (in-KB scores) or "scored" (NIL is an entity
    as any other). `missing_images`: pictures that could not be read, and `missing_policy` what became of them:
    "masked" leaves the picture out, so that the rest of the mention and of the entity decides; a mention of which
    nothing is left gets no answer, which is counted as a wrong one. `competing`: how many entities compete for a
    mention, as `competing` puts it; `evaluate` fills it in. `ties`: equal scores share the mean of their ranks
    (`realistic_ranks`). `pictures`: whose pictures documents had. `tasks`: where tasks were scored, the one that the
    scores of the modalities are of.
    """

    candidates: str
    gold_injected: bool = False
    nil: Literal["ignored", "scored"] = "ignored"
    missing_images: int = 0
    missing_policy: Literal["masked"] = "masked"
    # Found in the links: two systems may be compared that differ in it.
    competing: str = field(default="", compare=False)
    ties: Literal["realistic"] = "realistic"
    pictures: str = "own"
    tasks: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `pictures` and `tasks` where they are not the usual."""
        usual = {"pictures": "own", "tasks": ""}
        values = dataclasses.asdict(self)
        return {name: value for name, value in values.items() if name not in usual or value != usual[name]}


def competing(listed: np.ndarray, entities: int | None) -> str:
    """How many entities compete for a mention, in words: "whole KB (18,880)", "100 of 18,880", "1 to 30 ...".

    Args:
        listed: `[mentions]` lengths of candidate lists; empty ones have no part in it.
        entities: how many there are to choose from; None where a dataset brings each mention's list.
    """
    listed = listed[listed > 0]
    if not len(listed):
        return ""
    low, high = int(listed.min()), int(listed.max())
    if entities is not None and low == entities:
        return f"whole KB ({entities:,})"
    count = f"{low:,}" if low == high else f"{low:,} to {high:,} (mean {listed.mean():,.1f})"
    return f"{count} {'listed by the dataset' if entities is None else f'of {entities:,}'}"


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """Scores of one dataset split; a modality that has no mention, or was not linked at all, is None.

    `text_alone` and `visual_alone` are of the links that each modality made by itself, where documents were coupled.
    `end_to_end` is there where the mentions were also to be found; `certainty`, by modality, says how NIL was decided
    and what confidences are worth. `tasks` are the nine tasks, where they were scored.
    """

    dataset: str
    split: str
    protocol: Protocol
    document_ids: tuple[str, ...]
    text: Tally | None
    visual: Tally | None
    seconds: float
    text_alone: Tally | None = None
    visual_alone: Tally | None = None
    end_to_end: EndToEnd | None = None
    tasks: tuple[TaskScores, ...] = ()
    certainty: Mapping[str, Certainty] = field(default_factory=dict)
    _gains: dict[tuple[str, int], Interval] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def documents_per_second(self) -> float | None:
        return len(self.document_ids) / self.seconds if self.seconds > 0 else None

    def scores(self, modality: Literal["text", "visual"] = "text") -> Scores:
        """Scores of a modality under the protocol; InputError where it has none."""
        tally = self._tally(modality)
        return scores(tally.with_nil if self.protocol.nil == "scored" else tally.in_kb)

    def to_dict(self) -> dict[str, Any]:
        """The evaluation as plain values for JSON; scores are fractions in [0, 1], a modality without links absent.

        What goes beyond the headline numbers (counts both ways, macro precision and recall, recall of candidates by
        prior) is under `details` of each modality.
        """
        result: dict[str, Any] = {
            "dataset": self.dataset,
            "split": self.split,
            "protocol": self.protocol.to_dict(),
            "documents": len(self.document_ids),
        }
        if self.text is not None:
            result["text"] = self._text() | self._certainty("text").to_dict()
        if self.visual is not None:
            result["visual"] = self._visual() | self._certainty("visual").to_dict()
        if self.text_alone is not None or self.visual_alone is not None:
            result["alone"] = {name: self._beside(name) for name in MODALITIES if self._alone(name) is not None}
        result |= {"seconds": self.seconds, "documents_per_second": self.documents_per_second}
        if self.tasks:
            result["tasks"] = {one.task: one.to_dict() for one in self.tasks}
        return result if self.end_to_end is None else result | {"end_to_end": self.end_to_end.to_dict()}

    def save(self, path: str | Path) -> None:
        """Write `to_dict` as JSON, whole or not at all."""
        with atomic_write(path) as stream:
            json.dump(self.to_dict(), stream, indent=2, ensure_ascii=False, allow_nan=False)
            stream.write("\n")

    def heading(self) -> list[str]:
        """What was evaluated and under which protocol, for people."""
        protocol = self.protocol
        rate = self.documents_per_second
        among = f" ({protocol.competing})" if protocol.competing else ""
        return [
            f"{self.dataset} {self.split}: {len(self.document_ids):,} documents, "
            f"{self.seconds:.2f} s{'' if rate is None else f', {rate:,.1f} documents/s'}",
            f"protocol: candidates {protocol.candidates}{among}, gold "
            f"{'' if protocol.gold_injected else 'not '}injected, NIL {protocol.nil}, ties {protocol.ties}, "
            f"missing images {protocol.missing_images} ({protocol.missing_policy})"
            f"{'' if protocol.pictures == 'own' else f', pictures {protocol.pictures}'}"
            f"{f', task {protocol.tasks}' if protocol.tasks else ''}",
        ]

    def table(self) -> str:
        """Protocol, counts and scores in per cent, for people."""
        lines = self.heading()
        if self.text is not None:
            lines += _rows("text", self.text) + self._certainty("text").rows()
        if self.visual is not None:
            lines += _rows("visual", self.visual) + self._certainty("visual").rows()
        for name in MODALITIES:
            if self._alone(name) is not None:
                lines.append(self._gain_row(name))
        if self.tasks:
            from mmel.evaluation.tasks import task_rows

            lines += task_rows(self.tasks)
        if self.end_to_end is not None:
            lines += self.end_to_end.table()
        return "\n".join(lines)

    def gain(self, modality: Literal["text", "visual"], resamples: int = 10_000) -> Interval:
        """Accuracy of the joint links minus that of the modality alone, paired bootstrap over documents, drawn once."""
        if (modality, resamples) not in self._gains:
            self._gains[modality, resamples] = self._bootstrapped(modality, resamples)
        return self._gains[modality, resamples]

    def _bootstrapped(self, modality: Literal["text", "visual"], resamples: int) -> Interval:
        joint, alone = self._tally(modality), self._alone(modality)
        if alone is None:
            raise InputError(f"{self.dataset} {self.split}: no document was coupled")
        scored = self.protocol.nil == "scored"
        first, second = (tally.with_nil if scored else tally.in_kb for tally in (joint, alone))
        return paired_bootstrap(first[:, [2, 0]], second[:, [2, 0]], mean, resamples=resamples)

    def _certainty(self, modality: Literal["text", "visual"]) -> Certainty:
        return self.certainty.get(modality, Certainty())

    def _alone(self, modality: Literal["text", "visual"]) -> Tally | None:
        return self.text_alone if modality == "text" else self.visual_alone

    def _beside(self, modality: Literal["text", "visual"]) -> dict[str, Any]:
        """The modality alone, and what the other one brings."""
        alone, gain = self._alone(modality), self.gain(modality)
        assert alone is not None
        score = scores(alone.with_nil if self.protocol.nil == "scored" else alone.in_kb)
        return {
            "mentions": score.mentions,
            "accuracy": score.accuracy,
            "micro_f1": score.micro_f1,
            **_ranking(alone),
            "gain": {"accuracy": gain.difference, "low": gain.low, "high": gain.high, "p_value": gain.p_value},
        }

    def _gain_row(self, modality: Literal["text", "visual"]) -> str:
        beside, joint = self._beside(modality), self.scores(modality)
        gain = beside["gain"]
        return (
            f"{modality + ' accuracy':<24}alone {100 * beside['accuracy']:.2f}   joint {100 * joint.accuracy:.2f}   "
            f"{100 * gain['accuracy']:+.2f} [{100 * gain['low']:+.2f}, {100 * gain['high']:+.2f}] "
            f"(95 % interval over documents)"
        )

    def _tally(self, modality: Literal["text", "visual"]) -> Tally:
        tally = self.text if modality == "text" else self.visual
        if tally is None:
            raise InputError(f"{self.dataset} {self.split}: no {modality} mention was linked")
        return tally

    def _text(self) -> dict[str, Any]:
        tally, score = self._tally("text"), self.scores("text")
        names = ("mentions", "correct", "micro_precision", "micro_recall", "micro_f1", "macro_f1", "accuracy")
        return {
            **{name: getattr(score, name) for name in names},
            "candidate_recall": tally.candidate_recall,
            **_ranking(tally),
            "details": _details(tally) | _ranking(tally),
        }

    def _visual(self) -> dict[str, Any]:
        tally, score = self._tally("visual"), self.scores("visual")
        return {
            "mentions": score.mentions,
            "accuracy": score.accuracy,
            "micro_f1": score.micro_f1,
            **_ranking(tally),
            "details": _details(tally) | {"candidate_recall": tally.candidate_recall},
        }


def evaluate(
    linked: Iterable[LinkedDocument],
    *,
    dataset: str,
    split: str,
    protocol: Protocol,
    seconds: float | None = None,
    entities: Mapping[str, int] | None = None,
) -> EvaluationResult:
    """Score linked documents against the gold labels that their documents carry; reads the iterable once.

    `entities` is how many there are to choose from, by modality, where candidates are not the dataset's own.
    `seconds` is what linking took; None measures the time spent inside `linked`, right where linking happens as the
    iterable is read. InputError where a document has mentions and links that do not match one to one. Documents
    without any link in a modality are allowed only if no document has one: then that modality was not linked.
    """
    text, visual, identifiers = _Modality("text"), _Modality("visual"), []
    text_alone, visual_alone, coupled = _Modality("text"), _Modality("visual"), False
    clock = _Clock()
    for item in clock.watch(linked):
        document = item.document
        identifiers.append(document.id)
        named = [mention.entity for mention in document.text_mentions]
        seen = [mention.entity for mention in document.visual_mentions]
        coupled |= item.alone is not None
        for one, by_text, by_picture in ((item, text, visual), (item.alone or item, text_alone, visual_alone)):
            by_text.add(document.id, named, one.text_links)
            by_picture.add(document.id, seen, one.visual_links)
    if not (text.linked or visual.linked) and (text.unlinked or visual.unlinked):
        raise InputError(
            f"{dataset} {split}: no document has a link, though '{text.unlinked or visual.unlinked}' has mentions"
        )
    by_name = (("text", text), ("visual", visual))
    tallies = {name: one.tally() for name, one in by_name}
    return EvaluationResult(
        dataset,
        split,
        dataclasses.replace(protocol, competing=_competing(tallies, entities or {})),
        tuple(identifiers),
        tallies["text"],
        tallies["visual"],
        clock.seconds if seconds is None else seconds,
        text_alone.tally() if coupled else None,
        visual_alone.tally() if coupled else None,
        certainty={name: Certainty.of(one.pairs, protocol.nil == "scored") for name, one in by_name if one.linked},
    )


def compare(
    first: EvaluationResult,
    second: EvaluationResult,
    modality: Literal["text", "visual"] = "text",
    *,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Paired bootstrap interval of the micro-F1 difference of two evaluations of the same documents."""
    if first.document_ids != second.document_ids:
        raise InputError("the two evaluations are not of the same documents in the same order")
    if first.protocol != second.protocol:
        raise InputError(f"the two evaluations differ in protocol: {first.protocol} and {second.protocol}")
    one, two = first._tally(modality), second._tally(modality)
    if first.protocol.nil == "scored":
        return paired_bootstrap(one.with_nil, two.with_nil, resamples=resamples, seed=seed)
    return paired_bootstrap(one.in_kb, two.in_kb, resamples=resamples, seed=seed)


class _Modality:
    """Adds up one modality; knows whether it was linked at all and the first document with mentions and no link."""

    def __init__(self, name: str) -> None:
        self._name, self._builder = name, TallyBuilder()
        self.unlinked: str | None = None
        self.linked = False
        self.pairs: list[tuple[str | None, Link]] = []

    def add(self, document: str, gold: list[str | None], links: Sequence[Link]) -> None:
        self.linked = self.linked or bool(links)
        if gold and not links:
            self.unlinked = self.unlinked or document
        else:
            self._builder.add(document, gold, links)
            self.pairs += zip(gold, links, strict=True)
        if self.linked and self.unlinked is not None:
            raise InputError(f"document '{self.unlinked}' has {self._name} mentions and no {self._name} link")

    def tally(self) -> Tally | None:
        return self._builder.tally() if self.linked else None


def _competing(tallies: Mapping[str, Tally | None], entities: Mapping[str, int]) -> str:
    """`competing` of each modality that was linked, named where there are two."""
    told = {
        name: words
        for name, tally in tallies.items()
        if tally is not None and tally.listed is not None and (words := competing(tally.listed, entities.get(name)))
    }
    return "; ".join(words if len(told) == 1 else f"{name} {words}" for name, words in told.items())


class _Clock:
    """Seconds spent inside an iterable."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def watch(self, items: Iterable[LinkedDocument]) -> Iterator[LinkedDocument]:
        iterator = iter(items)
        while True:
            start = time.perf_counter()
            item = next(iterator, None)
            self.seconds += time.perf_counter() - start
            if item is None:
                return
            yield item


def _details(tally: Tally) -> dict[str, Any]:
    ranks = tally.prior_ranks
    return {
        "in_kb": dataclasses.asdict(scores(tally.in_kb)),
        "with_nil": dataclasses.asdict(scores(tally.with_nil)),
        "unlabelled": tally.unlabelled,
        "candidate_recall_at": None if ranks is None else {str(k): recall_at(ranks, k) for k in CANDIDATES_AT},
    }


def _ranking(tally: Tally) -> dict[str, Any]:
    ranks = tally.score_ranks
    return {
        "recall_at": None if ranks is None else {str(k): recall_at(ranks, k) for k in RECALL_AT},
        "mrr_at": None if ranks is None else {str(k): mrr_at(ranks, k) for k in MRR_AT},
        "mrr": None if ranks is None else mrr(ranks),
    }


def _rows(name: str, tally: Tally) -> list[str]:
    """The block of one modality: each number with the counts it is made of."""
    in_kb, with_nil = scores(tally.in_kb), scores(tally.with_nil)
    documents = int((tally.in_kb[:, 0] > 0).sum())
    lines = [f"{name:<24}{'precision':>10}{'recall':>10}{'F1':>10}"]
    for label, values, note in (
        (
            "  micro, in KB",
            (in_kb.micro_precision, in_kb.micro_recall, in_kb.micro_f1),
            f"{in_kb.correct:,} right of {in_kb.predicted:,} answered, {in_kb.mentions:,} mentions",
        ),
        (
            "  macro, in KB",
            (in_kb.macro_precision, in_kb.macro_recall, in_kb.macro_f1),
            f"{documents:,} documents with such a mention",
        ),
        (
            "  micro, with NIL",
            (with_nil.micro_precision, with_nil.micro_recall, with_nil.micro_f1),
            f"{with_nil.correct:,} right of {with_nil.mentions:,} mentions, "
            f"{with_nil.mentions - in_kb.mentions:,} of them NIL",
        ),
    ):
        lines.append(f"{label:<24}" + "".join(f"{100 * value:>10.2f}" for value in values) + f"   {note}")
    lines.append(
        f"{'  accuracy, in KB':<24}{100 * in_kb.accuracy:>10.2f}   {in_kb.correct:,} of {in_kb.mentions:,} mentions"
    )
    if tally.prior_ranks is not None and tally.score_ranks is not None:
        every, by_prior = tally.candidate_recall or 0.0, tally.prior_ranks
        hits = "H" if name == "text" else "R"  # the same number; so the field calls it for names, and for faces
        ranked = "  ".join(f"{hits}@{k} {100 * recall_at(tally.score_ranks, k):.2f}" for k in RECALL_AT)
        mean = "  ".join(f"MRR@{k} {100 * mrr_at(tally.score_ranks, k):.2f}" for k in MRR_AT)
        mean += f"  MRR {100 * mrr(tally.score_ranks):.2f} (a gold that is not listed counts 0)"
        first = ", ".join(f"{100 * recall_at(by_prior, k):.2f} in the first {k}" for k in CANDIDATES_AT)
        note = f"   by prior {first}" if name == "text" else ""  # entities of a picture have no prior
        lines += [f"{'  candidate recall':<24}{100 * every:>10.2f}{note}", f"  ranking: {ranked}  {mean}"]
    if tally.unlabelled:
        lines.append(f"  {tally.unlabelled:,} mentions without a label are not scored")
    return lines
