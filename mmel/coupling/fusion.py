"""Decisions of both modalities together (Gan et al. 2021, Algorithm 1), and the weights that they are made with.

The plan says which mentions speak for which. A candidate is spoken for by what its mention's partners are expected to
be: how much of their probability is linked to it in the knowledge base, and how much meets it. That is added to the
modality's own score, the beliefs change, and so does the plan, until the decisions stand still.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmel.coupling.graph import DocumentGraph, log_softmax
from mmel.coupling.structure import problem
from mmel.coupling.transport import solve
from mmel.coupling_settings import CouplingConfig
from mmel.errors import InputError

PARTNERS = ("linked", "meets")  # from the other modality
TEXT_COHERENCE, VISUAL_COHERENCE = ("document", "sentence", "same name"), ("pictures",)
_LEAST = 1e-3  # below it, less support is no worse
_STEPS = 500
_AGAIN = "train again with --restart"


@dataclass(frozen=True)
class Weights:
    """Weights of one round: `[1 + 2 f]` of the own log-probability, then of each support and of its logarithm."""

    text: np.ndarray
    visual: np.ndarray


@dataclass(frozen=True)
class Decision:
    """What a document came to: scores `[n, k]`, `[m, l]` (minus infinity at pads), the last plan `[n, m]` of mass 1.

    `text_parts` `[n, k, 1 + f]` and `visual_parts` are the addends of the scores, named by `names`; `converged` is
    false where a plan was not solved to its tolerance; `settled` is true where the last round changed no decision.
    """

    text: np.ndarray
    visual: np.ndarray
    text_parts: np.ndarray
    visual_parts: np.ndarray
    plan: np.ndarray
    rounds: int
    converged: bool
    settled: bool


def names(config: CouplingConfig) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Of the addends of textual and visual scores."""
    text, visual = ("alone", *PARTNERS), ("alone", *PARTNERS)
    return (text + TEXT_COHERENCE, visual + VISUAL_COHERENCE) if config.coherence else (text, visual)


def decide(graph: DocumentGraph, weights: Sequence[Weights], config: CouplingConfig) -> Decision:
    """Joint decisions of a document that has mentions of both modalities."""
    text, visual = graph.text.log_probability, graph.visual.log_probability
    solved = True
    for number in range(config.rounds):
        columns, plan, converged = _columns(graph, text, visual, config)
        solved &= converged
        rule = weights[min(number, len(weights) - 1)]
        before = _choices(text, visual)
        text, visual = _scores(graph, columns, rule)
        settled = before == _choices(text, visual)
        if settled and number + 1 >= len(weights):
            break
    parts = [_addends(c, w) for c, w in zip(columns, (rule.text, rule.visual), strict=True)]
    return Decision(text, visual, parts[0], parts[1], plan, number + 1, solved, settled)


def plan_of(
    graph: DocumentGraph, text: np.ndarray, visual: np.ndarray, config: CouplingConfig
) -> tuple[np.ndarray, bool]:
    """The plan `[n, m]` of mass 1 under beliefs `[n, u]`, `[m, w]`, and whether it was solved to its tolerance."""
    n, m = len(text), len(visual)
    uniform = np.full((n, m), 1 / (n * m))
    if config.plan == "uniform":
        return uniform, True
    found = solve(problem(graph, text, visual, config), config.transport)
    plan = found.plan / max(float(found.plan.sum()), 1e-300)
    return (1 - config.uniform_share) * plan + config.uniform_share * uniform, found.converged


def supports(
    graph: DocumentGraph, text: np.ndarray, visual: np.ndarray, plan: np.ndarray, config: CouplingConfig
) -> tuple[np.ndarray, np.ndarray]:
    """`[n, k, f]` and `[m, l, g]` in [0, 1]: how much others speak for each candidate, under beliefs and a plan.

    Partners by the plan's share of the mention's mass (nobody where it moves none); coherence by the mean over the
    other names of the document, of the sentence, the mentions of one name, and the other pictures.
    """
    seen, told = _rows(plan) @ visual, _rows(plan.T) @ text
    by_text = [seen @ graph.linked.T, seen @ graph.meets.T]
    by_visual = [told @ graph.linked, told @ graph.meets]
    if config.coherence:
        other = graph.name[:, None] != graph.name[None]
        near = other & (graph.sentence[:, None] == graph.sentence[None])
        meeting = text @ graph.text_meets
        by_text += [_rows(other) @ meeting, _rows(near) @ meeting, _rows(_apart(~other)) @ text]
        by_visual += [_rows(_apart(np.ones((len(visual), len(visual))))) @ visual]
    return _taken(by_text, graph.text_slot), _taken(by_visual, graph.visual_slot)


