"""Balanced entropic transport of many documents at once, with gradients into the costs.

Objective and plans are those of `mmel.coupling.transport`. The value contains the entropy: at the optimum of the whole
objective the gradient into the costs is that at a fixed plan (envelope theorem), without differentiating the solver.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmel.coupling.transport import LARGEST_COST, LOOSEST, MARGINAL_TOLERANCE, QUANTILES
from mmel.coupling_settings import TransportConfig
from mmel.errors import ConfigError, InputError

PADDED_MASS = 1e-30
"""Mass of what pads: with none, log 0 - log 0 would be NaN."""


@dataclass(frozen=True, slots=True)
class BatchedSolution:
    """Plans [B, n, m] without gradient, zero where padded, and `value` [B] with gradients into the costs.

    `value` is the objective with the entropy term, 0 for a document with an empty side. `marginal_error` [B] is the
    largest absolute deviation from uniform masses; `converged` [B] says that it is at most 1e-6 and that the search
    over plans, where there is structure, stopped before its last iteration.
    """

    plan: Tensor
    value: Tensor
    marginal_error: Tensor
    iterations: int
    converged: Tensor


def couple(
    cross: Tensor | None,
    left: Tensor | None,
    right: Tensor | None,
    text_mask: Tensor,
    visual_mask: Tensor,
    config: TransportConfig,
) -> BatchedSolution:
    """Couple B documents with uniform masses on the mentions of the masks, padded to n and m.

    `cross` [B, n, m], `left` [B, n, n] and `right` [B, m, m] are costs as in `Problem`, of any content where padded;
    `text_mask` is [B, n], `visual_mask` [B, m]. Solved in float64 whatever the costs are in. ConfigError unless
    `config` is balanced with reg > 0; InputError where a cost is missing, not finite or of another shape.
    """
    if config.mass != "balanced" or not config.reg:
        raise ConfigError(
            f"mass={config.mass}, reg={config.reg}: batches are coupled with mass=balanced and reg above 0. Remedy: "
            "solve these document by document"
        )
    there = text_mask.unsqueeze(2) & visual_mask.unsqueeze(1)
    objective = _objective((cross, left, right), (text_mask, visual_mask), config)
    # A document with an empty side couples its padding, so that the batch converges; its plan is emptied below.
    coupled = there.flatten(1).any(1)
    a, b = (_masses(mask | ~coupled.unsqueeze(1)) for mask in (text_mask, visual_mask))
    with torch.no_grad():
        plan, iterations, stopped = _minimise(objective.detach(), a, b, config)
        if not bool(plan.isfinite().all()):
            raise InputError(
                f"{config.reg} is too small for these costs: the solver overflows", field="reg", remedy="raise it"
            )
        plan = plan * there
        error = torch.cat([plan.sum(2) - a * text_mask, plan.sum(1) - b * visual_mask], 1).abs()
        error = torch.where(coupled, error.sum(1) if not error.shape[1] else error.amax(1), 0.0)
    value = objective(plan) + config.reg * torch.xlogy(plan, plan).sum((1, 2))
    return BatchedSolution(plan, value, error, iterations, stopped & (error <= MARGINAL_TOLERANCE))


@dataclass(frozen=True, slots=True)
class _Objective:
    """The objective without its entropy term: `linear` [B, n, m] is (1 - weight) C, `weight` alpha."""

    linear: Tensor
    left: Tensor | None
    right: Tensor | None
    weight: float

    def detach(self) -> _Objective:
        left, right = (None if side is None else side.detach() for side in (self.left, self.right))
        return _Objective(self.linear.detach(), left, right, self.weight)

    def __call__(self, plan: Tensor) -> Tensor:
        """Values [B] of plans [B, n, m]."""
        value = (self.linear * plan).sum((1, 2))
        if self.left is None:
            return value
        from ot.batch import loss_quadratic_batch

        masses = plan.sum(2), plan.sum(1)
        structure: Tensor = loss_quadratic_batch(
            *masses, self.left, self.right, plan, symmetric=False, recompute_const=True
        )
        return value + self.weight * structure

    def linearise(self, plan: Tensor) -> tuple[Tensor, Tensor]:
        """Values [B] and gradients [B, n, m] at plans."""
        with torch.enable_grad():
            plan = plan.requires_grad_()
            value = self(plan)
            (gradient,) = torch.autograd.grad(value.sum(), plan)
        return value.detach(), gradient


def _objective(costs: tuple[Tensor | None, ...], masks: tuple[Tensor, Tensor], config: TransportConfig) -> _Objective:
    """Of cross, left and right, and of the masks of both sides."""
    (cross, left, right), (text, visual), weight = costs, masks, config.structure_weight
    if config.needs_cross:
        linear = (1 - weight) * _cost(cross, text, visual, "cross", config)
    else:
        linear = text.new_zeros((*text.shape, visual.shape[1]), dtype=torch.float64)
    if not config.needs_structure:
        return _Objective(linear, None, None, weight)
    structures = _cost(left, text, text, "left", config), _cost(right, visual, visual, "right", config)
    return _Objective(linear, *structures, weight)


def _cost(values: Tensor | None, rows: Tensor, columns: Tensor, name: str, config: TransportConfig) -> Tensor:
    """Costs in float64, 0 outside of the masks of their rows and columns."""
    there = rows.unsqueeze(2) & columns.unsqueeze(1)
    if values is None:
        raise InputError(f"is None, and cost = {config.cost} needs it", field=name, remedy="give it")
    if values.shape != there.shape:
        raise InputError(
            f"has shape {list(values.shape)}, the masks need {list(there.shape)}",
            field=name,
            remedy="pad costs and masks to the same number of mentions",
        )
    cost = torch.where(there, values.double(), 0.0)
    if not bool((cost.abs() < LARGEST_COST).all()):
        raise InputError(
            f"has NaN or costs of {LARGEST_COST:g} and more",
            field=name,
            remedy="look at the scores or vectors that the costs are made from",
        )
    return cost


def _masses(mask: Tensor) -> Tensor:
    """Uniform masses [B, n] where the mask is."""
    return (mask.double() / mask.sum(1, keepdim=True).clamp(min=1)).clamp(min=PADDED_MASS)


def _minimise(objective: _Objective, a: Tensor, b: Tensor, config: TransportConfig) -> tuple[Tensor, int, bool]:
    """Plans, iterations, and whether a search over them stopped before its last.

    The generalised conditional gradient of `mmel.coupling.transport`, for all documents at once until no step of any
    can gain more than the tolerance.
    """
    if not objective.linear.numel():
        return torch.zeros_like(objective.linear), 0, True
    sinkhorn = _Sinkhorn(a, b, config)
    plan = sinkhorn(_first_cost(objective, a, b), config.tolerance)
    if objective.left is None:
        return plan, sinkhorn.iterations, True
    tolerance, stopped, iteration = LOOSEST, False, 0
    while not stopped and iteration < config.iterations:
        iteration += 1
        value, gradient = objective.linearise(plan)
        target = sinkhorn(gradient, tolerance)
        change = target - plan
        slope = (gradient * change).sum((1, 2))
        curvature = objective(target) - value - slope
        entropy = torch.xlogy(target, target).sum((1, 2)) - torch.xlogy(plan, plan).sum((1, 2))
        gain = (-slope - config.reg * entropy).clamp(min=0)
        # The best point of a bound on the way to the target; the target itself where the way is not convex.
        share = torch.where(2 * curvature > gain, gain / (2 * curvature), 1.0)
        plan = plan + share[:, None, None] * change
        stopped = bool((gain <= config.tolerance).all()) and tolerance <= config.tolerance
        tolerance = max(min(float(gain.max()) / 10, LOOSEST), config.tolerance)
    return sinkhorn(objective.linearise(plan)[1], config.tolerance), iteration, stopped


def _first_cost(objective: _Objective, a: Tensor, b: Tensor) -> Tensor:
    """Costs of the linear problems that the search starts from: see `mmel.coupling.transport`."""
    if objective.left is None or objective.right is None or objective.weight < 1:
        return objective.linear
    left, right = _quantiles(objective.left, a), _quantiles(objective.right, b)
    return (left.unsqueeze(2) - right.unsqueeze(1)).square().mean(3)


def _quantiles(structure: Tensor, masses: Tensor) -> Tensor:
    """Of each row [B, n, n] the distances [B, n, QUANTILES] that equal shares of the masses [B, n] are below."""
    distances, order = structure.sort(2)
    below = masses.unsqueeze(1).expand_as(order).gather(2, order).cumsum(2)
    shares = (torch.arange(QUANTILES, device=masses.device, dtype=masses.dtype) + 0.5) / QUANTILES
    chosen = torch.searchsorted(below, shares.expand(*below.shape[:2], -1).contiguous())
    return distances.gather(2, chosen.clamp(max=masses.shape[1] - 1))


class _Sinkhorn:
    """Minimises <cost, P> + reg sum P log P for one batch of costs after the other, from where it ended before."""

    def __init__(self, a: Tensor, b: Tensor, config: TransportConfig) -> None:
        self.a, self.b, self.config = a, b, config
        self.iterations = 0
        self._potential = torch.zeros_like(b)

    def __call__(self, cost: Tensor, tolerance: float) -> Tensor:
        """Plans [B, n, m] of costs [B, n, m]; `iterations` is how many it took."""
        from ot.batch import solve_batch

        # A potential of one side in the costs changes no plan; POT has no other way in for it.
        cost = cost - self._potential.unsqueeze(1)
        # Without the log domain an iteration costs a third. POT 0.9.7 allows that on the CPU alone; exp(200) and its
        # inverse, and the product of two of them, are far from the ends of float64.
        plain = not cost.is_cuda and float(cost.abs().max()) <= 200 * self.config.reg
        found = solve_batch(
            cost,
            self.config.reg,
            self.a,
            self.b,
            max_iter=self.config.iterations,
            tol=tolerance,
            method="sinkhorn" if plain else "log_sinkhorn",
            grad="detach",
        )
        self.iterations = found.log["n_iter"] + 1
        scaling = found.potentials[1]
        self._potential = self._potential + self.config.reg * (scaling.log() if plain else scaling)
        plan: Tensor = found.plan
        return plan
