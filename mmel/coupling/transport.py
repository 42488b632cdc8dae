"""Optimal transport between the textual and the visual mentions of one document.

The plan P [n, m] minimises (1 - alpha) <C, P> + alpha sum_ijkl (L_ik - R_jl)^2 P_ij P_kl + reg sum_ij P_ij log P_ij: C
is the cross-modal cost (Gan et al. 2021, Eq. 10), L and R are the intra-modal structures (Eq. 9); `wasserstein` is
alpha = 0, `gromov-wasserstein` alpha = 1 (Memoli 2011; fused: Vayer et al. 2019). The solvers are those of POT (Flamary
et al. 2021).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mmel.coupling_settings import TransportConfig
from mmel.errors import InputError

MARGINAL_TOLERANCE = 1e-6
"""Largest error of the marginals of a solution that calls itself converged."""
LARGEST_COST = 1e50
"""Costs are below it, so that no square or sum of them overflows."""
QUANTILES = 16
"""Points at which two distributions of distances are compared, for a first plan."""
LOOSEST = 1e-3
"""Error of the marginals at which a step's linear problem may stop as long as steps gain ten times as much."""


@dataclass(frozen=True, slots=True)
class Problem:
    """The costs of one document with n textual and m visual mentions.

    `cross` [n, m] may be None for `gromov-wasserstein`, `left` [n, n] and `right` [m, m] for `wasserstein`. `a` [n] and
    `b` [m] are masses, of any sum and uniform where None; a mention without mass gets no part in the plan.
    """

    cross: np.ndarray | None = None
    left: np.ndarray | None = None
    right: np.ndarray | None = None
    a: np.ndarray | None = None
    b: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class Solution:
    """A plan [n, m] in float64 and how well it was found.

    `value` is the objective without its entropy term, `marginal_error` the largest absolute deviation from what the
    mass rule prescribes; `converged` says that the solver stopped before its last iteration and that the marginals are
    right to 1e-6. Nothing to couple (n = 0 or m = 0) is an empty plan that converged.
    """

    plan: np.ndarray
    value: float
    marginal_error: float
    iterations: int
    converged: bool


def solve(problem: Problem, config: TransportConfig) -> Solution:
    """The transport plan of one document; InputError where costs or masses are none.

    The structure makes the problem non-convex: the search starts from the optimum of a linear problem and, where
    reg = 0, from the product of the masses as well, and the better end is kept. Masses are normalised to 1 on each
    side; `partial` moves `config.moved` of that, `semi-relaxed` keeps the masses of the textual side alone.
    """
    cross, left, right, a, b = _check(problem, config)
    rows, columns = np.flatnonzero(a), np.flatnonzero(b)
    plan = np.zeros((len(a), len(b)))
    if not plan.size:
        return Solution(plan, 0.0, 0.0, 0, True)
    weight = config.structure_weight
    # Mentions without mass are left out: log 0 would spread NaN from them.
    linear = np.zeros((len(rows), len(columns))) if weight == 1 else (1 - weight) * cross[np.ix_(rows, columns)]
    if weight:
        left, right = left[np.ix_(rows, rows)], right[np.ix_(columns, columns)]
    objective = _Objective(linear, left, right, weight, config.reg)
    marginals = _Marginals(a[rows], b[columns], config)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # what comes of them is looked for below
        found, iterations, stopped = _minimise(objective, marginals, config)
    if not np.isfinite(found).all():
        raise InputError(
            f"{config.reg} is too small for these costs: the solver overflows", field="reg", remedy="raise it"
        )
    plan[np.ix_(rows, columns)] = found
    error = marginals.error(found)
    return Solution(plan, objective.value(found), error, iterations, stopped and error <= MARGINAL_TOLERANCE)


# --- the problem ----------------------------------------------------------------------------------------------------


