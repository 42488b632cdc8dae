"""Long documents, cut to what a page shows."""

from __future__ import annotations

from mmel.document import Coupling, Document, Link, LinkedDocument, TextMention, VisualMention
from mmel.report.cut import cut, shown_images


def linked() -> LinkedDocument:
    document = Document(
        "d",
        "Ann Bob Cy",
        # Not in the order of the text.
        text_mentions=(TextMention(8, 10, "Cy"), TextMention(4, 7, "Bob"), TextMention(0, 3, "Ann")),
        visual_mentions=(VisualMention("b"), VisualMention("a"), VisualMention("b", (0, 0, 1, 1))),
        images=("c", "a", "d"),
    )
    links = tuple(Link(entity, 0.5) for entity in "CBA")
    couplings = (Coupling(0, 0, 0.1), Coupling(2, 2, 0.2), Coupling(1, 1, 0.3))
    alone = LinkedDocument(document, links[::-1], links)
    return LinkedDocument(document, links, links[::-1], couplings=couplings, alone=alone)


def test_a_document_that_fits_is_itself() -> None:
    one = linked()
    assert shown_images(one) == ["b", "a", "c", "d"]
    assert cut(one, 10, 4) == (one, ())


def test_mentions_links_and_couplings_that_stay_still_belong_together() -> None:
    short, said = cut(linked(), 7, 1)
    assert said == ("The first 7 of 10 characters are shown.", "1 of 4 pictures are shown.")
    assert short.document.text == "Ann Bob" and short.document.images == ()
    assert [one.text for one in short.document.text_mentions] == ["Bob", "Ann"]
    assert [one.image for one in short.document.visual_mentions] == ["b", "b"]
    assert [one.entity for one in short.text_links] == ["B", "A"] and [one.entity for one in short.visual_links] == [
        "A", "C",
    ]  # fmt: skip
    # Ann with the second region of b.
    assert short.couplings == (Coupling(1, 1, 0.2),)
    assert short.alone is not None and short.alone.document is short.document
    assert [one.entity for one in short.alone.text_links] == ["B", "C"]


def test_a_side_that_was_not_linked_stays_so() -> None:
    one = LinkedDocument(linked().document, (), (Link("A", 0.5),) * 3)
    short, said = cut(one, 3, 9)
    assert short.text_links == () and len(short.visual_links) == 3 and short.alone is None
    assert said == ("The first 3 of 10 characters are shown.",)
