from __future__ import annotations

from pathlib import Path

import pytest

from mmel.document import NIL, TextMention
from mmel.errors import InputError
from mmel.formats.aida_yago import read_aida_yago

W = "http://en.wikipedia.org/wiki/"
TABLE = (
    "-DOCSTART- (1 ADA)\n"
    f"Ada\tB\tAda Moretti\tAda_Moretti\t{W}Ada_Moretti\t12\t/m/0x\n"
    f"\nMoretti\tI\tAda Moretti\tAda_Moretti\t{W}Ada_Moretti\t12\t/m/0x\n"
    "visits\n"
    f"Tur\u00edn\tB\tTurín\tTurin\t{W}Tur%C3%ADn_(city)\t13\n"
    "Bo\tB\tBo\t--NME--\n"
    "Al\tB\tAl\tAl\\u00e9_One\n"
    ".\n"
    "\n"
    "-DOCSTART- (947testa GOLF)\n"
    "\n"
    "GOLF\n"
    "-DOCSTART- (1163testb RAIN)\n"
    "RAIN\tB\tRAIN IN TURIN\t--NME--\n"
)


def test_documents(tmp_path: Path) -> None:
    path = tmp_path / "AIDA-YAGO2-dataset.tsv"
    path.write_text(TABLE, "utf-8")
    first, second, third = read_aida_yago(path)
    assert (first.id, first.title) == ("1 ADA", "Ada")
    assert first.text == "Ada Moretti visits Turín Bo Al."
    assert first.text_mentions == (
        TextMention(0, 11, "Ada Moretti", "Ada Moretti"),
        TextMention(19, 24, "Turín", "Turín (city)"),
        TextMention(25, 27, "Bo", NIL),
        TextMention(28, 30, "Al", "Alé One"),
    )
    assert (second.id, second.text, second.text_mentions) == ("947testa GOLF", "GOLF", ())
    assert third.text_mentions == (TextMention(0, 4, "RAIN", NIL, name="RAIN IN TURIN"),)
    for split, name in (("train", first), ("testa", second), ("testb", third)):
        assert list(read_aida_yago(path, split)) == [name]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no document"),
        (b"Ada\n", ":1: a token before any -DOCSTART-"),
        (b"-DOCSTART- -X-\n", ":1: '-DOCSTART- -X-' names no document"),
        (b"-DOCSTART- (1 A)\nAda\tB\n", ":2: 2 columns"),
        (b"-DOCSTART- (1 A)\nAda\tX\tAda\t--NME--\n", ":2: 4 columns with 'X'"),
        (b"-DOCSTART- (1 A)\nthe\nAda\tI\tAda\t--NME--\n", ":3: the mention 'Ada' is continued but never began"),
        (b"-DOCSTART- (1 A)\nAda\tB\tAda\tAda\tAda\n", ":2: 'Ada' is no Wikipedia url"),
        (b"-DOCSTART- (1 A)\nZo\xeb\n", ":2: is not UTF-8"),
    ],
)
def test_bad_tables(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "t.tsv"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        list(read_aida_yago(path))
    assert message in str(caught.value)


def test_an_unknown_split(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="split 'test' is unknown"):
        list(read_aida_yago(tmp_path / "t.tsv", "test"))
