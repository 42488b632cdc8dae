"""Joint links of batches: company and order, reasons that hold in the base, what is not coupled and is counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmel.candidates.ranked import ranked_links
from mmel.coupling.coupler import (
    NO_CANDIDATES,
    NO_LINKS,
    NO_PICTURES,
    NO_TEXT,
    UNSOLVED,
    Coupler,
    Paths,
    Sides,
    listen,
)
from mmel.coupling.fusion import decide, names
from mmel.coupling.graph import MentionScores, reached
from mmel.coupling_settings import CouplingConfig
from mmel.document import NIL, Document, Link, LinkedDocument, TextMention, VisualMention
from mmel.errors import InputError, SkipReport
from mmel.text.prepare import TextInputs
from mmel.vision.gallery import build_gallery
from mmel.vision.linker import VisualLinker
from mmel.vision.tasks import Ranking, View
from tests.coupling.worlds import BASES, COUNT, World, mentions, name, random_weights

TEMPERATURE = 0.5
Shape = tuple[int, int, int]  # textual and visual mentions, and the seed of what they are
shapes = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(0, 99)), min_size=1, max_size=4)
plans = st.sampled_from(["uniform", "transport"])


def config(plan: str = "transport", **more: Any) -> CouplingConfig:
    return CouplingConfig.model_validate({"plan": plan, "rounds": 2, **more})


def stacked(parts: Sequence[MentionScores]) -> tuple[np.ndarray, np.ndarray]:
    """One below the other, as wide as the widest needs."""
    width = max((int(part.mask.sum(1).max(initial=0)) for part in parts), default=0) or 1
    return np.concatenate([part.ids[:, :width] for part in parts]), np.concatenate([p.scores[:, :width] for p in parts])


def sides(batch: Sequence[Shape], unasked: bool = False) -> Sides:
    """A batch of random documents, each of them the same in every company."""
    documents, text, visual, sentences, groups, asked = [], [], [], [], [], []
    for d, (n, m, seed) in enumerate(batch):
        random = np.random.default_rng(seed)
        text.append(mentions(n, 2 * seed))
        faces = mentions(m, 2 * seed + 1, 5)
        order = np.argsort(np.where(faces.mask, -faces.scores, np.inf), 1, kind="stable")
        visual.append(MentionScores(*(np.take_along_axis(each, order, 1) for each in (faces.ids, faces.scores))))
        sentences.append(random.integers(0, 2, n) + 10 * d)
        groups.append(random.integers(0, max(n - 1, 1), n) + 10 * d)
        asked.append(random.random(n) < (0.6 if unasked else 2))
        own = tuple(TextMention(i, i + 1, "x") for i in range(int(asked[-1].sum())))
        documents.append(Document(f"d{seed}", "x" * n, text_mentions=own, visual_mentions=(VisualMention("x"),) * m))
    ids, scores = stacked(text)
    inputs = SimpleNamespace(
        table=SimpleNamespace(
            first=np.cumsum([0, *(n for n, _, _ in batch)]),
            sentence=np.concatenate(sentences),
            surface_group=np.concatenate(groups),
        ),
        candidates=SimpleNamespace(ids=ids, prior=np.where(ids >= 0, 0.5, 0)),
        asked=np.concatenate(asked),
    )
    seen, ranked = stacked(visual)
    ranked = np.where(seen >= 0, ranked * TEMPERATURE, -np.inf)
    return Sides(documents, cast("TextInputs", inputs), scores, Ranking(seen, ranked), TEMPERATURE)


def alone(one: Sides, world: World) -> list[LinkedDocument]:
    text = ranked_links(one.inputs.candidates.ids, one.scores, world.kb, one.inputs.candidates.prior)
    visual = ranked_links(one.ranking.entities, one.ranking.scores, world.kb, temperature=TEMPERATURE)
    found = []
    for d, document in enumerate(one.documents):
        rows = one.text_rows(d)
        kept = zip(text[rows], one.inputs.asked[rows], strict=True)
        found.append(LinkedDocument(document, tuple(k for k, a in kept if a), tuple(visual[one.visual_rows(d)])))
    return found


def coupler(world: World, setting: CouplingConfig) -> Coupler:
    return Coupler(setting, world.kb, random_weights(0, setting.rounds))


def linked(world: World, batch: Sequence[Shape], setting: CouplingConfig) -> list[LinkedDocument]:
    one = sides(batch)
    return coupler(world, setting).link(one, alone(one, world), 3)


# --- batches ----------------------------------------------------------------------------------------------------------


@settings(max_examples=10, deadline=None)
@given(base=st.integers(0, BASES - 1), batch=shapes, plan=plans)
def test_company_and_order_change_nothing(base: int, batch: list[Shape], plan: str, little: list[World]) -> None:
    world, setting = little[base], config(plan)
    together = linked(world, batch, setting)
    assert together == [linked(world, [shape], setting)[0] for shape in batch]
    assert together[::-1] == linked(world, batch[::-1], setting)


def test_a_long_document_beside_a_short_one(little: list[World]) -> None:
    batch = [(2, 2, 5), (165, 41, 6)]
    together = linked(little[2], batch, config())
    assert [len(one.text_links) for one in together] == [2, 165]
    assert together[0] == linked(little[2], batch[:1], config())[0]


# --- reasons ----------------------------------------------------------------------------------------------------------


@settings(max_examples=10, deadline=None)
@given(base=st.integers(1, BASES - 1), batch=shapes, plan=plans, unasked=st.booleans())
def test_links_and_their_reasons(base: int, batch: list[Shape], plan: str, unasked: bool, little: list[World]) -> None:
    world, setting = little[base], config(plan)
    one, couple = sides(batch, unasked), coupler(world, setting)
    before = alone(one, world)
    found = couple.link(one, before, 3)
    assert couple.coupled == sum(each.alone is not None for each in found)
    for d, (own, joint) in enumerate(zip(before, found, strict=True)):
        if joint.alone is None:
            assert joint == own
            continue
        assert joint.alone == own
        assert len(joint.text_links) == len(joint.document.text_mentions)
        assert len(joint.visual_links) == len(joint.document.visual_mentions)
        decision = decide(one.graph(d, world.kb), couple.weights, setting)
        asked = one.inputs.asked[one.text_rows(d)]
        explained(joint.text_links, one.graph(d, world.kb).text.ids[asked], decision.text[asked], names(setting)[0])
        explained(joint.visual_links, one.graph(d, world.kb).visual.ids, decision.visual, names(setting)[1])
        assert all(len(link.candidates) <= 3 for link in joint.visual_links)
        paired(joint, decision.plan[asked], bool(np.ptp(decision.plan) <= 1e-6), world)


def explained(links: Sequence[Link], ids: np.ndarray, scores: np.ndarray, columns: Sequence[str]) -> None:
    """Links are the best candidates; columns sum to the score but for a constant a mention."""
    assert len(links) == len(ids)
    for link, row, values in zip(links, ids, scores, strict=True):
        if not (row >= 0).any():
            assert link == Link(NIL, 0.0)
            continue
        assert link.entity == name(int(row[values.argmax()]))
        assert link.score == pytest.approx(np.exp(values.max()))
        constant = {
            round(sum(candidate.columns.values()) - float(np.log(candidate.score)), 6)
            for candidate in link.candidates
            if candidate.score > 1e-200
        }
        assert max(constant) - min(constant) < 1e-5
        assert all(tuple(candidate.columns) == tuple(columns) for candidate in link.candidates)


def paired(joint: LinkedDocument, plan: np.ndarray, equal: bool, world: World) -> None:
    """Couplings have the plan's mass and paths of the knowledge base; the strongest of each mention are told.

    Of a plan that prefers nobody, those with the shortest paths.
    """
    masses = [pair.mass for pair in joint.couplings]
    assert masses == sorted(masses, reverse=True)
    told = np.zeros(plan.shape, bool)
    for pair in joint.couplings:
        assert pair.mass == plan[pair.text, pair.visual] > 0 and not told[pair.text, pair.visual]
        told[pair.text, pair.visual] = True
        ends = joint.text_links[pair.text].entity, joint.visual_links[pair.visual].entity
        real(pair.path, *ends, world)
    strength = plan.copy()
    for i, j in np.ndindex(*plan.shape) if equal else ():
        length = steps(joint.text_links[i].entity, joint.visual_links[j].entity, world)
        strength[i, j] = plan[i, j] / length if length else 0
    assert not told[strength == 0].any()
    for i in range(plan.shape[0]):
        assert told[i, strength[i].argmax()] or not strength[i].any()
    for j in range(plan.shape[1] if len(plan) else 0):
        assert (told[:, j] | (strength[:, j] == 0)).sum() >= min(3, len(plan))


def steps(first: str, last: str, world: World) -> int:
    """Entities on the shortest path of at most two links; 0 without any."""
    if NIL in (first, last):
        return 0
    a, b = int(first[1:]), int(last[1:])
    return 1 if a == b else 2 if world.linked(a, b) else 3 if world.meets(a, b) else 0


def real(path: tuple[str, ...], first: str, last: str, world: World) -> None:
    entities, length = [int(entity[1:]) for entity in path], steps(first, last, world)
    assert all(world.linked(one, other) for one, other in pairwise(entities))
    assert len(path) == length and (not path or (path[0], path[-1]) == (first, last))


@pytest.mark.parametrize("base", range(BASES))
def test_paths_between_all_entities(base: int, little: list[World]) -> None:
    every = [name(entity) for entity in range(COUNT)]
    paths = Paths(little[base].kb, [*every, NIL])
    for first in [*every, NIL]:
        for last in [*every, NIL]:
            real(paths.between(first, last), first, last, little[base])
            assert paths.between(first, last) == paths.between(last, first)[::-1]
    assert Paths(little[base].kb, []).between(NIL, NIL) == ()


# --- what is not coupled ----------------------------------------------------------------------------------------------


def by_hand(text: Sequence[Sequence[int]], visual: Sequence[Sequence[int]]) -> Sides:
    """One document whose mentions have these candidates, all equally likely."""
    one = sides([(len(text), len(visual), 0)])
    ids, seen = np.array(text), np.array(visual)
    one.inputs.candidates.ids, one.inputs.candidates.prior = ids, np.zeros(ids.shape)  # type: ignore[misc]
    ranking = Ranking(seen, np.where(seen >= 0, 0.0, -np.inf))
    return Sides(one.documents, one.inputs, np.zeros(ids.shape), ranking, TEMPERATURE)


def test_documents_of_one_modality_keep_their_links(little: list[World]) -> None:
    couple = coupler(little[1], config())
    for one, why in (
        (sides([(3, 0, 1)]), NO_PICTURES),
        (sides([(0, 2, 1)]), NO_TEXT),
        (sides([(0, 0, 1)]), NO_PICTURES),
        (by_hand([[-1, -1], [-1, -1]], [[3], [4]]), NO_CANDIDATES),
        (by_hand([[3, 4]], [[-1], [-1]]), NO_CANDIDATES),
    ):
        before, own = alone(one, little[1]), couple.counts[why]
        assert couple.link(one, before, 3) == before
        assert couple.counts[why] == own + 1
    assert couple.coupled == 0 and sum(couple.counts.values()) == 5


@pytest.mark.parametrize("plan", ["uniform", "transport"])
def test_a_base_without_links(plan: str, little: list[World]) -> None:
    couple = coupler(little[0], config(plan))
    apart = by_hand([[0, 1, 2], [1, 2, -1]], [[6, 7], [7, 8]])
    assert couple.link(apart, alone(apart, little[0]), 3) == alone(apart, little[0])
    assert (couple.coupled, couple.counts) == (0, {NO_LINKS: 1})
    # One entity in both modalities speaks for itself without any link.
    same = by_hand([[0, 1, 2], [1, 2, -1]], [[6, 1], [7, 8]])
    (found,) = couple.link(same, alone(same, little[0]), 3)
    assert couple.coupled == 1
    assert [link.entity for link in (*found.text_links, found.visual_links[0])] == [name(1)] * 3
    assert {pair.path for pair in found.couplings if pair.visual == 0} == {(name(1),)}


def test_a_plan_that_prefers_nobody_tells_only_whom_the_base_joins(little: list[World]) -> None:
    one = by_hand([[1], [2], [3], [-1]], [[3], [7], [1]])
    (found,) = coupler(little[0], config("uniform")).link(one, alone(one, little[0]), 3)
    assert [(pair.text, pair.visual, pair.path) for pair in found.couplings] == [(0, 2, (name(1),)), (2, 0, (name(3),))]
    assert [pair.mass for pair in found.couplings] == [1 / 12] * 2
    # Masses that are forced prefer nobody, too.
    forced = by_hand([[1], [2]], [[1]])
    (found,) = coupler(little[0], config("transport")).link(forced, alone(forced, little[0]), 3)
    assert [(pair.text, pair.visual) for pair in found.couplings] == [(0, 0)]


def test_a_mention_without_candidates_is_none_of_the_base(little: list[World]) -> None:
    one = by_hand([[0, 1], [-1, -1]], [[1], [-1]])
    (found,) = coupler(little[0], config()).link(one, alone(one, little[0]), 3)
    assert found.text_links[1] == found.visual_links[1] == Link(NIL, 0.0)
    assert all(pair.path == () for pair in found.couplings if 1 in (pair.text, pair.visual))


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_scores_of_a_broken_checkpoint(wrong: float, little: list[World]) -> None:
    for side in ("text", "visual"):
        one = by_hand([[0, 1]], [[1, 2]])
        before = alone(one, little[0])
        (one.scores if side == "text" else one.ranking.scores)[0, 1] = wrong
        with pytest.raises(InputError, match="a score that is no number. Remedy: the checkpoint is broken"):
            coupler(little[0], config()).link(one, before, 3)


def test_plans_that_did_not_converge_are_counted(little: list[World]) -> None:
    setting = config(transport={"iterations": 1, "reg": 0.01})
    one, couple = by_hand([[0, 1], [1, 2], [2, 3]], [[1, 2], [0, -1]]), coupler(little[0], setting)
    couple.link(one, alone(one, little[0]), 3)
    assert (couple.coupled, couple.counts) == (1, {UNSOLVED: 1})


def test_weights_are_kept_in_a_file(tmp_path: Path, little: list[World]) -> None:
    couple, file = coupler(little[1], config()), tmp_path / "coupling.json"
    couple.save(file)
    again = Coupler.load(file, couple.config, little[1].kb)
    one = sides([(4, 3, 2), (2, 2, 3)])
    assert again.link(one, alone(one, little[1]), 3) == couple.link(one, alone(one, little[1]), 3)
    with pytest.raises(InputError, match="is missing. Remedy: train again"):
        Coupler.load(tmp_path / "none.json", couple.config, little[1].kb)


# --- what both modalities say -----------------------------------------------------------------------------------------


class Ranks:
    """As much of a visual linker as `listen` asks."""

    temperature, texts = 0.1, None
    pictures: Any = None

    def __init__(self, world: World) -> None:
        self.kb, self.entities = world.kb, np.array([0, 2, 4, 5, 9])
        self.asked: list[list[int]] = []

    def rank(self, regions: Sequence[object], further: np.ndarray) -> Ranking:
        self.asked = further.tolist()
        return Ranking(np.zeros((len(regions), 1), np.int64), np.zeros((len(regions), 1)))


def test_faces_are_compared_with_whom_the_text_leads_to(little: list[World]) -> None:
    batch = [(3, 2, 4), (2, 0, 5), (0, 1, 6), (4, 1, 7)]
    given_, ranks = sides(batch), Ranks(little[2])
    found = listen(given_.documents, given_.inputs, given_.scores, cast("VisualLinker", ranks), Path(), config())
    near = []
    for d, (n, m, _) in enumerate(batch):
        ids = given_.inputs.candidates.ids[given_.text_rows(d)]
        near += [reached(ids[ids >= 0], little[2].kb, ranks.entities).tolist() if n else []] * m
    assert [[entity for entity in row if entity >= 0] for row in ranks.asked] == near
    assert (found.temperature, found.faces, len(found.ranking.entities)) == (0.1, None, 4)


def test_vectors_are_those_of_the_document_and_its_candidates(little: list[World]) -> None:
    world, random = little[2], np.random.default_rng(0)
    batch = sides([(3, 2, 4), (4, 1, 7)])
    vectors = random.normal(size=(5, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    gallery = build_gallery(world.kb, np.array([0, 2, 2, 5, 9]), vectors, encoder_id="x")
    faces, context = random.normal(size=(3, 4)), random.normal(size=(7, 3))
    faces[1] = np.nan  # a mention without a face
    batch.inputs.context = SimpleNamespace(view={"sentence": context}.__getitem__)  # type: ignore[misc, assignment]
    ranks = Ranks(world)
    ranks.pictures = SimpleNamespace(view=lambda regions: (View(gallery, faces), SkipReport()))
    given_ = batch.documents, batch.inputs, batch.scores, cast("VisualLinker", ranks), Path()
    assert listen(*given_, config(cross="links")).faces is None
    for setting in (config(cross="embedding"), config(structure="both")):
        heard = listen(*given_, setting)
        assert heard.faces is not None and heard.gallery is gallery
        found = replace(batch, faces=heard.faces, gallery=heard.gallery)
        for d, (rows, seen) in enumerate(((slice(0, 3), slice(0, 2)), (slice(3, 7), slice(2, 3)))):
            graph = found.graph(d, world.kb)
            np.testing.assert_array_equal(graph.context, context[rows])
            np.testing.assert_array_equal(graph.faces, np.nan_to_num(faces[seen]))
            np.testing.assert_array_equal(graph.pictures, gallery.means(graph.shown))
