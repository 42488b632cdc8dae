"""Texts of any encoding come out as they were written, or are refused by name."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmel.errors import InputError
from mmel.scoring.decoding import read_any_text

WESTERN = "Amélie läuft über die Straße; le garçon a été à l’école, “très” bien."
MARKED = [
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
]


def write(folder: Path, data: bytes) -> Path:
    file = folder / "review.txt"
    file.write_bytes(data)
    return file


@pytest.mark.parametrize(("mark", "encoding"), [*MARKED, (b"", "utf-8")])
def test_unicode_with_its_mark(tmp_path: Path, mark: bytes, encoding: str) -> None:
    file = write(tmp_path, mark + f"{WESTERN} 映画".encode(encoding))
    assert read_any_text(file) == (f"{WESTERN} 映画", None)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (WESTERN, "cp1252"),
        ("Am\xe9lie", "cp1252"),
        ("Zażółć gęślą jaźń, to jest film.", "cp1250"),
        ("Привет, мир! Это обзор фильма о любви.", "cp1251"),
        ("映画のレビューです。とても面白かった。", "cp932"),
    ],
)
def test_older_encodings_are_guessed_and_named(tmp_path: Path, text: str, encoding: str) -> None:
    assert read_any_text(write(tmp_path, text.encode(encoding))) == (text, encoding)


def test_line_ends_are_one_character(tmp_path: Path) -> None:
    assert read_any_text(write(tmp_path, b"a\r\nb\rc\n"))[0] == "a\nb\nc\n"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "is no text.*save"),
        (b"plain\0text", "zero bytes"),
        (bytes(range(1, 256)) * 20, "is no text: no encoding"),
        ("naïve".encode("utf-16-le"), "is no text"),
        (codecs.BOM_UTF16_LE + b"\x00\xd8a", "begins as UTF-16 and is none.*UTF-8"),
        (b"a" * 101, "more than 100 characters.*--max-characters"),
        (b"a" * 5_000_000, "more than 100 characters"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_any_text(write(tmp_path, data), max_characters=100)
    assert "review.txt" in str(caught.value)


def test_the_limit_is_of_characters(tmp_path: Path) -> None:
    text = "映" * 100
    for mark, encoding in MARKED:
        assert read_any_text(write(tmp_path, mark + text.encode(encoding)), max_characters=100) == (text, None)


def test_a_text_too_long_is_cut_between_characters(tmp_path: Path) -> None:
    for mark, encoding in MARKED:
        for text in ("映" * 1000, "a" + "😀" * 1000, "ab" + "😀" * 1000, "abc" + "😀" * 1000):
            with pytest.raises(InputError, match="more than 100 characters"):
                read_any_text(write(tmp_path, mark + text.encode(encoding)), max_characters=100)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere.txt.*check the path"):
        read_any_text(tmp_path / "nowhere.txt")


@given(data=st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.getbasetemp() / "bytes.txt"
    file.write_bytes(data)
    try:
        text, _ = read_any_text(file)
    except InputError:
        return
    text.encode("utf-8")
    assert "\0" not in text and "\r" not in text
