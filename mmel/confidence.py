"""How sure a link is: the calibrated probability that the decision is right, and NIL where the entity is not there.

A softmax over candidates says which is the best, never whether any is right: a stranger has a best candidate too. So
the evidence of each best candidate (odds, margin, how the name matched, what scorers and coupling said of it, how alike
the faces are, how the other mentions of the document fare) goes through a small network that tells three cases apart:
the candidate is right, the entity is not in the base, another one is right. It was fitted on validation documents, on
the base as it is and with entities hidden (`mmel.training.confidence`); a curve makes its outputs frequencies.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mmel.candidates.generate import SOURCES
from mmel.document import NIL, Link, LinkedDocument
from mmel.errors import InputError
from mmel.files import read_json, write_json
from mmel.kb import KnowledgeBase
from mmel.text.prepare import TextInputs
from mmel.vision.tasks import Ranking

Modality = Literal["text", "visual"]
MODALITIES: tuple[Modality, ...] = ("text", "visual")
CASES = ("right", "nil", "other")
_FAR = 8.0
_LEAST = 1e-6  # no probability is told apart from one nearer to 0 or 1
_OF_LINK = ("log_odds", "log_margin", "entropy", "log_candidates", "single")
_MATCHED = SOURCES[1 : SOURCES.index("retrieved")]  # what was retrieved matched in none of these ways
_OF_FACE = ("similarity", "advantage", "nearest", "log_rank")


@dataclass(frozen=True)
class Evidence:
    """What speaks for the best candidates of n mentions: those of a batch of documents that have any.

    Attributes:
        values: `[n, f]` float64, finite: a mention's own, then the means of the others of its document and modality
            (its own again where there are none). names: f names.
        document, mention: `[n]` int64, which document of the batch and which mention of it.
    """

    values: np.ndarray
    names: tuple[str, ...]
    document: np.ndarray
    mention: np.ndarray


def text_evidence(
    linked: Sequence[LinkedDocument], inputs: TextInputs, kb: KnowledgeBase, columns: Sequence[str]
) -> Evidence:
    """Evidence of textual links: p(e|m), how the name matched, the columns of all scorers.

    Args:
        inputs: of the documents, from the preparer of the text linker.
        columns: of the coupling, by name; empty where nothing is coupled.
    """
    links, document, mention, row = _with_candidates([one.text_links for one in linked])
    rows = np.flatnonzero(inputs.asked)[row]
    place = _place(inputs.candidates.ids[rows], links, kb)
    source = inputs.candidates.source[rows, place]
    matched = source[:, None] == np.arange(1, len(_MATCHED) + 1)
    prior = inputs.candidates.prior[rows, place][:, None]
    values = [_of_links(links), _of_coupling(links, columns), prior, matched, inputs.features[rows, place]]
    names = [*_OF_LINK, *_coupling_names(columns), "prior", *_MATCHED, *(f"text_{n}" for n in inputs.feature_names)]
    return _evidence(values, names, document, mention)


def visual_evidence(
    linked: Sequence[LinkedDocument], ranking: Ranking, kb: KnowledgeBase, columns: Sequence[str]
) -> Evidence:
    """Evidence of visual links: similarity to the entity's pictures, its lead over others, its rank by similarity.

    Args:
        ranking: of all visual mentions of the documents. columns: as for `text_evidence`.
    """
    links, document, mention, row = _with_candidates([one.visual_links for one in linked])
    ids, scores = ranking.entities[row], ranking.scores[row]
    place = _place(ids, links, kb)
    own = scores[np.arange(len(place)), place]
    others = np.where((ids >= 0) & (np.arange(ids.shape[1]) != place[:, None]), scores, -np.inf).max(1, initial=-np.inf)
    advantage = np.where(np.isfinite(others), own - others, 1.0)
    faces = np.stack([own, advantage, place == 0, np.log1p(place)], 1)
    values = [_of_links(links), _of_coupling(links, columns), faces]
    return _evidence(values, [*_OF_LINK, *_coupling_names(columns), *_OF_FACE], document, mention)


def _evidence(
    values: Sequence[np.ndarray], names: Sequence[str], document: np.ndarray, mention: np.ndarray
) -> Evidence:
    joined = np.concatenate([np.asarray(each, np.float64) for each in values], 1)
    if not np.isfinite(joined).all():
        broken = names[int(np.argwhere(~np.isfinite(joined))[0, 1])]
        raise InputError("the evidence of a link is no number", field=broken, remedy="the checkpoint is broken")
    both = np.concatenate([joined, _others(joined, document)], 1)
    return Evidence(both, (*names, *(f"others {name}" for name in names)), document, mention)


def _others(values: np.ndarray, document: np.ndarray) -> np.ndarray:
    """`[n, f]` mean of the rows of the same document but a row's own, which stands where there is no other."""
    count = np.bincount(document)[document][:, None]
    sums = np.zeros((int(document.max(initial=-1)) + 1, values.shape[1]))
    np.add.at(sums, document, values)
    return np.where(count > 1, (sums[document] - values) / np.maximum(count - 1, 1), values)


