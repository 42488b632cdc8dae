"""CoNLL-2003 columns: one token a line, empty lines between sentences, `-DOCSTART-` between documents.

Tjong Kim Sang & De Meulder, "Introduction to the CoNLL-2003 Shared Task", 2003. Columns are separated by
spaces or tabs: the token first, the named-entity tag (IOB1 or IOB2) last.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmel.errors import InputError
from mmel.files import read_lines

_COLUMNS = re.compile(r"[ \t]+")
_CLITICS = ("'s", "n't", "'re", "'ve", "'ll", "'d", "'m")
_NO_SPACE_BEFORE = frozenset([*".,;:?!)]}%", "...", *_CLITICS, *(clitic.upper() for clitic in _CLITICS)])
_NO_SPACE_AFTER = frozenset(["(", "[", "{", "$", "#", "US$", "A$", "C$", "NZ$", "HK$"])
_QUOTES = frozenset(['"', "'", "``", "''"])


@dataclass(frozen=True, slots=True)
class ConllDocument:
    """One document as a single text with the places of its tokens and lines.

    `tokens` and `lines` are `(start, end)` in characters of `text`; `tags` holds one named-entity tag a token;
    `number` counts documents from 1 and `line` is where the document starts in the file. Lines (the sentences
    of the file) are joined by a newline.
    """

    number: int
    line: int
    text: str
    tokens: tuple[tuple[int, int], ...]
    tags: tuple[str, ...]
    lines: tuple[tuple[int, int], ...]

    def entity_spans(self) -> list[tuple[int, int]]:
        """Token ranges `(first, past the last)` of the tagged named entities, IOB1 or IOB2; never across lines."""
        line_starts = {start for start, _ in self.lines}
        spans: list[tuple[int, int]] = []
        first, kind = -1, ""
        for index, ((start, _), tag) in enumerate(zip(self.tokens, self.tags, strict=True)):
            inside, tag_kind = tag != "O", tag[2:]
            begins = inside and (first < 0 or tag[0] == "B" or tag_kind != kind or start in line_starts)
            if first >= 0 and (begins or not inside):
                spans.append((first, index))
                first = -1
            if begins:
                first, kind = index, tag_kind
        if first >= 0:
            spans.append((first, len(self.tokens)))
        return spans


def read_conll(path: str | Path) -> Iterator[ConllDocument]:
    """Stream the documents of a CoNLL file; a file without `-DOCSTART-` is one document.

    Raises InputError where a line has another number of columns than the lines before it (a broken or
    truncated line) or the file holds no document.
    """
    number, begun, columns = 0, 0, 0
    sentences: list[list[tuple[str, str]]] = [[]]
    for line, content in read_lines(path):
        if content.startswith("-DOCSTART-"):
            if begun:
                number += 1
                yield _document(number, begun, sentences)
            begun, sentences = line, [[]]
        elif not content.strip(" \t"):
            if sentences[-1]:
                sentences.append([])
        else:
            fields = _COLUMNS.split(content.strip(" \t"))
            columns = columns or len(fields)
            if len(fields) != columns:
                raise InputError(
                    f"{len(fields)} columns where the lines before have {columns}: {content!r}",
                    file=path,
                    line=line,
                    remedy="restore the line; a file cut short must be fetched again",
                )
            begun = begun or line
            sentences[-1].append((fields[0], fields[-1] if columns > 1 else "O"))
    if not begun:
        raise InputError("holds no document", file=path, remedy="expected CoNLL columns, one token a line")
    yield _document(number + 1, begun, sentences)


def _document(number: int, line: int, sentences: Sequence[Sequence[tuple[str, str]]]) -> ConllDocument:
    text, tokens, lines = detokenise([[word for word, _ in sentence] for sentence in sentences])
    tags = tuple(tag for sentence in sentences for _, tag in sentence)
    return ConllDocument(number, line, text, tokens, tags, lines)


def detokenise(
    sentences: Sequence[Sequence[str]],
) -> tuple[str, tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]]:
    """One text from tokenised sentences, a newline between two; with the spans of all tokens and of all lines.

    Spaces follow written English, see `spaces_before`. Empty sentences leave no line.
    """
    pieces: list[str] = []
    tokens: list[tuple[int, int]] = []
    lines: list[tuple[int, int]] = []
    length = 0
    for words in filter(None, sentences):
        if pieces:
            pieces.append("\n")
            length += 1
        line_start = length
        for word, space in zip(words, spaces_before(words), strict=True):
            if space:
                pieces.append(" ")
                length += 1
            pieces.append(word)
            tokens.append((length, length + len(word)))
            length += len(word)
        lines.append((line_start, length))
    return "".join(pieces), tuple(tokens), tuple(lines)


def spaces_before(words: Sequence[str]) -> list[bool]:
    """Whether written English has a space before each token of a sentence; False for the first.

    Punctuation and clitics (`'s`, `n't`) lean left, brackets and currency signs lean right, quotes pair up.
    """
    spaces: list[bool] = []
    open_quotes: set[str] = set()
    lean_right, previous = True, ""
    for word in words:
        space = not lean_right and word not in _NO_SPACE_BEFORE
        lean_right = word in _NO_SPACE_AFTER
        if word in _QUOTES:
            mark = word.replace("``", '"').replace("''", '"')
            if mark in open_quotes:
                open_quotes.remove(mark)
                space = False
            elif mark == "'" and previous.endswith(("s", "S")):  # the players' union
                space = False
            else:
                open_quotes.add(mark)
                lean_right = True
        spaces.append(space and bool(spaces))
        previous = word
    return spaces
