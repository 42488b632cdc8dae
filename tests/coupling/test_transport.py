"""Transport of one document: POT's solvers, brute force over permutations, closed forms, invariances, bad input."""

from __future__ import annotations

import itertools
from dataclasses import fields, replace

import numpy as np
import ot
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from mmel.coupling.transport import LARGEST_COST, Problem, solve
from mmel.coupling_settings import TransportConfig
from mmel.errors import InputError

COSTS = ("wasserstein", "gromov-wasserstein", "fused")
MASSES = ("balanced", "partial", "semi-relaxed")
EVERY = [(cost, mass, reg) for cost in COSTS for mass in MASSES for reg in (0.0, 0.2)]
every = pytest.mark.parametrize(("cost", "mass", "reg"), EVERY)


def config(cost: str, mass: str = "balanced", reg: float = 0.0, **more: float) -> TransportConfig:
    return TransportConfig.model_validate({"cost": cost, "mass": mass, "reg": reg, **more})


def distances(n: int, rng: np.random.Generator) -> np.ndarray:
    points = rng.random((n, 3))
    found: np.ndarray = ot.dist(points, points, "euclidean")
    return found / found.max() if n > 1 else found


def problem(n: int, m: int, seed: int = 0, masses: bool = False) -> Problem:
    rng = np.random.default_rng(seed)
    a, b = (rng.random(size) + 0.1 if masses else None for size in (n, m))
    return Problem(rng.random((n, m)), distances(n, rng), distances(m, rng), a, b)


def objective(given: Problem, plan: np.ndarray, weight: float) -> float:
    """The objective without entropy, from its definition."""
    value = 0.0
    if weight < 1 and given.cross is not None:
        value += (1 - weight) * float((given.cross * plan).sum())
    if weight > 0 and given.left is not None and given.right is not None:
        gaps = (given.left[:, None, :, None] - given.right[None, :, None, :]) ** 2
        value += weight * float(np.einsum("ijkl,ij,kl", gaps, plan, plan))
    return value


def weight_of(cost: str, alpha: float = 0.5) -> float:
    return {"wasserstein": 0.0, "gromov-wasserstein": 1.0, "fused": alpha}[cost]


# --- what every solution is -----------------------------------------------------------------------------------------


@every
def test_marginals_and_value(cost: str, mass: str, reg: float) -> None:
    for size in ((1, 1), (1, 4), (5, 1), (6, 4), (3, 7)):
        given = problem(*size, masses=True)
        assert given.a is not None and given.b is not None
        a, b = given.a / given.a.sum(), given.b / given.b.sum()
        found = solve(given, config(cost, mass, reg))
        rows, columns = found.plan.sum(1) - a, found.plan.sum(0) - b
        errors = {
            "balanced": [*abs(rows), *abs(columns)],
            "partial": [*rows, *columns, abs(found.plan.sum() - 0.7)],
            "semi-relaxed": abs(rows),
        }[mass]
        assert found.converged and found.plan.min() >= 0 and max(errors) < 1e-6
        assert found.marginal_error == pytest.approx(max(0, *errors), abs=1e-15)
        assert found.value == pytest.approx(objective(given, found.plan, weight_of(cost)), abs=1e-9)


@every
def test_a_long_document(cost: str, mass: str, reg: float) -> None:
    found = solve(problem(165, 41), config(cost, mass, reg))
    assert found.plan.shape == (165, 41) and found.converged and found.marginal_error < 1e-6