def _with_candidates(links: Sequence[Sequence[Link]]) -> tuple[list[Link], np.ndarray, np.ndarray, np.ndarray]:
    """Links with candidates; the document of each, its mention there, and its place among all mentions, `[n]` each."""
    found = [
        (link, d, i) for d, own in enumerate(links) for i, link in enumerate(own)
    ]  # one row a mention, with candidates or not
    kept = [row for row, (link, _, _) in enumerate(found) if link.candidates]
    place = np.array([found[row][1:] for row in kept], np.int64).reshape(-1, 2)
    return [found[row][0] for row in kept], place[:, 0], place[:, 1], np.array(kept, np.int64)


def _place(ids: np.ndarray, links: Sequence[Link], kb: KnowledgeBase) -> np.ndarray:
    """`[n]` column of each link's best candidate in `ids` `[n, k]`."""
    best = kb.indices([link.candidates[0].entity for link in links])
    return np.asarray((ids == best[:, None]).argmax(1))


def _of_links(links: Sequence[Link]) -> np.ndarray:
    """`[n, 5]`, named _OF_LINK: what the probabilities of the candidates say."""
    out = np.empty((len(links), len(_OF_LINK)))
    for row, link in zip(out, links, strict=True):
        first = link.candidates[0].score
        second = link.candidates[1].score if len(link.candidates) > 1 else 0.0
        entropy = -sum(one.score * math.log(one.score) for one in link.candidates if one.score > 0)
        count = len(link.candidates)
        row[:] = (
            _logit(first),
            math.log(max(first, _LEAST) / max(second, _LEAST)),
            entropy,
            math.log(count),
            count == 1,
        )
    return out


def _coupling_names(columns: Sequence[str]) -> list[str]:
    return ["coupled", *columns, *(f"{name}, ahead" for name in columns)] if columns else []


def _of_coupling(links: Sequence[Link], columns: Sequence[str]) -> np.ndarray:
    """`[n, 1 + 2 c]`: whether the document was coupled; what each column adds, and adds more than to the second."""
    out = np.zeros((len(links), len(_coupling_names(columns))))
    for row, link in zip(out, links, strict=True):
        first = link.candidates[0].columns
        if columns and first:
            second = link.candidates[1].columns if len(link.candidates) > 1 else first
            row[:] = (1, *(first[name] for name in columns), *(first[name] - second[name] for name in columns))
    return out


def _logit(p: float) -> float:
    p = min(max(p, _LEAST), 1 - _LEAST)
    return math.log(p / (1 - p))


@dataclass(frozen=True)
class Curve:
    """From what the network says, as log-odds, to a probability: a sigmoid (Platt 1999), or isotonic regression.

    Attributes:
        slope, offset: of the sigmoid. points: `[p, 2]` log-odds, rising, and their probabilities, straight between
            them and level outside; None for the sigmoid.
    """

    slope: float = 1.0
    offset: float = 0.0
    points: np.ndarray | None = None

    def __call__(self, log_odds: np.ndarray) -> np.ndarray:
        """`[n]` probabilities of log-odds `[n]`; never falls as they rise."""
        if self.points is not None:
            return np.asarray(np.interp(log_odds, self.points[:, 0], self.points[:, 1]))
        return np.asarray(1 / (1 + np.exp(-np.clip(self.slope * log_odds + self.offset, -500, 500))))

    def state(self) -> dict[str, Any]:
        if self.points is not None:
            return {"points": self.points.tolist()}
        return {"slope": self.slope, "offset": self.offset}

    @classmethod
    def from_state(cls, value: Mapping[str, Any]) -> Curve:
        if "points" in value:
            return cls(points=np.array(value["points"], np.float64).reshape(-1, 2))
        return cls(float(value["slope"]), float(value["offset"]))


