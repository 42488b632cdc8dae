"""The coupling of a trained linker: its weights, from validation documents with both modalities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from mmel.config import Config
from mmel.coupling.coupler import Coupler, Sides
from mmel.coupling.fusion import fit
from mmel.coupling.graph import DocumentGraph
from mmel.document import Document
from mmel.errors import ConfigError, InputError
from mmel.linker import Linker
from mmel.text.prepare import TextInputs
from mmel.vision.linker import mention_golds


def check_coupling(config: Config) -> None:
    """Raise ConfigError where a coupling is asked for and a side is missing."""
    taken = {"text": config.coupling.text_run, "visual": config.coupling.visual_run}
    missing = [side for side, path in taken.items() if path is None and side not in config.modalities]
    if config.coupling.plan != "none" and missing:
        raise ConfigError(
            f"coupling.plan={config.coupling.plan} joins two modalities, modalities={list(config.modalities)}. "
            "Remedy: modalities=[text, visual], or coupling.plan=none"
        )


def fit_coupling(
    config: Config,
    linker: Linker,
    dev: Mapping[str, Sequence[Document]],
    inputs: Mapping[str, TextInputs],
    pictures: Path,
    say: Callable[[str], None],
) -> Coupler:
    """Fit the weights of the joint decision on the validation splits; what they are fitted with stays frozen.

    Training documents would not do: there both sides are surer than they ever will be again.
    """
    graphs: list[DocumentGraph] = []
    gold: list[tuple[np.ndarray, np.ndarray]] = []
    for split, documents in dev.items():
        sides = linker.listen(documents, inputs[split], pictures)
        shown = mention_golds(documents, linker.kb)
        for d, document in enumerate(documents):
            rows = sides.text_rows(d)
            if document.visual_mentions and rows.stop > rows.start:
                graphs.append(sides.graph(d, linker.kb))
                gold.append(_gold(sides, d, graphs[-1], shown[sides.visual_rows(d)]))
    if not graphs:
        raise InputError("no validation document has mentions of both modalities", field="data.dev_split")
    weights = fit(graphs, gold, config.coupling)
    say(f"coupling: weights of {len(weights)} rounds from {len(graphs):,} documents")
    return Coupler(config.coupling, linker.kb, weights)


def _gold(sides: Sides, d: int, graph: DocumentGraph, shown: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gold columns `[n]` and `[m]` of a document, whose pictures show the entities `[m]`; -1 where there is none."""
    rows = sides.text_rows(d)
    text = np.where(sides.inputs.asked[rows], sides.inputs.gold[rows], -1)
    hit = (graph.visual.ids == shown[:, None]) & graph.visual.mask
    return text, np.where(hit.any(1), hit.argmax(1), -1)
