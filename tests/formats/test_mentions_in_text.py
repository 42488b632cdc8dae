from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmel.document import NIL
from mmel.errors import InputError, SkipReport
from mmel.formats import mentions_in_text as found
from mmel.formats.mentions_in_text import gold_label, locate, located


def placed(sentence: str, *surfaces: str) -> tuple[list[str], list[int], dict[str, int]]:
    """What the spans spell, where they start, and what was noted."""
    skips = SkipReport()
    text, spans = locate(sentence, surfaces, skips)
    assert not skips.counts
    assert text.startswith(sentence)
    return [text[start:end] for start, end in spans], [start for start, _ in spans], dict(skips.noted)


def test_surfaces_that_stand_as_written_are_noted_nowhere() -> None:
    assert placed("Otto Renn met Ines", "Ines", "Otto Renn") == (["Ines", "Otto Renn"], [14, 0], {})


def test_the_nth_of_equal_surfaces_takes_the_nth_place() -> None:
    assert placed("Renn, Renn and Renn", "Renn", "Renn", "Renn") == (["Renn"] * 3, [0, 6, 15], {})


def test_longer_surfaces_go_first() -> None:
    sentence = "Renna's north and the future of Renna"
    assert placed(sentence, "Renna", "Renna's") == (["Renna", "Renna's"], [32, 0], {})
    assert placed(sentence, "Renna's", "Renna")[1] == [0, 32]


def test_word_boundaries_go_first() -> None:
    assert placed("Rennan of Ren", "Ren") == (["Ren"], [10], {})


def test_a_place_inside_a_word_is_better_than_none() -> None:
    assert placed("Festival in RennPhoto: Ines", "Renn") == (["Renn"], [12], {found.INSIDE: 1})
    assert placed("Festival in RENNphoto: Ines", "Renn") == (["RENN"], [12], {found.INSIDE: 1})


def test_another_spelling_at_a_word_boundary_is_better_than_inside_a_word() -> None:
    assert placed("They trust the US", "us") == (["US"], [15], {found.OTHERWISE: 1})


def test_what_stands_more_often_than_it_is_named_takes_the_first_place() -> None:
    assert placed("Renn and Renn and Renn", "Renn", "Renn") == (["Renn", "Renn"], [0, 9], {found.SEVERAL: 2})


@pytest.mark.parametrize(
    ("sentence", "surface", "spelled"),
    [
        ("OTTO renn was there", "Otto Renn", "OTTO renn"),
        ("José Renn was there", "Jose Renn", "José Renn"),
        ("Jose\u0301 was there", "José", "Jose\u0301"),
        ("Otto\u00a0 Renn was there", "Otto Renn", "Otto\u00a0 Renn"),
        ("Otto Renn was there", "Otto  Renn ", "Otto Renn"),
        ("Otto\u2019s was there", "Otto's", "Otto\u2019s"),
        ("Straße nach Ulm", "STRASSE", "Straße"),
    ],
)
def test_other_spellings(sentence: str, surface: str, spelled: str) -> None:
    assert placed(sentence, surface) == ([spelled], [0], {found.OTHERWISE: 1})


@pytest.mark.parametrize(
    ("sentence", "surface", "spelled"),
    [
        ("The Earl of Renn, 1850", "Earl Renn", "Earl of Renn"),
        ("Carlos Manuel de Renn", "Carlos Manuel Renn", "Carlos Manuel de Renn"),
        ("Renn, baron of Renn", "Renn baron Renn", "Renn, baron of Renn"),
        ("Otto VI. Renn", "Otto VI Renn", "Otto VI. Renn"),
    ],
)
def test_the_shortest_window_of_words(sentence: str, surface: str, spelled: str) -> None:
    found_text, _, noted = placed(sentence, surface)
    assert (found_text, noted) == ([spelled], {found.WITH_OTHERS: 1})


def test_the_shorter_of_two_windows() -> None:
    sentence = "Otto and the Renn, Otto von Renn"
    assert placed(sentence, "Otto Renn") == (["Otto von Renn"], [19], {found.WITH_OTHERS: 1, found.SEVERAL: 1})


def test_a_window_has_a_limit() -> None:
    sentence = "Otto met one two three four five six of the Renn"
    assert placed(sentence, "Otto Renn") == (["Otto Renn"], [len(sentence) + 1], {found.NOWHERE: 1})