@every
def test_a_mention_without_mass_has_no_part(cost: str, mass: str, reg: float) -> None:
    given = problem(5, 4, seed=3)
    assert given.cross is not None and given.left is not None and given.right is not None
    a, b = np.array([1.0, 0, 1, 1, 1]), np.array([1.0, 1, 0, 1])
    rows, columns = np.flatnonzero(a), np.flatnonzero(b)
    found = solve(Problem(given.cross, given.left, given.right, a, b), config(cost, mass, reg))
    without = Problem(
        given.cross[np.ix_(rows, columns)], given.left[np.ix_(rows, rows)], given.right[np.ix_(columns, columns)]
    )
    expected = solve(without, config(cost, mass, reg))
    assert not found.plan[1].any() and not found.plan[:, 2].any()
    np.testing.assert_array_equal(found.plan[np.ix_(rows, columns)], expected.plan)
    assert (found.value, found.converged) == (expected.value, expected.converged)


@every
def test_duplicate_mentions(cost: str, mass: str, reg: float) -> None:
    given = problem(4, 3, seed=1)
    twice, both = np.array([0, 0, 1, 2, 3]), np.array([0, 1, 1, 2])
    assert given.cross is not None and given.left is not None and given.right is not None
    copies = Problem(
        given.cross[np.ix_(twice, both)], given.left[np.ix_(twice, twice)], given.right[np.ix_(both, both)]
    )
    found = solve(copies, config(cost, mass, reg))
    assert found.converged and np.isfinite(found.plan).all()
    if reg:
        np.testing.assert_allclose(found.plan[0], found.plan[1], atol=1e-6)
        np.testing.assert_allclose(found.plan[:, 1], found.plan[:, 2], atol=1e-6)


@every
def test_nothing_to_couple(cost: str, mass: str, reg: float) -> None:
    for n, m in ((0, 0), (0, 3), (3, 0)):
        found = solve(Problem(np.zeros((n, m)), np.zeros((n, n)), np.zeros((m, m))), config(cost, mass, reg))
        assert found.plan.shape == (n, m)
        assert (found.value, found.marginal_error, found.iterations, found.converged) == (0.0, 0.0, 0, True)


@every
def test_equal_costs(cost: str, mass: str, reg: float) -> None:
    found = solve(Problem(np.zeros((4, 3)), np.zeros((4, 4)), np.zeros((3, 3))), config(cost, mass, reg))
    assert found.converged and found.value == 0
    assert found.plan.sum() == pytest.approx(0.7 if mass == "partial" else 1)


# --- the exact optimum ----------------------------------------------------------------------------------------------


def best_permutation(given: Problem, weight: float, n: int) -> float:
    plans = (np.eye(n)[list(order)] / n for order in itertools.permutations(range(n)))
    return min(objective(given, plan, weight) for plan in plans)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 5))
def test_wasserstein_is_the_best_permutation(seed: int, n: int) -> None:
    given = problem(n, n, seed)
    assert solve(given, config("wasserstein")).value == pytest.approx(best_permutation(given, 0, n), abs=1e-12)


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_fused_is_the_best_permutation_where_the_costs_say_which(n: int) -> None:
    for seed in range(10):
        given, rng = problem(n, n, seed), np.random.default_rng(seed)
        order = rng.permutation(n)
        assert given.left is not None
        right = given.left[np.ix_(order, order)] + 0.05 * distances(n, rng)
        hinted = Problem(1 - 0.9 * np.eye(n)[order].T + 0.1 * rng.random((n, n)), given.left, right)
        assert solve(hinted, config("fused")).value == pytest.approx(best_permutation(hinted, 0.5, n), abs=1e-9)


def test_gromov_wasserstein_is_near_the_best_permutation() -> None:
    # Concave between Euclidean distances (Maron & Lipman 2018), so that the best plan is a permutation; the search is
    # local and finds it more often than not.
    gaps = []
    for seed in range(40):
        given = problem(4, 4, seed)
        gaps.append(solve(given, config("gromov-wasserstein")).value - best_permutation(given, 1, 4))
    assert min(gaps) > -1e-9 and np.median(gaps) < 1e-9 and np.mean(gaps) < 0.005


