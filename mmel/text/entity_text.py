"""What is read of an entity: its text, its titles, and the neighbour that says most about it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmel.candidates.graph import hubs_of
from mmel.document import Entity
from mmel.kb import KnowledgeBase

LINKED_TITLES = 16  # linked entities whose titles the encoder reads with an entity


def main_neighbour(entities: np.ndarray, kb: KnowledgeBase) -> np.ndarray:
    """The linked entity that most entities link to, for each of `entities`; itself where it links to none."""
    unique, inverse = np.unique(entities, return_inverse=True)
    if not len(unique):
        return unique
    position, hub = hubs_of(unique, kb)
    in_links = np.where(hub == unique[position], 0, kb.in_degree[hub])
    # The largest of (in-links, index) of each entity's hubs, as one number.
    best = np.maximum.reduceat(in_links * len(kb) + hub, np.searchsorted(position, np.arange(len(unique))))
    return np.asarray((best % len(kb))[inverse])


def entity_texts(entities: np.ndarray, kb: KnowledgeBase, most: int = LINKED_TITLES) -> list[str]:
    """What is read of each entity: title, description where there is one, titles of the first `most` it links to."""
    position, hub = hubs_of(entities, kb, most)
    titles = kb.titles(hub)
    # An entity's hubs begin with itself.
    ends = np.cumsum(np.bincount(position, minlength=len(entities))).tolist()
    spans = zip([0, *ends], ends, kb.descriptions(entities), strict=False)
    return [_text(titles[a], description, titles[a + 1 : b]) for a, b, description in spans]


def entity_titles(entities: np.ndarray, kb: KnowledgeBase) -> list[str]:
    """The title of each entity."""
    return kb.titles(entities)


def entity_text(entity: Entity, linked: Sequence[str] = ()) -> str:
    """`title. description Links: title, title`, without the parts that are not there."""
    return _text(entity.title, entity.description, linked)


def _text(title: str, description: str, linked: Sequence[str]) -> str:
    text = f"{title}. {description}" if description else title
    return f"{text} Links: {', '.join(linked)}" if linked else text
