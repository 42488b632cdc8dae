"""Names of a knowledge base in texts: word boundaries, case, quotes, marks, scripts; a twin that tries every span."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmel.detection.lexicon import Lexicon
from mmel.document import Alias, Entity
from mmel.kb import KnowledgeBase
from mmel.kb.build import build
from mmel.kb.names import fold

NAMES = (
    "Ada",
    "Ada Lund",
    "Will",
    "The Salt Road",
    "O'Hara",
    "Zoë",
    "Jean-Luc",
    "Lund's",
    "山田",
    "IT",
    "Old Ada",
    "राम",
)


@pytest.fixture(scope="module")
def lexicon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lexicon]:
    folder: Path = tmp_path_factory.mktemp("lexicon") / "kb"
    build((Entity(f"E{i}", name, aliases=(Alias(name, 1),)) for i, name in enumerate(NAMES)), folder)
    with KnowledgeBase.open(folder) as kb:
        yield Lexicon(kb)


def found(lexicon: Lexicon, text: str) -> list[str]:
    return [text[one.start : one.end] for one in lexicon.find(text)]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Ada Lund met Adam.", ["Ada Lund", "Ada"]),
        ("Ada's and Ada’s hat; the Lunds", ["Ada", "Ada"]),
        ('(Ada)-Jean-Luc"Will"', ["Ada", "Jean-Luc", "Will"]),
        ("Will you? I will. At will, WILL!", ["Will", "WILL"]),
        ("ADA LUND ON THE SALT ROAD", ["ADA LUND", "ADA", "THE SALT ROAD"]),
        ("on the Salt Road, not the salt road", ["the Salt Road"]),
        ("O’Hara, O'Hara; Zoe, Zoë, Zoe\u0308!", ["O’Hara", "O'Hara", "Zoe", "Zoë", "Zoe\u0308"]),
        ("昨日山田さんが", ["山田"]),
        ("राम और रामा", ["राम"]),
        ("Ada  Lund and Ada\u00a0Lund", ["Ada  Lund", "Ada", "Ada\u00a0Lund", "Ada"]),
        ("Ada\nLund", ["Ada"]),
        ("x_Ada 2Ada", []),
        ("", []),
    ],
)
def test_names_are_found_between_word_boundaries(lexicon: Lexicon, text: str, names: list[str]) -> None:
    assert found(lexicon, text) == names


def test_a_spelling_of_the_base_is_exact(lexicon: Lexicon) -> None:
    exact = {("Zoë" if one.exact else "other") for one in lexicon.find("Zoë")}
    assert exact == {"Zoë"} and not lexicon.find("Zoe")[0].exact


@given(st.text(st.sampled_from("AdaLun OldWi'’\u0308ë.-\n\tz山田"), max_size=30))
@settings(max_examples=150, deadline=None)
def test_spans_spell_names_and_overlap_no_word(lexicon: Lexicon, text: str) -> None:
    for one in lexicon.find(text):
        assert fold(text[one.start : one.end]) == fold(lexicon.surfaces[one.name])
        before, after = text[: one.start][-1:], text[one.end :][:1]
        inside = text[one.start : one.end]
        if inside.isascii():
            assert not (before.isascii() and before.isalnum()) and not (after.isascii() and after.isalnum())
        assert after != "\u0308"


@given(st.lists(st.sampled_from([*NAMES, "and", "Adam", "the"]), max_size=6).map(" ".join))
@settings(max_examples=80, deadline=None)
def test_exact_names_are_those_of_every_span_tried(lexicon: Lexicon, text: str) -> None:
    edges = [i for i in range(len(text) + 1) if i in (0, len(text)) or text[i - 1] == " " or text[i] == " "]
    expected = {(a, b) for a in edges for b in edges if text[a:b] in NAMES}
    spans = {one[:2] for one in lexicon.find(text) if one.exact}
    assert expected <= spans


def test_a_base_may_have_no_names(tmp_path: Path) -> None:
    build([Entity("E", "Ada")], tmp_path / "kb")
    with KnowledgeBase.open(tmp_path / "kb") as kb:
        assert Lexicon(kb).find("Ada") == []
