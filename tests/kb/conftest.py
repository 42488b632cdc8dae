"""A small invented knowledge base, built once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mmel.document import Alias, Entity
from mmel.kb import KnowledgeBase
from mmel.kb.build import build

ENTITIES = (
    Entity(
        "F1",
        "The Glass Harbour (1961 film)",
        "film",
        "A harbour pilot hides a smuggler's ledger.",
        (Alias("The Glass Harbour", 40), Alias("Harbour", 3)),
        ("posters/f1.jpg",),
        ("C1", "C2", "P1"),
        12,
        {"year": 1961},
    ),
    Entity("C1", "Mira (The Glass Harbour)", "character", "The pilot.", (Alias("Mira", 6),), links=("F1", "P1")),
    Entity("C2", "Otto (The Glass Harbour)", "character", "The smuggler.", (Alias("Otto", 9),), links=("F1", "X404")),
    Entity(
        "P1",
        "Zoë Ferreira-Łuk",
        "person",
        "Actress born in Porto.",
        (Alias("Zoë Ferreira-Łuk", 20), Alias("Mira", 2), Alias("zoë", 1)),
        links=("F1",),
        popularity=7,
    ),
    Entity("C3", "Mira (Salt Road)", "character", "A salt trader.", (Alias("Mira", 12), Alias("MIRA", 5))),
    Entity("P2", "Zoe Quill", "person", "Stage actress.", (Alias("Zoe", 3),)),
)


@pytest.fixture(scope="session")
def kb_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the invented base; not to be written."""
    folder = tmp_path_factory.mktemp("kb") / "harbour"
    build(ENTITIES, folder, date="2020-02-02", source="invented")
    return folder


@pytest.fixture
def kb(kb_folder: Path) -> Iterator[KnowledgeBase]:
    with KnowledgeBase.open(kb_folder) as opened:
        yield opened


@pytest.fixture
def entities() -> tuple[Entity, ...]:
    return ENTITIES
