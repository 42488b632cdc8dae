"""Confidence and NIL, learned on validation documents: of the base as it is, and of bases with entities hidden.

Training documents would not do: links are surer there than they ever will be again. A hidden entity is a true NIL: its
names, pictures, links and in-links are gone, and what is left has to look wrong by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mmel.candidates.annotations import AnnotationCounts
from mmel.confidence import (
    CASES,
    MODALITIES,
    Confidence,
    Curve,
    Evidence,
    Modality,
    ModalityConfidence,
    Network,
    text_evidence,
    visual_evidence,
)
from mmel.config import Config
from mmel.coupling.coupler import Coupler
from mmel.coupling.fusion import names
from mmel.datasets.base import Dataset
from mmel.document import Document, Link, LinkedDocument, TextMention, VisualMention
from mmel.encoders.entities import EntityVectors, SentenceVectors
from mmel.kb import KnowledgeBase
from mmel.kb.hide import hidden_base
from mmel.linker import Linker
from mmel.text.entity_text import entity_texts
from mmel.text.linker import TextLinker
from mmel.text.prepare import TextInputs, TextPreparer
from mmel.vision.linker import Side, VisualLinker
from mmel.vision.tasks import Ranking

Say = Callable[[str], None]
Linked = tuple[Sequence[LinkedDocument], TextInputs | None, Ranking | None]
FIRST_SEED = 1_000_000  # of hiding: evaluations hide with small ones, so that they hide others
_MEMBERS, _HIDDEN_UNITS, _DECAY, _EPOCHS, _RATE, _BATCH = 5, 32, 0.3, 20, 3e-3, 500
_FOLDS, _DIGITS = 5, 5  # decimals of weights, which keep the file small
_THRESHOLDS = np.linspace(0.05, 0.95, 91)
_RIGHT, _NIL, _OTHER = range(len(CASES))


@dataclass(frozen=True)
class Outcomes:
    """What became of n best candidates, with the evidence for them.

    Attributes:
        case: `[n]` index into CASES. group: `[n]` the document, the same one in every base. hidden: `[n]` whether
            entities were hidden. unlisted: mentions without candidates: those whose entity is missing, and all; of
            bases with hidden entities.
    """

    evidence: Evidence
    case: np.ndarray
    group: np.ndarray
    hidden: np.ndarray
    unlisted: tuple[int, int]


def why_not(config: Config, dataset: Dataset, kb: KnowledgeBase) -> str | None:
    """Why no confidence can be learned for a run; None where it can."""
    if config.confidence.hide is None:
        return "confidence.hide=none"
    if dataset.candidate_protocol != "kb":
        return f"candidates are given by the dataset ({dataset.candidate_protocol})"
    if "pictures" in config.model.scorers:
        return "the scorer 'pictures' is bound to the whole base"
    if kb.meta.priors:
        return f"p(e|m) of '{kb.meta.name}' comes from files beside its records"
    if "text" in config.modalities and config.encoder.entities == "trained":
        return "entity vectors are trained on the whole base"
    return None


def fit_confidence(
    config: Config,
    dataset: Dataset,
    linker: Linker,
    dev: Mapping[str, Sequence[Document]],
    linked: Mapping[str, Linked],
    say: Say,
) -> Confidence:
    """Learn from validation splits when the best candidate is right and when the entity is not in the base.

    Args:
        linked: what `Linker.best` gave for each split, and the inputs it was given.
    """
    assert config.confidence.hide is not None
    columns = names(config.coupling) if linker.coupler is not None else ((), ())
    found: dict[Modality, list[Outcomes]] = {name: [] for name in MODALITIES}

    def note(kb: KnowledgeBase, parts: Mapping[str, Linked], hidden: bool) -> None:
        for number, split in enumerate(parts):
            for name, one in outcomes(parts[split], kb, columns, hidden).items():
                # The number of a document tells it from those of other splits.
                found[name].append(replace(one, group=one.group * len(parts) + number))

    note(linker.kb, linked, hidden=False)
    for view in range(config.confidence.views):
        seed = FIRST_SEED + config.confidence.views * config.seed + view
        with hidden_base(linker.kb, config.confidence.hide, seed) as kb:
            smaller = on_base(linker, kb)
            note(kb, {split: _link(smaller, documents, dataset) for split, documents in dev.items()}, hidden=True)
    fitted = {
        name: fit_modality(joined(parts), columns[MODALITIES.index(name)], config.seed)
        for name, parts in found.items()
        if sum(len(one.case) for one in parts)
    }
    for name, one in fitted.items():
        say(
            f"confidence, {name}: from {sum(len(x.case) for x in found[name]):,} links; NIL from {one.threshold:.2f} on"
        )
    return Confidence(fitted.get("text"), fitted.get("visual"))


def _link(linker: Linker, documents: Sequence[Document], dataset: Dataset) -> Linked:
    inputs = linker.text.preparer(documents, pictures=dataset.pictures) if linker.text else None
    linked, ranking = linker.best(documents, inputs, dataset.pictures if linker.visual else None)
    return linked, inputs, ranking


def on_base(linker: Linker, kb: KnowledgeBase) -> Linker:
    """The linker on a base of some of its entities, without reading a picture or an entity's text again.

    What is read of an entity stays that of the linker's own base, titles of hidden entities included, as descriptions
    name them too.
    """
    text, visual, coupler = linker.text, linker.visual, linker.coupler
    return Linker(
        kb,
        _text_on(text, kb) if text else None,
        _visual_on(visual, kb) if visual else None,
        Coupler(coupler.config, kb, coupler.weights) if coupler else None,
    )


class _VectorsOn:
    """Entity vectors of a base, for bases of some of its entities."""

    def __init__(self, own: EntityVectors, base: KnowledgeBase) -> None:
        self._own, self._base = own, base
        self.id, self.dim = own.id, own.dim

    def vectors(self, kb: KnowledgeBase, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """See EntityVectors."""
        return self._own.vectors(self._base, self._base.indices(kb.ids(indices)))


def _text_on(text: TextLinker, kb: KnowledgeBase) -> TextLinker:
    old = text.preparer

    def texts(entities: np.ndarray, small: KnowledgeBase) -> list[str]:
        return entity_texts(old.kb.indices(small.ids(entities)), old.kb)

    annotations = old.annotations and AnnotationCounts.from_state(old.annotations.state(old.kb), kb)
    entities = _VectorsOn(old.entities, old.kb)
    preparer = TextPreparer(
        kb, old.encoder, old.scorers, old.selection, annotations, old.window, old.context_words, None, entities
    )
    preparer.fusion = old.fusion
    preparer.sentences = SentenceVectors(old.encoder, texts)
    if old.retrieval is not None:
        preparer.retrieval = old.retrieval.on(kb, annotations, preparer.sentences)
    return TextLinker(text.config, preparer, text.model, text.device)


def _visual_on(visual: VisualLinker, kb: KnowledgeBase) -> VisualLinker:
    def side(own: Side | None) -> Side | None:
        return None if own is None else replace(own, gallery=own.gallery.on(kb, visual.kb))

    return VisualLinker(visual.config, kb, side(visual.pictures), side(visual.texts), visual.temperature, visual.weight)


def outcomes(
    linked: Linked, kb: KnowledgeBase, columns: tuple[Sequence[str], Sequence[str]], hidden: bool
) -> dict[Modality, Outcomes]:
    """What became of the links of documents on `kb`, by modality; of coupled ones also of each modality alone.

    Args:
        columns: of the coupling, textual and visual.
    """
    documents, inputs, ranking = linked
    everyone, coupled = np.ones(len(documents), bool), np.array([one.alone is not None for one in documents], bool)
    found: dict[Modality, list[Outcomes]] = {}
    for one, kept in ((documents, everyone), ([each.alone or each for each in documents], coupled)):
        if inputs is not None and any(each.text_links for each in one):
            evidence = text_evidence(one, inputs, kb, columns[0])
            links = [(each.document.text_mentions, each.text_links) for each in one]
            found.setdefault("text", []).append(_outcomes(evidence, links, kb, kept, hidden))
        if ranking is not None and any(each.visual_links for each in one):
            evidence = visual_evidence(one, ranking, kb, columns[1])
            seen = [(each.document.visual_mentions, each.visual_links) for each in one]
            found.setdefault("visual", []).append(_outcomes(evidence, seen, kb, kept, hidden))
    return {name: joined(parts) for name, parts in found.items()}


def _outcomes(
    evidence: Evidence,
    linked: Sequence[tuple[Sequence[TextMention | VisualMention], Sequence[Link]]],
    kb: KnowledgeBase,
    kept: np.ndarray,
    hidden: bool,
) -> Outcomes:
    """Of labelled mentions of the documents that are `kept`."""
    golds = sorted({mention.entity for mentions, _ in linked for mention in mentions if mention.entity is not None})
    there = {gold for gold, index in zip(golds, kb.indices(golds).tolist(), strict=True) if index >= 0}
    rows, case = [], []
    for row, (d, i) in enumerate(zip(evidence.document.tolist(), evidence.mention.tolist(), strict=True)):
        gold, best = linked[d][0][i].entity, linked[d][1][i].candidates[0].entity
        if kept[d] and gold is not None:
            rows.append(row)
            case.append(_NIL if gold not in there else _RIGHT if gold == best else _OTHER)
    chosen = np.array(rows, np.int64)
    missing = [
        mention.entity not in there
        for d, (mentions, links) in enumerate(linked)
        for mention, link in zip(mentions, links, strict=True)
        if hidden and kept[d] and not link.candidates and mention.entity is not None
    ]
    return Outcomes(
        Evidence(evidence.values[chosen], evidence.names, evidence.document[chosen], evidence.mention[chosen]),
        np.array(case, np.int64),
        evidence.document[chosen],
        np.full(len(chosen), hidden),
        (sum(missing), len(missing)),
    )


def joined(parts: Sequence[Outcomes]) -> Outcomes:
    """Several as one; their evidence has the same names."""
    evidence = [one.evidence for one in parts]
    return Outcomes(
        Evidence(
            np.concatenate([one.values for one in evidence]),
            evidence[0].names,
            np.concatenate([one.document for one in evidence]),
            np.concatenate([one.mention for one in evidence]),
        ),
        np.concatenate([one.case for one in parts]),
        np.concatenate([one.group for one in parts]),
        np.concatenate([one.hidden for one in parts]),
        (sum(one.unlisted[0] for one in parts), sum(one.unlisted[1] for one in parts)),
    )


def fit_modality(found: Outcomes, columns: Sequence[str], seed: int) -> ModalityConfidence:
    """Network, curves and threshold from outcomes; curves and threshold from predictions for held-out documents."""
    values, case = found.evidence.values, found.case
    log_odds = held_out(values, case, found.group, seed)
    right, nil = (fit_curve(log_odds[:, k], case == k, found.group, seed) for k in (_RIGHT, _NIL))
    missing, unlisted = found.unlisted
    own = found.hidden
    return ModalityConfidence(
        found.evidence.names,
        tuple(columns),
        fit_network(values, case, seed),
        right,
        nil,
        best_threshold(nil(log_odds[own, 1]), case[own] == _NIL, missing, unlisted),
        (missing + 1) / (unlisted + 2),
    )


def held_out(values: np.ndarray, case: np.ndarray, group: np.ndarray, seed: int) -> np.ndarray:
    """`[n, 3]` log-odds of each row by a network that was fitted without its document."""
    out = np.zeros((len(values), len(CASES)))
    for train, test in _folds(group, seed):
        out[test] = fit_network(values[train], case[train], seed)(values[test])
    return out


def _folds(group: np.ndarray, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Training and test rows of each fold; a single document is its own."""
    from sklearn.model_selection import GroupKFold

    count = min(_FOLDS, len(np.unique(group)))
    if count < 2:
        yield np.arange(len(group)), np.arange(len(group))
        return
    shuffled = np.random.default_rng(seed).permutation(int(group.max()) + 1)[group]
    yield from GroupKFold(count).split(group, groups=shuffled)


