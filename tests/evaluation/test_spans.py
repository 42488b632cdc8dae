"""End-to-end scores against hand counts, GERBIL's own loop, and properties."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import combinations, permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmel.document import NIL, Document, Link, LinkedDocument, TextMention, VisualMention
from mmel.errors import InputError
from mmel.evaluation.spans import (
    EndToEnd,
    annotation_counts,
    evaluate_ends,
    pairs,
    same_regions,
    same_spans,
    span_scores,
    without_gold,
)

TEXT = "Otto met Mira Dole at Quillhaven and Zero."
Marks = Sequence[tuple[int, int, str | None]]


def linked(marks: Marks, answers: Sequence[str], id: str = "d", text: str = TEXT, **visual: Any) -> LinkedDocument:
    mentions = tuple(TextMention(start, end, text[start:end], entity) for start, end, entity in marks)
    links = tuple(Link(entity, 1.0) for entity in answers)
    return LinkedDocument(Document(id, text, text_mentions=mentions, **visual), links)


def found_in(marks: Sequence[tuple[int, int, str]], id: str = "d") -> LinkedDocument:
    return linked([(start, end, None) for start, end, _ in marks], [entity for *_, entity in marks], id)


def numbers(ends: EndToEnd, part: str, treatment: str = "in_kb") -> tuple[int, int, int]:
    assert ends.text is not None
    counts = ends.text.detection if part == "detection" else getattr(ends.text, part)[treatment]
    score = span_scores(counts)
    return score.gold, score.found, score.correct


# --- by hand --------------------------------------------------------------------------------------------------------


def test_counts_of_a_document_by_hand() -> None:
    gold = [(0, 4, "C2"), (9, 18, "C1"), (22, 32, "T1"), (37, 41, NIL)]
    # Otto found and right; Mira without her surname; Quillhaven found and wrong; Zero refused; "met" is no name.
    made = [(0, 4, "C2"), (9, 13, "C1"), (22, 32, "T2"), (37, 41, NIL), (5, 8, "X1")]
    ends = evaluate_ends([linked(gold, ["C2", "C3", "T1", "X1"])], [found_in(made)])
    assert numbers(ends, "detection") == (4, 5, 3)
    assert numbers(ends, "linking") == (3, 4, 2)  # the entity for what is not in the base costs precision
    assert numbers(ends, "linking", "with_nil") == (4, 4, 2)
    assert numbers(ends, "linking", "emerging") == (1, 0, 0)
    assert numbers(ends, "both") == (3, 4, 1)
    assert numbers(ends, "both", "with_nil") == (4, 5, 2)
    assert numbers(ends, "both", "emerging") == (1, 1, 1)
    told = ends.to_dict()["text"]
    assert told["detection"]["micro_precision"] == 3 / 5 and told["detection"]["micro_recall"] == 3 / 4
    assert told["both"]["in_kb"]["micro_f1"] == pytest.approx(2 / 7)
    assert told["gold_mentions"] == {
        "mentions": 3,
        "right_where_given": pytest.approx(2 / 3),
        "right_where_found": pytest.approx(1 / 3),
        "difference": pytest.approx(-1 / 3),
    }
    assert ends.visual is None and "visual" not in ends.to_dict()


@pytest.mark.parametrize("span", [(9, 13), (14, 18), (9, 19), (8, 18), (0, 42), (10, 17)])
def test_part_of_a_name_is_no_match(span: tuple[int, int]) -> None:
    ends = evaluate_ends([linked([(9, 18, "C1")], ["C1"])], [found_in([(*span, "C1")])])
    assert numbers(ends, "detection") == numbers(ends, "both") == (1, 1, 0)


def test_one_place_counts_once() -> None:
    twice = [(0, 4, "C2"), (0, 4, "C2")]
    ends = evaluate_ends([linked([(0, 4, "C2")], ["C2"])], [found_in(twice)])
    assert numbers(ends, "detection") == numbers(ends, "both") == (1, 2, 1)
    # Gold that names one place twice wants two: one of each entity.
    ends = evaluate_ends([linked([*twice[:1], (0, 4, "C4")], ["C2", "C2"])], [found_in(twice)])
    assert numbers(ends, "detection") == (2, 2, 2)
    assert numbers(ends, "linking") == numbers(ends, "both") == (2, 2, 1)


def test_an_unlabelled_mention_is_to_be_found_and_its_link_is_not_scored() -> None:
    ends = evaluate_ends(
        [linked([(0, 4, None), (9, 18, "C1")], ["X1", "C1"])], [found_in([(0, 4, "C2"), (9, 18, "C1")])]
    )
    assert numbers(ends, "detection") == (2, 2, 2)
    assert numbers(ends, "linking") == numbers(ends, "both") == (1, 1, 1)
    assert ends.text is not None and ends.text.unlabelled == 1
    assert any("1 text mentions without a label" in line for line in ends.table())


def test_macro_is_the_mean_of_documents_and_an_empty_one_is_all_well() -> None:
    gold = [linked([(0, 4, "C2"), (9, 18, "C1")], ["C2", "C1"], "a"), linked([], [], "b"), linked([], [], "c")]
    made = [found_in([(0, 4, "C2")], "a"), found_in([], "b"), found_in([(5, 8, "X1")], "c")]
    ends = evaluate_ends(gold, made)
    assert ends.text is not None
    score = span_scores(ends.text.both["in_kb"])
    assert (score.micro_precision, score.micro_recall) == (1 / 2, 1 / 2)
    assert score.macro_precision == pytest.approx((1 + 1 + 0) / 3)
    assert score.macro_recall == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert score.macro_f1 == pytest.approx((2 / 3 + 1 + 0) / 3)


@pytest.mark.parametrize(
    ("counts", "expected"), [([], 1), ([[0, 0, 0]], 1), ([[3, 0, 0]], 0), ([[0, 3, 0]], 0), ([[3, 3, 0]], 0)]
)
def test_nothing_to_find_and_nothing_found(counts: list[list[int]], expected: float) -> None:
    score = span_scores(counts)
    assert {score.micro_precision, score.micro_recall, score.micro_f1, score.macro_f1} == {expected}


# --- pictures -------------------------------------------------------------------------------------------------------


def region(box: tuple[float, float, float, float] | None, image: str = "a.jpg", entity: str = "P1") -> VisualMention:
    return VisualMention(image, box, entity)


@pytest.mark.parametrize(
    ("box", "same"),
    [
        ((0, 0, 10, 10), True),
        ((0, 0, 10, 20), True),  # half of the union
        ((0, 0, 10, 20.1), False),
        ((0, 0, 10, 5), True),
        ((5, 0, 15, 10), False),  # a third
        ((20, 20, 30, 30), False),
        ((10, 0, 20, 10), False),
        (None, False),  # nobody says how large the picture is
    ],
)
def test_boxes_match_at_half_of_their_union(box: tuple[float, float, float, float] | None, same: bool) -> None:
    assert same_regions([region((0, 0, 10, 10))], [region(box)]).tolist() == [[same]]
    assert same_regions([region((0, 0, 10, 10))], [region(box, "b.jpg")]).tolist() == [[False]]


def test_a_whole_photograph_is_of_its_largest_face() -> None:
    small, large, beside = region((0, 0, 5, 5)), region((10, 10, 30, 30)), region((0, 0, 99, 99), "b.jpg")
    assert same_regions([region(None)], [small, large, beside]).tolist() == [[False, True, False]]
    assert same_regions([region(None)], [beside]).tolist() == [[False]]
    assert same_regions([region(None)], [region(None)]).tolist() == [[True]]
    # A face that a gold box has is not free, and two gold mentions of the whole have two faces.
    assert same_regions([region(None), region((10, 10, 30, 31))], [small, large]).tolist() == [
        [True, False],
        [False, True],
    ]
    assert same_regions([region(None), region(None)], [small, large, region((0, 0, 1, 1))]).tolist() == [
        [True, True, False],
        [True, True, False],
    ]


def test_pictures_are_scored_as_texts_are() -> None:
    gold = Document("d", "", visual_mentions=(region(None, "a.jpg", "P1"), region(None, "b.jpg", "P2")))
    made = Document("d", "", visual_mentions=(region((0, 0, 9, 9), "a.jpg"), region((0, 0, 4, 4), "a.jpg")))
    two = (Link("P1", 1.0), Link("P3", 1.0))
    ends = evaluate_ends(
        [LinkedDocument(gold, visual_links=two)], [LinkedDocument(made, visual_links=two)], distant=True, seconds=0.5
    )
    assert ends.text is None and ends.visual is not None
    assert ends.visual.detection.tolist() == [[2, 2, 1]]
    assert ends.visual.linking["in_kb"].tolist() == [[2, 2, 1]] and ends.visual.both["in_kb"].tolist() == [[2, 2, 1]]
    told = ends.to_dict()
    assert told["documents_per_second"] == 2 and "lower bounds" in told["gold"] and "text" not in told
    table = "\n".join(ends.table())
    assert "lower bounds" in table and "2.0 documents/s" in table
    assert "visual mentions with the right link: 50.00 found and linked, 50.00 where given (+0.00)" in table
    assert "text" not in "\n".join(ends.table()[3:])


# --- the twin: GERBIL's own loop ------------------------------------------------------------------------------------

SPANS = [(0, 4), (5, 8), (9, 13), (9, 18), (22, 32)]
spans = st.sampled_from(SPANS)
entities = st.sampled_from(["A", "B", NIL])
links_of = st.lists(st.tuples(spans, entities), max_size=6)
corpora = st.lists(st.tuples(links_of, links_of), min_size=1, max_size=5)


def gerbil(gold: list[Any], found: list[Any]) -> tuple[int, int, int]:
    """ClassConsideringMatchingsCounter of GERBIL: the first unused equal annotation is the match."""
    used: set[int] = set()
    for expected in gold:
        match = next((i for i, each in enumerate(found) if i not in used and each == expected), None)
        used |= set() if match is None else {match}
    return len(gold), len(found), len(used)


def both_of(corpus: list[tuple[list[Any], list[Any]]]) -> EndToEnd:
    """Linking right of every second gold mention."""
    gold, made = [], []
    for number, (wanted, found) in enumerate(corpus):
        answers = [entity if i % 2 else "A" for i, (_, entity) in enumerate(wanted)]
        gold.append(linked([(*span, entity) for span, entity in wanted], answers, str(number)))
        made.append(found_in([(*span, entity) for span, entity in found], str(number)))
    return evaluate_ends(gold, made)


@given(corpora)
def test_counts_are_those_of_gerbils_loop(corpus: list[tuple[list[Any], list[Any]]]) -> None:
    ends = both_of(corpus).text
    if ends is None:
        assert not any(wanted or found for wanted, found in corpus)
        return
    kinds = {
        "in_kb": lambda entity: entity != NIL,
        "with_nil": lambda _: True,
        "emerging": lambda entity: entity == NIL,
    }
    for row, (wanted, found) in enumerate(corpus):
        assert tuple(ends.detection[row]) == gerbil([span for span, _ in wanted], [span for span, _ in found])
        for kind, counted in kinds.items():
            sides = [[one for one in side if counted(one[1])] for side in (wanted, found)]
            assert tuple(ends.both[kind][row]) == gerbil(*sides)  # type: ignore[index]


@given(corpora, st.randoms())
def test_order_changes_nothing(corpus: list[tuple[list[Any], list[Any]]], random: Any) -> None:
    shuffled = [(random.sample(one, len(one)), random.sample(two, len(two))) for one, two in corpus]
    random.shuffle(shuffled)
    before, after = both_of(corpus).text, both_of(shuffled).text
    assert (before is None) == (after is None)
    if before is not None and after is not None:
        pairs_of = [
            (before.detection, after.detection),
            *((before.both[kind], after.both[kind]) for kind in before.both),
        ]
        for one, two in pairs_of:
            for first, second in zip(
                dataclasses.astuple(span_scores(one)), dataclasses.astuple(span_scores(two)), strict=True
            ):
                assert first == pytest.approx(second)


@given(st.lists(links_of, min_size=1, max_size=5))
def test_finding_and_linking_all_is_one(corpus: list[list[Any]]) -> None:
    gold = [
        linked([(*span, entity) for span, entity in one], [entity for _, entity in one], str(number))
        for number, one in enumerate(corpus)
    ]
    made = [found_in([(*span, entity) for span, entity in one], str(number)) for number, one in enumerate(corpus)]
    ends = evaluate_ends(gold, made).text
    for counts in () if ends is None else (ends.detection, *ends.linking.values(), *ends.both.values()):
        score = span_scores(counts)
        assert score.gold == score.found == score.correct
        assert set(dataclasses.astuple(score)[3:]) == {1.0}


@given(corpora)
def test_both_is_no_better_than_detection_and_shares_are_shares(corpus: list[tuple[list[Any], list[Any]]]) -> None:
    ends = both_of(corpus).text
    if ends is None:
        return
    assert (ends.both["with_nil"] <= ends.detection).all()
    in_kb, with_nil, emerging = ends.both.values()
    assert (in_kb + emerging == with_nil).all()
    for counts in (ends.detection, *ends.linking.values(), *ends.both.values()):
        assert all(0 <= value <= 1 for value in dataclasses.astuple(span_scores(counts))[3:])


@given(st.lists(st.lists(st.booleans(), min_size=4, max_size=4), max_size=4))
def test_pairs_are_the_most_that_can_be_made(rows: list[list[bool]]) -> None:
    same = np.array(rows, dtype=np.bool_).reshape(-1, 4)
    most = max(
        sum(same[row, column] for row, column in zip(chosen, columns, strict=True))
        for chosen in combinations(range(len(same)), len(same))
        for columns in permutations(range(4), len(same))
    )
    assert pairs(same) == most


def test_shapes_of_nothing() -> None:
    mention = TextMention(0, 4, "Otto", "C2")
    assert same_spans([], [mention]).shape == (0, 1) and same_spans([mention], []).shape == (1, 0)
    assert same_regions([], [region(None)]).shape == (0, 1) and same_regions([region(None)], []).shape == (1, 0)
    assert annotation_counts(np.zeros((0, 1), dtype=np.bool_), [], ["A"])["in_kb"] == (0, 1, 0)
    assert annotation_counts(np.zeros((1, 0), dtype=np.bool_), ["A"], [])["in_kb"] == (1, 0, 0)
    ends = evaluate_ends([], [])
    assert ends.text is None and ends.visual is None and ends.documents == 0


# --- what is refused ------------------------------------------------------------------------------------------------


def test_raw_documents_have_their_pictures_and_no_mention() -> None:
    mentions = (region(None, "b.jpg"), region((0, 0, 1, 1), "a.jpg"), region((1, 1, 2, 2), "b.jpg"))
    document = Document(
        "d", TEXT, "title", (TextMention(0, 4, "Otto", "C2"),), mentions, {"year": 1999}, images=("c.jpg", "a.jpg")
    )
    assert without_gold(document) == Document(
        "d", TEXT, "title", extra={"year": 1999}, images=("c.jpg", "a.jpg", "b.jpg")
    )
    assert without_gold(Document("d", "")) == Document("d", "")


@pytest.mark.parametrize(
    ("gold", "made", "message"),
    [
        ([linked([], [], "a")], [], "document 'a' is only among those given"),
        ([], [linked([], [], "a")], "document 'a' is only among those found"),
        ([linked([], [], "a")], [linked([], [], "b")], "document 'a' stands beside 'b'"),
        ([linked([], [])], [linked([], [], text="Other")], "whose text is another"),
        ([linked([(0, 4, "A")], ["A"])], [linked([(0, 4, None)], [])], "0 of 1 that were found"),
        ([linked([(0, 4, "A")], ["A", "B"])], [found_in([])], "2 links of 1 gold text mentions"),
        (
            [linked([(0, 4, "A")], [], "a"), linked([(0, 4, "A")], ["A"], "b")],
            [found_in([], "a"), found_in([], "b")],
            "document 'a' has text mentions and no text link",
        ),
    ],
)
def test_what_does_not_fit_is_named(gold: list[LinkedDocument], made: list[LinkedDocument], message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluate_ends(gold, made)


def test_a_modality_that_was_not_linked_has_no_scores() -> None:
    assert evaluate_ends([linked([(0, 4, "A")], [])], [linked([], [])]).text is None
