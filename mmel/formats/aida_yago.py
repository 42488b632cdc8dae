"""AIDA-YAGO2-dataset.tsv: CoNLL-2003 tokens with the AIDA annotations of Wikipedia pages.

Hoffart et al., "Robust Disambiguation of Named Entities in Text", EMNLP 2011. One token a line, empty lines
between sentences, `-DOCSTART- (1 EU)` before each document. The tokens of a mention have further columns after
tabs: B or I, the mention, its YAGO2 entity or `--NME--` (no entity), and for entities the Wikipedia url, the page
id and the Freebase mid. Train are documents 1 to 946, "testa" and "testb" stand in the ids of the others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mmel.document import NIL, Document, TextMention
from mmel.errors import InputError
from mmel.files import read_lines
from mmel.formats.conll import detokenise
from mmel.formats.pprforned import title_of_url

_START = re.compile(r"-DOCSTART- \((.*)\)\s*$")
_NO_ENTITY = "--NME--"
_YAGO_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
_REMEDY = "a line is 'token' or 'token, B or I, mention, entity, url, page id ...' with tabs between"


def read_aida_yago(path: str | Path, split: str | None = None) -> Iterator[Document]:
    """Stream the documents of `split` (train, testa, testb; None: all); `entity` is a Wikipedia title or NIL.

    The id is what stands in the brackets of `-DOCSTART-`, the title is the first line; `name` is the mention
    column where it says more than the tokens. Raises InputError naming the line where columns are broken or a
    mention is continued that never began.
    """
    if split not in (None, "train", "testa", "testb"):
        raise InputError(f"the split '{split}' is unknown", remedy="name train, testa, testb or None for all")
    pages: _Pages | None = None
    for line, content in read_lines(path):
        if content.startswith("-DOCSTART-"):
            if pages is not None and split in (None, pages.split):
                yield pages.document(path)
            start = _START.match(content)
            if start is None:
                raise InputError(f"{content!r} names no document", file=path, line=line, remedy="-DOCSTART- (1 EU)")
            pages = _Pages(start[1])
            continue
        if pages is None:
            if content.strip():
                raise InputError("a token before any -DOCSTART-", file=path, line=line, remedy=_REMEDY)
            continue
        try:
            pages.add(content)
        except ValueError as error:
            raise InputError(str(error), file=path, line=line, remedy=_REMEDY) from error
    if pages is None:
        raise InputError("holds no document", file=path, remedy="expected AIDA-YAGO2-dataset.tsv")
    if split in (None, pages.split):
        yield pages.document(path)


@dataclass(slots=True)
class _Mention:
    first: int
    last: int
    surface: str
    entity: str


@dataclass(slots=True)
class _Pages:
    """The document being read."""

    id: str
    sentences: list[list[str]] = field(default_factory=lambda: [[]])
    mentions: list[_Mention] = field(default_factory=list)
    tokens: int = 0
    inside: bool = False

    @property
    def split(self) -> str:
        number = self.id.split(" ")[0]
        return next((name for name in ("testa", "testb") if number.endswith(name)), "train")

    def add(self, content: str) -> None:
        if not content.strip():
            self.sentences.append([])
            return
        columns = content.split("\t")
        self.sentences[-1].append(columns[0].strip())
        self.tokens += 1
        if len(columns) == 1:
            self.inside = False
            return
        if len(columns) < 4 or columns[1] not in ("B", "I"):
            raise ValueError(f"{len(columns)} columns with {columns[1]!r} as the second: {content!r}")
        if columns[1] == "B":
            self.mentions.append(_Mention(self.tokens - 1, self.tokens, columns[2], _entity(columns)))
        elif not self.inside:
            raise ValueError(f"the mention {columns[2]!r} is continued but never began")
        else:
            self.mentions[-1].last = self.tokens
        self.inside = True

    def document(self, path: str | Path) -> Document:
        text, tokens, lines = detokenise(self.sentences)
        found = []
        for mention in self.mentions:
            start, end = tokens[mention.first][0], tokens[mention.last - 1][1]
            surface = text[start:end].replace("\n", " ")  # a name broken over two lines is one name
            text = text[:start] + surface + text[end:]
            name = mention.surface if "".join(mention.surface.split()) != "".join(surface.split()) else None
            found.append(TextMention(start, end, surface, mention.entity, name=name))
        document = Document(self.id, text, text[slice(*lines[0])] if lines else "", tuple(found))
        document.check_spans(str(path))
        return document


def _entity(columns: list[str]) -> str:
    if columns[3] == _NO_ENTITY:
        return NIL
    if len(columns) > 4 and columns[4]:
        return title_of_url(columns[4])
    return _YAGO_ESCAPE.sub(lambda match: chr(int(match[1], 16)), columns[3]).replace("_", " ")