@pytest.mark.parametrize("size", [(6, 4), (4, 6), (12, 8)])
@pytest.mark.parametrize("masses", [False, True])
def test_exact_values_are_at_most_those_of_pot(size: tuple[int, int], masses: bool) -> None:
    for seed in range(5):
        given = problem(*size, seed=seed, masses=masses)
        a, b = (
            np.full(n, 1 / n) if mass is None else mass / mass.sum()
            for n, mass in zip(size, (given.a, given.b), strict=True)
        )
        for cost, alpha in (("gromov-wasserstein", 1.0), ("fused", 0.5), ("fused", 0.2)):
            common = {"M": given.cross, "C1": given.left, "C2": given.right, "p": a, "alpha": alpha}
            # POT's semi-relaxed search starts from uniform masses, which ours takes from `b`.
            theirs = {
                "balanced": ot.gromov.fused_gromov_wasserstein(**common, q=b),
                "semi-relaxed": ot.gromov.semirelaxed_fused_gromov_wasserstein(**common),
            }
            if alpha < 1:  # without linear costs, POT's moves less than it is told to
                theirs["partial"] = ot.gromov.partial_fused_gromov_wasserstein(**common, q=b, m=0.7)
            for mass, plan in theirs.items():
                ours = solve(
                    replace(given, b=None) if mass == "semi-relaxed" else given, config(cost, mass, alpha=alpha)
                )
                assert ours.value <= objective(given, plan, alpha) + 1e-8


@pytest.mark.parametrize("size", [(6, 4), (12, 8)])
def test_exact_linear_plans_are_those_of_pot(size: tuple[int, int]) -> None:
    given = problem(*size, seed=7, masses=True)
    assert given.a is not None and given.b is not None and given.cross is not None
    a, b = given.a / given.a.sum(), given.b / given.b.sum()
    np.testing.assert_allclose(solve(given, config("wasserstein")).plan, ot.emd(a, b, given.cross), atol=1e-12)
    partial = solve(given, config("wasserstein", "partial", moved=0.4)).plan
    np.testing.assert_allclose(partial, ot.partial.partial_wasserstein(a, b, given.cross, m=0.4), atol=1e-12)
    everything = solve(given, config("wasserstein", "partial", moved=1.0)).plan
    np.testing.assert_allclose(everything, ot.emd(a, b, given.cross), atol=1e-12)


def test_partial_moves_what_it_is_told_where_costs_are_negative() -> None:
    given = problem(4, 4, seed=2)
    assert given.cross is not None
    down = solve(Problem(given.cross - 3), config("wasserstein", "partial", moved=0.5))
    assert down.converged and down.plan.sum() == pytest.approx(0.5)
    np.testing.assert_allclose(down.plan, solve(given, config("wasserstein", "partial", moved=0.5)).plan, atol=1e-12)


def test_semi_relaxed_is_the_cheapest_column_of_each_row() -> None:
    cross = np.array([[1.0, 2.0, 3.0], [4.0, 1.0, 1.0]])
    found = solve(Problem(cross), config("wasserstein", "semi-relaxed"))
    np.testing.assert_allclose(found.plan, [[0.5, 0, 0], [0, 0.25, 0.25]])
    assert found.value == pytest.approx(1)
    soft = solve(Problem(cross), config("wasserstein", "semi-relaxed", 0.5))
    np.testing.assert_allclose(soft.plan, softmax(-cross / 0.5, axis=1) / 2)


# --- with entropy ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reg", [0.01, 0.05, 0.2, 2.0])
def test_entropic_wasserstein_is_that_of_pot(reg: float) -> None:
    given = problem(7, 5, seed=4, masses=True)
    assert given.a is not None and given.b is not None
    a, b = given.a / given.a.sum(), given.b / given.b.sum()
    ours = solve(given, config("wasserstein", reg=reg, iterations=20_000))
    theirs = ot.sinkhorn(a, b, given.cross, reg, method="sinkhorn_log", stopThr=1e-11, numItermax=20_000)
    np.testing.assert_allclose(ours.plan, theirs, atol=1e-8)
    partial = solve(given, config("wasserstein", "partial", max(reg, 0.05), iterations=20_000))
    theirs = ot.partial.entropic_partial_wasserstein(
        a, b, given.cross, max(reg, 0.05), m=0.7, method="sinkhorn_log", numItermax=5000, stopThr=1e-10
    )
    np.testing.assert_allclose(partial.plan, theirs, atol=1e-7)


