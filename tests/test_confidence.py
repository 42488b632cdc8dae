"""Confidence and NIL on finished links: closed forms, round trip, and what must not change."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from mmel.confidence import Confidence, Curve, Evidence, ModalityConfidence, Network, _decide, text_evidence
from mmel.document import NIL, Coupling, Link, LinkedDocument, ScoredCandidate
from mmel.errors import InputError
from mmel.formats.jsonl import read_documents
from mmel.linker import Linker


def unfitted(evidence: Evidence, columns: tuple[str, ...] = (), **weights: float) -> ModalityConfidence:
    """A confidence that knows only the evidence it is given weights of: right with sigmoid(weights . values)."""
    right = np.array([weights.get(name, 0.0) for name in evidence.names])
    layer = np.stack([right, np.zeros(len(right)), np.zeros(len(right))], 1)
    still = np.zeros(len(right)), np.ones(len(right))
    return ModalityConfidence(
        evidence.names, columns, Network(*still, ((layer, np.array([0.0, 0.0, -700.0])),)), Curve(), Curve(), 0.5, 0.9
    )


@pytest.fixture(scope="module")
def films_linked(film_run: Path, films: Path) -> tuple[Linker, list[LinkedDocument], Evidence]:
    linker = Linker.from_pretrained(film_run)
    documents = list(read_documents(films / "documents.val.jsonl"))
    assert linker.text is not None
    inputs = linker.text.preparer(documents)
    linked, _ = linker.best(documents, inputs)
    return linker, linked, text_evidence(linked, inputs, linker.kb, ())


def without(linked: LinkedDocument) -> LinkedDocument:
    """Links without their probabilities."""
    links = tuple(dataclasses.replace(link, confidence=None, p_nil=None) for link in linked.text_links)
    return dataclasses.replace(linked, text_links=links)


def test_evidence_is_of_the_best_candidate_of_each_mention(
    films_linked: tuple[Linker, list[LinkedDocument], Evidence],
) -> None:
    linker, linked, evidence = films_linked
    assert linker.text is not None
    inputs = linker.text.preparer([one.document for one in linked])
    links = [(d, i, link) for d, one in enumerate(linked) for i, link in enumerate(one.text_links) if link.candidates]
    assert list(zip(evidence.document, evidence.mention, strict=True)) == [(d, i) for d, i, _ in links]
    column = {name: n for n, name in enumerate(evidence.names)}
    asked = np.flatnonzero(inputs.asked)
    rows = [int(asked[n]) for n, link in enumerate(x for one in linked for x in one.text_links) if link.candidates]
    for values, row, (_, _, link) in zip(evidence.values, rows, links, strict=True):
        best = link.candidates[0]
        assert values[column["prior"]] == pytest.approx(best.prior)
        place = inputs.candidates.ids[row].tolist().index(int(linker.kb.indices([best.entity])[0]))
        scorers = [values[column[f"text_{name}"]] for name in inputs.feature_names]
        assert scorers == pytest.approx(inputs.features[row, place].tolist())
        assert values[[column[name] for name in ("given", "exact", "folded", "fuzzy", "popularity")]].sum() == 1
        p = np.array([one.score for one in link.candidates])
        assert values[column["entropy"]] == pytest.approx(-(p[p > 0] * np.log(p[p > 0])).sum(), abs=1e-9)
        assert values[column["log_candidates"]] == pytest.approx(np.log(len(p)))
        assert values[column["single"]] == (len(p) == 1)
        if 1e-5 < p[0] < 1 - 1e-5:
            assert values[column["log_odds"]] == pytest.approx(np.log(p[0] / (1 - p[0])))


def test_without_nil_links_are_what_they_were_and_tell_their_confidence(
    films_linked: tuple[Linker, list[LinkedDocument], Evidence],
) -> None:
    linker, linked, evidence = films_linked
    documents = [one.document for one in linked]
    plain = list(Linker(linker.kb, linker.text).link(documents))
    assert all(link.confidence is None for one in plain for link in one.text_links)
    judged = Linker(linker.kb, linker.text, confidence=Confidence(unfitted(evidence, log_odds=0.5)))
    ignored = list(judged.link(documents, nil=False))
    assert [without(one) for one in ignored] == plain
    assert all(link.confidence is not None for one in ignored for link in one.text_links)
    decided = list(judged.link(documents))
    links = [
        (a, b) for x, y in zip(ignored, decided, strict=True) for a, b in zip(x.text_links, y.text_links, strict=True)
    ]
    assert {b.entity == NIL for _, b in links} == {True, False}
    for before, after in links:
        assert (after.confidence, after.candidates) == (before.confidence, before.candidates)
        p = before.confidence or 0.0
        if before.candidates:
            assert after.entity == (before.entity if p >= 0.5 else NIL)
            assert after.score == pytest.approx(max(p, 1 - p))


def test_a_mention_without_candidates_is_nil(films_linked: tuple[Linker, list[LinkedDocument], Evidence]) -> None:
    linker, linked, evidence = films_linked
    mention = dataclasses.replace(linked[0].document.text_mentions[0], candidates=())
    document = dataclasses.replace(linked[0].document, text_mentions=(mention,))
    judged = Linker(linker.kb, linker.text, confidence=Confidence(unfitted(evidence, log_odds=1.0)))
    (one,) = judged.link([document])
    assert (one.text_links[0].entity, one.text_links[0].score, one.text_links[0].confidence) == (NIL, 0.9, 0.0)
    (one,) = judged.link([document], nil=False)
    assert (one.text_links[0].entity, one.text_links[0].score, one.text_links[0].confidence) == (NIL, 0.0, 0.0)


@pytest.mark.parametrize("size", [1, 7])
def test_batches_do_not_matter(films_linked: tuple[Linker, list[LinkedDocument], Evidence], size: int) -> None:
    linker, linked, evidence = films_linked
    judged = Linker(linker.kb, linker.text, confidence=Confidence(unfitted(evidence, log_odds=0.5, prior=0.3)))
    documents = [one.document for one in linked]
    whole, parts = list(judged.link(documents)), list(judged.link(documents, documents_per_batch=size))
    for a, b in zip(whole, parts, strict=True):
        assert [x.entity for x in a.text_links] == [x.entity for x in b.text_links]
        assert [x.score for x in a.text_links] == pytest.approx([x.score for x in b.text_links], abs=1e-4)


def test_no_document_and_no_mention(films_linked: tuple[Linker, list[LinkedDocument], Evidence]) -> None:
    linker, linked, evidence = films_linked
    judged = Linker(linker.kb, linker.text, confidence=Confidence(unfitted(evidence)))
    assert list(judged.link([])) == []
    empty = dataclasses.replace(linked[0].document, text_mentions=())
    assert [one.text_links for one in judged.link([empty])] == [()]


def test_round_trip(films_linked: tuple[Linker, list[LinkedDocument], Evidence], tmp_path: Path) -> None:
    linker, linked, evidence = films_linked
    steps = Curve(points=np.array([[-1.0, 0.0], [0.5, 0.25], [2.0, 1.0]]))
    one = dataclasses.replace(unfitted(evidence, log_odds=1 / 3, prior=-0.1), right=steps)
    Confidence(one).save(tmp_path / "confidence.json")
    again = Confidence.load(tmp_path / "confidence.json")
    assert again.visual is None and again.text is not None
    assert again.text.state() == one.state()
    documents = [one.document for one in linked]
    straight, back = (
        list(Linker(linker.kb, linker.text, confidence=c).link(documents)) for c in (Confidence(one), again)
    )
    assert straight == back


@pytest.mark.parametrize("text", ["{", '{"text": {"names": []}}', '{"text": 3}', "[]"])
def test_a_damaged_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "confidence.json").write_text(text)
    with pytest.raises(InputError, match="confidence.json"):
        Confidence.load(tmp_path / "confidence.json")


def test_other_evidence_is_refused(films_linked: tuple[Linker, list[LinkedDocument], Evidence]) -> None:
    _, _, evidence = films_linked
    other = dataclasses.replace(evidence, names=("unheard", *evidence.names[1:]))
    with pytest.raises(InputError, match="log_odds"):
        unfitted(other)(evidence)


def test_curves_have_their_closed_forms_and_never_fall() -> None:
    scores = np.linspace(-1000, 1000, 4001)
    sigmoid, steps = Curve(2.0, -1.0), Curve(points=np.array([[-1.0, 0.1], [0.0, 0.1], [2.0, 0.9]]))
    assert sigmoid(np.array([0.5, 0.5 + np.log(3) / 2])) == pytest.approx([0.5, 0.75])
    assert steps(np.array([-5.0, -0.5, 1.0, 2.0, 9.0])) == pytest.approx([0.1, 0.1, 0.5, 0.9, 0.9])
    for curve in (sigmoid, steps):
        assert (np.diff(curve(scores)) >= 0).all()
        assert ((curve(scores) >= 0) & (curve(scores) <= 1)).all()


def test_no_path_leads_to_nil(films_linked: tuple[Linker, list[LinkedDocument], Evidence]) -> None:
    _, linked, _ = films_linked
    from mmel.confidence import _with_links

    one = next(x for x in linked if len(x.text_links) > 1)
    link = one.text_links[0]
    pairs = (Coupling(0, 0, 0.5, ("A", "B")), Coupling(1, 0, 0.5, ("C", "B")))
    paired = dataclasses.replace(one, couplings=pairs, visual_links=(link,))
    texts = (dataclasses.replace(link, entity=NIL), *one.text_links[1:])
    found = _with_links(paired, texts, (link,))
    assert [pair.path for pair in found.couplings] == [(), ("C", "B")]


def test_of_an_entity_and_nil_the_more_probable_is_said() -> None:
    link = Link("A", 0.4, (ScoredCandidate("A", 0.4, 0.5),))
    for right, missing, threshold, entity, score in (
        (0.9, 0.1, 0.3, "A", 0.9),
        (0.6, 0.35, 0.3, NIL, 0.35),  # the threshold of the best F1
        (0.01, 0.2, 0.3, NIL, 0.2),
        (0.2, 0.2, 0.3, "A", 0.2),
    ):
        decided = _decide(link, right, missing, threshold, nil=True)
        assert (decided.entity, decided.score, decided.confidence, decided.p_nil) == (entity, score, right, missing)
        assert _decide(link, right, missing, threshold, nil=False).entity == "A"
