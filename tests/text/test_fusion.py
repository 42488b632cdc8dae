"""The three fusions: what must not change a vector, closed forms of pooling, and the loss against a loop."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mmel.config import Config, ModelConfig
from mmel.errors import ConfigError
from mmel.text.batch import make_batch
from mmel.text.fusion import FusionEncoder, FusionScorer, States, chunks, pooled
from mmel.text.fusion_inputs import FusionBatch, FusionInputs, Sources
from mmel.text.losses import contrastive_loss
from mmel.text.prepare import TextInputs

Kind = Literal["uniter", "uniter-star", "lxmert"]
KINDS: tuple[Kind, ...] = ("uniter", "uniter-star", "lxmert")
DIM, GRID, TOKENS = 6, 5, 9
SMALL = ModelConfig(fusion_dim=8, fusion_heads=2, fusion_layers=3, fusion_tokens=TOKENS, scorers=("fusion",))


def settings_of(kind: Kind, **changes: object) -> ModelConfig:
    return SMALL.model_copy(update={"fusion": kind, **changes})


def things(lengths: list[tuple[int, int]], seed: int = 0, pictures: bool = True) -> Sources:
    """Things of so many tokens and cells."""
    random = np.random.default_rng(seed)
    tokens = [random.normal(size=(n, DIM)).astype(np.float16) for n, _ in lengths]
    cells = [random.normal(size=(c, GRID)).astype(np.float16) for _, c in lengths]
    boxes = [random.random(size=(c, 4)).astype(np.float16) for _, c in lengths]
    return Sources(tokens, cells, boxes) if pictures else Sources(tokens)


def encoder_of(kind: Kind, grid: int | None = GRID, seed: int = 0) -> FusionEncoder:
    torch.manual_seed(seed)
    return FusionEncoder(settings_of(kind), DIM, grid).eval()


@torch.no_grad()
def states_of(encoder: FusionEncoder, sources: Sources, which: list[int]) -> list[Tensor]:
    """States of each thing: its start token, then its tokens."""
    states = encoder(sources.take(np.array(which), *np.ones((2, len(which)), bool)))
    return [states.rows[f : f + 1 + len(sources.tokens[i])] for i, f in zip(which, states.first.tolist(), strict=True)]


lengths = st.lists(st.tuples(st.integers(0, TOKENS), st.integers(0, 6)), min_size=1, max_size=7)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15, deadline=None)
@given(lengths=lengths, seed=st.integers(0, 99))
def test_what_is_beside_a_thing_changes_nothing(kind: Kind, lengths: list[tuple[int, int]], seed: int) -> None:
    """Things of any length, with or without picture, in any order: each is encoded as if it were alone."""
    sources, encoder = things(lengths, seed), encoder_of(kind)
    which = np.random.default_rng(seed).permutation(len(lengths)).tolist()
    for i, state in zip(which, states_of(encoder, sources, which), strict=True):
        assert state.shape == (1 + lengths[i][0], 8) and torch.isfinite(state).all()
        torch.testing.assert_close(state, states_of(encoder, sources, [i])[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_the_state_of_the_start_token_needs_no_other_of_the_last_layer(kind: Kind) -> None:
    sources, encoder = things([(4, 0), (3, 5), (0, 2), (9, 6), (0, 0)]), encoder_of(kind)
    whole, start = encoder(sources), encoder(sources, start_only=True)
    assert len(start.rows) == len(sources)
    torch.testing.assert_close(start.rows[start.first], whole.rows[whole.first], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_picture_is_as_if_there_were_none_anywhere(kind: Kind) -> None:
    sources, encoder = things([(4, 0), (3, 5), (0, 2)]), encoder_of(kind)
    blind = encoder_of(kind, None, seed=1)
    kept = {name: value for name, value in encoder.state_dict().items() if name in blind.state_dict()}
    blind.load_state_dict(kept)
    with_others, alone = states_of(encoder, sources, [1, 0]), states_of(blind, Sources(sources.tokens), [1, 0])
    torch.testing.assert_close(with_others[1], alone[1], atol=1e-6, rtol=1e-5)
    assert not torch.allclose(with_others[0], alone[0], atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_cells_are_a_set_with_places(kind: Kind) -> None:
    """Cells with their boxes may come in any order; without their boxes they may not."""
    sources, encoder = things([(4, 6)]), encoder_of(kind)
    assert sources.cells is not None and sources.boxes is not None
    before = states_of(encoder, sources, [0])[0]
    turned = Sources(sources.tokens, [sources.cells[0][::-1]], [sources.boxes[0][::-1]])
    torch.testing.assert_close(states_of(encoder, turned, [0])[0], before, atol=1e-5, rtol=1e-4)
    moved = replace(turned, boxes=sources.boxes)
    assert not torch.allclose(states_of(encoder, moved, [0])[0], before, atol=1e-4)


@given(lengths=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=30), most=st.integers(1, 9))
def test_chunks_have_one_set_of_modalities(lengths: list[tuple[int, int]], most: int) -> None:
    found = chunks(np.array(lengths, np.int64).reshape(-1, 2), most)
    assert sorted(i for chunk in found for i in chunk.tolist()) == list(range(len(lengths)))
    assert all(0 < len(chunk) <= most and len({lengths[i][1] > 0 for i in chunk}) == 1 for chunk in found)


def test_pooling() -> None:
    """Two windows of 3 and 2 tokens; a mention of one token, of two, of all, and of none."""
    rows = torch.arange(14.0).reshape(7, 2)  # start, 3 tokens; start, 2 tokens
    states = States(rows, torch.tensor([0, 4]))
    window, span = torch.tensor([0, 0, 0, 1, 1]), torch.tensor([[1, 1], [0, 1], [0, 2], [1, 1], [-1, -1]])
    assert pooled(states, window, span, "first").tolist() == rows[[2, 1, 1, 6, 4]].tolist()
    both = torch.cat([rows[[2, 1, 1, 6, 4]], rows[[2, 2, 3, 6, 4]]], 1)
    assert pooled(states, window, span, "first-last").tolist() == both.tolist()
    mean = torch.stack([rows[2], rows[1:3].mean(0), rows[1:4].mean(0), rows[6], rows[4]])
    torch.testing.assert_close(pooled(states, window, span, "mean"), mean)


def scored(
    inputs: TextInputs, kind: Kind = "lxmert", count: int = 8
) -> tuple[FusionScorer, TextInputs, list[tuple[int, int]]]:
    torch.manual_seed(0)
    config = settings_of(kind, fusion_tokens=64)
    pieces = [(int(inputs.table.first[d]), int(inputs.table.first[d + 1])) for d in range(count)]
    return FusionScorer(config, inputs.titles.shape[1]).eval(), inputs, pieces


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_permuted_candidates_have_permuted_scores(film_inputs: TextInputs, kind: Kind) -> None:
    scorer, inputs, pieces = scored(film_inputs, kind)
    batch = make_batch(inputs, pieces)
    assert batch.fusion is not None
    own = scorer.candidates(scorer(batch.fusion), batch.fusion.slot, batch.prior)
    order = torch.randperm(own.shape[1], generator=torch.Generator().manual_seed(2))
    turned = scorer.candidates(scorer(batch.fusion), batch.fusion.slot[:, order], batch.prior[:, order])
    torch.testing.assert_close(turned, own[:, order])
    # A candidate's score is its own: that of the same entity, text and prior, whoever competes.
    alone = make_batch(inputs, pieces[:1])
    assert alone.fusion is not None
    mine = scorer.candidates(scorer(alone.fusion), alone.fusion.slot, alone.prior)
    torch.testing.assert_close(mine, own[: len(mine)], atol=1e-5, rtol=1e-4)


def test_distinct_candidates_are_read_once(film_inputs: TextInputs) -> None:
    scorer, inputs, pieces = scored(film_inputs)
    batch = make_batch(inputs, pieces)
    assert batch.fusion is not None
    ids = inputs.candidates.ids[batch.rows]
    assert len(batch.fusion.entities) <= len(np.unique(ids[ids >= 0])) + 1  # pads share slot 0
    assert len(scorer(batch.fusion).entities) == len(batch.fusion.entities)


@pytest.mark.parametrize("kind", KINDS)
def test_a_modality_that_a_task_forbids_is_as_if_it_were_not_there(kind: Kind) -> None:
    torch.manual_seed(0)
    scorer = FusionScorer(settings_of(kind), DIM, GRID).eval()
    mentions, entities = things([(TOKENS, 4), (5, 0)], 1), things([(3, 2), (TOKENS, 0), (2, 3)], 2)
    inputs = FusionInputs(mentions, np.array([0, 1, 0]), np.array([[0, 1], [2, 4], [3, 3]]), entities)
    slot, rows = np.array([[0, 1], [2, 0], [1, 2]]), np.arange(3)
    # Mentions and candidates as T -> T, I+T -> I, I -> I+T.
    sides = np.array([[True, False, True, False], [True, True, False, True], [False, True, True, True]])

    def bare(of: Sources, text: bool, picture: bool) -> Sources:
        return of.take(np.arange(len(of)), np.full(len(of), text), np.full(len(of), picture))

    with torch.no_grad():
        batch = FusionBatch.of(inputs, rows, slot, sides)
        found = scorer.candidates(scorer(batch), batch.slot, torch.ones(3, 2))
        for i, (text, picture, read, seen) in enumerate(sides.tolist()):
            span = inputs.span if text else np.full((3, 2), -1)
            only = FusionInputs(bare(mentions, text, picture), inputs.window, span, bare(entities, read, seen))
            alone = FusionBatch.of(only, rows, slot)
            expected = scorer.candidates(scorer(alone), alone.slot, torch.ones(3, 2))
            torch.testing.assert_close(found[i], expected[i], atol=1e-5, rtol=1e-4)
    assert len(batch.entities) == 6 and len(FusionBatch.of(inputs, rows, slot).entities) == 3


@torch.no_grad()
def test_contrastive_loss_is_equation_4(film_inputs: TextInputs) -> None:
    scorer, inputs, pieces = scored(film_inputs)
    batch = make_batch(inputs, pieces)
    assert batch.fusion is not None
    fused = scorer(batch.fusion)
    own = scorer.candidates(fused, batch.fusion.slot, batch.prior)
    others, negative = scorer.negatives(fused, batch.fusion.slot, batch.slot, batch.mask, batch.gold)
    ids, gold = inputs.candidates.ids[batch.rows], batch.gold.tolist()
    labelled = [i for i, g in enumerate(gold) if g >= 0]
    assert labelled and others.shape == (len(gold), len(labelled)) and bool(negative.any())
    terms = []
    for i in labelled:
        total = float(own[i, gold[i]].exp())
        for k in range(ids.shape[1]):
            total += float(own[i, k].exp()) if k != gold[i] and ids[i, k] >= 0 else 0.0
        for b in labelled:
            if b != i and ids[b, gold[b]] not in ids[i][ids[i] >= 0]:
                entity = fused.entities[batch.fusion.slot[b, gold[b]]]
                total += float(scorer.score(fused.mentions[i], entity, torch.tensor(0.0)).exp())
        terms.append(np.log(total) - float(own[i, gold[i]]))
    found = contrastive_loss(own, batch.gold, batch.mask, others, negative)
    assert float(found) == pytest.approx(np.mean(terms), rel=1e-4)
    assert float(contrastive_loss(own, batch.gold, batch.mask, others, negative, "sum")) == pytest.approx(
        sum(terms), rel=1e-4
    )


@pytest.mark.parametrize("pooling", ["first-last", "first", "mean"])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_every_parameter(kind: Kind, pooling: str) -> None:
    torch.manual_seed(0)
    scorer = FusionScorer(settings_of(kind, fusion_pooling=pooling), DIM, GRID)
    mentions, entities = things([(TOKENS, 4), (5, 0)], 1), things([(3, 2), (TOKENS, 0), (2, 3)], 2)
    window, span = torch.tensor([0, 1, 0]), torch.tensor([[0, 1], [2, 4], [3, 3]])
    batch = FusionBatch(mentions, window, span, entities, torch.tensor([[0, 1], [2, 0], [1, 2]]))
    own = scorer.candidates(scorer(batch), batch.slot, torch.rand(3, 2))
    own.logsumexp(1).sum().backward()
    silent = [name for name, p in scorer.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []
    assert all(torch.isfinite(p.grad).all() for p in scorer.parameters() if p.grad is not None)


def test_the_layers_are_shared_out_as_in_the_paper() -> None:
    for kind, expected in (("uniter", (0, 12)), ("uniter-star", (8, 4)), ("lxmert", (8, 4))):
        encoder = FusionEncoder(settings_of(kind, fusion_layers=12), DIM, GRID)  # type: ignore[arg-type]
        assert (len(encoder.alone_text), len(encoder.joint) + len(encoder.cross)) == expected
        assert len(encoder.alone_cells) == expected[0]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("model.fusion_heads=5", "fusion_dim"),
        ("model.fusion_layers=1", "lxmert"),
        ("model.fusion=bert", "uniter-star"),
        ("model.fusion_pooling=last", "first-last"),
    ],
)
def test_settings_that_do_not_fit(setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Config().with_overrides([setting])
