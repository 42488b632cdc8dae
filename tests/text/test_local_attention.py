"""Local attention: closed form, plain loop, padding, chunks, gradients, bad input."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from mmel.errors import ConfigError, InputError
from mmel.text import local_attention
from mmel.text.local_attention import LocalAttention, PriorCombiner
from mmel.text.masking import MASKED_SCORE


def made(mentions: int, words: int, size: int, dim: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Entity vectors, word vectors, word mask and candidate mask in float64."""
    generator = torch.Generator().manual_seed(seed)
    entities = torch.randn(mentions, size, dim, generator=generator, dtype=torch.float64)
    vectors = torch.randn(mentions, words, dim, generator=generator, dtype=torch.float64)
    word_mask = torch.rand(mentions, words, generator=generator) < 0.7
    candidate_mask = torch.rand(mentions, size, generator=generator) < 0.7
    return entities, vectors, word_mask, candidate_mask


def model(dim: int, keep: int, prior_hidden: int | None = None) -> LocalAttention:
    module = LocalAttention(dim, keep, prior_hidden).double()
    with torch.no_grad():
        module.attention.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(3))
        module.compatibility.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(4))
    return module


def plain(module: LocalAttention, entities: Tensor, vectors: Tensor, words: Tensor, candidates: Tensor) -> list[float]:
    """Psi of one mention, one word and one candidate at a time."""
    a, b = module.attention.detach(), module.compatibility.detach()
    present = [entities[i] for i in range(len(entities)) if candidates[i]]
    relevance = [
        (max(float(e @ (a * vectors[w])) for e in present) if present else MASKED_SCORE, w)
        for w in range(len(vectors))
        if words[w]
    ]
    kept = sorted(relevance, reverse=True)[: module.keep]
    total = sum(math.exp(u - kept[0][0]) for u, _ in kept)
    return [
        sum(math.exp(u - kept[0][0]) / total * float(e @ (b * vectors[w])) for u, w in kept) if keep else MASKED_SCORE
        for e, keep in zip(entities, candidates, strict=True)
    ]


def test_closed_form_on_two_words() -> None:
    # One candidate (1, 0); relevances 1 and 0, so weights e/(1+e) and 1/(1+e) on scores 1 and 0.
    entities, words = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[1.0, 5.0], [0.0, 3.0]]])
    scores = LocalAttention(2, keep=2)(entities, words, torch.ones(1, 2).bool(), torch.ones(1, 1).bool())
    assert scores.item() == pytest.approx(math.e / (1 + math.e))
    hard = LocalAttention(2, keep=1)(entities, words, torch.ones(1, 2).bool(), torch.ones(1, 1).bool())
    assert hard.item() == pytest.approx(1)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(1, 9), st.integers(1, 4), st.integers(1, 6), st.integers(0, 1000))
def test_equals_a_plain_loop(mentions: int, words: int, size: int, keep: int, seed: int) -> None:
    entities, vectors, word_mask, candidate_mask = made(mentions, words, size, 3, seed)
    module = model(3, keep)
    scores = module(entities, vectors, word_mask, candidate_mask)
    expected = torch.tensor(
        [plain(module, *row) for row in zip(entities, vectors, word_mask, candidate_mask, strict=True)],
        dtype=torch.float64,
    )
    torch.testing.assert_close(scores, expected)


def test_word_indices_with_a_table_equal_word_vectors() -> None:
    entities, _, word_mask, candidate_mask = made(7, 9, 4, 5)
    table = torch.randn(20, 5, dtype=torch.float64)
    indices = torch.randint(0, 20, (7, 9))
    results = []
    for words, source in ((indices, table), (table[indices], None)):
        module = model(5, 4)
        own = entities.clone().requires_grad_()
        scores = module(own, words, word_mask, candidate_mask, table=source)
        scores.where(candidate_mask, 0).sin().sum().backward()
        results.append((scores.detach(), own.grad, module.attention.grad, module.compatibility.grad))
    for first, second in zip(*results, strict=True):
        torch.testing.assert_close(first, second)


def test_chunks_leading_dimensions_and_gradient_mode_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    entities, vectors, word_mask, candidate_mask = made(12, 8, 3, 4)
    module = model(4, 3)
    whole = module(entities, vectors, word_mask, candidate_mask)
    monkeypatch.setattr(local_attention, "CHUNK", 5)
    torch.testing.assert_close(module(entities, vectors, word_mask, candidate_mask), whole)
    shaped = [t.unflatten(0, (3, 4)) for t in (entities, vectors, word_mask, candidate_mask)]
    with torch.inference_mode():
        torch.testing.assert_close(module(*shaped).flatten(0, 1), whole)


