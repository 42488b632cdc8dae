from __future__ import annotations

import pytest

from mmel.datasets import dataset_class, dataset_names, open_dataset
from mmel.datasets.registry import register
from mmel.errors import ConfigError


def test_names() -> None:
    names = [
        "ace2004",
        "aida",
        "aquaint",
        "cweb",
        "m3el-movie",
        "m3el-mtmt",
        "movies",
        "msnbc",
        "richpediamel",
        "sample",
        "wiki",
        "wikidiverse",
        "wikimel",
        "wikiperson",
    ]
    assert dataset_names() == names


def test_an_unknown_name_says_what_was_meant() -> None:
    with pytest.raises(ConfigError, match="no dataset 'msnb'. Did you mean 'msnbc'?"):
        open_dataset("msnb")


def test_a_name_is_taken_once() -> None:
    with pytest.raises(ConfigError, match="dataset 'aida' is registered twice"):
        register(dataset_class("aida"))
