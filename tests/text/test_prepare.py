"""Candidates in steps, annotated priors, the order of lists, and documents with nothing to link."""

from __future__ import annotations

import random
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from mmel.candidates import MentionTable
from mmel.candidates.annotations import AnnotationCounts
from mmel.candidates.graph import CandidateGraph
from mmel.document import Candidate, Document
from mmel.encoders.text import CachedTextEncoder
from mmel.formats.jsonl import read_entities
from mmel.kb import KnowledgeBase
from mmel.text.entity_text import entity_text, entity_texts, main_neighbour
from mmel.text.prepare import Selection, TextInputs, TextPreparer
from tests.tiny import ENTITIES, PLAIN_SCORERS, OneHotEncoder, document


@pytest.fixture
def film_kb(films: Path) -> KnowledgeBase:
    return KnowledgeBase.open(films.parent / "kb")


def kept(inputs: TextInputs) -> list[set[int]]:
    return [set(row[row >= 0].tolist()) for row in inputs.candidates.ids]


def assert_same(one: TextInputs, other: TextInputs) -> None:
    for field in fields(TextInputs):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, np.ndarray):
            np.testing.assert_array_equal(a, b, err_msg=field.name)
    for name in ("ids", "prior", "source"):
        np.testing.assert_array_equal(getattr(one.candidates, name), getattr(other.candidates, name), err_msg=name)
    assert one.recall == other.recall


def test_each_step_adds_its_number(
    film_kb: KnowledgeBase, encoder: CachedTextEncoder, film_documents: list[Document]
) -> None:
    def prepare(**settings: int | None) -> TextInputs:
        return TextPreparer(film_kb, encoder, ("prior",), Selection(None, **settings))(film_documents)  # type: ignore[arg-type]

    whole = prepare(keep_prior=None, keep_context=0)
    prior = prepare(keep_prior=3, keep_context=0)
    context = prepare(keep_prior=3, keep_context=2)
    graph = prepare(keep_prior=3, keep_context=2, graph_k=4)
    np.testing.assert_array_equal(prior.candidates.ids, whole.candidates.ids[:, :3])
    for row, listed in enumerate(kept(whole)):
        assert kept(prior)[row] <= kept(context)[row] <= listed
        assert len(kept(context)[row]) == min(5, len(listed))
        # With the document graph on, linked entities' texts add as many each, and two votes 4 each at most.
        assert kept(context)[row] <= kept(graph)[row]
        assert len(kept(graph)[row]) <= min(3 + 3 * 2 + 2 * 4, len(listed))
    assert max(map(len, kept(graph))) > 9
    names = ["prior all", "3 by prior", "+ 2 by context", "+ 4 by document graph"]
    assert list(graph.recall) == names
    assert list(context.recall) == names[:3]
    recall = [graph.recall[name] for name in names[1:]]
    assert recall == sorted(recall)
    assert whole.recall["all by prior"] == graph.recall["prior all"] == 1
    for inputs in (whole, prior, context, graph):
        gold, mask = inputs.table.gold, inputs.candidates.mask
        assert list(inputs.recall.values())[-1] == pytest.approx(
            np.mean((inputs.candidates.ids == gold[:, None]).any(1))
        )
        order = np.where(mask, inputs.candidates.prior, -1)
        assert (np.diff(order, axis=1) <= 0).all(), "best prior first"


def test_context_takes_the_nearest_of_the_rest(
    film_kb: KnowledgeBase, encoder: CachedTextEncoder, film_documents: list[Document]
) -> None:
    inputs = TextPreparer(film_kb, encoder, ("context",), Selection(None, None, 0))(film_documents)
    few = TextPreparer(film_kb, encoder, ("context",), Selection(None, 2, 1))(film_documents)
    columns = [inputs.feature_names.index(f"context.{view}_text") for view in ("window", "sentence")]
    similarity = inputs.features[..., columns].mean(-1)
    for row, listed in enumerate(kept(few)):
        count = inputs.candidates.mask[row].sum()
        if count > 2:
            best = inputs.candidates.ids[row, 2 + int(similarity[row, 2:count].argmax())]
            assert listed == {*inputs.candidates.ids[row, :2].tolist(), int(best)}


