from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmel.errors import InputError
from mmel.formats.conll import detokenise, read_conll, spaces_before

TWO = """-DOCSTART- -X- O O

Ada NNP I-NP I-PER
Lovelace NNP I-NP I-PER
met VBD I-VP O
Babbage NNP I-NP I-PER
. . O O

LONDON NNP I-NP I-LOC
1833-06-05 CD I-NP O

-DOCSTART- -X- O O

Turin NNP I-NP I-LOC
"""


def test_documents_tokens_and_lines(tmp_path: Path) -> None:
    path = tmp_path / "eng.train"
    path.write_text(TWO)
    first, second = read_conll(path)
    assert first.text == "Ada Lovelace met Babbage.\nLONDON 1833-06-05"
    assert [first.text[slice(*span)] for span in first.tokens] == [
        "Ada", "Lovelace", "met", "Babbage", ".", "LONDON", "1833-06-05",
    ]  # fmt: skip
    assert [first.text[slice(*span)] for span in first.lines] == ["Ada Lovelace met Babbage.", "LONDON 1833-06-05"]
    assert first.tags == ("I-PER", "I-PER", "O", "I-PER", "O", "I-LOC", "O")
    assert (first.number, first.line, second.number, second.line, second.text) == (1, 1, 2, 12, "Turin")


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        ("I-PER I-PER O I-LOC", [(0, 2), (3, 4)]),  # IOB1: I opens a span
        ("I-PER B-PER I-PER", [(0, 1), (1, 3)]),
        ("I-PER I-LOC", [(0, 1), (1, 2)]),
        ("B-PER I-PER B-LOC O", [(0, 2), (2, 3)]),  # IOB2
        ("O O", []),
        ("I-PER | I-PER", [(0, 1), (1, 2)]),  # never across lines
    ],
)
def test_entity_spans(tmp_path: Path, tags: str, spans: list[tuple[int, int]]) -> None:
    path = tmp_path / "c"
    path.write_text("".join("\n" if tag == "|" else f"w{at} {tag}\n" for at, tag in enumerate(tags.split())))
    (document,) = read_conll(path)
    assert document.entity_spans() == spans


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("Germany 's vote , he said ( on Friday ) .", "Germany's vote, he said (on Friday)."),
        ('" We do n\'t , " she said .', '"We don\'t," she said.'),
        ("the players ' union", "the players' union"),
        ("cost $ 3.5 , or 7 %", "cost $3.5, or 7%"),
        ("`` Yes '' he said", "``Yes'' he said"),
        ("CRICKET - RESULTS", "CRICKET - RESULTS"),
        (". first", ". first"),
    ],
)
def test_spaces_follow_written_english(words: str, text: str) -> None:
    assert detokenise([words.split()])[0] == text
    assert not spaces_before(words.split())[0]


@given(st.lists(st.lists(st.text("ab.,'\"([$%é", min_size=1, max_size=4), max_size=6), max_size=4))
def test_every_token_is_at_its_offset(sentences: list[list[str]]) -> None:
    text, tokens, lines = detokenise(sentences)
    words = [word for sentence in sentences for word in sentence]
    assert [text[start:end] for start, end in tokens] == words
    assert "\n".join(text[start:end] for start, end in lines) == text
    assert "".join(text.split()) == "".join(words)


def test_one_column_tabs_and_windows_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "c"
    path.write_bytes(b"Ada\tNNP\tB-PER\r\nsleeps\tVBZ\tO\r\n \t\r\nWell\tUH\tO\r\n")
    (document,) = read_conll(path)
    assert document.text == "Ada sleeps\nWell" and document.tags == ("B-PER", "O", "O")
    path.write_bytes(b"Ada\nsleeps\n")
    assert next(read_conll(path)).tags == ("O", "O")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no document"),
        (b"Ada NNP I-NP I-PER\nsleeps VB", "c:2: 2 columns where the lines before have 4"),
        (b"Ada NNP I-NP I-PER\nZo\xeb NNP I-NP I-PER\n", "c:2: is not UTF-8"),
    ],
)
def test_bad_files(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "c"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        list(read_conll(path))
    assert message in str(caught.value)


def test_empty_documents_are_documents(tmp_path: Path) -> None:
    path = tmp_path / "c"
    path.write_text("-DOCSTART- -X- O O\n\n-DOCSTART- -X- O O\n\nAda NNP O O\n")
    assert [(document.number, document.text) for document in read_conll(path)] == [(1, ""), (2, "Ada")]


@pytest.mark.data
def test_real_counts(data_root: Path) -> None:
    for name, expected in (("eng.train", 946), ("eng.testa", 216)):
        assert sum(1 for _ in read_conll(data_root / "aida" / "conll2003" / name)) == expected
