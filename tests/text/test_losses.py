"""Losses: closed forms, padding, mentions without gold, bad gold."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from mmel.errors import InputError
from mmel.text.losses import cross_entropy_loss, ranking_loss
from mmel.text.masking import MASKED_SCORE

SCORES = torch.tensor([[0.5, 0.495, 0.6], [0.2, 0.1, MASKED_SCORE], [0.3, 0.9, 0.1]])
MASK = torch.tensor([[True, True, True], [True, True, False], [True, True, True]])
GOLD = torch.tensor([0, 1, -1])


def test_ranking_loss_is_equation_5_and_6() -> None:
    # First mention: 0.01 - 0.5 + 0.495 = 0.005 and 0.01 - 0.5 + 0.6 = 0.11; second: 0.01 - 0.1 + 0.2 = 0.11.
    assert float(ranking_loss(SCORES, GOLD, MASK, reduction="sum")) == pytest.approx(0.225)
    assert float(ranking_loss(SCORES, GOLD, MASK)) == pytest.approx(0.1125)


def test_ranking_loss_without_padding_is_the_multi_margin_loss() -> None:
    generator = torch.Generator().manual_seed(1)
    scores = torch.randn(6, 5, generator=generator)
    gold = torch.randint(0, 5, (6,), generator=generator)
    ours = ranking_loss(scores, gold, torch.ones(6, 5, dtype=torch.bool), margin=0.3)
    torch.testing.assert_close(ours / 5, functional.multi_margin_loss(scores, gold, margin=0.3))


def test_cross_entropy_counts_present_candidates_only() -> None:
    expected = functional.cross_entropy(SCORES[:1], GOLD[:1]) + functional.cross_entropy(SCORES[1:2, :2], GOLD[1:2])
    torch.testing.assert_close(cross_entropy_loss(SCORES, GOLD, MASK, reduction="sum"), expected)


@pytest.mark.parametrize("loss", [ranking_loss, cross_entropy_loss])
def test_document_shape_padding_and_scores_of_absent_candidates_change_nothing(loss) -> None:  # type: ignore[no-untyped-def]
    flat = loss(SCORES, GOLD, MASK)
    padded = functional.pad(SCORES, (0, 2, 0, 1), value=7.0).masked_fill(~functional.pad(MASK, (0, 2, 0, 1)), 7.0)
    shaped = loss(
        padded.view(2, 2, 5),
        functional.pad(GOLD, (0, 1), value=-1).view(2, 2),
        functional.pad(MASK, (0, 2, 0, 1)).view(2, 2, 5),
    )
    torch.testing.assert_close(shaped, flat)


@pytest.mark.parametrize("loss", [ranking_loss, cross_entropy_loss])
def test_no_labelled_mention_gives_zero_and_zero_gradients(loss) -> None:  # type: ignore[no-untyped-def]
    scores = SCORES.clone().requires_grad_()
    value = loss(scores, torch.full((3,), -1), MASK)
    value.backward()
    assert value.item() == 0
    assert scores.grad is not None and not scores.grad.any()


@pytest.mark.parametrize("loss", [ranking_loss, cross_entropy_loss])
def test_gradients_match_finite_differences(loss) -> None:  # type: ignore[no-untyped-def]
    generator = torch.Generator().manual_seed(2)
    scores = torch.randn(3, 3, dtype=torch.float64, generator=generator, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: loss(s, GOLD, MASK), scores)


@pytest.mark.parametrize("loss", [ranking_loss, cross_entropy_loss])
@pytest.mark.parametrize("gold", [2, 3])
def test_gold_at_an_absent_candidate_is_an_error(loss, gold: int) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match="absent candidate.*-1"):
        loss(SCORES, torch.tensor([0, gold, -1]), MASK)
