"""Text files as people have them: UTF-8, UTF-16 with its mark, or an older encoding that has to be guessed."""

from __future__ import annotations

import codecs
from pathlib import Path

from mmel.errors import InputError

MAX_CHARACTERS = 200_000
_BYTES_PER_CHARACTER = 4  # of UTF-8 and UTF-32, at most
# UTF-32's first: its little-endian mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
# Western texts are the most frequent, and in their few other letters a guesser takes them for Central European ones.
_WESTERN = "cp1252"
# A text in one of these has a mark or zero bytes.
_NOT_GUESSED = ["utf_16", "utf_16_le", "utf_16_be", "utf_32", "utf_32_le", "utf_32_be", "utf_7"]
_NO_TEXT = "give plain text; a document of another kind (.docx, .pdf) is to be saved as text first"


def read_any_text(path: Path, max_characters: int = MAX_CHARACTERS) -> tuple[str, str | None]:
    """The text of a file with line ends as `\\n`, and its encoding where that was guessed, else None.

    UTF-8, with or without a byte order mark, UTF-16 and UTF-32 with one; what is none of them is guessed by
    charset-normalizer.

    Raises:
        InputError: the file cannot be read, holds no text (binary, or in no encoding that fits), or more than
            `max_characters`.
    """
    try:
        with open(path, "rb") as stream:
            data = stream.read(_BYTES_PER_CHARACTER * max_characters + 8)
            whole = not stream.read(1)
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", file=path, remedy="check the path") from error
    text, guessed = _decoded(data, whole, path)
    if "\0" in text:
        raise InputError("is no text: it holds zero bytes", file=path, remedy=_NO_TEXT)
    check_length(text, max_characters, path)
    return text.replace("\r\n", "\n").replace("\r", "\n"), guessed


def check_length(text: str, max_characters: int, file: Path, line: int | None = None) -> None:
    """Raise InputError where a text is too long to be linked as one document."""
    if len(text) > max_characters:
        raise InputError(
            f"has more than {max_characters:,} characters, the most that a document may have",
            file=file,
            line=line,
            field="text" if line else None,
            remedy="split it into documents, one a chapter say, or allow more with --max-characters (about 10 MB of "
            "memory and half a second for 1,000)",
        )


def _decoded(data: bytes, whole: bool, path: Path) -> tuple[str, str | None]:
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    try:
        # A last character that the limit cut in two is left out; the text is too long anyway.
        return codecs.getincrementaldecoder(encoding)().decode(data, final=whole), None
    except UnicodeDecodeError as error:
        if encoding != "utf-8":
            raise InputError(
                f"begins as {encoding.upper()} and is none: {error.reason} at byte {error.start}",
                file=path,
                remedy="save the file as UTF-8",
            ) from error
        return _guessed(data, path)


def _guessed(data: bytes, path: Path) -> tuple[str, str]:
    from charset_normalizer import from_bytes, is_binary

    found = None if b"\0" in data or is_binary(data) else from_bytes(data, cp_exclusion=_NOT_GUESSED)
    best = found.best() if found else None
    if found is None or best is None:
        raise InputError("is no text: no encoding fits its bytes", file=path, remedy=_NO_TEXT)
    fit = {name for match in found for name in match.could_be_from_charset}
    encoding = _WESTERN if _WESTERN in fit else best.encoding
    return data.decode(encoding), encoding