def test_padding_changes_nothing() -> None:
    entities, vectors, word_mask, candidate_mask = made(6, 8, 3, 4)
    module = model(4, 3)
    scores = module(entities, vectors, word_mask, candidate_mask)
    padded = module(
        functional.pad(entities, (0, 0, 0, 2), value=9.0),
        functional.pad(vectors, (0, 0, 0, 5), value=9.0),
        functional.pad(word_mask, (0, 5)),
        functional.pad(candidate_mask, (0, 2)),
    )
    torch.testing.assert_close(padded[:, :3], scores)
    assert (padded[:, 3:] == MASKED_SCORE).all()


def test_mentions_without_words_or_candidates_stay_finite() -> None:
    entities, vectors, word_mask, candidate_mask = made(3, 4, 3, 4)
    word_mask[0], candidate_mask[0], candidate_mask[1] = False, True, False
    module = model(4, 3, prior_hidden=5)
    own = entities.requires_grad_()
    psi = module.context_vectors(own, vectors, word_mask, candidate_mask)
    assert (psi[0] == 0).all()
    scores = module(own, vectors, word_mask, candidate_mask, torch.zeros(3, 3, dtype=torch.float64))
    assert (scores[1] == MASKED_SCORE).all()
    scores.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in [own, *module.parameters()])


@pytest.mark.parametrize("documents", [0, 2])
@pytest.mark.parametrize("inference", [True, False])
def test_batches_of_no_documents_and_32_bit_indices_are_fine(documents: int, inference: bool) -> None:
    entities, vectors, word_mask, candidate_mask = (t.unflatten(0, (2, 3))[:documents] for t in made(6, 4, 3, 4))
    table, indices = vectors.reshape(-1, 4), torch.arange(documents * 12, dtype=torch.int32).view(documents, 3, 4)
    table = torch.cat((table, table.new_zeros(1, 4)))
    with torch.inference_mode(inference):
        scores = model(4, 3)(entities, vectors, word_mask, candidate_mask)
        torch.testing.assert_close(model(4, 3)(entities, indices, word_mask, candidate_mask, table=table), scores)
    assert scores.shape == (documents, 3, 3)


@pytest.mark.parametrize("words,size", [(0, 2), (3, 0), (0, 0)])
def test_batches_without_any_word_or_candidate_are_fine(words: int, size: int) -> None:
    entities, vectors, word_mask, candidate_mask = made(2, words, size, 4)
    scores = model(4, 3)(entities, vectors, word_mask, candidate_mask)
    torch.testing.assert_close(scores, torch.zeros(2, size).double().masked_fill(~candidate_mask, MASKED_SCORE))
    indices, table = torch.zeros(2, words).long(), torch.randn(5, 4).double()
    with torch.no_grad():
        torch.testing.assert_close(model(4, 3)(entities, indices, word_mask, candidate_mask, table=table), scores)


def test_gradients_match_finite_differences() -> None:
    entities, vectors, word_mask, candidate_mask = made(3, 6, 3, 4)
    module = model(4, 3, prior_hidden=5)
    log_prior = torch.randn(3, 3, dtype=torch.float64)

    def score(attention: Tensor, compatibility: Tensor, own: Tensor, words: Tensor) -> Tensor:
        scores: Tensor = torch.func.functional_call(
            module,
            {"attention": attention, "compatibility": compatibility},
            (own, words, word_mask, candidate_mask, log_prior),
        )
        return scores[candidate_mask]

    inputs = [module.attention, module.compatibility, entities, vectors]
    assert torch.autograd.gradcheck(score, [t.detach().clone().requires_grad_() for t in inputs])


def test_prior_net_has_the_shape_of_the_paper() -> None:
    net = PriorCombiner()
    assert sum(p.numel() for p in net.parameters()) == 2 * 100 + 100 + 100 + 1
    assert net(torch.zeros(2, 3, 4), torch.zeros(2, 3, 4)).shape == (2, 3, 4)


def test_the_prior_is_asked_for_and_refused() -> None:
    parts = made(2, 3, 2, 4)
    with pytest.raises(InputError, match="log_prior.*missing"):
        model(4, 2, prior_hidden=3)(*parts)
    with pytest.raises(InputError, match="no net for it"):
        model(4, 2)(*parts, torch.zeros(2, 2))
    with pytest.raises(ConfigError, match="keep = 0"):
        LocalAttention(4, keep=0)