def test_what_is_nowhere_stands_after_the_sentence_on_a_line_of_its_own() -> None:
    skips = SkipReport()
    text, spans = locate("Ines in Ulm", ["Renn", "Ulm", " Oda "], skips, "caption 7")
    assert text == "Ines in Ulm\nRenn\nOda"
    assert [text[start:end] for start, end in spans] == ["Renn", "Ulm", "Oda"]
    assert skips.noted == {found.NOWHERE: 2}
    assert skips.examples[found.NOWHERE][0] == "caption 7: 'Renn' in 'Ines in Ulm'"
    assert locate("", ["Renn"]) == ("Renn", [(0, 4)])


def test_an_example_is_no_whole_sentence() -> None:
    skips = SkipReport()
    locate(f"{'Ines said ' * 50}that RENN {'was far away ' * 50}", ["Renn"], skips, "caption 7")
    ((example,),) = skips.examples.values()
    assert "that RENN was" in example
    assert len(example) < 120


def test_what_is_named_too_often_stands_after_the_sentence_too() -> None:
    assert placed("Ulm at night", "Ulm", "Ulm") == (["Ulm", "Ulm"], [0, 13], {found.TOO_OFTEN: 1})


def test_what_stands_within_other_mentions_only_is_not_put_over_them() -> None:
    assert placed("The Ulm Cup", "Ulm", "Ulm Cup") == (["Ulm", "Ulm Cup"], [12, 4], {found.WITHIN: 1})


def test_white_space_around_a_mention_is_no_part_of_it() -> None:
    assert placed("In Ulm, Ulm", " Ulm", "Ulm ") == (["Ulm", "Ulm"], [3, 8], {})
    _, (mention,) = located("In Ulm", [" Ulm"], ["Q1"], None)
    assert (mention.text, mention.name) == ("Ulm", None)


def test_a_blank_mention_is_refused() -> None:
    with pytest.raises(InputError, match="mention 1 of 'Ulm' is blank.*Remedy: "):
        locate("Ulm", ["Ulm", " "])


def test_mentions_come_by_start_and_keep_the_name_that_they_are_given() -> None:
    text, mentions = located("Earl of Renn in Ulm", ["Ulm", "Earl Renn", "Oda"], ["Q1", NIL, None], None)
    assert text == "Earl of Renn in Ulm\nOda"
    assert [(each.text, each.name, each.entity) for each in mentions] == [
        ("Earl of Renn", "Earl Renn", NIL),
        ("Ulm", None, "Q1"),
        ("Oda", None, None),
    ]


@pytest.mark.parametrize("answer", ["nil", "NIL", "Nil", "", "  ", "nIL", None])
def test_nil_in_any_spelling(answer: str | None) -> None:
    assert gold_label(answer) == NIL


def test_other_answers_are_entities() -> None:
    assert gold_label(" Q12 ") == "Q12"
    assert gold_label("Nile") == "Nile"


_WORDS = st.text(alphabet="abAB'é\u0301 .", min_size=1, max_size=6)


@given(_WORDS.map(lambda text: text * 2), st.lists(_WORDS.filter(str.strip), max_size=6))
def test_every_mention_has_a_place_of_its_own(sentence: str, surfaces: list[str]) -> None:
    text, spans = locate(sentence, surfaces)
    assert len(spans) == len(surfaces)
    assert text.startswith(sentence)
    assert all(0 <= start < end <= len(text) for start, end in spans)
    order = sorted(spans)
    assert all(before[1] <= after[0] for before, after in pairwise(order))
    for surface in {each.strip() for each in surfaces}:
        starts = [start for (start, _), each in zip(spans, surfaces, strict=True) if each.strip() == surface]
        assert starts == sorted(starts)


@given(st.lists(st.sampled_from(["Otto", "Ines", "Ulm", "Renn"]), min_size=1, max_size=8), st.randoms())
def test_words_of_a_sentence_are_all_found_in_any_order(words: list[str], random: object) -> None:
    shuffled = sorted(words, key=lambda _: random.random())  # type: ignore[attr-defined]
    skips = SkipReport()
    text, spans = locate(" ".join(words), shuffled, skips)
    assert text == " ".join(words)
    assert sorted(text[start:end] for start, end in spans) == sorted(words)
    assert not skips.noted