def columns_of(own: np.ndarray, supports: np.ndarray) -> np.ndarray:
    """`[n, k, 1 + 2 f]` finite: the own log-probability, then the supports, then their logarithms."""
    known = np.where(np.isfinite(own), own, 0.0)[..., None]
    return np.concatenate([known, supports, np.log(supports + _LEAST)], axis=-1)


def fit(
    graphs: Sequence[DocumentGraph], gold: Sequence[tuple[np.ndarray, np.ndarray]], config: CouplingConfig
) -> list[Weights]:
    """Weights of each round, under which the gold candidates of documents are most likely.

    Args:
        gold: for each document the gold columns `[n]` and `[m]`, -1 where a mention has none.
    """
    if config.fusion == "average":
        text, visual = names(config)
        return [Weights(_alike(len(text)), _alike(len(visual)))]
    scores = [(g.text.log_probability, g.visual.log_probability) for g in graphs]
    found = []
    for _ in range(config.rounds):
        columns = [_columns(g, *own, config)[0] for g, own in zip(graphs, scores, strict=True)]
        weights = Weights(
            _fit([c[0] for c in columns], [g.text.mask for g in graphs], [g[0] for g in gold], config.ridge),
            _fit([c[1] for c in columns], [g.visual.mask for g in graphs], [g[1] for g in gold], config.ridge),
        )
        found.append(weights)
        scores = [_scores(g, c, weights) for g, c in zip(graphs, columns, strict=True)]
    return found


def state(weights: Sequence[Weights], config: CouplingConfig) -> dict[str, Any]:
    """Weights as plain values for JSON, with the names they belong to."""
    text, visual = names(config)
    rounds = [{"text": one.text.tolist(), "visual": one.visual.tolist()} for one in weights]
    return {"text": list(text), "visual": list(visual), "rounds": rounds}


def from_state(value: Any, config: CouplingConfig) -> list[Weights]:
    """What `state` gave; InputError where it is damaged, or of other supports."""
    try:
        given = tuple(value["text"]), tuple(value["visual"])
        rounds = [Weights(*(np.array(one[side], np.float64) for side in ("text", "visual"))) for one in value["rounds"]]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"holds no weights ({error!r})", field="coupling", remedy=_AGAIN) from error
    if given != names(config):
        raise InputError("the coupling was fitted with other supports", field="coupling", remedy="train again")
    sizes = [2 * len(each) - 1 for each in given]
    for one in rounds:
        for weights, size in zip((one.text, one.visual), sizes, strict=True):
            if weights.shape != (size,) or not np.isfinite(weights).all():
                raise InputError(
                    f"has weights {weights.tolist()}; allowed: {size} finite numbers",
                    field="coupling",
                    remedy=_AGAIN,
                )
    if not rounds:
        raise InputError("has weights of no round", field="coupling", remedy=_AGAIN)
    return rounds


def _columns(
    graph: DocumentGraph, text: np.ndarray, visual: np.ndarray, config: CouplingConfig
) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray, bool]:
    """What a round's scores are made of, from those before it `[n, k]`, `[m, l]`; its plan, whether it was solved."""
    beliefs = graph.beliefs(np.exp(text), np.exp(visual))
    plan, converged = plan_of(graph, *beliefs, config)
    by_text, by_visual = supports(graph, *beliefs, plan, config)
    columns = columns_of(graph.text.log_probability, by_text), columns_of(graph.visual.log_probability, by_visual)
    return columns, plan, converged


