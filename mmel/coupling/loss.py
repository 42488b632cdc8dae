"""The joint training loss of both modalities, L = L_ranking + L_triplet + L_GW (Gan et al. 2021, Eq. 11).

L_GW is the transport objective under the beliefs that both sides' scores make: the costs of `mmel.coupling.structure`,
here as tensors, so that the gradient reaches the scores of both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor
from torch.nn import functional

from mmel.coupling.batched import BatchedSolution, couple
from mmel.coupling.graph import LINKED, MEETS, DocumentGraph
from mmel.coupling_settings import CouplingConfig
from mmel.errors import InputError
from mmel.text.masking import masked_softmax


@dataclass(frozen=True, slots=True)
class ScoredDocument:
    """A document's graph, constant, and what two models under training say of its mentions.

    `text` [n, k] and `visual` [m, l] are logarithms up to a constant a mention, of the candidates of `graph`; what pads
    hold does not matter. `faces` [m, e] and `pictures` [w, e] are needed by embedding distances only; the context of
    textual mentions is the graph's.
    """

    graph: DocumentGraph
    text: Tensor
    visual: Tensor
    faces: Tensor | None = None
    pictures: Tensor | None = None


@dataclass(frozen=True, slots=True)
class JointLoss:
    """The three addends, scalars, their weighted sum `total`, and how many plans were not solved to tolerance."""

    ranking: Tensor
    triplet: Tensor
    transport: Tensor
    total: Tensor
    unsolved: int


def joint_loss(
    ranking: Tensor, triplet: Tensor, documents: Sequence[ScoredDocument], config: CouplingConfig
) -> JointLoss:
    """The weighted sum of the losses that both sides have alone, and of their documents' mean transport objective.

    Raises:
        ConfigError, InputError: as `couple`; InputError, too, without a document or the vectors that a cost needs.
    """
    solved = transport(documents, config)
    value, weight = solved.value.mean(), config.together
    total = weight.ranking * ranking + weight.triplet * triplet + weight.transport * value
    return JointLoss(ranking, triplet, value, total, int((~solved.converged).sum()))


def transport(documents: Sequence[ScoredDocument], config: CouplingConfig) -> BatchedSolution:
    """The coupling of documents, its values with gradients into their scores and vectors; raises as `joint_loss`."""
    if not documents:
        raise InputError("there is no document to couple", field="documents", remedy="give one with both modalities")
    found = [costs(document, config) for document in documents]
    text, visual = ([len(getattr(d, side)) for d in documents] for side in ("text", "visual"))
    n, m = max(text), max(visual)
    cross, left, right = (_padded([each[i] for each in found], size) for i, size in enumerate(((n, m), (n, n), (m, m))))
    device = documents[0].text.device
    masks = (torch.arange(max(c), device=device) < torch.tensor(c, device=device)[:, None] for c in (text, visual))
    return couple(cross, left, right, next(masks), next(masks), config.transport)


def costs(document: ScoredDocument, config: CouplingConfig) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Cross-modal cost [n, m] and structures [n, n], [m, m] in float64; None where the transport does not need it."""
    graph = document.graph
    text = _beliefs(document.text, graph.text.mask, graph.text_slot, len(graph.entities))
    visual = _beliefs(document.visual, graph.visual.mask, graph.visual_slot, len(graph.shown))
    cross = left = right = None
    if config.transport.needs_cross:
        fits = csr_matrix(LINKED * graph.linked + MEETS * graph.meets)
        cross = _mixed(
            config.cross,
            lambda: _distance(text @ _product(fits, visual.T)),
            lambda: _from_pictures(document, text),
        )
    if config.transport.needs_structure:
        left = _mixed(config.structure, lambda: _inner(text, graph.text_meets), lambda: _angles(_context(graph, text)))
        right = _mixed(
            config.structure,
            lambda: _inner(visual, graph.visual_meets),
            lambda: _angles(_given(document.faces, "faces")),
        )
    return cross, left, right


def _beliefs(scores: Tensor, mask: np.ndarray, slot: np.ndarray, width: int) -> Tensor:
    """`[n, width]` float64 probabilities of entities, from scores `[n, k]` of candidates at `slot`."""
    if tuple(scores.shape) != mask.shape:
        raise InputError(f"have shape {list(scores.shape)}, the graph's candidates {list(mask.shape)}", field="scores")
    there, index = (torch.from_numpy(array).to(scores.device) for array in (mask, slot))
    # What pads hold may be minus infinity or NaN, and must not meet the gradient.
    chances = masked_softmax(torch.where(there, scores.double(), 0.0), there, -1)
    spread = torch.zeros(len(scores), max(width, 1), dtype=torch.float64, device=scores.device)
    return spread.scatter_add(1, index, chances)[:, :width]


def _mixed(name: str, links: Callable[[], Tensor], embedding: Callable[[], Tensor]) -> Tensor:
    if name == "both":
        return (links() + embedding()) / 2
    return links() if name == "links" else embedding()


def _product(matrix: csr_matrix, dense: Tensor) -> Tensor:
    """`matrix` `[a, b]` times `dense` `[b, c]`."""
    pairs = matrix.tocoo()
    index = torch.from_numpy(np.stack([pairs.row, pairs.col]).astype(np.int64))
    values = torch.from_numpy(pairs.data).double()
    sparse = torch.sparse_coo_tensor(index, values, matrix.shape, check_invariants=False).to(dense.device)
    return torch.sparse.mm(sparse, dense)


def _distance(likeness: Tensor) -> Tensor:
    """1 - likeness / its largest value; 1 everywhere where nothing is alike."""
    return 1 - likeness / functional.pad(likeness.flatten(), (0, 1), value=1e-12).max()


def _inner(beliefs: Tensor, meets: csr_matrix) -> Tensor:
    likeness = beliefs @ _product(meets, beliefs.T)
    return _off_diagonal(_distance((likeness + likeness.T) / 2))


def _from_pictures(document: ScoredDocument, text: Tensor) -> Tensor:
    """`[n, m]` (1 - cosine) / 2 of a face and the pictures that a textual mention's candidates lead to."""
    pictures, faces = _given(document.pictures, "pictures"), _given(document.faces, "faces")
    expected = text @ _product(document.graph.linked, pictures)
    return (1 - functional.normalize(expected, dim=1) @ functional.normalize(faces, dim=1).T) / 2


def _angles(vectors: Tensor) -> Tensor:
    units = functional.normalize(vectors, dim=1)
    return _off_diagonal((1 - units @ units.T) / 2).clamp_min(0)


def _off_diagonal(matrix: Tensor) -> Tensor:
    return matrix.masked_fill(torch.eye(len(matrix), dtype=torch.bool, device=matrix.device), 0)


def _context(graph: DocumentGraph, like: Tensor) -> Tensor:
    context = None if graph.context is None else torch.from_numpy(np.asarray(graph.context)).to(like.device)
    return _given(context, "context")


def _given(vectors: Tensor | None, name: str) -> Tensor:
    if vectors is None:
        raise InputError("are needed by embedding distances, and the document has none", field=name)
    return vectors.double()


def _padded(parts: Sequence[Tensor | None], size: tuple[int, int]) -> Tensor | None:
    """`[B, n, m]` of matrices of at most `size`, zero where padded; None where they are None."""
    there = [part for part in parts if part is not None]
    if not there:
        return None
    return torch.stack(
        [functional.pad(part, (0, size[1] - part.shape[1], 0, size[0] - part.shape[0])) for part in there]
    )
