"""Belief propagation and mean field: plain loops, brute force on trees, padding, gradients."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from mmel.text.belief_propagation import max_product, mean_field, pair_mask
from mmel.text.masking import MASKED_SCORE

Problem = tuple[Tensor, Tensor, Tensor]


def made(documents: int, mentions: int, size: int, seed: int = 0, present: float = 0.75) -> Problem:
    """psi [D, n, k], symmetric phi [D, n, k, n, k] and a candidate mask, in float64."""
    generator = torch.Generator().manual_seed(seed)
    psi = torch.randn(documents, mentions, size, generator=generator, dtype=torch.float64)
    phi = torch.randn(documents, mentions, size, mentions, size, generator=generator, dtype=torch.float64)
    mask = torch.rand(documents, mentions, size, generator=generator) < present
    return psi, phi + phi.permute(0, 3, 4, 1, 2), mask


def plain_max_product(psi: Tensor, phi: Tensor, mask: Tensor, rounds: int, damping: float) -> Tensor:
    """One document, one message at a time, over the candidates that are there."""
    n, k = psi.shape
    there = [[c for c in range(k) if mask[i, c]] for i in range(n)]
    linked = [i for i in range(n) if there[i]]
    messages = {(j, i): torch.zeros(len(there[i]), dtype=psi.dtype) for i in linked for j in linked if i != j}
    for _ in range(rounds):
        new = {}
        for j, i in messages:
            without = psi[j, there[j]] + sum(messages[m, j] for m in linked if m not in (i, j))
            votes = (phi[i, there[i]][:, j, there[j]] + without).amax(1)
            new[j, i] = (damping * votes.softmax(0) + (1 - damping) * messages[j, i].exp()).log()
        messages = new
    beliefs = torch.full_like(psi, MASKED_SCORE)
    for i in linked:
        belief = psi[i, there[i]] + sum(messages[j, i] for j in linked if j != i)
        beliefs[i, there[i]] = belief.log_softmax(0)
    return beliefs


def plain_mean_field(psi: Tensor, phi: Tensor, mask: Tensor, rounds: int) -> Tensor:
    n = len(psi)
    q = psi.masked_fill(~mask, MASKED_SCORE).softmax(-1) * mask
    beliefs = psi
    for _ in range(rounds):
        votes = torch.stack(
            [sum((phi[i, :, j] @ q[j] for j in range(n) if j != i), torch.zeros_like(psi[0])) for i in range(n)]
        )
        beliefs = (psi + votes).masked_fill(~mask, MASKED_SCORE).log_softmax(-1).masked_fill(~mask, MASKED_SCORE)
        q = beliefs.exp() * mask
    return beliefs


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 4),
    st.integers(1, 5),
    st.integers(1, 4),
    st.integers(1, 5),
    st.sampled_from([0.3, 0.5, 1.0]),
    st.integers(0, 10_000),
)
def test_max_product_equals_a_plain_loop(d: int, n: int, k: int, rounds: int, damping: float, seed: int) -> None:
    psi, phi, mask = made(d, n, k, seed)
    beliefs = max_product(psi, phi, mask, rounds=rounds, damping=damping)
    expected = torch.stack([plain_max_product(*row, rounds, damping) for row in zip(psi, phi, mask, strict=True)])
    torch.testing.assert_close(beliefs, expected, atol=1e-9, rtol=1e-9)
    single = max_product(psi.float(), phi.float(), mask, rounds=rounds, damping=damping)
    torch.testing.assert_close(single.double()[mask], expected[mask], atol=1e-5, rtol=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 4), st.integers(1, 4), st.integers(0, 10_000))
def test_mean_field_equals_a_plain_loop(d: int, n: int, k: int, rounds: int, seed: int) -> None:
    psi, phi, mask = made(d, n, k, seed)
    beliefs = mean_field(psi, phi, mask, rounds=rounds)
    expected = torch.stack([plain_mean_field(*row, rounds) for row in zip(psi, phi, mask, strict=True)])
    torch.testing.assert_close(beliefs, expected, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("edges", [[(0, 1)], [(0, 1), (1, 2), (2, 3)], [(0, 1), (0, 2), (0, 3)]])
def test_max_product_is_exact_on_trees(edges: list[tuple[int, int]]) -> None:
    n, k = max(map(max, edges)) + 1, 3
    psi, full, _ = made(1, n, k, seed=5)
    phi = torch.zeros_like(full)
    for i, j in edges:
        phi[:, i, :, j], phi[:, j, :, i] = full[:, i, :, j], full[:, j, :, i]
    marginals = torch.full((n, k), -torch.inf, dtype=torch.float64)
    for choice in itertools.product(range(k), repeat=n):
        terms = [psi[0, i, c] for i, c in enumerate(choice)] + [phi[0, i, choice[i], j, choice[j]] for i, j in edges]
        score = torch.stack(terms).sum()
        for i, c in enumerate(choice):
            marginals[i, c] = torch.maximum(marginals[i, c], score)
    beliefs = max_product(psi, phi, torch.ones(1, n, k).bool(), rounds=n, damping=1.0)
    torch.testing.assert_close(beliefs[0], marginals.log_softmax(-1))


def test_the_padding_mention_is_one_more_mention_with_one_candidate() -> None:
    psi, phi, mask = made(3, 4, 3)
    mask[:, :, 0] = True
    mask[:, 3, 1:] = False
    for infer in (max_product, mean_field):
        whole = infer(psi, phi, mask, rounds=4, damping=0.5)
        apart = infer(
            psi[:, :3], phi[:, :3, :, :3], mask[:, :3], rounds=4, damping=0.5, pad_potential=phi[:, :3, :, 3, 0]
        )
        torch.testing.assert_close(apart, whole[:, :3])


@pytest.mark.parametrize("infer", [max_product, mean_field])
def test_padding_batching_and_order_change_nothing(infer) -> None:  # type: ignore[no-untyped-def]
    psi, phi, mask = made(3, 4, 3, seed=2)
    pad = torch.randn(3, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    beliefs = infer(psi, phi, mask, pad_potential=pad)
    wider = infer(
        functional.pad(psi, (0, 2, 0, 3), value=5.0),
        functional.pad(phi, (0, 2, 0, 3, 0, 2, 0, 3), value=5.0),
        functional.pad(mask, (0, 2, 0, 3)),
        pad_potential=functional.pad(pad, (0, 2, 0, 3), value=5.0),
    )
    torch.testing.assert_close(wider[:, :4, :3], beliefs)
    assert (wider[:, 4:] == MASKED_SCORE).all() and (wider[..., 3:] == MASKED_SCORE).all()
    alone = [infer(psi[i : i + 1], phi[i : i + 1], mask[i : i + 1], pad_potential=pad[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(torch.cat(alone), beliefs)
    order = torch.tensor([2, 0, 3, 1])
    turned = infer(psi[:, order], phi[:, order][:, :, :, order], mask[:, order], pad_potential=pad[:, order])
    torch.testing.assert_close(turned, beliefs[:, order])


@pytest.mark.parametrize("infer", [max_product, mean_field])
def test_a_lone_mention_keeps_its_local_scores_and_own_blocks_are_ignored(infer) -> None:  # type: ignore[no-untyped-def]
    psi, phi, mask = made(2, 1, 4, present=1.0)
    torch.testing.assert_close(infer(psi, phi * 100, mask), psi.log_softmax(-1))


@pytest.mark.parametrize("infer", [max_product, mean_field])
def test_beliefs_are_distributions_and_mentions_without_candidates_take_no_part(infer) -> None:  # type: ignore[no-untyped-def]
    psi, phi, mask = made(2, 4, 3, present=1.0)
    mask[0, 1] = False
    beliefs = infer(psi, phi, mask)
    torch.testing.assert_close(beliefs.exp().sum(-1), mask.any(-1).double())
    rest = [0, 2, 3]
    torch.testing.assert_close(beliefs[:1, rest], infer(psi[:1, rest], phi[:1, rest][:, :, :, rest], mask[:1, rest]))


@pytest.mark.parametrize("infer", [max_product, mean_field])
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
def test_everything_stays_finite(infer, scale: float) -> None:  # type: ignore[no-untyped-def]
    psi, phi, mask = made(2, 3, 3, present=0.5)
    mask[1] = False
    inputs = [(t * scale).float().requires_grad_() for t in (psi, phi)]
    for damping in (0.5, 1.0):
        beliefs = infer(*inputs, mask, damping=damping)
        assert beliefs.isfinite().all()
        gradients = torch.autograd.grad(beliefs[mask].sum(), inputs)
        assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("infer", [max_product, mean_field])
@pytest.mark.parametrize("damping", [0.4, 1.0])
def test_gradients_match_finite_differences(infer, damping: float) -> None:  # type: ignore[no-untyped-def]
    psi, phi, mask = made(2, 3, 3, seed=11)
    pad = torch.randn(2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(12))

    def beliefs(psi: Tensor, phi: Tensor, pad: Tensor) -> Tensor:
        result: Tensor = infer(psi, phi, mask, rounds=3, damping=damping, pad_potential=pad)
        return result[mask]

    assert torch.autograd.gradcheck(beliefs, [t.clone().requires_grad_() for t in (psi, phi, pad)])


def test_candidates_that_tie_share_the_gradient() -> None:
    # Mention 1's candidates are alike, so each gives half of what mention 0 hears.
    psi = torch.zeros(1, 2, 2, dtype=torch.float64)
    phi = torch.zeros(1, 2, 2, 2, 2, dtype=torch.float64)
    phi[0, 0, 0, 1], phi[0, 1, :, 0, 0] = 1.0, 1.0
    phi.requires_grad_()
    mask = torch.ones(1, 2, 2).bool()
    max_product(psi, phi, mask, rounds=1, damping=1.0)[0, 0, 0].backward()
    assert phi.grad is not None
    torch.testing.assert_close(phi.grad[0, 0, :, 1, 0], phi.grad[0, 0, :, 1, 1])
    share = 1 / (1 + torch.e)
    assert float(phi.grad[0, 0, 0, 1].sum()) == pytest.approx(share)


def test_pair_mask_leaves_out_oneself_and_the_absent() -> None:
    mask = torch.tensor([[[True], [False], [True]]])
    assert pair_mask(mask)[0].tolist() == [[False, False, True], [False] * 3, [True, False, False]]
