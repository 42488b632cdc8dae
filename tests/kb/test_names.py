"""Folding and similarity of names."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmel.kb.names import fold, similarity_to, trigrams


@pytest.mark.parametrize(
    ("surface", "folded"),
    [
        ("Paris", "paris"),
        ("  New\t York\u00a0City ", "new york city"),
        ("ZOË", "zoe"),
        ("Zoe\u0308", "zoe"),
        ("Łódź", "lodz"),
        ("Straße", "strasse"),
        ("Ægir’s “Hall”", 'aegir\'s "hall"'),
        ("Saint\u2013Denis\u2014Est", "saint-denis-est"),
        ("ＴＯＫＹＯ", "tokyo"),
        ("İzmir", "izmir"),
        ("Ждань", "ждань"),
        ("`quoted´", "'quoted'"),
        ("", ""),
        ("\u0301", ""),
    ],
)
def test_fold(surface: str, folded: str) -> None:
    assert fold(surface) == folded


@given(st.text(max_size=20))
def test_fold_is_idempotent_and_free_of_marks(surface: str) -> None:
    folded = fold(surface)
    assert fold(folded) == folded
    assert not any(unicodedata.combining(character) for character in folded)
    assert folded == folded.strip()


@given(st.text(alphabet="abcXYZ éÉ-", max_size=12))
def test_fold_ignores_case(surface: str) -> None:
    assert fold(surface.upper()) == fold(surface.lower()) == fold(surface)


def test_trigrams_are_padded_and_distinct() -> None:
    assert trigrams("ann") == [" an", "ann", "nn "]
    assert trigrams("aaaa") == [" aa", "aaa", "aa "]
    assert trigrams("x") == [" x "]


def _similarity_by_table(left: str, right: str) -> float:
    """2 LCS / (sum of lengths) by the textbook table."""
    if not left or not right:
        return float(left == right)
    table = [[0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for i, a in enumerate(left):
        for j, b in enumerate(right):
            table[i + 1][j + 1] = table[i][j] + 1 if a == b else max(table[i][j + 1], table[i + 1][j])
    return 2 * table[-1][-1] / (len(left) + len(right))


@given(st.text(alphabet="abcde é", max_size=15), st.text(alphabet="abcde é", max_size=15))
def test_similarity_is_that_of_the_textbook_table(left: str, right: str) -> None:
    assert similarity_to(left)(right) == pytest.approx(_similarity_by_table(left, right))
    assert similarity_to(left)(left) == 1.0


def test_similarity_of_long_names_needs_no_machine_word() -> None:
    name = "abcdefghij" * 20
    assert similarity_to(name)(name[:-1]) == pytest.approx(2 * 199 / 399)