@pytest.mark.parametrize("alpha", [1.0, 0.5])
def test_entropic_structure_is_that_of_pot(alpha: float) -> None:
    given = problem(6, 5, seed=5)
    a, b = np.full(6, 1 / 6), np.full(5, 1 / 5)
    theirs = ot.gromov.entropic_fused_gromov_wasserstein(
        given.cross, given.left, given.right, a, b, epsilon=0.2, alpha=alpha, tol=1e-12, symmetric=True
    )
    ours = solve(given, config("fused", reg=0.2, alpha=alpha, tolerance=1e-14))
    np.testing.assert_allclose(ours.plan, theirs, atol=1e-5)
    if alpha == 1:
        np.testing.assert_array_equal(
            solve(given, config("gromov-wasserstein", reg=0.2, tolerance=1e-14)).plan, ours.plan
        )


@pytest.mark.parametrize("mass", MASSES)
@pytest.mark.parametrize("cost", ["gromov-wasserstein", "fused"])
def test_entropic_plans_solve_the_problem_that_they_linearise(cost: str, mass: str) -> None:
    given, chosen = problem(6, 5, seed=6), config(cost, mass, 0.1, tolerance=1e-13)
    assert given.cross is not None
    plan, step, weight = solve(given, chosen).plan, 1e-6, weight_of(cost)
    gradient = np.zeros_like(plan)
    for at in np.ndindex(plan.shape):
        moved = np.zeros_like(plan)
        moved[at] = step
        gradient[at] = (objective(given, plan + moved, weight) - objective(given, plan - moved, weight)) / (2 * step)
    again = solve(Problem(gradient), config("wasserstein", mass, 0.1))
    np.testing.assert_allclose(plan, again.plan, atol=1e-5)


def test_entropy_vanishes_with_reg() -> None:
    given = problem(5, 5, seed=8)
    exact = solve(given, config("wasserstein"))
    near = solve(given, config("wasserstein", reg=0.003, iterations=20_000))
    np.testing.assert_allclose(near.plan, exact.plan, atol=1e-3)
    flat = solve(given, config("wasserstein", reg=1e4))
    np.testing.assert_allclose(flat.plan, np.full((5, 5), 1 / 25), atol=1e-5)


@pytest.mark.parametrize(
    ("cost", "mass"), [*itertools.product(COSTS, ("balanced", "semi-relaxed")), ("wasserstein", "partial")]
)
def test_tiny_reg_gives_a_plan_and_says_whether_it_converged(cost: str, mass: str) -> None:
    # POT's own entropic fused Gromov-Wasserstein gives zeros here.
    found = solve(problem(12, 8), config(cost, mass, 5e-4, iterations=200))
    assert np.isfinite(found.plan).all() and found.plan.sum() == pytest.approx(
        0.7 if mass == "partial" else 1, abs=1e-6
    )
    assert found.converged == (found.marginal_error <= 1e-6 and found.converged)


def test_a_solver_out_of_iterations_did_not_converge() -> None:
    for cost, mass in (
        ("wasserstein", "balanced"),
        ("wasserstein", "partial"),
        ("fused", "semi-relaxed"),
        ("fused", "balanced"),
    ):
        found = solve(problem(8, 6), config(cost, mass, 0.02, iterations=1))
        assert not found.converged and found.iterations == 1 and np.isfinite(found.plan).all()
    found = solve(problem(8, 6), config("wasserstein", reg=0.02, iterations=2))
    assert found.marginal_error == pytest.approx(abs(found.plan.sum(0) - 1 / 6).max()) and found.marginal_error > 1e-6