def _check(problem: Problem, config: TransportConfig) -> tuple[np.ndarray, ...]:
    """Costs in float64 and masses that sum to 1; an unused cost is an empty array."""
    needed = {"cross": config.needs_cross, "left": config.needs_structure, "right": config.needs_structure}
    costs = {name: _cost(getattr(problem, name), name, config.cost) for name, used in needed.items() if used}
    n = len(costs["left"] if "left" in costs else costs["cross"])
    m = len(costs["right"]) if "right" in costs else costs["cross"].shape[1]
    for name, shape in (("cross", (n, m)), ("left", (n, n)), ("right", (m, m))):
        if name in costs and costs[name].shape != shape:
            raise InputError(
                f"has shape {list(costs[name].shape)} where {n} textual and {m} visual mentions need {list(shape)}",
                field=name,
                remedy="give cross [n, m], left [n, n] and right [m, m]",
            )
    a, b = _masses(problem.a, n, "a"), _masses(problem.b, m, "b")
    return (*(costs.get(name, np.empty((0, 0))) for name in ("cross", "left", "right")), a, b)


def _cost(values: np.ndarray | None, name: str, cost: str) -> np.ndarray:
    if values is None:
        raise InputError(f"is None, and cost = {cost} needs it", field=name, remedy="give it or choose another cost")
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2:
        raise InputError(f"has shape {list(array.shape)}, not two axes", field=name, remedy="give a matrix of costs")
    wrong = ~(np.abs(array) < LARGEST_COST)  # NaN is not below it, either
    if wrong.any():
        at = np.argwhere(wrong)[0].tolist()
        raise InputError(
            f"is {array[tuple(at)]} at {at}; allowed: finite costs below {LARGEST_COST:g}",
            field=name,
            remedy="look at the scores or vectors that the costs are made from",
        )
    return array


def _masses(values: np.ndarray | None, size: int, name: str) -> np.ndarray:
    if values is None:
        return np.full(size, 1 / max(size, 1))
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (size,):
        raise InputError(
            f"has shape {list(array.shape)} for {size} mentions", field=name, remedy="give one mass a mention"
        )
    if not np.isfinite(array).all() or (array < 0).any():
        raise InputError(
            f"has {array.min()} as smallest and {array.max()} as largest mass",
            field=name,
            remedy="masses are finite and not negative",
        )
    if not size:
        return array
    if not array.any():
        raise InputError("is zero for every mention", field=name, remedy="give some mention mass, or None for uniform")
    array = array / array.max()  # the sum of the largest floats would overflow
    return array / array.sum()


class _Objective:
    """The objective of the module's head: `linear` is (1 - weight) C, `weight` alpha."""

    def __init__(self, linear: np.ndarray, left: np.ndarray, right: np.ndarray, weight: float, reg: float) -> None:
        self.linear, self.left, self.right, self.weight, self.reg = linear, left, right, weight, reg
        # (L o L + its transpose) / 2: what the squares of (L_ik - R_jl)^2 add up to.
        self._squares = [(side**2 + side.T**2) / 2 for side in (left, right)]
        self._symmetric = all(np.array_equal(side, side.T) for side in (left, right))

    def structure_gradient(self, plan: np.ndarray) -> np.ndarray:
        """Gradient [n, m] of the structure's part, linear in the plan (Peyre et al. 2016, Prop. 1).

        That of POT for plans with given marginals; here they are the plan's, which `partial` leaves open.
        """
        squares = np.add.outer(self._squares[0] @ plan.sum(1), self._squares[1] @ plan.sum(0))
        products = self.left @ plan @ self.right.T
        if not self._symmetric:
            products = (products + self.left.T @ plan @ self.right) / 2
        gradient: np.ndarray = 2 * self.weight * (squares - 2 * products)
        return gradient

    def value(self, plan: np.ndarray) -> float:
        """The objective without the entropy term."""
        quadratic = self.structure_gradient(plan) if self.weight else 0.0
        return float(np.sum(plan * (self.linear + quadratic / 2)))

    def negative_entropy(self, plan: np.ndarray) -> float:
        """reg sum P log P."""
        from scipy.special import xlogy

        return self.reg * float(xlogy(plan, plan).sum()) if self.reg else 0.0


@dataclass(frozen=True, slots=True)
class _Marginals:
    """The masses and what the rule prescribes of them."""

    a: np.ndarray
    b: np.ndarray
    config: TransportConfig

    @property
    def rule(self) -> str:
        everything = self.config.mass == "partial" and self.config.moved == 1
        return "balanced" if everything else self.config.mass

    def balanced(self) -> _Marginals:
        """The same masses, all of them prescribed."""
        return _Marginals(self.a, self.b, self.config.model_copy(update={"mass": "balanced"}))

    @property
    def moved(self) -> float:
        return min(self.config.moved, float(self.a.sum()), float(self.b.sum())) if self.rule == "partial" else 1.0

    def error(self, plan: np.ndarray) -> float:
        """Largest absolute deviation from the rule."""
        rows, columns = plan.sum(1) - self.a, plan.sum(0) - self.b
        if self.rule == "semi-relaxed":
            return float(np.abs(rows).max())
        if self.rule == "balanced":
            return float(max(np.abs(rows).max(), np.abs(columns).max()))
        return float(max(rows.max(), columns.max(), abs(plan.sum() - self.moved), 0.0))


