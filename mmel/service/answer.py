"""The JSON that a linked document is answered with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from mmel.document import NIL, LinkedDocument
from mmel.formats.jsonl import linked_record

Titles = Callable[[Sequence[str]], Mapping[str, str]]


def answer_record(linked: LinkedDocument, names: Mapping[str, str], titles: Titles, most: int) -> dict[str, Any]:
    """`linked_record` with `title` beside each entity id, of mentions and of their first `most` candidates.

    `path_titles` has the titles of `paths`; an entity that `titles` does not know has none: null.

    Args:
        names: what the pictures are called, by their path.
        titles: gives those of entities by id.
    """
    document = linked.document
    shown = replace(
        linked,
        document=replace(
            document,
            images=tuple(names.get(image, image) for image in document.images),
            visual_mentions=tuple(
                replace(mention, image=names.get(mention.image, mention.image)) for mention in document.visual_mentions
            ),
        ),
        text_links=tuple(link.cut(most) for link in linked.text_links),
        visual_links=tuple(link.cut(most) for link in linked.visual_links),
        alone=None,
    )
    record = linked_record(shown)
    mentions = [*record["text_mentions"], *record["visual_mentions"]]
    candidates = [candidate for mention in mentions for candidate in mention["candidates"]]
    ids = {mention["entity"] for mention in mentions} | {candidate["id"] for candidate in candidates}
    ids |= {id for path in record["paths"] for id in path}
    known = titles(sorted(ids - {None, NIL}))
    for mention in mentions:
        mention["title"] = known.get(mention["entity"])
    for candidate in candidates:
        candidate["title"] = known.get(candidate["id"])
    record["path_titles"] = [[known.get(id) for id in path] for path in record["paths"]]
    return record
