"""Datasets by name: `open_dataset("aida", root).documents("testa")`.

A new dataset is one file here (a `Dataset` under `@register`) and one card in `data/cards/`.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from mmel.datasets.base import Dataset
from mmel.datasets.registry import dataset_class, dataset_names, open_dataset

__all__ = ["Dataset", "dataset_class", "dataset_names", "open_dataset"]

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
