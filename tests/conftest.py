"""Fixtures that every test folder shares."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from mmel.kb import KnowledgeBase


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder of the real research data: `$MMEL_DATA`, else `../shared/data`; skips where it does not exist."""
    root = Path(os.environ.get("MMEL_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
    if not root.is_dir():
        pytest.skip(f"no research data at {root}: set MMEL_DATA to the folder that holds it")
    return root


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a random BERT of 16 units; not to be written."""
    from tests.tiny import write_encoder

    return write_encoder(tmp_path_factory.mktemp("encoder") / "tiny")


@pytest.fixture(scope="session")
def tiny_kb_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the base of `tests.tiny.ENTITIES`; not to be written."""
    from mmel.kb.build import build
    from tests.tiny import ENTITIES

    folder = tmp_path_factory.mktemp("tiny") / "kb"
    build(ENTITIES, folder, date="2020-02-02", source="invented")
    return folder


@pytest.fixture
def tiny_kb(tiny_kb_folder: Path) -> Iterator[KnowledgeBase]:
    from mmel.kb import KnowledgeBase

    with KnowledgeBase.open(tiny_kb_folder) as opened:
        yield opened


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small film world as a `movies` folder, its base beside it as `kb`; what is beside it may be added to."""
    from tests.tiny import write_film_world

    return write_film_world(tmp_path_factory.mktemp("world") / "films", 24, {"train": 60, "val": 20}, 3, drawn=False)


@pytest.fixture(scope="session")
def film_run(films: Path, tiny_encoder: Path) -> Path:
    """The finished run folder of a linker trained on `films`; not to be written."""
    from mmel.training.session import train_linker
    from tests.tiny import small_config

    run = films.parent / "run"
    train_linker(small_config(films, tiny_encoder, run), restart=False, say=lambda _: None)
    return run


@pytest.fixture(scope="session")
def nine_tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small set of mentions and entities with texts and pictures, a `m3el-mtmt` folder, its base beside it."""
    from mmel.datasets import open_dataset
    from mmel.kb.build import build
    from tests.tiny import write_nine_tasks

    root = write_nine_tasks(tmp_path_factory.mktemp("nine") / "set")
    build(open_dataset("m3el-mtmt", root).entities(), root.parent / "kb", name="nine", date="2020-02-02")
    return root


@pytest.fixture(scope="session")
def nine_tasks_run(nine_tasks: Path, tiny_encoder: Path) -> Path:
    """The finished run folder of a linker trained on `nine_tasks`; not to be written."""
    from mmel.training.session import train_linker
    from tests.tiny import nine_tasks_settings

    run = nine_tasks.parent / "run"
    train_linker(nine_tasks_settings(nine_tasks, tiny_encoder, run), restart=False, say=lambda _: None)
    return run
