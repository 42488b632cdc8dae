"""KILT / GENRE entity-disambiguation JSONL: one mention a line with its contexts and candidate titles.

De Cao et al., "Autoregressive Entity Retrieval", ICLR 2021; the candidates are those of Ganea & Hofmann 2017
(and Le & Titov 2018), listed by falling p(e|m) without its value: only the rank is known.
"""

from __future__ import annotations

import html
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from mmel.document import NIL, Candidate, Document, TextMention
from mmel.errors import InputError, SkipReport
from mmel.formats.records import Place, read_records

_FORM = 'a row is {"id", "output": [{"answer"}], "meta": {"left_context", "mention", "right_context"}, "candidates": [title]}'
LOOK_AHEAD = 20
"""How many rows `recover_documents` may pass over to find its place again when it may skip."""


@dataclass(frozen=True, slots=True)
class KiltRow:
    """One mention. `answer` is the gold title, "" where the source's Wikipedia has no such page.

    `candidates` are titles by falling p(e|m), without repeats; None where the row has no such key.
    """

    id: str
    left: str
    mention: str
    right: str
    answer: str | None
    candidates: tuple[str, ...] | None
    line: int

    def candidate_values(self) -> tuple[Candidate, ...] | None:
        """The candidates with their rank from 0, or None where the row lists none at all."""
        if self.candidates is None:
            return None
        return tuple(Candidate(title, rank=rank) for rank, title in enumerate(self.candidates))


def read_rows(path: str | Path, skips: SkipReport | None = None) -> Iterator[KiltRow]:
    """Stream the rows of a KILT/GENRE file; unknown keys are passed over.

    Raises InputError naming line and field where a row is broken; with `skips` it is counted instead.
    """
    return read_records(path, _row, _FORM, skips)


def _row(record: dict[str, Any], place: Place) -> KiltRow:
    meta = place.get(record, "meta", dict)
    outputs = place.get(record, "output", list, [])
    titles = place.get(record, "candidates", list, None)
    if titles and not all(type(title) is str for title in titles):
        raise place.error("expected a list of titles", "candidates")
    return KiltRow(
        id=place.identifier(record, "id", str(place.line)),
        left=place.text(meta, "left_context", "", within="meta"),
        mention=place.text(meta, "mention", within="meta"),
        right=place.text(meta, "right_context", "", within="meta"),
        answer=place.text(outputs[0], "answer", None, within="output") if outputs else None,
        candidates=None if titles is None else tuple(dict.fromkeys(titles)),
        line=place.line,
    )


def rows_as_documents(rows: Iterable[KiltRow]) -> Iterator[Document]:
    """Each row as a document of its own: left context, mention and right context with one space between.

    Rows do not say which document they come from, so nothing is joined; where the WNED texts are at hand,
    `recover_documents` gives whole documents. An empty answer becomes NIL, none at all stays unlabelled.
    """
    for row in rows:
        start = len(row.left) + 1 if row.left else 0
        text = " ".join(part for part in (row.left, row.mention, row.right) if part)
        entity = row.answer if row.answer or row.answer is None else NIL
        mention = TextMention(start, start + len(row.mention), row.mention, entity, row.candidate_values())
        document = Document(row.id, text, text_mentions=(mention,))
        document.check_spans(line=row.line)
        yield document


def recover_documents(
    rows: Iterable[KiltRow], wned_documents: Iterable[Document], skips: SkipReport | None = None
) -> Iterator[Document]:
    """Give whole WNED documents the candidates of the KILT rows, which list the same mentions in the same order.

    Mentions labelled NIL in WNED have no row and are left out. `entity` is the row's answer, a title of the
    candidates' Wikipedia; where that is empty WNED's own title stays. Surfaces must agree but for case,
    punctuation and spaces.

    Raises InputError naming both where they do not, or where rows or mentions are left over. With `skips` the
    join looks up to `LOOK_AHEAD` rows ahead for its place; what it passes over is counted.
    """
    queue = _Queue(rows)
    for document in wned_documents:
        mentions = []
        for mention in document.text_mentions:
            if mention.entity == NIL:
                continue
            row = queue.take(mention, document.id, skips)
            if row is not None:
                mentions.append(
                    replace(mention, entity=row.answer or mention.entity, candidates=row.candidate_values())
                )
        yield replace(document, text_mentions=tuple(mentions))
    queue.finish(skips)


class _Queue:
    """The rows still to be given out, with a little look-ahead."""

    def __init__(self, rows: Iterable[KiltRow]) -> None:
        self._rows = iter(rows)
        self._ahead: deque[KiltRow] = deque()

    def take(self, mention: TextMention, document: str, skips: SkipReport | None) -> KiltRow | None:
        want = comparable(mention.text)
        reach = 1 if skips is None else LOOK_AHEAD
        self._ahead.extend(islice(self._rows, max(0, reach - len(self._ahead))))
        place = next((at for at, row in enumerate(self._ahead) if comparable(row.mention) == want), None)
        if place is None:
            head = self._ahead[0] if self._ahead else None
            other = f"row '{head.id}' (line {head.line}) says {head.mention!r}" if head else "there is no row left"
            message = f"document '{document}': the mention at {mention.start} is {mention.text!r}, but {other}"
            if skips is None:
                raise InputError(message, remedy="the KILT file and the WNED folder must be of the same data set")
            skips.add("WNED mention without its KILT row", message)
            return None
        for _ in range(place):
            _left_over(self._ahead.popleft(), skips)
        return self._ahead.popleft()

    def finish(self, skips: SkipReport | None) -> None:
        for row in chain(self._ahead, self._rows):
            _left_over(row, skips)


def _left_over(row: KiltRow, skips: SkipReport | None) -> None:
    message = f"row '{row.id}' (line {row.line}, mention {row.mention!r}) has no mention in the WNED documents"
    if skips is None:
        raise InputError(message, remedy="the KILT file and the WNED folder must be of the same data set")
    skips.add("KILT row without its WNED mention", message)


def comparable(surface: str) -> str:
    """A surface without case, punctuation, spaces and XML entities, as the two sources differ in these."""
    kept = "".join(letter for letter in html.unescape(surface).casefold() if letter.isalnum())
    return kept or surface.strip()
