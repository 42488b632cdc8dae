"""Documents with the pictures of unrelated documents: what a picture is worth shows when it is the wrong one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mmel.document import NIL, Document
from mmel.errors import InputError


def swap_pictures(documents: Sequence[Document], seed: int) -> list[Document]:
    """The documents, each that has `images` with those of another one.

    Nobody keeps a picture, and nobody gets that of a document with a gold entity in common, where they are labelled.
    Raises InputError where the pictures cannot be exchanged like that.
    """
    rows = [d for d, document in enumerate(documents) if document.images]
    if not rows:
        return list(documents)
    golds = [_golds(documents[d]) for d in rows]
    mixed = np.random.default_rng(seed).permutation(len(rows)).tolist()
    # Those of one gold stand together, so that a shift by the largest group leaves no one in his own.
    groups: dict[tuple[str, ...], list[int]] = {}
    for i in mixed:
        groups.setdefault(tuple(sorted(golds[i])) or documents[rows[i]].images, []).append(i)
    order = [i for group in groups.values() for i in group]
    for shift in range(max(map(len, groups.values())), len(order)):
        givers = order[shift:] + order[:shift]
        pairs = list(zip(order, givers, strict=True))
        if all(_unrelated(documents[rows[i]], documents[rows[j]], golds[i], golds[j]) for i, j in pairs):
            out = list(documents)
            for i, j in pairs:
                out[rows[i]] = replace(documents[rows[i]], images=documents[rows[j]].images)
            return out
    raise InputError(
        f"the pictures of {len(rows)} documents cannot be swapped so that each gets unrelated ones",
        field="images",
        remedy="take more documents, of more entities",
    )


def _golds(document: Document) -> frozenset[str]:
    named = (mention.entity for mention in document.text_mentions)
    return frozenset(entity for entity in named if entity is not None and entity != NIL)


def _unrelated(taker: Document, giver: Document, wanted: frozenset[str], shown: frozenset[str]) -> bool:
    return not wanted & shown and not set(taker.images) & set(giver.images)