def fit_network(values: np.ndarray, case: np.ndarray, seed: int) -> Network:
    """A network from evidence `[n, f]` to the cases `[n]`: several of one hidden layer, fitted by scikit-learn, as one.

    Their log-probabilities are averaged, so that no one's start decides.
    """
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    scale = values.std(0)
    still = Network(values.mean(0), np.where(scale > 1e-9, scale, 1.0), ())
    # One of each case without any evidence: a case that was never seen is improbable, not impossible.
    x = np.concatenate([still.standardised(values), np.zeros((len(CASES), values.shape[1]))])
    y = np.concatenate([case, np.arange(len(CASES))])
    members = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # epochs are few on purpose
        for member in range(_MEMBERS):
            model = MLPClassifier(
                _HIDDEN_UNITS,
                alpha=_DECAY,
                batch_size=min(_BATCH, len(x)),
                max_iter=_EPOCHS,
                n_iter_no_change=_EPOCHS,
                learning_rate_init=_RATE,
                random_state=_MEMBERS * seed + member,
            )
            members.append(model.fit(x, y))
    first = np.concatenate([m.coefs_[0] for m in members], 1), np.concatenate([m.intercepts_[0] for m in members])
    last = np.concatenate([m.coefs_[1] for m in members]), np.sum([m.intercepts_[1] for m in members], 0)
    layers = (first, (last[0] / _MEMBERS, last[1] / _MEMBERS))
    return replace(still, layers=tuple((weights.round(_DIGITS), offset.round(_DIGITS)) for weights, offset in layers))


