"""What pages show of entities, and where it lies."""

from __future__ import annotations

from pathlib import Path

from mmel.kb import KnowledgeBase
from mmel.report import kb_cards, trained_pictures


def test_cards_are_of_entities_that_are_there(tiny_kb: KnowledgeBase, tmp_path: Path) -> None:
    cards = kb_cards(tiny_kb, tmp_path)(["P1", "nobody", "C1"])
    assert {id: (card.title, card.type, card.picture) for id, card in cards.items()} == {
        "P1": ("Ines Tavara", "person", None),
        "C1": ("Mira Dole", "character", None),
    }


def test_pictures_of_the_training_are_found_or_missed_aloud(film_run: Path, films: Path, tmp_path: Path) -> None:
    told: list[str] = []
    assert trained_pictures(film_run, told.append) == films
    assert not told
    run = tmp_path / "run"
    run.mkdir()
    config = (film_run / "config.yaml").read_text(encoding="utf-8")
    (run / "config.yaml").write_text(config.replace(str(films), str(tmp_path / "gone")), encoding="utf-8")
    assert trained_pictures(run, told.append) is None
    assert "without the pictures of entities" in told[0]
    assert "--kb-pictures" in told[0]