@dataclass(frozen=True)
class Network:
    """Evidence `[n, f]` to log-odds `[n, 3]` of the CASES: layers of weights `[i, o]` and offsets `[o]`, ReLU between.

    Attributes:
        mean, scale: `[f]` by which evidence is standardised, then cut to a distance of _FAR.
    """

    mean: np.ndarray
    scale: np.ndarray
    layers: tuple[tuple[np.ndarray, np.ndarray], ...]

    def __call__(self, values: np.ndarray) -> np.ndarray:
        x = self.standardised(values)
        for number, (weights, offset) in enumerate(self.layers):
            x = np.maximum(x, 0) if number else x
            # Row by row: a product of all rows would round each one as their number has it.
            x = (x[:, None, :] @ weights)[:, 0] + offset
        # Log-odds of each case against the two others.
        top = x.max(1, keepdims=True)
        weight = np.exp(x - top)
        rest = np.maximum(weight.sum(1, keepdims=True) - weight, np.finfo(np.float64).tiny)
        return np.asarray(x - top - np.log(rest))

    def standardised(self, values: np.ndarray) -> np.ndarray:
        """`[n, f]`: evidence as the network reads it; what is farther out than anything seen counts as far."""
        return np.clip((values - self.mean) / self.scale, -_FAR, _FAR)

    def state(self) -> dict[str, Any]:
        layers = [{"weights": weights.tolist(), "offset": offset.tolist()} for weights, offset in self.layers]
        return {"mean": self.mean.tolist(), "scale": self.scale.tolist(), "layers": layers}

    @classmethod
    def from_state(cls, value: Mapping[str, Any]) -> Network:
        layers = tuple((np.array(one["weights"], np.float64), np.array(one["offset"])) for one in value["layers"])
        return cls(np.array(value["mean"], np.float64), np.array(value["scale"], np.float64), layers)


@dataclass(frozen=True)
class ModalityConfidence:
    """What was fitted for one modality.

    Attributes:
        names: of the evidence. columns: those of the coupling, as in `text_evidence`.
        right, nil: curves for the first two CASES.
        threshold: a mention is NIL where its entity is missing with at least this probability, or more probably than
            its best candidate is right.
        unlisted: probability that the entity of a mention without candidates is missing.
    """

    names: tuple[str, ...]
    columns: tuple[str, ...]
    network: Network
    right: Curve
    nil: Curve
    threshold: float
    unlisted: float

    def __call__(self, evidence: Evidence) -> tuple[np.ndarray, np.ndarray]:
        """`[n]` probabilities that the best candidate is right, and that the entity is not in the base.

        Raises InputError for evidence of other names.
        """
        if evidence.names != self.names:
            pairs = zip(evidence.names, self.names, strict=False)
            other = next((one for one, known in pairs if one != known), f"{len(evidence.names)} columns")
            raise InputError(
                f"the confidence was fitted with other evidence than there is ('{other}')",
                field="confidence",
                remedy="train again",
            )
        log_odds = self.network(evidence.values)
        return self.right(log_odds[:, 0]), self.nil(log_odds[:, 1])

    def state(self) -> dict[str, Any]:
        return {
            "names": list(self.names),
            "columns": list(self.columns),
            "network": self.network.state(),
            "right": self.right.state(),
            "nil": self.nil.state(),
            "threshold": self.threshold,
            "unlisted": self.unlisted,
        }

    @classmethod
    def from_state(cls, value: Mapping[str, Any]) -> ModalityConfidence:
        return cls(
            tuple(value["names"]),
            tuple(value["columns"]),
            Network.from_state(value["network"]),
            Curve.from_state(value["right"]),
            Curve.from_state(value["nil"]),
            float(value["threshold"]),
            float(value["unlisted"]),
        )