def fit_curve(log_odds: np.ndarray, right: np.ndarray, group: np.ndarray, seed: int) -> Curve:
    """The sigmoid or the isotonic curve, whichever is likelier on held-out documents.

    Args:
        log_odds, right, group: `[n]` each.
    """
    losses: dict[Callable[[np.ndarray, np.ndarray], Curve], list[float]] = {_sigmoid: [], _isotonic: []}
    for train, test in _folds(group, seed + 1):
        for fit, values in losses.items():
            p = np.clip(fit(log_odds[train], right[train])(log_odds[test]), 1e-4, 1 - 1e-4)
            values.append(-float(np.log(np.where(right[test], p, 1 - p)).sum()))
    return min(losses, key=lambda fit: sum(losses[fit]))(log_odds, right)


def _sigmoid(log_odds: np.ndarray, right: np.ndarray) -> Curve:
    """Platt's scaling; level where it would fall."""
    from sklearn.linear_model import LogisticRegression

    # One of each at even odds, so that both are there.
    x, y = np.concatenate([log_odds, [0.0, 0.0]])[:, None], np.concatenate([right, [True, False]])
    model = LogisticRegression(C=1e6).fit(x, y)
    slope, offset = float(model.coef_[0, 0]), float(model.intercept_[0])
    return Curve(slope, offset) if slope > 0 else Curve(0.0, float(np.log(y.mean() / (1 - y.mean()))))


def _isotonic(log_odds: np.ndarray, right: np.ndarray) -> Curve:
    from sklearn.isotonic import IsotonicRegression

    model = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(log_odds, right)
    return Curve(points=np.stack([model.X_thresholds_, model.y_thresholds_], 1))


def best_threshold(nil: np.ndarray, missing: np.ndarray, unlisted_missing: int, unlisted: int) -> float:
    """The probability of NIL from which on NIL has the best F1; of several, the one in the middle.

    Args:
        nil: `[n]` probabilities; missing: `[n]` whether the entity is not there. unlisted_missing, unlisted: mentions
            without candidates, which are NIL anyhow.
    """
    said = nil[:, None] >= _THRESHOLDS
    hits = (said & missing[:, None]).sum(0) + unlisted_missing
    f1 = 2 * hits / np.maximum(said.sum(0) + missing.sum() + unlisted + unlisted_missing, 1)
    best = np.flatnonzero(f1 >= f1.max() - 1e-12)
    return float(_THRESHOLDS[best[len(best) // 2]])
