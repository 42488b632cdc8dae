"""Swapped pictures: everyone gets another's, nobody an image of its own or of a shared entity."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmel.document import NIL, Document, TextMention
from mmel.errors import InputError
from mmel.pictures.swap import swap_pictures


def document(number: int, gold: str | None, *images: str) -> Document:
    return Document(str(number), "Ada", text_mentions=(TextMention(0, 3, "Ada", gold),), images=images)


@given(st.lists(st.sampled_from("abcde"), min_size=2, max_size=20), st.integers(0, 1000))
def test_nobody_keeps_a_picture_or_gets_one_of_the_same_entity(golds: list[str], seed: int) -> None:
    documents = [document(i, gold, f"{i}.png") for i, gold in enumerate(golds)]
    most = max(golds.count(gold) for gold in golds)
    if 2 * most > len(golds):
        with pytest.raises(InputError, match="cannot be swapped"):
            swap_pictures(documents, seed)
        return
    swapped = swap_pictures(documents, seed)
    assert swapped == swap_pictures(documents, seed)
    assert sorted(one.images for one in swapped) == sorted(one.images for one in documents)
    owner = {one.images: gold for one, gold in zip(documents, golds, strict=True)}
    for one, gold in zip(swapped, golds, strict=True):
        assert owner[one.images] != gold


def test_documents_without_pictures_stay_without() -> None:
    bare, unlabelled = Document("0", "Ada"), document(1, None, "x.png")
    out = swap_pictures([bare, unlabelled, document(2, NIL, "y.png")], 3)
    assert out[0] is bare
    assert [one.images for one in out[1:]] == [("y.png",), ("x.png",)]
    assert swap_pictures([bare], 0) == [bare]


def test_equal_pictures_of_several_documents_are_not_exchanged_for_each_other() -> None:
    documents = [document(i, None, image) for i, image in enumerate(("a", "a", "b", "c"))]
    for one, old in zip(swap_pictures(documents, 1), documents, strict=True):
        assert one.images != old.images