class Confidence:
    """Decides between entity and NIL, and says how sure that is; a modality that was not fitted is None."""

    def __init__(self, text: ModalityConfidence | None = None, visual: ModalityConfidence | None = None) -> None:
        self.text, self.visual = text, visual

    @classmethod
    def load(cls, file: Path) -> Confidence:
        """Open what `save` wrote; InputError where it is damaged."""
        value = read_json(file, "train again with --restart")
        try:
            fitted = {name: ModalityConfidence.from_state(value[name]) for name in MODALITIES if value.get(name)}
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"holds no confidence ({error!r})", file=file, remedy="train again with --restart"
            ) from error
        return cls(fitted.get("text"), fitted.get("visual"))

    def save(self, file: Path) -> None:
        """Write the numbers as JSON."""
        fitted = {name: getattr(self, name) for name in MODALITIES}
        write_json(file, {name: one.state() for name, one in fitted.items() if one is not None})

    def judge(
        self,
        linked: Sequence[LinkedDocument],
        inputs: TextInputs | None,
        ranking: Ranking | None,
        kb: KnowledgeBase,
        nil: bool = True,
    ) -> Iterator[LinkedDocument]:
        """The documents with `Link.confidence`, and with `nil` decided between entity and NIL; `alone` likewise.

        Args:
            linked: documents whose links are their best candidates. inputs, ranking: what they were linked with.
        """
        judged = self._judged(linked, inputs, ranking, kb, nil)
        apart = [d for d, one in enumerate(linked) if one.alone is not None]
        if apart:
            # The modalities alone are of the same mentions, so that rows of inputs and ranking stay in their places.
            alone = self._judged([one.alone or one for one in linked], inputs, ranking, kb, nil)
            for d in apart:
                judged[d] = replace(judged[d], alone=alone[d])
        return iter(judged)

    def _judged(
        self,
        linked: Sequence[LinkedDocument],
        inputs: TextInputs | None,
        ranking: Ranking | None,
        kb: KnowledgeBase,
        nil: bool,
    ) -> list[LinkedDocument]:
        text = [one.text_links for one in linked]
        visual = [one.visual_links for one in linked]
        if self.text is not None and inputs is not None:
            text = _decided(text, self.text, text_evidence(linked, inputs, kb, self.text.columns), nil)
        if self.visual is not None and ranking is not None:
            visual = _decided(visual, self.visual, visual_evidence(linked, ranking, kb, self.visual.columns), nil)
        return [_with_links(*each) for each in zip(linked, text, visual, strict=True)]


def _decided(
    links: Sequence[tuple[Link, ...]], rule: ModalityConfidence, evidence: Evidence, nil: bool
) -> list[tuple[Link, ...]]:
    right, missing = rule(evidence)
    of = zip(right.tolist(), missing.tolist(), strict=True)
    known = dict(zip(zip(evidence.document.tolist(), evidence.mention.tolist(), strict=True), of, strict=True))
    unlisted = (0.0, rule.unlisted)
    return [
        tuple(_decide(link, *known.get((d, i), unlisted), rule.threshold, nil) for i, link in enumerate(own))
        for d, own in enumerate(links)
    ]


def _decide(link: Link, right: float, missing: float, threshold: float, nil: bool) -> Link:
    """The link with its confidence; `right`, `missing`: that its best candidate is right, that there is none.

    Of an entity and NIL the less probable one is never said, whatever the threshold.
    """
    known = replace(link, confidence=right, p_nil=missing)
    if not nil:
        return known
    if link.candidates and missing < threshold and missing <= right:
        return replace(known, score=right)
    return replace(known, entity=NIL, score=missing)


def _with_links(document: LinkedDocument, text: tuple[Link, ...], visual: tuple[Link, ...]) -> LinkedDocument:
    """The document with these links; no path leads to NIL."""
    couplings = tuple(
        replace(pair, path=()) if NIL in (text[pair.text].entity, visual[pair.visual].entity) else pair
        for pair in document.couplings
    )
    return replace(document, text_links=text, visual_links=visual, couplings=couplings)
