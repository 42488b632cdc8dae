"""The knowledge base that a dataset's own records make, built once and found again by the state of its files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from mmel import __version__
from mmel.datasets.base import Dataset
from mmel.kb import KnowledgeBase, cached_build


def dataset_kb(dataset: Dataset) -> KnowledgeBase:
    """Open the base of `dataset.entities()`; it is built again when a file of the dataset's folder changed."""
    digest = hashlib.sha256(f"{dataset.name} {dataset.edition} {__version__}".encode())
    if dataset.needs_root:
        for path in sorted(p for p in dataset.root.rglob("*") if p.is_file() and p.suffix not in (".jpg", ".png")):
            state = path.stat()
            digest.update(f"{path.relative_to(dataset.root)} {state.st_size} {state.st_mtime_ns}\n".encode())
    key = f"{dataset.name}-{digest.hexdigest()[:16]}"
    source = str(Path(dataset.root).name) if dataset.needs_root else "generated"
    return KnowledgeBase.open(cached_build(dataset.entities, key, name=dataset.name, source=source))