def test_the_graph_takes_the_best_supported_of_the_rest(
    film_kb: KnowledgeBase, encoder: CachedTextEncoder, film_documents: list[Document]
) -> None:
    whole = TextPreparer(film_kb, encoder, ("prior",), Selection(None, None, 0))(film_documents)
    few = TextPreparer(film_kb, encoder, ("prior",), Selection(None, 2, 0, 1))(film_documents)
    graph = CandidateGraph.of(whole.table, whole.candidates, film_kb)
    mask = whole.candidates.mask
    vote = mask * np.log(len(film_kb) / np.maximum(mask.sum(1, keepdims=True), 1))
    support = graph.support(vote)
    for row, listed in enumerate(kept(few)):
        rest = support[row, 2 : mask[row].sum()]
        if len(rest) and rest.max() > 0:
            assert int(whole.candidates.ids[row, 2 + int(rest.argmax())]) in listed


@pytest.mark.parametrize("total", [1, 2, 4, 6, 50])
def test_total_is_the_most_of_all_steps(
    film_kb: KnowledgeBase, encoder: CachedTextEncoder, film_documents: list[Document], total: int
) -> None:
    def prepare(total: int | None) -> TextInputs:
        return TextPreparer(film_kb, encoder, ("prior",), Selection(None, 2, 1, 4, total))(film_documents)

    free, limited = prepare(None), prepare(total)
    for row, listed in enumerate(kept(free)):
        assert kept(limited)[row] <= listed
        assert len(kept(limited)[row]) == min(total, len(listed))
        first = free.candidates.ids[row, : min(2, total, len(listed))].tolist()
        assert set(first) <= kept(limited)[row]


def test_annotated_priors_are_averaged_and_reordered(tiny_kb: KnowledgeBase, tmp_path: Path) -> None:
    seen = [document(f"[Mira|C1] and [Otto|C{4 if i else 2}]", str(i)) for i in range(4)]
    counts = AnnotationCounts.of(MentionTable.of(seen, tiny_kb), len(tiny_kb))
    encoder = CachedTextEncoder(OneHotEncoder("a"), tmp_path)
    new = document("[mira], [Otto] and [Ines]")
    inputs = TextPreparer(tiny_kb, encoder, ("prior",), Selection(), counts)([new])
    named = [dict(zip(tiny_kb.ids(i[i >= 0]), p[i >= 0].tolist(), strict=True))
             for i, p in zip(inputs.candidates.ids, inputs.candidates.prior, strict=True)]  # fmt: skip
    assert named == [
        pytest.approx({"C1": 0.7, "C3": 0.3}),
        pytest.approx({"C4": (0.5 + 0.75) / 2, "C2": (0.5 + 0.25) / 2}),
        pytest.approx({"P1": 1.0}),
    ]
    assert [next(iter(row)) for row in named] == ["C1", "C4", "P1"]


def test_the_order_of_a_list_without_ranks_changes_nothing(
    films: Path, film_kb: KnowledgeBase, encoder: CachedTextEncoder, film_documents: list[Document]
) -> None:
    """Lists that begin with the gold, as some datasets publish them, against the same lists shuffled."""
    by_name: dict[str, list[str]] = {}
    for entity in read_entities(films / "kb.jsonl"):
        for alias in entity.aliases:
            by_name.setdefault(alias.name, []).append(entity.id)
    dice = random.Random(0)

    def listed(shuffle: bool) -> list[Document]:
        documents = []
        for one in film_documents:
            mentions = []
            for mention in one.text_mentions:
                names = sorted(by_name[mention.text], key=lambda e, gold=mention.entity: (e != gold, e))  # type: ignore[misc]
                if shuffle:
                    dice.shuffle(names)
                mentions.append(replace(mention, candidates=tuple(Candidate(name) for name in names)))
            documents.append(replace(one, text_mentions=tuple(mentions)))
        return documents

    rule = Selection(prior_k=6, keep_prior=2, keep_context=2, graph_k=1)
    preparer = TextPreparer(film_kb, encoder, PLAIN_SCORERS, rule)
    first = preparer(listed(False))
    for _ in range(3):
        assert_same(preparer(listed(True)), first)
    assert first.candidates.ids.shape[1] > 4