# --- invariances ----------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 7), m=st.integers(1, 6), case=st.sampled_from(EVERY))
def test_the_order_of_mentions_means_nothing(seed: int, n: int, m: int, case: tuple[str, str, float]) -> None:
    given, rng = problem(n, m, seed, masses=True), np.random.default_rng(seed)
    assert given.cross is not None and given.left is not None and given.right is not None
    assert given.a is not None and given.b is not None
    rows, columns = rng.permutation(n), rng.permutation(m)
    moved = Problem(
        given.cross[np.ix_(rows, columns)],
        given.left[np.ix_(rows, rows)],
        given.right[np.ix_(columns, columns)],
        given.a[rows],
        given.b[columns],
    )
    plain, permuted = solve(given, config(*case)), solve(moved, config(*case))
    assert permuted.value == pytest.approx(plain.value, abs=1e-6)
    # Two mentions have two isometries: structure alone cannot tell them apart, and either plan is right.
    if case[0] != "gromov-wasserstein" or min(n, m) > 2:
        np.testing.assert_allclose(permuted.plan, plain.plan[np.ix_(rows, columns)], atol=1e-6)


@pytest.mark.parametrize("n", [1, 2, 5, 12, 40])
@pytest.mark.parametrize("mass", MASSES)
def test_isometric_copies_are_at_distance_zero(n: int, mass: str) -> None:
    rng = np.random.default_rng(n)
    left, order = distances(n, rng), rng.permutation(n)
    found = solve(Problem(left=left, right=left[np.ix_(order, order)]), config("gromov-wasserstein", mass))
    assert found.value == pytest.approx(0, abs=1e-9)
    if mass == "balanced" and n > 2:  # two points have two isometries
        np.testing.assert_allclose(found.plan, np.eye(n)[order].T / n, atol=1e-9)


@pytest.mark.parametrize("mass", ["balanced", "partial"])
@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("reg", [0.0, 0.1])
def test_the_two_sides_are_alike(cost: str, mass: str, reg: float) -> None:
    given, chosen = problem(7, 5, seed=9, masses=True), config(cost, mass, reg, tolerance=1e-12)
    assert given.cross is not None
    there, back = solve(given, chosen), solve(Problem(given.cross.T, given.right, given.left, given.b, given.a), chosen)
    np.testing.assert_allclose(there.plan, back.plan.T, atol=1e-5)
    assert there.value == pytest.approx(back.value, abs=1e-6)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.floats(0.1, 10), mass=st.sampled_from(MASSES))
def test_gromov_wasserstein_grows_with_the_square_of_the_distances(seed: int, scale: float, mass: str) -> None:
    given = problem(6, 4, seed)
    assert given.left is not None and given.right is not None
    one = solve(given, config("gromov-wasserstein", mass, tolerance=1e-13))
    other = solve(
        Problem(None, scale * given.left, scale * given.right), config("gromov-wasserstein", mass, tolerance=1e-13)
    )
    assert other.value == pytest.approx(scale**2 * one.value, rel=1e-6, abs=1e-9)


def test_directed_structure() -> None:
    rng = np.random.default_rng(0)
    given = Problem(rng.random((5, 4)), rng.random((5, 5)), rng.random((4, 4)))
    theirs = ot.gromov.fused_gromov_wasserstein(given.cross, given.left, given.right, alpha=0.5)
    ours = solve(given, config("fused"))
    assert (
        ours.value == pytest.approx(objective(given, ours.plan, 0.5))
        and ours.value <= objective(given, theirs, 0.5) + 1e-8
    )


def test_alpha_is_the_share_of_the_structure() -> None:
    given = problem(6, 5)
    for alpha, cost in ((0.0, "wasserstein"), (1.0, "gromov-wasserstein")):
        np.testing.assert_array_equal(solve(given, config("fused", alpha=alpha)).plan, solve(given, config(cost)).plan)


