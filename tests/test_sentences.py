from __future__ import annotations

import pytest

from mmel.sentences import sentence_starts


@pytest.mark.parametrize(
    ("text", "starts"),
    [
        ("", [0]),
        ("One. Two? Three! Four", [0, 5, 10, 17]),
        ('He left. "Why?" (She stayed.) Nobody knew.', [0, 9, 16, 30]),
        ("a mere 3.5 m. high, approx. five", [0]),
        ("Head line\n\nBody text\n", [0, 11]),
        ("End.  ", [0]),
    ],
)
def test_sentence_starts(text: str, starts: list[int]) -> None:
    assert sentence_starts(text) == starts