# --- linear problems ------------------------------------------------------------------------------------------------

# A plan, the iterations it took, and whether the solver stopped before its last.
_Found = tuple[np.ndarray, int, bool]


class _Linear:
    """Minimises <cost, P> + reg sum P log P under the mass rule, for one cost after the other.

    Sinkhorn starts where it ended for the cost before, and stops at marginals with an error of `tolerance`.
    """

    def __init__(self, marginals: _Marginals, config: TransportConfig) -> None:
        self.a, self.b, self.moved, self.config = marginals.a, marginals.b, marginals.moved, config
        self.tolerance = config.tolerance
        self._potential = np.zeros(len(self.a))
        solvers: dict[tuple[str, bool], Callable[[np.ndarray], _Found]] = {
            ("balanced", False): self._exact,
            ("balanced", True): self._sinkhorn,
            ("partial", False): self._exact_partial,
            ("partial", True): self._entropic_partial,
            ("semi-relaxed", False): self._cheapest_columns,
            ("semi-relaxed", True): self._softmax_rows,
        }
        self.solve = solvers[marginals.rule, config.reg > 0]
        self.loosest = LOOSEST if self.solve == self._sinkhorn else config.tolerance

    def _exact(self, cost: np.ndarray) -> _Found:
        import ot

        plan, log = ot.emd(self.a, self.b, cost, log=True, center_dual=False)
        return plan, 1, log["warning"] is None

    def _exact_partial(self, cost: np.ndarray) -> _Found:
        from ot.partial import partial_wasserstein

        # POT lets unmatched mass cost nothing, and all that is moved must cost more than that, which gradients need
        # not; the moved mass is fixed, so that a constant changes nothing.
        return partial_wasserstein(self.a, self.b, cost - cost.min() + 1, m=self.moved), 1, True

    def _cheapest_columns(self, cost: np.ndarray) -> _Found:
        # Equally cheap columns share, as in POT, so that duplicates are treated alike.
        cheapest = cost <= cost.min(1, keepdims=True) + 1e-15
        return self.a[:, None] * cheapest / cheapest.sum(1, keepdims=True), 1, True

    def _softmax_rows(self, cost: np.ndarray) -> _Found:
        from scipy.special import softmax

        return self.a[:, None] * softmax(-cost / self.config.reg, axis=1), 1, True

    def _sinkhorn(self, cost: np.ndarray) -> _Found:
        from ot.batch import bregman_projection_batch
        from ot.bregman import sinkhorn_stabilized

        reg = self.config.reg
        cost = cost - self._potential[:, None]
        cost -= cost.min(0)
        limits = {"max_iter": self.config.iterations, "tol": self.tolerance}
        # exp(200), its inverse, and the product of two of them are far from the ends of float64.
        if cost.max() <= 200 * reg:
            # Transposed, because the side that comes first forgets where it started.
            found = bregman_projection_batch(np.exp(cost.T / -reg)[None], self.b[None], self.a[None], **limits)
            plan, iterations = found["T"][0].T, found["n_iters"] + 1
            self._potential = self._potential + reg * np.log(found["potentials"][1][0])
            return plan, iterations, bool(np.linalg.norm(plan.sum(0) - self.b) <= self.tolerance)
        # Scaling that moves into the log domain where it must (Schmitzer 2019): the iterates of sinkhorn_log, ten
        # times as fast. It needs a first kernel in which no row or column vanishes.
        excess = np.maximum(cost.min(1) - 500 * reg, 0)
        plan, log = sinkhorn_stabilized(
            self.a,
            self.b,
            cost - excess[:, None],
            reg,
            numItermax=self.config.iterations,
            stopThr=self.tolerance,
            print_period=10,
            log=True,
            warn=False,
        )
        self._potential = self._potential + excess + log["alpha"]
        return plan, log["n_iter"] + 1, log["err"][-1] <= self.tolerance

    def _entropic_partial(self, cost: np.ndarray) -> _Found:
        from ot.partial import entropic_partial_wasserstein

        plan, log = entropic_partial_wasserstein(
            self.a,
            self.b,
            cost - cost.min(),
            self.config.reg,
            m=self.moved,
            # The log domain costs ten times as much; exp(-100) and its inverse are far from the ends of float64.
            method="sinkhorn" if np.ptp(cost) <= 100 * self.config.reg else "sinkhorn_log",
            numItermax=self.config.iterations,
            stopThr=self.tolerance,
            log=True,
        )
        return plan, 10 * len(log["err"]) - 9, log["err"][-1] <= self.tolerance


