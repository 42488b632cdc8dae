"""What a transport plan compares: the cross-modal cost and the two intra-modal structures of a document.

Each by its name: `links`, the expected distance in the knowledge base between the candidates of two mentions; or
`embedding`, distances of vectors (Gan et al. 2021, Eq. 9-10); or `both`, their mean.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mmel.coupling.graph import DocumentGraph
from mmel.coupling.transport import Problem
from mmel.coupling_settings import CouplingConfig
from mmel.errors import InputError


def problem(graph: DocumentGraph, text: np.ndarray, visual: np.ndarray, config: CouplingConfig) -> Problem:
    """The transport problem of a document under beliefs `[n, u]` and `[m, w]`; only what its cost needs is computed."""
    cross = left = right = None
    if config.transport.needs_cross:
        cross = _mixed(config.cross, lambda: _distance(graph.compatibility(text, visual)), lambda: _cross(graph, text))
    if config.transport.needs_structure:
        left = _mixed(
            config.structure,
            lambda: _inner(text @ (graph.text_meets @ text.T)),
            lambda: _angles(_given(graph.context, "context")),
        )
        right = _mixed(
            config.structure,
            lambda: _inner(visual @ (graph.visual_meets @ visual.T)),
            lambda: _angles(_given(graph.faces, "faces")),
        )
    return Problem(cross, left, right)


def _mixed(name: str, links: Callable[[], np.ndarray], embedding: Callable[[], np.ndarray]) -> np.ndarray:
    if name == "links":
        return links()
    return embedding() if name == "embedding" else (links() + embedding()) / 2


def _distance(likeness: np.ndarray) -> np.ndarray:
    """1 - likeness / its largest value; 1 everywhere where nothing is alike."""
    return np.asarray(1 - likeness / max(float(likeness.max(initial=0)), 1e-12))


def _inner(likeness: np.ndarray) -> np.ndarray:
    distance = _distance((likeness + likeness.T) / 2)
    np.fill_diagonal(distance, 0)
    return distance


def _cross(graph: DocumentGraph, text: np.ndarray) -> np.ndarray:
    """`[n, m]` (1 - cosine) / 2 of a face and the pictures that a textual mention's candidates lead to."""
    pictures, faces = _given(graph.pictures, "pictures"), _given(graph.faces, "faces")
    expected = text @ (graph.linked @ pictures)
    return np.asarray((1 - _units(expected) @ _units(faces).T) / 2)


def _angles(vectors: np.ndarray) -> np.ndarray:
    distance = np.asarray((1 - _units(vectors) @ _units(vectors).T) / 2)
    np.fill_diagonal(distance, 0)
    return distance.clip(0)


def _units(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12))


def _given(vectors: np.ndarray | None, name: str) -> np.ndarray:
    if vectors is None:
        raise InputError("are needed by embedding distances, and the graph has none", field=name)
    return vectors
