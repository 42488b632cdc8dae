"""What pages show of entities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mmel.errors import MmelError

if TYPE_CHECKING:
    from mmel.kb import KnowledgeBase


@dataclass(frozen=True, slots=True)
class EntityCard:
    """What is shown of an entity; `picture` is a file, None where it has none."""

    id: str
    title: str
    description: str = ""
    picture: Path | None = None
    type: str = ""


Entities = Mapping[str, EntityCard] | Callable[[Sequence[str]], Mapping[str, EntityCard]]


def entity_cards(entities: Entities, ids: Sequence[str]) -> dict[str, EntityCard]:
    """The card of each entity, in the order of `ids`; one that is not known shows its id."""
    known = entities(ids) if callable(entities) else entities
    return {id: known.get(id) or EntityCard(id, id, "not in the knowledge base") for id in ids}


def kb_cards(kb: KnowledgeBase, pictures: Path | None) -> Callable[[Sequence[str]], Mapping[str, EntityCard]]:
    """The cards of a knowledge base's entities, read when they are asked for.

    Args:
        pictures: folder that the base's pictures are relative to; None shows no picture.
    """

    def cards(ids: Sequence[str]) -> Mapping[str, EntityCard]:
        known = kb.indices(ids)
        return {
            one.id: EntityCard(
                one.id,
                one.title,
                one.description,
                pictures / one.images[0] if pictures is not None and one.images else None,
                one.type,
            )
            for one in kb.entities(known[known >= 0])
        }

    return cards


def trained_pictures(model: Path, tell: Callable[[str], object]) -> Path | None:
    """The folder of the entities' pictures when a run was trained; where it is gone `tell` hears it, and None."""
    from mmel.config import Config
    from mmel.datasets import open_dataset
    from mmel.training.run import RunFolder

    data = Config.load(RunFolder(model).config_file).data
    try:
        return open_dataset(data.dataset, data.root).pictures
    except MmelError as error:
        tell(f"without the pictures of entities ({error}); --kb-pictures names their folder")
        return None


def shortened(text: str, longest: int) -> str:
    """A text of at most so many characters, and a sign where there were more."""
    return text if len(text) <= longest else f"{text[:longest]}…"