def _scores(
    graph: DocumentGraph, columns: tuple[np.ndarray, np.ndarray], rule: Weights
) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities `[n, k]`, `[m, l]` of a round."""
    return (
        log_softmax(_weighed(columns[0], rule.text), graph.text.mask),
        log_softmax(_weighed(columns[1], rule.visual), graph.visual.mask),
    )


def _fit(
    columns: Sequence[np.ndarray], masks: Sequence[np.ndarray], gold: Sequence[np.ndarray], ridge: float
) -> np.ndarray:
    """`[f]` weights of a softmax over each mention's candidates; a convex problem, solved by L-BFGS.

    The ridge draws them to those of the modality alone, so that the likelihood is never below that of it.
    """
    import torch

    size = columns[0].shape[-1]
    # A gold candidate that its own modality rules out has no likelihood under any weights.
    known = [(g >= 0) & k[np.arange(len(g)), g] for k, g in zip(masks, gold, strict=True)]
    rows = [(c[own], k[own], g[own]) for c, k, g, own in zip(columns, masks, gold, known, strict=True)]
    flat = np.concatenate([c[k] for c, k, _ in rows])
    if not len(flat):
        return np.eye(size)[0]
    scale = np.maximum(flat.std(0), 1e-6)
    values = torch.from_numpy((flat - flat.mean(0)) / scale)
    counts = np.concatenate([k.sum(1) for _, k, _ in rows])
    mention = torch.from_numpy(np.repeat(np.arange(len(counts)), counts))
    right = np.concatenate([k.cumsum(1)[np.arange(len(g)), g] - 1 for _, k, g in rows])
    place = torch.from_numpy(np.cumsum(counts) - counts + right)
    alone = torch.zeros(size, dtype=torch.float64)
    alone[0] = float(scale[0])
    weights = alone.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([weights], max_iter=_STEPS, line_search_fn="strong_wolfe", tolerance_grad=1e-7)

    def loss() -> Any:
        optimizer.zero_grad()
        scores = values @ weights
        top = torch.full((len(counts),), -torch.inf, dtype=torch.float64).scatter_reduce(
            0, mention, scores.detach(), "amax"
        )
        total = torch.zeros(len(counts), dtype=torch.float64).index_add(0, mention, (scores - top[mention]).exp())
        value = (total.log() + top - scores[place]).mean() + ridge * (weights - alone).square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return np.asarray(weights.detach().numpy() / scale)


def _alike(addends: int) -> np.ndarray:
    """`[1 + 2 f]` the mean of the own log-probability and of the logarithms of the supports."""
    weights = np.full(2 * addends - 1, 1 / addends)
    weights[1:addends] = 0
    return weights


def _rows(matrix: np.ndarray) -> np.ndarray:
    """Rows that sum to 1, or to 0 where they are empty."""
    total = matrix.sum(1, keepdims=True)
    return np.asarray(matrix / np.where(total > 0, total, 1))


def _apart(matrix: np.ndarray) -> np.ndarray:
    """Without the diagonal."""
    out = matrix.astype(np.float64)
    np.fill_diagonal(out, 0)
    return out


def _taken(by_entity: Sequence[np.ndarray], slot: np.ndarray) -> np.ndarray:
    if not by_entity[0].shape[1]:  # a modality without any candidate
        return np.zeros((*slot.shape, len(by_entity)))
    return np.stack([np.take_along_axis(np.asarray(each), slot, 1) for each in by_entity], axis=-1)


def _weighed(columns: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """`[n, k]` scores: summed cell by cell, for a matrix product may round equal candidates differently."""
    return np.asarray((columns * weights).sum(-1))


def _addends(columns: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """`[n, k, 1 + f]`: a support and its logarithm are one addend."""
    weighted = columns * weights
    half = (weighted.shape[-1] + 1) // 2
    return np.concatenate([weighted[..., :1], weighted[..., 1:half] + weighted[..., half:]], axis=-1)


def _choices(text: np.ndarray, visual: np.ndarray) -> tuple[list[int], list[int]]:
    return text.argmax(1).tolist(), visual.argmax(1).tolist()