# --- problems with structure ----------------------------------------------------------------------------------------


def _minimise(objective: _Objective, marginals: _Marginals, config: TransportConfig) -> _Found:
    linear = _Linear(marginals, config)
    if not objective.weight:
        return linear.solve(objective.linear)
    first = _first_cost(objective, marginals)
    starts = [linear.solve(first)[0]]
    if not config.reg:  # with entropy the ends were the same in 229 of 240 random problems, and steps are slow
        starts.append(np.outer(marginals.a, marginals.b) * marginals.moved)
        if marginals.rule == "semi-relaxed":  # what is balanced is allowed, and does not send all to one column
            starts.append(_Linear(marginals.balanced(), config).solve(first)[0])
    found = [_conditional_gradient(objective, linear, start) for start in starts]
    return min(found, key=lambda one: objective.value(one[0]))


def _first_cost(objective: _Objective, marginals: _Marginals) -> np.ndarray:
    """The linear problem that a search starts from: that of the cross-modal costs, where there are any.

    Else that of the third lower bound of Gromov-Wasserstein (Memoli 2011, Def. 6.3): how much two mentions' distances
    from all of their own side differ in distribution, at some quantiles.
    """
    if objective.linear.any():
        return objective.linear
    left, right = _quantiles(objective.left, marginals.a), _quantiles(objective.right, marginals.b)
    return objective.weight * np.square(left[:, None] - right[None]).mean(2)


def _quantiles(structure: np.ndarray, masses: np.ndarray) -> np.ndarray:
    """The distances [n, QUANTILES] of each row of [n, n] that equal shares of the masses [n] are below."""
    order = structure.argsort(1, kind="stable")
    below, shares = masses[order].cumsum(1), (np.arange(QUANTILES) + 0.5) / QUANTILES
    chosen = (below[:, :, None] < shares).sum(1).clip(max=len(masses) - 1)
    return np.take_along_axis(np.take_along_axis(structure, order, 1), chosen, 1)


def _conditional_gradient(objective: _Objective, linear: _Linear, start: np.ndarray) -> _Found:
    """Generalised conditional gradient (Bredies et al. 2009): a linear, entropic where reg > 0, problem a step.

    Without entropy it is what POT does for fused Gromov-Wasserstein (Vayer et al. 2019); with it, projected gradient
    (Peyre et al. 2016) whose step is shorter where the whole one would not descend. It stops when a step gains less
    than the tolerance.
    """
    from ot.optim import solve_1d_linesearch_quad

    config, entropy = linear.config, objective.negative_entropy
    plan, structure, stopped = start, objective.structure_gradient(start), False
    iteration = 0
    while not stopped and iteration < config.iterations:
        iteration += 1
        gradient = objective.linear + structure
        change = linear.solve(gradient)[0] - plan
        curved = objective.structure_gradient(change)
        curvature = float(np.sum(curved * change)) / 2
        # The entropy is convex: its chord is above it, so that what descends along the chord descends.
        slope = float(np.sum(gradient * change)) + entropy(plan + change) - entropy(plan)
        share = float(solve_1d_linesearch_quad(curvature, slope))
        plan, structure = plan + share * change, structure + share * curved
        gain = -share * (slope + share * curvature)
        stopped = gain <= config.tolerance and linear.tolerance <= config.tolerance
        linear.tolerance = max(min(gain / 10, linear.loosest), config.tolerance)
    if config.reg:  # the marginals of the first steps are left behind
        linear.tolerance = config.tolerance
        plan = linear.solve(objective.linear + objective.structure_gradient(plan))[0]
    return plan, iteration, stopped