@pytest.mark.parametrize(
    "documents",
    [
        [],
        [Document("d", "")],
        [Document("d", "No names here."), Document("e", "\n")],
        [document("[Nobody] knows [Nothing].")],
        [document("[Nobody]", candidates={"Nobody": []})],
        [document("[Nobody]", candidates={"Nobody": [Candidate("Q404", 1.0)]})],
        [Document("d", ""), document("[…] and [Mira|C1]"), document("[Nobody|NIL]", "e")],
    ],
    ids=["no document", "no text", "no mention", "no candidate", "empty list", "unknown entity", "mixed"],
)
def test_little_to_link(tiny_kb: KnowledgeBase, tmp_path: Path, documents: list[Document]) -> None:
    encoder = CachedTextEncoder(OneHotEncoder("Mira knows"), tmp_path)
    counts = AnnotationCounts.of(MentionTable.of(documents, tiny_kb), len(tiny_kb))
    for rule in (Selection(), Selection(graph_k=2), Selection(context_names=True)):
        inputs = TextPreparer(tiny_kb, encoder, PLAIN_SCORERS, rule, counts)(documents, leave_out=True)
        mentions = sum(len(d.text_mentions) for d in documents)
        assert inputs.asked.sum() == mentions
        assert inputs.features.shape[:2] == inputs.candidates.ids.shape == inputs.slot.shape
        assert np.isfinite(inputs.features).all()
        assert inputs.entities[inputs.slot].shape[:2] == inputs.slot.shape


def test_documents_keep_the_order_of_their_mentions_beside_context_names(
    tiny_kb: KnowledgeBase, tmp_path: Path
) -> None:
    one = document("[Otto] met Mira Dole on the [Salt Road] to [Quillhaven].")
    backwards = replace(one, text_mentions=one.text_mentions[::-1])
    encoder = CachedTextEncoder(OneHotEncoder("met"), tmp_path)
    preparer = TextPreparer(tiny_kb, encoder, ("prior",), Selection(context_names=True))
    for given in (one, backwards):
        inputs = preparer([given])
        assert len(inputs.table) == 4
        asked = [s for s, asked in zip(inputs.table.surface, inputs.asked, strict=True) if asked]
        assert asked == [m.text for m in given.text_mentions]


def test_main_neighbour(tiny_kb: KnowledgeBase) -> None:
    def expected(index: int) -> int:
        linked = tiny_kb.links[index].indices
        if not len(linked):
            return index
        in_links = [tiny_kb.links[:, i].nnz for i in linked]
        return int(max(zip(in_links, linked, strict=True))[1])

    everyone = np.arange(len(tiny_kb))
    assert main_neighbour(everyone, tiny_kb).tolist() == [expected(i) for i in range(len(tiny_kb))]
    assert main_neighbour(np.array([3, 0, 3]), tiny_kb).tolist() == [expected(3), expected(0), expected(3)]
    assert main_neighbour(np.array([], np.int64), tiny_kb).tolist() == []


def test_entity_texts(tiny_kb: KnowledgeBase) -> None:
    indices = tiny_kb.indices(["C2", "F1", "X1", "T2", "C2"])
    assert entity_texts(indices, tiny_kb) == [
        "Otto Renn Links: Salt Road (film)",
        "Salt Road (film). A caravan loses its guide. Links: Mira Dole, Otto Renn, Ines Tavara",
        "Zero. Nothing links here.",
        "Quillhaven (Kent)",
        "Otto Renn Links: Salt Road (film)",
    ]
    assert entity_text(ENTITIES[0], ["A", "B"]) == "Salt Road (film). A caravan loses its guide. Links: A, B"
