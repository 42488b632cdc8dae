"""Visual losses: closed forms, brute force over pairs and triplets, mining, labels, bad input."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from mmel.errors import ConfigError, InputError
from mmel.vision.losses import Mining, compare, contrastive_loss, distillation_loss, triplet_loss

# Angles of unit vectors in a plane: cosines are those of the differences.
ANGLES = torch.tensor([0.0, 60.0, 90.0, 180.0]).deg2rad()
PLANE = torch.stack([ANGLES.cos(), ANGLES.sin()], dim=1)
LABELS = torch.tensor([0, 0, 1, 1])


def unit(n: int, d: int, seed: int) -> Tensor:
    return functional.normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_batch_hard_triplets_are_equation_8() -> None:
    # Hardest negatives: 90 deg for 0, 30 deg for the second and third, 120 deg for the last; positives 60 and 90 deg.
    terms = [0.2 - 0.5 + 0.0, 0.2 - 0.5 + math.sqrt(0.75), 0.2 - 0.0 + math.sqrt(0.75), 0.2 - 0.0 - 0.5]
    expected = sum(max(0.0, term) for term in terms) / 4
    assert float(triplet_loss(PLANE, LABELS, margin=0.2)) == pytest.approx(expected)


def test_random_triplets_agree_with_torch_where_there_is_one_choice() -> None:
    vectors, labels = unit(3, 5, 0), torch.tensor([0, 0, 1])
    ours = triplet_loss(vectors, labels, margin=0.5, mining="random")
    anchors, positives, negative = vectors[:2], vectors[[1, 0]], vectors[[2, 2]]
    theirs = functional.triplet_margin_with_distance_loss(
        anchors, positives, negative, distance_function=lambda a, b: 1 - functional.cosine_similarity(a, b), margin=0.5
    )
    torch.testing.assert_close(ours, theirs)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000), n=st.integers(2, 9), people=st.integers(1, 4), margin=st.floats(0, 1))
def test_batch_hard_is_the_worst_triplet_of_each_vector(seed: int, n: int, people: int, margin: float) -> None:
    vectors = unit(n, 4, seed).double()
    labels = torch.randint(-1, people, (n,), generator=torch.Generator().manual_seed(seed))
    terms = []
    for a in range(n):
        triplets = [
            max(0.0, margin - float(vectors[a] @ vectors[p]) + float(vectors[a] @ vectors[q]))
            for p in range(n)
            for q in range(n)
            if p != a and labels[p] == labels[a] >= 0 and q != a and (labels[q] != labels[a] or labels[q] < 0)
        ]
        terms += [max(triplets)] if triplets else []
    expected = sum(terms) / len(terms) if terms else 0.0
    assert float(triplet_loss(vectors, labels, margin)) == pytest.approx(expected, abs=1e-9)


def test_random_mining_draws_each_pair_and_semi_hard_the_nearest_easier_negative() -> None:
    generator = torch.Generator().manual_seed(1)
    drawn = {round(float(triplet_loss(PLANE, LABELS, 0.2, "random", generator=generator)), 4) for _ in range(99)}
    cosines = PLANE @ PLANE.T
    choices = [[(1, 2), (1, 3)], [(0, 2), (0, 3)], [(3, 0), (3, 1)], [(2, 0), (2, 1)]]  # positive, negative
    every = [
        sum(max(0.0, 0.2 - float(cosines[a, p]) + float(cosines[a, q])) for a, (p, q) in enumerate(triplets)) / 4
        for triplets in itertools.product(*choices)
    ]
    assert drawn == {round(value, 4) for value in every}
    anchor, extra = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.8, 0.6], [0.6, 0.8], [0.0, 1.0], [0.96, 0.28]])
    both = torch.cat([anchor, extra])
    labels = torch.tensor([0, 0, 1, 1, 1])
    loss = triplet_loss(both[:1], labels[:1], 0.5, "semi-hard", both[1:], labels[1:])
    assert float(loss) == pytest.approx(0.5 - 0.8 + 0.6)  # 0.96 is nearer than the positive, 0.6 the next
    loss = triplet_loss(both[:1], labels[:1], 0.5, "semi-hard", both[[1, 4]], labels[[1, 4]])
    assert float(loss) == pytest.approx(0.5 - 0.8 + 0.96)  # none is easier: the least similar there is


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000), n=st.integers(2, 8), temperature=st.floats(0.05, 2))
def test_contrastive_loss_is_the_sum_over_pairs(seed: int, n: int, temperature: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    vectors, labels = unit(n, 4, seed).double(), torch.randint(-1, 3, (n,), generator=generator)
    extra, extra_labels = unit(3, 4, seed + 1).double(), torch.randint(-1, 3, (3,), generator=generator)
    keys, key_labels = torch.cat([vectors, extra]), torch.cat([labels, extra_labels])
    rows = []
    for a in range(n):
        own = [k for k in range(n + 3) if k != a and key_labels[k] == labels[a] >= 0]
        other = [k for k in range(n + 3) if k != a and k not in own]
        if own and other:
            e = (keys @ vectors[a] / temperature).exp()
            rows.append(-sum(float((e[k] / (e[k] + e[other].sum())).log()) for k in own) / len(own))
    expected = sum(rows) / len(rows) if rows else 0.0
    ours = contrastive_loss(vectors, labels, temperature, extra, extra_labels)
    assert float(ours) == pytest.approx(expected, abs=1e-8)


def test_contrastive_loss_with_one_positive_each_is_cross_entropy() -> None:
    vectors, labels = unit(2, 4, 3), torch.tensor([0, 0])
    extra = unit(5, 4, 4)
    ours = contrastive_loss(vectors, labels, 0.1, extra, torch.full((5,), -1))
    scores = torch.cat([(vectors[0] @ vectors[1]).expand(2, 1), vectors @ extra.T], dim=1) / 0.1
    torch.testing.assert_close(ours, functional.cross_entropy(scores, torch.zeros(2, dtype=torch.long)))


@pytest.mark.parametrize("mining", ["random", "semi-hard", "batch-hard"])
def test_an_entity_twice_in_a_batch_is_no_negative(mining: Mining) -> None:
    vectors, labels = unit(4, 4, 0).requires_grad_(), torch.zeros(4, dtype=torch.long)
    for loss in (triplet_loss(vectors, labels, 0.5, mining), contrastive_loss(vectors, labels)):
        assert float(loss.detach()) == 0
        (gradient,) = torch.autograd.grad(loss, vectors)
        assert not gradient.any()
    _, positives, negatives = compare(vectors, labels)
    assert positives.sum() == 12
    assert not negatives.any()


def test_nobody_is_no_positive_of_nobody_and_vectors_of_nobody_do_not_count() -> None:
    vectors, labels = unit(5, 4, 0), torch.tensor([0, 0, -1, -1, -1])
    _, positives, negatives = compare(vectors, labels)
    assert positives.nonzero().tolist() == [[0, 1], [1, 0]]
    assert negatives.sum(1).tolist() == [3, 3, 4, 4, 4]
    assert torch.isfinite(contrastive_loss(vectors, labels))


def test_hard_negatives_given_beside_the_batch_raise_the_losses() -> None:
    vectors = unit(6, 8, 0)
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    hard = functional.normalize(vectors + 0.05)
    hard_labels = torch.full((6,), -1)
    assert triplet_loss(vectors, labels, 0.2, "batch-hard", hard, hard_labels) > triplet_loss(vectors, labels, 0.2)
    assert contrastive_loss(vectors, labels, 0.1, hard, hard_labels) > contrastive_loss(vectors, labels, 0.1)


@pytest.mark.parametrize("loss", [triplet_loss, contrastive_loss])
def test_losses_do_not_depend_on_the_order_and_have_true_gradients(loss) -> None:  # type: ignore[no-untyped-def]
    vectors, labels = unit(6, 4, 2).double(), torch.tensor([0, 1, 2, 0, 1, 2])
    order = torch.tensor([3, 1, 5, 0, 4, 2])
    torch.testing.assert_close(loss(vectors, labels), loss(vectors[order], labels[order]))
    assert torch.autograd.gradcheck(lambda v: loss(functional.normalize(v, dim=1), labels), (vectors.requires_grad_(),))


def test_contrastive_loss_at_a_tiny_temperature_is_finite() -> None:
    assert torch.isfinite(contrastive_loss(PLANE, LABELS, 1e-4))


def test_distillation_of_the_teacher_itself_is_zero_and_of_others_a_closed_form() -> None:
    targets = unit(4, 6, 0)
    assert float(distillation_loss(targets, targets, 1.0)) == pytest.approx(0, abs=1e-6)
    assert float(distillation_loss(functional.pad(targets, (0, 3)), targets, 1.0)) == pytest.approx(0, abs=1e-6)
    student = torch.eye(3)[:2]
    teacher = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    # Cosines 1 and 0.8; the one similarity is 0 against 0.6.
    assert float(distillation_loss(student, teacher, 2.0)) == pytest.approx(0.1 + 2 * 0.36)
    assert float(distillation_loss(student[:1], teacher[:1], 2.0)) == pytest.approx(0)


def test_bad_arguments_are_named() -> None:
    vectors, labels = unit(4, 4, 0), torch.tensor([0, 0, 1, 1])
    with pytest.raises(ConfigError, match="mining = 'batch-herd'.*Did you mean 'batch-hard'"):
        triplet_loss(vectors, labels, mining="batch-herd")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="temperature = 0: must be above 0"):
        contrastive_loss(vectors, labels, 0)
    with pytest.raises(InputError, match="no labels"):
        triplet_loss(vectors, labels, extra=vectors)
    with pytest.raises(InputError, match="same width"):
        triplet_loss(vectors, labels, extra=unit(2, 3, 0), extra_labels=torch.tensor([1, 1]))
