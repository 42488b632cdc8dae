"""The joint loss: costs of single documents, gradients into both sides against finite differences, bad input."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from mmel.coupling.graph import DocumentGraph, MentionScores
from mmel.coupling.loss import ScoredDocument, costs, joint_loss, transport
from mmel.coupling.structure import problem
from mmel.coupling.transport import solve
from mmel.coupling_settings import CouplingConfig
from mmel.errors import ConfigError, InputError

COSTS, NAMES = ("wasserstein", "gromov-wasserstein", "fused"), ("links", "embedding", "both")
LEAVES = ("text", "visual", "faces", "pictures")


def config(cost: str = "wasserstein", name: str = "links", **together: float) -> CouplingConfig:
    chosen = {"cost": cost, "reg": 0.5, "tolerance": 1e-13}
    return CouplingConfig.model_validate(
        {"plan": "transport", "transport": chosen, "cross": name, "structure": name, "together": together}
    )


def document(n: int, m: int, seed: int = 0) -> ScoredDocument:
    """A random document of n and m mentions, six and five entities, with pads that hold NaN; its scores are leaves."""
    rng = np.random.default_rng(seed)

    def side(count: int, width: int, entities: int) -> tuple[np.ndarray, np.ndarray]:
        ids = np.stack([rng.permutation(entities)[:width] for _ in range(count)]) if count else np.zeros((0, width))
        ids = ids.astype(np.int64)
        ids[1:, -1] = -1
        scores = rng.normal(size=ids.shape)
        return ids, np.where(ids >= 0, scores, np.nan)

    def links(rows: int, columns: int, share: float) -> np.ndarray:
        return (rng.random((rows, columns)) < share).astype(np.float32)

    (text, own), (visual, their) = side(n, 4, 6), side(m, 3, 5)
    same = [
        np.maximum(np.maximum(a, a.T), np.eye(len(a), dtype=np.float32)) for a in (links(6, 6, 0.3), links(5, 5, 0.3))
    ]
    graph = DocumentGraph(
        MentionScores(text, own), MentionScores(visual, their), np.arange(6), np.arange(5),
        np.maximum(text, 0), np.maximum(visual, 0), csr_matrix(links(6, 5, 0.3)), csr_matrix(links(6, 5, 0.5)),
        csr_matrix(same[0]), csr_matrix(same[1]), np.zeros(n, np.int64), np.arange(n),
        context=rng.normal(size=(n, 7)), faces=rng.normal(size=(m, 4)), pictures=rng.normal(size=(5, 4)),
    )  # fmt: skip
    values = (own, their, graph.faces, graph.pictures)
    return ScoredDocument(graph, *(torch.from_numpy(np.asarray(each)).requires_grad_() for each in values))


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("name", NAMES)
def test_costs_and_values_are_those_of_single_documents(cost: str, name: str) -> None:
    chosen = config(cost, name)
    documents = [document(n, m, seed) for seed, (n, m) in enumerate([(4, 3), (1, 4), (5, 1), (2, 2)])]
    solved = transport(documents, chosen)
    assert bool(solved.converged.all())
    for i, one in enumerate(documents):
        graph = one.graph
        beliefs = graph.beliefs(np.exp(graph.text.log_probability), np.exp(graph.visual.log_probability))
        expected = problem(graph, *beliefs, chosen)
        for found, wanted in zip(costs(one, chosen), (expected.cross, expected.left, expected.right), strict=True):
            assert (found is None) == (wanted is None)
            if found is not None and wanted is not None:
                np.testing.assert_allclose(found.detach().numpy(), wanted, atol=1e-12)
        plan = solve(expected, chosen.transport).plan
        n, m = plan.shape
        np.testing.assert_allclose(solved.plan[i, :n, :m].numpy(), plan, atol=1e-7)


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("name", NAMES)
def test_gradients_into_both_sides_are_those_of_finite_differences(cost: str, name: str) -> None:
    chosen, documents = config(cost, name), [document(4, 3, 1), document(3, 4, 2)]
    value = transport(documents, chosen).value
    weights = torch.tensor([1.0, -2.0], dtype=torch.float64)
    (value * weights).sum().backward()
    generator, step = torch.Generator().manual_seed(0), 1e-5
    expected_sides = (
        {"text", "visual"} if name == "links" else {"faces"} if cost == "gromov-wasserstein" else set(LEAVES)
    )
    if name == "both" and cost == "gromov-wasserstein":
        expected_sides |= {"text", "visual"}
    if name == "embedding" and cost != "gromov-wasserstein":
        expected_sides -= {"visual"}
    reached = set()
    for place, one in enumerate(documents):
        for leaf in LEAVES:
            values: Tensor = getattr(one, leaf)
            if values.grad is None:
                continue
            assert bool(values.grad.isfinite().all())
            reached.add(leaf)
            direction = torch.randn(values.shape, generator=generator, dtype=torch.float64)
            ends = []
            for length in (step, -step):
                moved = replace(one, **{leaf: values.detach() + length * direction})  # type: ignore[arg-type]
                trial = [*documents[:place], moved, *documents[place + 1 :]]
                ends.append(float((transport(trial, chosen).value * weights).sum().detach()))
            gradient = float((values.grad * direction).sum())
            assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(gradient, rel=1e-5, abs=1e-7)
    assert reached == expected_sides


def test_a_step_against_the_gradient_makes_sides_agree() -> None:
    documents, chosen = [document(4, 3, 3)], config()
    before = transport(documents, chosen).value.sum()
    before.backward()
    one = documents[0]
    moved = replace(one, text=one.text.detach() - one.text.grad, visual=one.visual.detach() - one.visual.grad)  # type: ignore[operator]
    assert float(transport([moved], chosen).value.sum()) < float(before.detach())


def test_the_sum_is_weighted() -> None:
    documents = [document(3, 2), document(2, 4, 1)]
    ranking, triplet = torch.tensor(0.5, dtype=torch.float64), torch.tensor(0.25, dtype=torch.float64)
    chosen = config(ranking=2.0, triplet=4.0, transport=3.0)
    loss = joint_loss(ranking, triplet, documents, chosen)
    assert loss.ranking is ranking and loss.triplet is triplet and loss.unsolved == 0
    mean = transport(documents, chosen).value.mean()
    torch.testing.assert_close(loss.transport, mean)
    torch.testing.assert_close(loss.total, 2 * ranking + 4 * triplet + 3 * mean)


def test_company_and_an_empty_side_change_nothing() -> None:
    chosen, one = config("fused", "both"), document(3, 2)
    alone = transport([one], chosen)
    together = transport([document(0, 3), one, document(6, 6), document(4, 0)], chosen)
    torch.testing.assert_close(together.plan[1, :3, :2], alone.plan[0], atol=1e-7, rtol=0)
    torch.testing.assert_close(together.value[1], alone.value[0], atol=1e-7, rtol=0)
    assert together.value[[0, 3]].tolist() == [0, 0]


def test_single_precision_reaches_both_sides() -> None:
    double = document(4, 3)
    single = replace(double, **{leaf: getattr(double, leaf).detach().float().requires_grad_() for leaf in LEAVES})
    transport([single], config("fused", "both")).value.sum().backward()
    for leaf in LEAVES:
        gradient = getattr(single, leaf).grad
        assert gradient.dtype == torch.float32 and bool(gradient.isfinite().all()) and bool(gradient.any())


def test_a_plan_out_of_iterations_is_counted() -> None:
    chosen = config().model_copy(
        update={"transport": config().transport.model_copy(update={"reg": 0.01, "iterations": 2})}
    )
    nothing = torch.zeros((), dtype=torch.float64)
    assert joint_loss(nothing, nothing, [document(5, 4), document(4, 5, 1)], chosen).unsolved == 2


def test_bad_input() -> None:
    one = document(3, 2)
    with pytest.raises(InputError, match="there is no document to couple"):
        transport([], config())
    with pytest.raises(InputError, match=r"'scores': have shape \[2, 4\], the graph's candidates \[3, 4\]"):
        transport([replace(one, text=one.text[:2])], config())
    with pytest.raises(InputError, match="'pictures': are needed by embedding distances"):
        transport([replace(one, pictures=None)], config(name="embedding"))
    with pytest.raises(InputError, match="'cross': has NaN"):
        transport([replace(one, text=one.text.detach() * torch.nan)], config())
    partial = config().model_copy(update={"transport": config().transport.model_copy(update={"mass": "partial"})})
    with pytest.raises(ConfigError, match="coupled with mass=balanced and reg above 0"):
        transport([one], partial)
