"""Judging mentions, and cutting a text where mentions begin and end."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmel.document import (
    NIL,
    Coupling,
    Document,
    Link,
    LinkedDocument,
    ScoredCandidate,
    TextMention,
    VisualMention,
)
from mmel.errors import InputError
from mmel.report.mentions import Piece, judged_mentions, pieces


def test_adjacent_mentions_stay_apart() -> None:
    assert pieces("AnnBo!", [(0, 3), (3, 5)]) == [
        Piece("Ann", 0, True), Piece("Bo", 1, True), Piece("!", None, False),
    ]  # fmt: skip


def test_of_mentions_that_overlap_the_shortest_is_shown() -> None:
    text = "The New York Times said"
    assert pieces(text, [(4, 18), (4, 12)]) == [
        Piece("The ", None, False), Piece("New York", 1, True), Piece(" Times", 0, True), Piece(" said", None, False),
    ]  # fmt: skip
    # In two parts, the second of which is no first.
    assert [one[1:3] for one in pieces("abcde", [(0, 5), (2, 3)])] == [(0, True), (1, True), (0, False)]


def test_mentions_without_a_piece_are_named_behind_the_one_that_hides_them() -> None:
    assert pieces("Ann ran", [(0, 3), (0, 3), (0, 3)]) == [
        Piece("Ann", 0, True, (1, 2)),
        Piece(" ran", None, False),
    ]


def test_characters_are_counted_as_python_does() -> None:
    text = "Ω 𝄞 Zoë👩‍🚀!"
    (_, clef, _, name, astronaut, _) = pieces(text, [(2, 3), (4, 7), (7, 10)])
    assert (clef.text, name.text, astronaut.text) == ("𝄞", "Zoë", "👩‍🚀")


@given(st.text(max_size=30), st.data())
def test_pieces_spell_the_text_and_every_mention_is_found_once(text: str, data: st.DataObject) -> None:
    place = st.integers(0, len(text))
    spans = data.draw(st.lists(st.tuples(place, place).filter(lambda span: span[0] < span[1]))) if text else []
    cut = pieces(text, spans)
    assert "".join(one.text for one in cut) == text
    assert all(one.text for one in cut)
    first = [one.mention for one in cut if one.first and one.mention is not None]
    assert sorted([*first, *(mention for one in cut for mention in one.hidden)]) == list(range(len(spans)))
    start = 0
    for one in cut:
        end = start + len(one.text)
        owner = None if one.mention is None else spans[one.mention]
        covering = [span for span in spans if span[0] < end and span[1] > start]
        # A piece lies within its mention, and plain text in none.
        assert owner is None or owner[0] <= start < end <= owner[1]
        assert (owner is None) <= (not covering)
        start = end


DOCUMENT = Document(
    "d", "Ann ran", text_mentions=(TextMention(0, 3, "Ann", "A"),), visual_mentions=(VisualMention("x/a.jpg"),)
)


def judged(text: Link, visual: Link, alone: LinkedDocument | None = None, *couplings: Coupling) -> list[list[str]]:
    linked = LinkedDocument(DOCUMENT, (text,), (visual,), couplings=couplings, alone=alone)
    return [one.states for one in judged_mentions(linked)]


def test_states_say_what_a_mention_is_coloured_and_filtered_by() -> None:
    alone = LinkedDocument(DOCUMENT, (Link("B", 0.4),), (Link("A", 0.4),))
    assert judged(Link("A", 0.9), Link("A", 0.9)) == [["right"], ["unlabelled"]]
    assert judged(Link("B", 0.9), Link(NIL, 0.9)) == [["wrong"], ["unlabelled", "nil"]]
    assert judged(Link("A", 0.49), Link("A", 0.5), alone) == [["right", "low", "changed", "disagree"], ["unlabelled"]]
    # Of two couplings the one with more mass counts.
    weak, strong = Coupling(0, 0, 0.1, ("A", "F")), Coupling(0, 0, 0.2)
    assert judged(Link("A", 0.9), Link("A", 0.9), None, weak, strong) == [
        ["right", "apart", "disagree"], ["unlabelled", "apart", "disagree"],
    ]  # fmt: skip
    assert judged(Link("A", 0.9), Link("A", 0.9), None, weak) == [["right"], ["unlabelled"]]
    # NIL has no ground in the base that could be common.
    assert judged(Link("A", 0.9), Link(NIL, 0.9), None, strong) == [["right"], ["unlabelled", "nil"]]


def test_what_does_not_fit_its_document_is_refused() -> None:
    link = Link("A", 0.5)
    with pytest.raises(InputError, match=r"document 'd': 1 text mentions and 2 links.*Remedy"):
        judged_mentions(LinkedDocument(DOCUMENT, (link, link)))
    with pytest.raises(InputError, match="document 'd': 1 visual mentions and 2 links"):
        judged_mentions(LinkedDocument(DOCUMENT, (link,), (link,), alone=LinkedDocument(DOCUMENT, (), (link, link))))
    with pytest.raises(InputError, match="coupling of textual mention 0 with visual mention 1, of 1 and 1"):
        judged_mentions(LinkedDocument(DOCUMENT, (link,), (link,), couplings=(Coupling(0, 1, 0.5),)))
    with pytest.raises(InputError, match="spells 'An'"):
        judged_mentions(LinkedDocument(Document("d", "Ann", text_mentions=(TextMention(0, 2, "Ann"),)), (link,)))
    # A modality that was not linked has no mentions to show.
    assert judged_mentions(LinkedDocument(DOCUMENT)) == ()


def scored(*scores: tuple[str, float]) -> tuple[ScoredCandidate, ...]:
    return tuple(ScoredCandidate(entity, score, 0.0) for entity, score in scores)


def test_candidates_are_kept_with_their_ranks_and_the_runner_up_is_none_that_was_decided() -> None:
    found = scored(("C", 0.5), ("B", 0.3), ("D", 0.1), ("A", 0.05))
    for entity, second in (("C", "B"), ("B", "C"), (NIL, "C")):
        linked = LinkedDocument(DOCUMENT, (Link(entity, 0.5, found),))
        (one,) = judged_mentions(linked, 2)
        # The gold stays, wherever it is.
        assert [(rank, candidate.entity) for rank, candidate in one.ranked] == [(1, "C"), (2, "B"), (4, "A")]
        assert one.runner_up is not None and one.runner_up.entity == second
    (one,) = judged_mentions(LinkedDocument(DOCUMENT, (Link("A", 0.5, scored(("A", 0.5))),)))
    assert one.runner_up is None


@pytest.mark.parametrize(("extra", "found"), [
    ({"probability": 0.75}, 0.75), ({"confidence": 1}, 1.0), ({"confidence": "high"}, None),
    ({"confidence": True}, None), (None, None), ({}, None),
])  # fmt: skip
def test_what_a_detector_said_is_kept_where_it_is_a_number(extra: dict[str, Any] | None, found: float | None) -> None:
    document = Document("d", "Ann", text_mentions=(TextMention(0, 3, "Ann", extra=extra),))
    (one,) = judged_mentions(LinkedDocument(document, (Link("A", 0.5),)))
    assert one.found == found
