"""Batched coupling: the plans of single documents, padding, gradients against finite differences, bad input."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mmel.coupling.batched import BatchedSolution, couple
from mmel.coupling.transport import Problem, solve
from mmel.coupling_settings import TransportConfig
from mmel.errors import ConfigError, InputError

COSTS = ("wasserstein", "gromov-wasserstein", "fused")
SIZES = [(5, 4), (1, 3), (6, 1), (3, 6), (6, 6)]
costs = pytest.mark.parametrize("cost", COSTS)


def config(cost: str, reg: float = 0.2, **more: float) -> TransportConfig:
    return TransportConfig.model_validate({"cost": cost, "reg": reg, "tolerance": 1e-12, **more})


@dataclass
class Batch:
    cross: Tensor
    left: Tensor
    right: Tensor
    text_mask: Tensor
    visual_mask: Tensor

    def couple(self, chosen: TransportConfig) -> BatchedSolution:
        return couple(self.cross, self.left, self.right, self.text_mask, self.visual_mask, chosen)

    def only(self, index: int) -> Batch:
        """One document without its padding."""
        n, m = int(self.text_mask[index].sum()), int(self.visual_mask[index].sum())
        return Batch(
            self.cross[index : index + 1, :n, :m],
            self.left[index : index + 1, :n, :n],
            self.right[index : index + 1, :m, :m],
            self.text_mask[index : index + 1, :n],
            self.visual_mask[index : index + 1, :m],
        )


def batch(sizes: list[tuple[int, int]], seed: int = 0, extra: int = 0) -> Batch:
    """Random documents, padded with `extra` mentions more than the largest has, NaN in the padding."""
    generator = torch.Generator().manual_seed(seed)
    n, m = (max(size[side] for size in sizes) + extra for side in (0, 1))
    text_mask = torch.tensor([[at < size[0] for at in range(n)] for size in sizes], dtype=torch.bool)
    visual_mask = torch.tensor([[at < size[1] for at in range(m)] for size in sizes], dtype=torch.bool)

    def padded(values: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        return torch.where(rows.unsqueeze(2) & columns.unsqueeze(1), values, torch.nan)

    made: list[list[Tensor]] = [[], [], []]
    for rows, columns in sizes:
        x, y = (torch.rand(side, 3, generator=generator, dtype=torch.float64) for side in (rows, columns))
        parts = (
            torch.rand(rows, columns, generator=generator, dtype=torch.float64),
            torch.cdist(x, x),
            torch.cdist(y, y),
        )
        for store, part, (height, width) in zip(made, parts, ((n, m), (n, n), (m, m)), strict=True):
            store.append(torch.nn.functional.pad(part, (0, width - part.shape[1], 0, height - part.shape[0])))
    cross, left, right = (torch.stack(store) for store in made)
    return Batch(
        padded(cross, text_mask, visual_mask),
        padded(left, text_mask, text_mask),
        padded(right, visual_mask, visual_mask),
        text_mask,
        visual_mask,
    )


@costs
@pytest.mark.parametrize("reg", [0.1, 0.5])
def test_plans_and_values_are_those_of_single_documents(cost: str, reg: float) -> None:
    documents, chosen = batch(SIZES), config(cost, reg)
    found = documents.couple(chosen)
    for index, (n, m) in enumerate(SIZES):
        one = documents.only(index)
        expected = solve(Problem(one.cross[0].numpy(), one.left[0].numpy(), one.right[0].numpy()), chosen)
        plan = found.plan[index, :n, :m].numpy()
        np.testing.assert_allclose(plan, expected.plan, atol=2e-6)
        assert float(found.value[index]) - reg * float((plan * np.log(plan)).sum()) == pytest.approx(
            expected.value, abs=2e-6
        )
    assert bool(found.converged.all()) and float(found.marginal_error.max()) < 1e-6


@settings(max_examples=10, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10_000),
    sizes=st.lists(st.tuples(st.integers(1, 6), st.integers(1, 5)), min_size=1, max_size=5),
    extra=st.integers(1, 4),
    cost=st.sampled_from(COSTS),
)
def test_padding_changes_nothing(seed: int, sizes: list[tuple[int, int]], extra: int, cost: str) -> None:
    documents, padded = batch(sizes, seed), batch(sizes, seed, extra)
    plain, more = documents.couple(config(cost)), padded.couple(config(cost))
    n, m = plain.plan.shape[1:]
    # Only sums are taken in another order.
    torch.testing.assert_close(more.plan[:, :n, :m], plain.plan, atol=1e-8, rtol=0)
    torch.testing.assert_close(more.value, plain.value, atol=1e-10, rtol=0)
    assert not more.plan[:, n:].any() and not more.plan[:, :, m:].any()
    assert not plain.plan[~(documents.text_mask.unsqueeze(2) & documents.visual_mask.unsqueeze(1))].any()


@costs
def test_alone_or_among_others(cost: str) -> None:
    documents, chosen = batch(SIZES, seed=1), config(cost)
    many = documents.couple(chosen)
    for index, (n, m) in enumerate(SIZES):
        alone = documents.only(index).couple(chosen)
        torch.testing.assert_close(alone.plan[0], many.plan[index, :n, :m], atol=1e-6, rtol=0)
        torch.testing.assert_close(alone.value[0], many.value[index], atol=1e-10, rtol=0)


@costs
def test_a_batch_twice_is_the_same(cost: str) -> None:
    documents = batch(SIZES, seed=2)
    one, two = documents.couple(config(cost)), documents.couple(config(cost))
    assert torch.equal(one.plan, two.plan) and torch.equal(one.value, two.value)


def test_entropic_wasserstein_of_pot() -> None:
    documents = batch([(6, 5)])
    expected = ot.sinkhorn([], [], documents.cross[0].numpy(), 0.1, method="sinkhorn_log", stopThr=1e-12)
    np.testing.assert_allclose(documents.couple(config("wasserstein", 0.1)).plan[0].numpy(), expected, atol=1e-10)


def leaves(documents: Batch) -> Batch:
    """The same documents with zeros for padding, as leaves of the gradient."""
    cross, left, right = (
        part.nan_to_num(0).requires_grad_() for part in (documents.cross, documents.left, documents.right)
    )
    return Batch(cross, left, right, documents.text_mask, documents.visual_mask)


@costs
def test_gradients_are_those_of_finite_differences(cost: str) -> None:
    documents, chosen = leaves(batch([(4, 3), (3, 4)], seed=3)), config(cost, 0.5, tolerance=1e-13)
    generator, weights = torch.Generator().manual_seed(0), torch.tensor([1.0, -2.0], dtype=torch.float64)
    (documents.couple(chosen).value * weights).sum().backward()
    used = {"wasserstein": ["cross"], "gromov-wasserstein": ["left", "right"], "fused": ["cross", "left", "right"]}
    for name in used[cost]:
        values = getattr(documents, name)
        for _ in range(2):
            direction = torch.randn(values.shape, generator=generator, dtype=torch.float64)
            ends = []
            for step in (1e-5, -1e-5):
                moved = replace(documents, **{name: values.detach() + step * direction})
                ends.append(float((moved.couple(chosen).value * weights).sum().detach()))
            expected = float((values.grad * direction).sum())
            assert (ends[0] - ends[1]) / 2e-5 == pytest.approx(expected, rel=1e-5, abs=1e-7)


@costs
def test_documents_with_an_empty_side(cost: str) -> None:
    documents = batch([(4, 3), (0, 3), (4, 0), (0, 0)], seed=4)
    inputs = [part.requires_grad_() for part in (documents.cross, documents.left, documents.right)]
    found = documents.couple(config(cost))
    found.value.sum().backward()
    assert not found.plan[1:].any() and not found.value[1:].any() and not found.marginal_error[1:].any()
    assert bool(found.converged.all())
    torch.testing.assert_close(found.plan[0], documents.only(0).couple(config(cost)).plan[0], atol=1e-6, rtol=0)
    for part in inputs:
        assert part.grad is None or bool(part.grad.isfinite().all())


@costs
@pytest.mark.parametrize("sizes", [[(0, 3), (0, 2)], [(3, 0)], [(0, 0)]])
def test_batches_without_a_side(cost: str, sizes: list[tuple[int, int]]) -> None:
    found = batch(sizes).couple(config(cost))
    assert found.plan.shape == (len(sizes), max(n for n, _ in sizes), max(m for _, m in sizes))
    assert not found.value.any() and not found.marginal_error.any() and bool(found.converged.all())


@costs
def test_single_precision(cost: str) -> None:
    documents = batch(SIZES, seed=5)
    single = Batch(
        documents.cross.float(),
        documents.left.float(),
        documents.right.float(),
        documents.text_mask,
        documents.visual_mask,
    )
    single.cross.requires_grad_()
    single.left.requires_grad_()
    found, expected = single.couple(config(cost)), documents.couple(config(cost))
    torch.testing.assert_close(found.plan, expected.plan, atol=1e-5, rtol=0)
    found.value.sum().backward()
    gradient = single.left.grad if cost == "gromov-wasserstein" else single.cross.grad
    assert gradient is not None and gradient.dtype == torch.float32 and bool(gradient.isfinite().all())


@costs
def test_tiny_reg_gives_plans_and_says_whether_they_converged(cost: str) -> None:
    found = batch(SIZES, seed=6).couple(config(cost, 5e-4, iterations=100))
    torch.testing.assert_close(found.plan.sum((1, 2)), torch.ones(len(SIZES), dtype=torch.float64), atol=1e-6, rtol=0)
    assert not bool((found.converged & (found.marginal_error > 1e-6)).any())


def test_out_of_iterations() -> None:
    documents = batch([(8, 6), (6, 8)], seed=7)
    for cost in COSTS:
        found = documents.couple(config(cost, 0.01, iterations=2))
        assert not bool(found.converged.any()) and bool((found.marginal_error > 1e-6).all())


@costs
def test_a_step_against_the_gradient_descends(cost: str) -> None:
    documents = leaves(batch([(5, 4), (4, 4)], seed=8))
    before = documents.couple(config(cost)).value.sum()
    before.backward()
    moved = {
        name: values.detach() - (0 if values.grad is None else 0.01 * values.grad)
        for name, values in (("cross", documents.cross), ("left", documents.left), ("right", documents.right))
    }
    assert float(replace(documents, **moved).couple(config(cost)).value.sum()) < float(before.detach())


@pytest.mark.parametrize("more", [{"mass": "partial"}, {"mass": "semi-relaxed"}, {"reg": 0.0}])
def test_what_batches_cannot_do(more: dict[str, object]) -> None:
    chosen = TransportConfig.model_validate({"cost": "fused", **more})
    with pytest.raises(ConfigError, match="coupled with mass=balanced and reg above 0. Remedy"):
        batch([(2, 2)]).couple(chosen)


def test_bad_costs() -> None:
    documents = batch([(3, 2)])
    both = documents.text_mask, documents.visual_mask
    with pytest.raises(InputError, match="'cross': is None, and cost = wasserstein needs it"):
        couple(None, documents.left, documents.right, *both, config("wasserstein"))
    with pytest.raises(InputError, match="'right': is None"):
        couple(documents.cross, documents.left, None, *both, config("fused"))
    with pytest.raises(InputError, match=r"'left': has shape \[1, 2, 2\], the masks need \[1, 3, 3\]"):
        couple(None, documents.right, documents.right, *both, config("gromov-wasserstein"))
    documents.cross[0, 1, 1] = torch.nan
    with pytest.raises(InputError, match="'cross': has NaN or costs of 1e\\+50 and more"):
        documents.couple(config("fused"))
    couple(None, documents.left, documents.right, *both, config("gromov-wasserstein"))


def test_overflow_is_an_error() -> None:
    documents = batch([(3, 2)])
    with pytest.raises(InputError, match="'reg': 1e-300 is too small for these costs"):
        couple(
            documents.cross * 1e49,
            None,
            None,
            documents.text_mask,
            documents.visual_mask,
            config("wasserstein", 1e-300),
        )
