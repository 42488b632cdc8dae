"""Speed of the coupling: one document by each solver, and batches for training beside a loop over POT.

python -m benchmarks.coupling_speed [--documents 64] [--repeats 5] [--json]

Documents have points in space: random cross-modal costs in [0, 1], Euclidean distances as structure. Times are CPU
time of one thread, the least of the repeats.

"one document" is `mmel.coupling.transport.solve` as linking calls it, checks of the input included, in milliseconds for
12 x 8 and 165 x 41 mentions, by cost, mass and reg (0: exact).

"batch" is `mmel.coupling.batched.couple` with the backward pass, for documents of 12 x 8 mentions at reg 0.2, beside
POT's entropic solvers called document by document on arrays, without a backward pass: Sinkhorn, plain and in the log
domain, and the entropic Gromov-Wasserstein and its fused form, which have plain Sinkhorn inside. Each side stops early
enough that its objective, entropy included, is within 1e-3 of that of a solve to 1e-12, which `difference` shows for
the worst document.

Measured on two cores that other programs used as well, two runs: 12 x 8 mentions take 0.5 to 0.8 ms by balanced
entropic Wasserstein, 0.2 to 0.3 by the exact, 0.1 to 0.2 by the semi-relaxed, 2.7 to 4.5 by balanced entropic fused,
1.2 to 1.6 by exact semi-relaxed fused, and at most 8.5 (balanced entropic Gromov-Wasserstein). 165 x 41 mentions take
0.8 to 1.4 ms, 0.9 to 1.6, 0.4 to 0.5, 7 and 17 to 19, at most 12 by any method with reg 0.2, and more than 50 only by
exact balanced Gromov-Wasserstein (61 to 68). A document of a batch of 64 takes 0.06 to 0.07 ms (Wasserstein), 0.9
(Gromov-Wasserstein) and 0.3 to 0.4 (fused), gradients included: 11, 15 to 16 and 13 to 17 times as fast as the loop, 52
to 79 times where the loop is in the log domain. Differences are at most 1.4e-4.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import ot
import torch

from mmel.coupling.batched import BatchedSolution, couple
from mmel.coupling.transport import Problem, solve
from mmel.coupling_settings import TransportConfig

COSTS = ("wasserstein", "gromov-wasserstein", "fused")
MASSES = ("balanced", "partial", "semi-relaxed")
SIZES = ((12, 8), (165, 41))
REG = 0.2
# Of the batches, and of the loop over POT.
TOLERANCE = 1e-5


def config(cost: str, mass: str = "balanced", reg: float = REG, tolerance: float = 1e-9) -> TransportConfig:
    return TransportConfig.model_validate({"cost": cost, "mass": mass, "reg": reg, "tolerance": tolerance})


def problem(n: int, m: int, seed: int) -> Problem:
    rng = np.random.default_rng(seed)
    sides = [rng.random((size, 3)) for size in (n, m)]
    left, right = (ot.dist(points, points, "euclidean") for points in sides)
    return Problem(rng.random((n, m)), left / left.max(), right / right.max())


def milliseconds(call: Callable[[], object], repeats: int) -> float:
    call()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return 1000 * min(times)


def one_document(repeats: int) -> dict[str, float]:
    """Milliseconds a document, the mean of three documents."""
    result = {}
    for n, m in SIZES:
        given = [problem(n, m, seed) for seed in range(3)]
        for cost in COSTS:
            for mass in MASSES:
                for reg in (0.0, REG):
                    chosen = config(cost, mass, reg)
                    spent = milliseconds(lambda: [solve(one, chosen) for one in given], repeats)  # noqa: B023
                    result[f"{n} x {m}, {cost}, {mass}, reg {reg:g}"] = spent / len(given)
    return result


def objective(given: Problem, plan: np.ndarray, cost: str) -> float:
    """The objective of `couple` at a plan, by POT."""
    weight = {"wasserstein": 0.0, "gromov-wasserstein": 1.0, "fused": 0.5}[cost]
    assert given.cross is not None and given.left is not None and given.right is not None
    constant = ot.gromov.init_matrix(given.left, given.right, plan.sum(1), plan.sum(0))
    structure, entropy = ot.gromov.gwloss(*constant, plan), (plan * np.log(plan)).sum()
    return float((1 - weight) * (given.cross * plan).sum() + weight * structure + REG * entropy)


def pot_solvers(cost: str) -> dict[str, Callable[[Problem], np.ndarray]]:
    """POT's entropic solvers of one document."""
    stop: dict[str, Any] = {"epsilon": REG, "symmetric": True, "tol": TOLERANCE, "stopThr": TOLERANCE}
    if cost == "wasserstein":
        return {
            "sinkhorn": lambda given: ot.sinkhorn([], [], given.cross, REG, "sinkhorn", stopThr=TOLERANCE),
            "sinkhorn_log": lambda given: ot.sinkhorn([], [], given.cross, REG, "sinkhorn_log", stopThr=TOLERANCE),
        }
    if cost == "fused":
        solver = ot.gromov.entropic_fused_gromov_wasserstein
        return {"sinkhorn": lambda given: solver(given.cross, given.left, given.right, alpha=0.5, **stop)}
    return {
        "sinkhorn": lambda given: ot.gromov.entropic_gromov_wasserstein(given.left, given.right, **stop),
    }


def train(given: list[Problem], cost: str, tolerance: float) -> BatchedSolution:
    """Plans, values and gradients of a batch."""
    cross, left, right = (
        torch.from_numpy(np.stack([getattr(one, name) for one in given])).requires_grad_()
        for name in ("cross", "left", "right")
    )
    masks = torch.ones(cross.shape[:2], dtype=torch.bool), torch.ones(cross[:, 0].shape, dtype=torch.bool)
    found = couple(cross, left, right, *masks, config(cost, tolerance=tolerance))
    found.value.sum().backward()
    return found


def batches(documents: int, repeats: int) -> dict[str, float]:
    """Milliseconds a document of both sides, their ratio, and the worst relative differences of the objectives."""
    given = [problem(*SIZES[0], seed) for seed in range(documents)]
    result = {}
    for cost in COSTS:
        best = np.array(
            [
                objective(one, plan.numpy(), cost)
                for one, plan in zip(given, train(given, cost, 1e-12).plan, strict=True)
            ]
        )
        found = train(given, cost, TOLERANCE)
        values = found.value.detach().numpy()
        ours = milliseconds(lambda: train(given, cost, TOLERANCE), repeats) / documents  # noqa: B023
        result[f"batch, {cost}"] = ours
        result[f"batch, {cost}, difference"] = float(np.abs(values / best - 1).max())
        result[f"batch, {cost}, marginal error"] = float(found.marginal_error.max())
        for name, solver in pot_solvers(cost).items():
            theirs = milliseconds(lambda: [solver(one) for one in given], max(1, repeats // 2)) / documents  # noqa: B023
            values = np.array([objective(one, solver(one), cost) for one in given])
            result[f"loop, {cost}, {name}"] = theirs
            result[f"loop, {cost}, {name}, difference"] = float(np.abs(values / best - 1).max())
            result[f"loop, {cost}, {name}, ratio"] = theirs / ours
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--documents", type=int, default=64, help="documents of a batch (default 64)")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs; the least is printed")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    result = one_document(arguments.repeats) | batches(arguments.documents, arguments.repeats)
    if arguments.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name:60} {value:.2e}" if value < 1e-2 else f"{name:60} {value:,.2f}")


if __name__ == "__main__":
    main()