# --- bad input ------------------------------------------------------------------------------------------------------


def spoiled(name: str, value: float) -> Problem:
    parts = {
        field.name: np.ones(size) for field, size in zip(fields(Problem), ((3, 2), (3, 3), (2, 2), 3, 2), strict=True)
    }
    parts[name].flat[-1] = value
    return Problem(**parts)


@pytest.mark.parametrize(
    ("given", "cost", "message"),
    [
        (Problem(), "wasserstein", "'cross': is None, and cost = wasserstein needs it"),
        (Problem(np.ones((2, 2))), "fused", "'left': is None"),
        (Problem(np.ones((2, 2)), np.ones((2, 2))), "gromov-wasserstein", "'right': is None"),
        (Problem(np.ones(3)), "wasserstein", "'cross': has shape [3], not two axes"),
        (
            Problem(np.ones((3, 2)), np.ones((2, 2)), np.ones((2, 2))),
            "fused",
            "'cross': has shape [3, 2] where 2 textual",
        ),
        (Problem(None, np.ones((3, 2)), np.ones((2, 2))), "gromov-wasserstein", "'left': has shape [3, 2]"),
        (Problem(None, np.ones((3, 3)), np.ones((2, 3))), "gromov-wasserstein", "'right': has shape [2, 3]"),
        (spoiled("cross", np.nan), "fused", "'cross': is nan at [2, 1]"),
        (spoiled("left", np.inf), "fused", "'left': is inf at [2, 2]"),
        (spoiled("right", -np.inf), "fused", "'right': is -inf at [1, 1]"),
        (spoiled("cross", LARGEST_COST), "wasserstein", "'cross': is 1e+50 at [2, 1]"),
        (spoiled("a", -0.1), "fused", "'a': has -0.1 as smallest and 1.0 as largest mass"),
        (spoiled("b", np.nan), "fused", "'b': has nan"),
        (spoiled("b", np.inf), "wasserstein", "'b': has 1.0 as smallest and inf"),
        (Problem(np.ones((3, 2)), a=np.ones(2)), "wasserstein", "'a': has shape [2] for 3 mentions"),
        (Problem(np.ones((3, 2)), b=np.zeros(2)), "wasserstein", "'b': is zero for every mention"),
    ],
)
def test_what_cannot_be_coupled(given: Problem, cost: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        solve(given, config(cost))
    assert message in str(error.value) and "Remedy" in str(error.value)


def test_overflow_is_an_error() -> None:
    with pytest.raises(InputError, match="'reg': 1e-300 is too small for these costs"):
        solve(Problem(np.full((2, 2), 1e49)), config("wasserstein", "semi-relaxed", 1e-300))


@pytest.mark.parametrize("masses", [[1e308, 1e308, 1e308], [5e-324, 5e-324, 5e-324], [2.0, 2.0, 2.0]])
def test_masses_of_any_sum(masses: list[float]) -> None:
    given = problem(3, 3)
    assert given.cross is not None
    expected = solve(given, config("wasserstein"))
    np.testing.assert_array_equal(
        solve(Problem(given.cross, a=np.array(masses)), config("wasserstein")).plan, expected.plan
    )


def test_very_unequal_masses() -> None:
    given = problem(3, 3)
    for reg in (0.0, 0.2):
        found = solve(Problem(given.cross, a=np.array([1.0, 1e-200, 1e-12])), config("wasserstein", reg=reg))
        assert found.converged and np.isfinite(found.plan).all()


def test_inputs_are_left_as_they_were() -> None:
    given = problem(4, 3, masses=True)
    before = [np.array(getattr(given, field.name)) for field in fields(given)]

    for case in EVERY:
        solve(given, config(*case))
    for field, old in zip(fields(given), before, strict=True):
        np.testing.assert_array_equal(getattr(given, field.name), old)
