"""Datasets by name: `open_dataset("aida", root).documents("testa")`.

A new dataset is one file here (a `Dataset` under `@register`), its line below and a card in `data/cards/`.
"""

from __future__ import annotations

from importlib import import_module

from mmel.datasets.base import Dataset
from mmel.datasets.registry import dataset_class, dataset_names, open_dataset

__all__ = ["Dataset", "dataset_class", "dataset_names", "open_dataset"]

for _name in (
    "ace2004",
    "aida",
    "aquaint",
    "cweb",
    "m3el_movie",
    "m3el_mtmt",
    "movies",
    "msnbc",
    "richpediamel",
    "sample",
    "wiki",
    "wikidiverse",
    "wikimel",
    "wikiperson",
):
    import_module(f"{__name__}.{_name}")
