"""WNED XML annotations beside a `RawText` folder (msnbc, ace2004, aquaint, cweb, wiki).

Guo & Barbosa, "Robust Named Entity Disambiguation with Random Walks", Semantic Web 2018. `offset` counts
characters of the raw text; `length` counts an ampersand of the surface as its XML entity (`&amp;`) in places.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from mmel.document import NIL, Document, TextMention
from mmel.errors import InputError, SkipReport
from mmel.files import read_text

SEARCH_WINDOW = 1000
"""How many characters off an annotation may be and still be mended by the nearest place that spells it."""


def read_wned(folder: str | Path, skips: SkipReport | None = None) -> Iterator[Document]:
    """Stream the annotated documents of a WNED folder (one XML file and `RawText/`) in the order of the XML.

    `entity` is the `wikiName` as it stands, NIL where that is empty or "NIL". A mention whose offset does not
    spell it is looked for within `SEARCH_WINDOW` characters; `extra["corrected_offsets"]` counts those.
    `name` is the annotated surface where the raw text spells it with other white space or XML entities.

    Raises InputError where the XML is broken, a raw text is missing or not UTF-8, or a mention is nowhere near
    its offset; with `skips` such a document or mention is counted and left out (broken XML still raises).
    """
    folder = Path(folder)
    path = annotation_file(folder)
    try:
        for _, element in ElementTree.iterparse(path):
            if element.tag != "document":
                continue
            name = element.get("docName", "")
            annotations = [_annotation(each, path, name) for each in element.iter("annotation")]
            element.clear()
            try:
                if Path(name).is_absolute() or ".." in Path(name).parts:
                    raise InputError(f"document '{name}' leaves the RawText folder", file=path, field="docName")
                text = read_text(folder / "RawText" / name)
            except InputError as error:
                if skips is None:
                    raise
                skips.add("raw text cannot be read", str(error))
                continue
            yield _document(name, text, annotations, path, skips)
    except ElementTree.ParseError as error:
        line, column = error.position
        raise InputError(
            f"is no well-formed XML: {error} (column {column})",
            file=path,
            line=line,
            remedy="fetch the file again; it may be cut short",
        ) from error


def annotation_file(folder: str | Path) -> Path:
    """The one XML file of a WNED folder."""
    folder = Path(folder)
    files = sorted(folder.glob("*.xml"))
    if len(files) != 1:
        found = ", ".join(file.name for file in files) or "none"
        raise InputError(
            f"expected one XML file, found {found}", file=folder, remedy="name the folder with NAME.xml and RawText/"
        )
    return files[0]


def _annotation(element: ElementTree.Element, path: Path, document: str) -> tuple[str, str, int]:
    mention = element.findtext("mention") or ""
    title = (element.findtext("wikiName") or "").strip()
    offset = element.findtext("offset") or ""
    if not mention or not offset.strip().isdigit():
        raise InputError(
            f"document '{document}': an annotation has the mention {mention!r} and the offset {offset!r}",
            file=path,
            field="offset" if mention else "mention",
            remedy="each annotation needs a mention and an offset in characters from 0",
        )
    return mention, title if title and title != "NIL" else NIL, int(offset)


def _document(
    name: str, text: str, annotations: list[tuple[str, str, int]], path: Path, skips: SkipReport | None
) -> Document:
    mentions = []
    corrected = 0
    for surface, entity, offset in annotations:
        span = locate(text, surface, offset)
        if span is None:
            message = (
                f"document '{name}': span [{offset}, {offset + len(surface)}) spells "
                f"{text[offset : offset + len(surface)]!r}, "
                f"the mention says {surface!r}, and no place within {SEARCH_WINDOW} characters does"
            )
            if skips is None:
                raise InputError(message, file=path, field="offset", remedy="correct the offset or the raw text")
            skips.add("mention not found near its offset", f"{path}: {message}")
            continue
        corrected += span[0] != offset
        found = text[slice(*span)]
        mentions.append(TextMention(*span, found, entity, name=surface if surface != found else None))
    extra = {"corrected_offsets": corrected} if corrected else {}
    document = Document(name, text, text_mentions=tuple(mentions), extra=extra)
    document.check_spans(str(path))
    return document


def locate(text: str, surface: str, offset: int) -> tuple[int, int] | None:
    """The span of `surface` at `offset`, else at the nearest place within `SEARCH_WINDOW`, else None.

    White space of the surface matches any in the text (a raw text breaks lines inside names), and a raw text
    may itself hold XML entities.
    """
    pattern = re.compile("".join(_pattern(part) for part in re.split(r"(\s+|[&<>])", surface)))
    match = pattern.match(text, offset)
    if match is None:
        near = pattern.finditer(text, max(0, offset - SEARCH_WINDOW), offset + SEARCH_WINDOW + len(surface))
        match = min(near, key=lambda found: abs(found.start() - offset), default=None)
    return match.span() if match else None


def _pattern(part: str) -> str:
    if part.isspace():
        return r"\s+"
    return {"&": "&(?:amp;)?", "<": "(?:<|&lt;)", ">": "(?:>|&gt;)"}.get(part, re.escape(part))
