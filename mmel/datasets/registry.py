"""Datasets by name. A dataset file registers its class; `open_dataset` opens it on a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from mmel.datasets.base import Dataset
from mmel.errors import ConfigError, did_you_mean

D = TypeVar("D", bound=type[Dataset])
_REGISTRY: dict[str, type[Dataset]] = {}


def register(dataset: D) -> D:
    """Class decorator: make a dataset known by its `name`. A second class of the same name is refused."""
    if dataset.name in _REGISTRY:
        raise ConfigError(f"dataset '{dataset.name}' is registered twice: {_REGISTRY[dataset.name]} and {dataset}")
    _REGISTRY[dataset.name] = dataset
    return dataset


def dataset_names() -> list[str]:
    """The names `open_dataset` knows, sorted."""
    return sorted(_REGISTRY)


def dataset_class(name: str) -> type[Dataset]:
    """The class behind a name; ConfigError with the closest name where there is none."""
    if name not in _REGISTRY:
        raise ConfigError(f"no dataset '{name}'.{did_you_mean(name, _REGISTRY)}")
    return _REGISTRY[name]


def open_dataset(name: str, root: str | Path | None = None) -> Dataset:
    """Open the dataset `name` on the folder `root` (None for a dataset that needs no folder).

    Raises:
        ConfigError: unknown name.
        InputError: the folder or what is expected in it is missing.
    """
    return dataset_class(name)(root)
