"""Documents that are too long for a page, cut to what it shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from mmel.document import Coupling, LinkedDocument

T = TypeVar("T")


def cut(linked: LinkedDocument, characters: int, pictures: int) -> tuple[LinkedDocument, tuple[str, ...]]:
    """The beginning of a document with what is linked in it, and a sentence for each thing that was left out.

    Args:
        characters: of the text that are kept; mentions that end behind them go.
        pictures: that are kept, those with mentions first.
    """
    document = linked.document
    images = shown_images(linked)
    if len(document.text) <= characters and len(images) <= pictures:
        return linked, ()
    kept = frozenset(images[:pictures])
    text = [place for place, one in enumerate(document.text_mentions) if one.end <= characters]
    visual = [place for place, one in enumerate(document.visual_mentions) if one.image in kept]
    short = replace(
        document,
        text=document.text[:characters],
        text_mentions=_at(document.text_mentions, text),
        visual_mentions=_at(document.visual_mentions, visual),
        images=tuple(image for image in document.images if image in kept),
    )
    couplings = _couplings(linked.couplings, text, visual)
    alone = linked.alone and replace(_linked(linked.alone, text, visual), document=short)
    result = replace(_linked(linked, text, visual), document=short, couplings=couplings, alone=alone)
    return result, tuple(_said(linked, characters, pictures, len(images)))


def shown_images(linked: LinkedDocument) -> list[str]:
    """The pictures of a document, each once: those with mentions, then the others."""
    mentions = (mention.image for mention in linked.document.visual_mentions)
    return list(dict.fromkeys([*mentions, *linked.document.images]))


def _linked(linked: LinkedDocument, text: Sequence[int], visual: Sequence[int]) -> LinkedDocument:
    # A side without any link was not linked.
    return replace(
        linked,
        text_links=_at(linked.text_links, text) if linked.text_links else (),
        visual_links=_at(linked.visual_links, visual) if linked.visual_links else (),
    )


def _at(values: Sequence[T], places: Sequence[int]) -> tuple[T, ...]:
    return tuple(values[place] for place in places)


def _couplings(couplings: Sequence[Coupling], text: Sequence[int], visual: Sequence[int]) -> tuple[Coupling, ...]:
    texts, visuals = ({old: new for new, old in enumerate(places)} for places in (text, visual))
    return tuple(
        replace(one, text=texts[one.text], visual=visuals[one.visual])
        for one in couplings
        if one.text in texts and one.visual in visuals
    )


def _said(linked: LinkedDocument, characters: int, pictures: int, images: int) -> list[str]:
    text, said = linked.document.text, []
    if len(text) > characters:
        said.append(f"The first {characters:,} of {len(text):,} characters are shown.")
    if images > pictures:
        said.append(f"{pictures:,} of {images:,} pictures are shown.")
    return said
