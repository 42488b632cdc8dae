"""The strings of the paper's forms."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest

from mmel.document import TextMention
from mmel.vision.mention_text import described, mention_words
from mmel.vision_settings import MentionText

TEXT = "Rain fell. Mira met  Otto\tthere! Nobody knew."
OTTO = TextMention(21, 25, "Otto", "E1", extra={"description": "a smuggler"})


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("S1", "Mira met Otto there!"),
        ("S", "Rain fell. Mira met Otto there! Nobody knew."),
        ("M-S1", "Otto: Mira met Otto there!"),
        ("M-S", "Otto: Rain fell. Mira met Otto there! Nobody knew."),
        ("S1-M", "Mira met Otto there! Otto"),
        ("S-M", "Rain fell. Mira met Otto there! Nobody knew. Otto"),
        ("S1-M-D", "Mira met Otto there! Otto: a smuggler"),
        ("S-M-D", "Rain fell. Mira met Otto there! Nobody knew. Otto: a smuggler"),
    ],
)
def test_forms(form: MentionText, expected: str) -> None:
    assert TEXT[OTTO.start : OTTO.end] == OTTO.text
    assert mention_words(TEXT, [OTTO], form) == [expected]


def test_every_form_is_tested_and_a_description_may_lack() -> None:
    assert len(get_args(MentionText)) == 8
    for extra in (None, {}, {"description": ""}):
        plain = replace(OTTO, extra=extra)
        assert not described(plain)
        for form in ("S1", "S"):
            with_m, with_d = (mention_words(TEXT, [plain], f"{form}-M{d}") for d in ("", "-D"))  # type: ignore[arg-type]
            assert with_m == with_d


def test_a_longer_name_takes_the_place_of_the_surface() -> None:
    assert mention_words(TEXT, [replace(OTTO, name="Otto Renn")], "S1-M") == ["Mira met Otto there! Otto Renn"]


def test_mentions_at_the_ends_and_of_several_sentences() -> None:
    text = "Ada ran. Bea sat"
    mentions = [TextMention(0, 3, "Ada"), TextMention(13, 16, "sat"), TextMention(4, 12, "ran. Bea")]
    assert mention_words(text, mentions, "S1") == ["Ada ran.", "Bea sat", "Ada ran."]
    assert mention_words(text, [], "S1") == []
