"""PPRforNED candidate files: the AIDA mentions with their gold page and their Wikipedia candidates.

Pershina, He & Grishman, "Personalized Page Rank for Named Entity Disambiguation", NAACL 2015. File N of
`AIDA_candidates/PART_1_1000` or `PART_1001_1393` belongs to the Nth document of AIDA-CoNLL: 1..946 are train,
947..1162 testa, 1163..1393 testb. The files list the gold candidate first, so their order is never kept:
candidates are sorted by numeric page id while reading.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from mmel.document import NIL, Alias, Candidate, Document, Entity, TextMention
from mmel.errors import InputError, SkipReport
from mmel.files import read_lines
from mmel.formats.conll import ConllDocument, read_conll

_ENTITY_FIELDS = ("text", "origText", "url")
_CANDIDATE_FIELDS = ("id", "inCount", "outCount", "links", "url", "name", "predictedType")
_REMEDY = "restore the line; a file cut short must be fetched again"


@dataclass(frozen=True, slots=True)
class PprCandidate:
    """A Wikipedia page: numeric `page_id`, `title` (of its url), counts of in- and out-links.

    `links` holds the page ids it links to among the candidates of the same document.
    """

    page_id: int
    title: str
    name: str
    type: str
    in_links: int
    out_links: int
    links: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PprMention:
    """`surface` as annotated, `name` the longer form the files resolved it to, `gold` a title or NIL.

    `candidates` are sorted by page id; `line` is the mention's line in the file.
    """

    surface: str
    name: str
    gold: str
    candidates: tuple[PprCandidate, ...]
    line: int


def title_of_url(url: str) -> str:
    """The page title of a Wikipedia url: percent-decoded, underscores as spaces; `NIL` stays NIL."""
    if url == NIL:
        return NIL
    _, found, page = url.partition("/wiki/")
    if not found or not page:
        raise ValueError(f"{url!r} is no Wikipedia url")
    return unquote(page).replace("_", " ")


def candidate_folder(folder: str | Path) -> Path:
    """The folder that holds `PART_1_1000` and `PART_1001_1393`: `folder` or its `AIDA_candidates`."""
    folder = Path(folder)
    inner = folder / "AIDA_candidates"
    found = inner if inner.is_dir() else folder
    if not any((found / part).is_dir() for part in ("PART_1_1000", "PART_1001_1393")):
        raise InputError(
            "holds neither PART_1_1000 nor PART_1001_1393",
            file=folder,
            remedy="name the PPRforNED folder (the one with AIDA_candidates)",
        )
    return found


def candidate_file(folder: str | Path, number: int) -> Path:
    """The path of candidate file `number` (from 1) below a PPRforNED folder."""
    return candidate_folder(folder) / ("PART_1_1000" if number <= 1000 else "PART_1001_1393") / str(number)


def candidate_numbers(folder: str | Path) -> list[int]:
    """The numbers of the candidate files that a PPRforNED folder holds, ascending."""
    parts = (candidate_folder(folder) / part for part in ("PART_1_1000", "PART_1001_1393"))
    return sorted(int(file.name) for part in parts if part.is_dir() for file in part.iterdir() if file.name.isdigit())


def read_candidates(path: str | Path) -> list[PprMention]:
    """The mentions of one candidate file in text order, each with its candidates sorted by page id.

    Unknown fields are passed over. Raises InputError naming the line where a field is missing or no number,
    or a candidate comes before any mention.
    """
    mentions: list[PprMention] = []
    pages: dict[str, PprCandidate] = {}  # a page's line is the same wherever its document lists it
    header = ("", "", "")
    found: list[PprCandidate] = []
    begun = 0
    for line, content in read_lines(path):
        kind, _, rest = content.partition("\t")
        try:
            if kind == "CANDIDATE":
                if not begun:
                    raise ValueError("a candidate before any mention")
                page = pages.get(rest)
                if page is None:
                    page = pages[rest] = _candidate(rest)
                found.append(page)
            elif kind == "ENTITY":
                if begun:
                    mentions.append(_mention(header, found, begun))
                header, found, begun = _header(rest), [], line
            elif content.strip():
                raise ValueError(f"the line starts with {kind[:40]!r}, expected ENTITY or CANDIDATE")
        except ValueError as error:
            raise InputError(str(error), file=path, line=line, remedy=_REMEDY) from error
    if begun:
        mentions.append(_mention(header, found, begun))
    return mentions


def _fields(rest: str, required: tuple[str, ...]) -> dict[str, str]:
    values = {}
    for part in rest.split("\t"):
        name, _, value = part.partition(":")
        values[name] = value
    missing = [name for name in required if name not in values]
    if missing:
        raise ValueError(f"field '{missing[0]}' is missing")
    return values


def _candidate(rest: str) -> PprCandidate:
    values = _fields(rest, _CANDIDATE_FIELDS)
    links = values["links"]
    return PprCandidate(
        page_id=_number(values, "id"),
        title=title_of_url(values["url"]),
        name=values["name"],
        type="" if values["predictedType"] == "UNK" else values["predictedType"],
        in_links=_number(values, "inCount"),
        out_links=_number(values, "outCount"),
        links=tuple(map(int, links.split(";"))) if links else (),
    )


def _number(values: dict[str, str], name: str) -> int:
    if not values[name].isdecimal():
        raise ValueError(f"field '{name}' is {values[name]!r}, expected an integer")
    return int(values[name])


def _header(rest: str) -> tuple[str, str, str]:
    """Surface, longer form and gold title of an ENTITY line."""
    values = _fields(rest, _ENTITY_FIELDS)
    return values["origText"], values["text"], title_of_url(values["url"])


def _mention(header: tuple[str, str, str], found: list[PprCandidate], line: int) -> PprMention:
    surface, name, gold = header
    unique = {page.page_id: page for page in found}
    return PprMention(surface, name, gold, tuple(unique[page_id] for page_id in sorted(unique)), line)


def read_entities(
    folder: str | Path, numbers: Iterable[int] | None = None, skips: SkipReport | None = None
) -> list[Entity]:
    """The candidates of the files `numbers` (None: all there are) merged to one record a page, by page id.

    The id is the page title, so that it compares with other data sets; `popularity` is the in-link count,
    `links` the union over the files without links of a page to itself. Page ids that share a title become one
    record with the greater in-link count, and a warning names them. A file that cannot be read raises
    InputError; with `skips` it is counted and passed over.
    """
    pages: dict[int, PprCandidate] = {}
    links: dict[int, set[int]] = {}
    for number in candidate_numbers(folder) if numbers is None else numbers:
        seen: set[int] = set()
        for mention in _read_or_skip(candidate_file(folder, number), skips) or ():
            for page in mention.candidates:
                if page.page_id not in seen:
                    seen.add(page.page_id)
                    pages.setdefault(page.page_id, page)
                    links.setdefault(page.page_id, set()).update(page.links)
    by_title: dict[str, list[int]] = {}
    for page_id in sorted(pages):
        by_title.setdefault(pages[page_id].title, []).append(page_id)
    return [_entity(title, ids, pages, links) for title, ids in by_title.items()]


def _read_or_skip(path: Path, skips: SkipReport | None) -> list[PprMention] | None:
    try:
        return read_candidates(path)
    except InputError as error:
        if skips is None:
            raise
        skips.add("candidate file cannot be read", str(error))
        return None


def _entity(title: str, ids: list[int], pages: dict[int, PprCandidate], links: dict[int, set[int]]) -> Entity:
    if len(ids) > 1:
        warnings.warn(f"page ids {', '.join(map(str, ids))} share the title {title!r}: merged", stacklevel=3)
    linked = sorted(set().union(*(links[page_id] for page_id in ids)).difference(ids) & pages.keys())
    return Entity(
        id=title,
        title=title,
        type=pages[ids[0]].type,
        aliases=tuple(Alias(name) for name in dict.fromkeys(pages[page_id].name for page_id in ids)),
        links=tuple(dict.fromkeys(pages[page_id].title for page_id in linked)),
        popularity=max(pages[page_id].in_links for page_id in ids),
    )


def read_aida(
    conll_file: str | Path, ppr_folder: str | Path, first_file_number: int, skips: SkipReport | None = None
) -> Iterator[Document]:
    """Stream AIDA-CoNLL documents: the text of `conll_file` with the mentions and candidates of PPRforNED.

    `first_file_number` is the candidate file of the first document: 1 for train, 947 for testa, 1163 for
    testb. A document's id is as in AIDA-YAGO2 ("1 EU", "947testa CRICKET"), its title is its first line.
    A mention's `text` is its surface, `name` PPRforNED's longer form where it differs, `entity` a Wikipedia
    title or NIL, `candidates` are sorted by page id and carry neither prior nor rank.

    Raises InputError where a mention cannot be found in the text in order, naming document and mention,
    or a candidate file is missing or broken; with `skips` that mention or document is counted and left out.
    """
    known: dict[int, Candidate] = {}
    for source in read_conll(conll_file):
        number = first_file_number + source.number - 1
        path = candidate_file(ppr_folder, number)
        mentions = _read_or_skip(path, skips)
        if mentions is not None:
            yield _aida_document(source, number, mentions, path, known, skips)


def _aida_document(
    source: ConllDocument,
    number: int,
    mentions: list[PprMention],
    path: Path,
    known: dict[int, Candidate],
    skips: SkipReport | None,
) -> Document:
    first_word = source.text[slice(*source.tokens[0])] if source.tokens else ""
    document_id = f"{number}{_split_name(number)} {first_word}".strip()
    text = source.text
    found = []
    for mention, span in zip(mentions, align(source, [mention.surface for mention in mentions]), strict=True):
        if span is None:
            message = f"document '{document_id}': mention {mention.surface!r} is not in the text at its turn"
            if skips is None:
                remedy = f"check that document {source.number} of the CoNLL file belongs to candidate file {number}"
                raise InputError(message, file=path, line=mention.line, remedy=remedy)
            skips.add("mention not found in the text", f"{path}:{mention.line}: {message}")
            continue
        start, end = span
        if "\n" in text[start:end]:  # the columns break some names over two lines; the mention is one name
            text = text[:start] + text[start:end].replace("\n", " ") + text[end:]
        found.append((mention, start, end))
    document = Document(
        id=document_id,
        text=text,
        title=text[slice(*source.lines[0])] if source.lines else "",
        text_mentions=tuple(
            TextMention(
                start=start,
                end=end,
                text=text[start:end],
                entity=mention.gold,
                candidates=_candidates(mention, known),
                name=mention.name if mention.name != mention.surface else None,
            )
            for mention, start, end in found
        ),
    )
    document.check_spans(str(path))
    return document


def _split_name(number: int) -> str:
    return "" if number <= 946 else "testa" if number <= 1162 else "testb"


def _candidates(mention: PprMention, known: dict[int, Candidate]) -> tuple[Candidate, ...]:
    for page in mention.candidates:
        if page.page_id not in known:
            known[page.page_id] = Candidate(page.title)
    return tuple(dict.fromkeys(known[page.page_id] for page in mention.candidates))


def align(source: ConllDocument, surfaces: list[str]) -> list[tuple[int, int] | None]:
    """Character spans of `surfaces` in the text, in order, without overlap; None where one cannot be found.

    Surfaces match whole tokens, white space ignored. Of several possible places the tagged named entities of
    the CoNLL file decide: the alignment with the most mentions that begin and end with one wins, the
    earliest of equals.
    """
    squeezed, starts, ends = _squeeze(source)
    wanted = ["".join(surface.split()) for surface in surfaces]
    earliest: list[int | None] = []
    position = 0
    for word in wanted:
        place = _find(squeezed, word, position, starts, ends)
        earliest.append(place)
        if place is not None:
            position = place + len(word)
    kept = [index for index, place in enumerate(earliest) if place is not None]
    windows: dict[int, tuple[int, int]] = {}
    limit = len(squeezed)
    for index in reversed(kept):
        word = wanted[index]
        last = squeezed.rfind(word, 0, limit)
        while last not in starts or last + len(word) not in ends:
            last = squeezed.rfind(word, 0, last + len(word) - 1)
        windows[index] = (earliest[index] or 0, last)
        limit = last
    chosen = _best_chain(squeezed, [(wanted[index], *windows[index]) for index in kept], starts, ends, source)
    spans: list[tuple[int, int] | None] = [None] * len(surfaces)
    for index, place in zip(kept, chosen, strict=True):
        spans[index] = (starts[place], ends[place + len(wanted[index])])
    return spans


def _squeeze(source: ConllDocument) -> tuple[str, dict[int, int], dict[int, int]]:
    """The text without white space, and token starts and ends in it mapped to those in the text."""
    starts: dict[int, int] = {}
    ends: dict[int, int] = {}
    length = 0
    for start, end in source.tokens:
        starts[length] = start
        length += end - start
        ends[length] = end
    return "".join(source.text[start:end] for start, end in source.tokens), starts, ends


def _find(squeezed: str, word: str, position: int, starts: dict[int, int], ends: dict[int, int]) -> int | None:
    if not word:
        return None
    place = squeezed.find(word, position)
    while place >= 0 and (place not in starts or place + len(word) not in ends):
        place = squeezed.find(word, place + 1)
    return place if place >= 0 else None


def _best_chain(
    squeezed: str,
    windows: list[tuple[str, int, int]],
    starts: dict[int, int],
    ends: dict[int, int],
    source: ConllDocument,
) -> list[int]:
    """For each `(word, first place, last place)` one place, in order, with the most entity boundaries met."""
    entity_starts = {source.tokens[first][0] for first, _ in source.entity_spans()}
    entity_ends = {source.tokens[last - 1][1] for _, last in source.entity_spans()}
    steps: list[list[tuple[int, int, int]]] = []  # a mention's (end, best score so far, step before), by end
    places: list[list[int]] = []
    for word, first, last in windows:
        before = steps[-1] if steps else [(0, 0, -1)]
        options: list[tuple[int, int, int]] = []
        here: list[int] = []
        cursor, best = 0, -1
        place: int | None = first
        while place is not None and place <= last:
            while cursor < len(before) and before[cursor][0] <= place:
                if best < 0 or before[cursor][1] > before[best][1]:
                    best = cursor
                cursor += 1
            if best >= 0:
                score = before[best][1] + (starts[place] in entity_starts and ends[place + len(word)] in entity_ends)
                options.append((place + len(word), score, best))
                here.append(place)
            place = _find(squeezed, word, place + 1, starts, ends)
        steps.append(options)
        places.append(here)
    chosen: list[int] = []
    step = max(range(len(steps[-1])), key=lambda at: steps[-1][at][1]) if steps else -1
    for options, here in zip(reversed(steps), reversed(places), strict=True):
        chosen.append(here[step])
        step = options[step][2]
    return chosen[::-1]
