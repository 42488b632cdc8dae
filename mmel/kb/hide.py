"""A knowledge base without some of its entities, so that what a document speaks of really is not there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory

from mmel.document import NIL, Document, Entity
from mmel.errors import InputError
from mmel.kb.build import build
from mmel.kb.store import KnowledgeBase


def is_hidden(entity: str, share: float, seed: int) -> bool:
    """Whether an entity is among the hidden ones: a `share` of all ids, drawn by a hash of seed and id."""
    digest = blake2b(f"{seed} {entity}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2**64


@contextmanager
def hidden_base(kb: KnowledgeBase, share: float, seed: int) -> Iterator[KnowledgeBase]:
    """A base built of the records of `kb` without a share of them, their names, pictures, links and in-links.

    It lies in a temporary folder that is removed at the end. What others' descriptions say of them stays, and so do
    the in-links that records themselves count.

    Raises:
        InputError where nothing would be left, or p(e|m) comes from dictionary files that the records do not hold.
    """
    if kb.meta.priors:
        raise InputError(
            f"p(e|m) of '{kb.meta.name}' comes from files beside its records, so that it cannot be built without some",
            file=kb.folder,
            remedy="hide entities of a base whose p(e|m) are its aliases' counts",
        )
    with TemporaryDirectory(prefix="mmel-hidden-") as folder:
        build(_left(kb, share, seed), Path(folder) / "kb", name=f"{kb.meta.name} without {share:g}", date=kb.meta.date)
        with KnowledgeBase.open(Path(folder) / "kb") as opened:
            yield opened


def hidden_golds(document: Document, kb: KnowledgeBase) -> Document:
    """The document with NIL as the label of each mention whose entity `kb` does not have."""
    labels = [mention.entity for mention in document.text_mentions]
    labels += [mention.entity for mention in document.visual_mentions]
    golds = sorted({gold for gold in labels if gold is not None})
    there = {gold for gold, index in zip(golds, kb.indices(golds).tolist(), strict=True) if index >= 0}

    def known(gold: str | None) -> str | None:
        return gold if gold is None or gold in there else NIL

    return replace(
        document,
        text_mentions=tuple(replace(mention, entity=known(mention.entity)) for mention in document.text_mentions),
        visual_mentions=tuple(replace(mention, entity=known(mention.entity)) for mention in document.visual_mentions),
    )


def _left(kb: KnowledgeBase, share: float, seed: int) -> Iterator[Entity]:
    for entity in kb:
        if not is_hidden(entity.id, share, seed):
            links = tuple(link for link in entity.links if not is_hidden(link, share, seed))
            yield replace(entity, links=links)
