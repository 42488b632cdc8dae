"""Mention rows: data sets that list one mention a line with its contexts, and the way back to whole documents."""

from __future__ import annotations

import html
import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice

from mmel.document import NIL, Candidate, Document, TextMention
from mmel.errors import InputError, SkipReport

LOOK_AHEAD = 20
"""How many rows `recover_documents` may pass over to find its place again when it may skip."""
MIN_OVERLAP = 5
"""How many words two contexts must share at least to be joined where neither holds the other."""
_WORD = re.compile(r"[^\W_]+")
_SAME_DATA = "the rows and the texts must be of the same data set"


@dataclass(frozen=True, slots=True)
class MentionRow:
    """One mention with the words left and right of it; `document` is its name where the source has it.

    `answer` is the gold title, "" where the source's Wikipedia has no such page, None where unlabelled.
    `candidates` is None where the source lists none at all; `line` is the row's line in its file.
    """

    id: str
    document: str | None
    left: str
    mention: str
    right: str
    answer: str | None
    candidates: tuple[Candidate, ...] | None
    line: int

    @property
    def entity(self) -> str | None:
        return NIL if self.answer == "" else self.answer


def rejoin_documents(rows: Iterable[MentionRow]) -> Iterator[Document]:
    """Join rows to documents by their overlapping contexts, where the texts themselves are not at hand.

    Rows that name their document belong together; without names a row continues the document before where
    its left context is found there after the last mention, and else starts a new one. Where a named document
    has a gap between two contexts, a newline stands for it. The text is what the contexts hold: words with
    one space between, mostly without punctuation.
    """
    current: _Rejoined | None = None
    for row in rows:
        if current is not None and row.document == current.name and current.add(row, row.document is not None):
            continue
        if current is not None:
            yield current.document()
        current = _Rejoined(row)
    if current is not None:
        yield current.document()


class _Rejoined:
    """A document that grows by one row at a time."""

    def __init__(self, row: MentionRow) -> None:
        self.name = row.document
        self._id = row.document if row.document is not None else row.id
        self._text = ""
        self._segment = 0  # where the words after the last gap start
        self._mentions: list[TextMention] = []
        self.add(row, True)

    def add(self, row: MentionRow, may_gap: bool) -> bool:
        """Place `row` in the text, after a gap only where it may; False where it has no place."""
        span = self._find(row)
        if span is None:
            overlap = self._overlap(row.left)
            if overlap is None and not may_gap:
                return False
            span = self._append(row, overlap)
        known = self._text[span[1] :].lstrip(" ")
        if _same_length_lower(row.right).startswith(_same_length_lower(known)):
            self._text = " ".join(part for part in (self._text[: span[1]], row.right) if part)
        surface = self._text[slice(*span)]
        self._mentions.append(
            TextMention(*span, surface, row.entity, row.candidates, row.mention if row.mention != surface else None)
        )
        return True

    def _append(self, row: MentionRow, overlap: int | None) -> tuple[int, int]:
        """Continue the text with the left context and the mention, from `overlap` or after a gap; its span."""
        if overlap is not None:
            self._text = self._text[:overlap]
        elif self._text:
            self._text += "\n"
            self._segment = len(self._text)
        words = " ".join(_WORD.findall(row.mention)) or row.mention  # as the contexts of other rows spell it
        self._text += " ".join(part for part in (row.left, words) if part)
        return len(self._text) - len(words), len(self._text)

    def _overlap(self, left: str) -> int | None:
        """Where the text's end begins to be the beginning of `left`, by `MIN_OVERLAP` words or more."""
        first = _same_length_lower(" ".join(left.split(" ")[:MIN_OVERLAP]))
        if not self._mentions or first.count(" ") < MIN_OVERLAP - 1:
            return None
        text, left = _same_length_lower(self._text), _same_length_lower(f"{left} ")
        position = text.find(first, max(self._mentions[-1].end, self._segment))
        while position >= 0 and not left.startswith(f"{text[position:]} "):
            position = text.find(first, position + 1)
        return position if position >= 0 else None

    def _find(self, row: MentionRow) -> tuple[int, int] | None:
        if not self._mentions:
            return None
        position = self._mentions[-1].end - len(row.left) - 1
        if not row.left:
            return self._spelled(0, row.mention) if self._mentions[-1].end == 0 else None
        text, left = _same_length_lower(self._text), _same_length_lower(f"{row.left} ")
        while True:
            position = text.find(left, max(position, self._segment))
            if position < 0:
                return None
            start = position + len(row.left) + 1
            span = self._spelled(start, row.mention)
            if span is not None and start >= self._mentions[-1].end:
                return span
            position += 1

    def _spelled(self, start: int, mention: str) -> tuple[int, int] | None:
        """The span of whole words from `start` that spell `mention` but for case and punctuation."""
        want = comparable(mention)
        end = start
        while end < len(self._text):
            space = self._text.find(" ", end + 1)
            end = len(self._text) if space < 0 else space
            found = comparable(self._text[start:end])
            if found == want:
                return start, end
            if not want.startswith(found):
                return None
        return None

    def document(self) -> Document:
        document = Document(self._id, self._text, text_mentions=tuple(self._mentions))
        document.check_spans()
        return document


def _same_length_lower(text: str) -> str:
    """Lower case where that keeps every offset; a mention's case differs between its row and other contexts."""
    lower = text.lower()
    return lower if len(lower) == len(text) else text


def recover_documents(
    rows: Iterable[MentionRow], documents: Iterable[Document], skips: SkipReport | None = None
) -> Iterator[Document]:
    """Give whole documents the candidates of rows that list the same mentions in the same order.

    Mentions labelled NIL have no row and are left out. `entity` is the row's answer, a title of the
    candidates' Wikipedia; where that is empty the document's own title stays. Surfaces must agree but for
    case, punctuation and spaces.

    Raises InputError naming both where they do not, or where rows or mentions are left over. With `skips` the
    join looks up to `LOOK_AHEAD` rows ahead for its place; what it passes over is counted.
    """
    queue = _Queue(rows)
    for document in documents:
        mentions = []
        for mention in document.text_mentions:
            if mention.entity == NIL:
                continue
            row = queue.take(mention, document.id, skips)
            if row is not None:
                mentions.append(replace(mention, entity=row.answer or mention.entity, candidates=row.candidates))
        yield replace(document, text_mentions=tuple(mentions))
    queue.finish(skips)


class _Queue:
    """The rows still to be given out, with a little look-ahead."""

    def __init__(self, rows: Iterable[MentionRow]) -> None:
        self._rows = iter(rows)
        self._ahead: deque[MentionRow] = deque()

    def take(self, mention: TextMention, document: str, skips: SkipReport | None) -> MentionRow | None:
        want = comparable(mention.text)
        reach = 1 if skips is None else LOOK_AHEAD
        self._ahead.extend(islice(self._rows, max(0, reach - len(self._ahead))))
        place = next((at for at, row in enumerate(self._ahead) if comparable(row.mention) == want), None)
        if place is None:
            head = self._ahead[0] if self._ahead else None
            other = f"row '{head.id}' (line {head.line}) says {head.mention!r}" if head else "there is no row left"
            message = f"document '{document}': the mention at {mention.start} is {mention.text!r}, but {other}"
            if skips is None:
                raise InputError(message, remedy=_SAME_DATA)
            skips.add("mention without its candidate row", message)
            return None
        for _ in range(place):
            _left_over(self._ahead.popleft(), skips)
        return self._ahead.popleft()

    def finish(self, skips: SkipReport | None) -> None:
        for row in chain(self._ahead, self._rows):
            _left_over(row, skips)


def _left_over(row: MentionRow, skips: SkipReport | None) -> None:
    message = f"row '{row.id}' (line {row.line}, mention {row.mention!r}) has no mention in the documents"
    if skips is None:
        raise InputError(message, remedy=_SAME_DATA)
    skips.add("candidate row without its mention", message)


def comparable(surface: str) -> str:
    """A surface without case, punctuation, spaces and XML entities, as the sources differ in these."""
    kept = "".join(letter for letter in html.unescape(surface).casefold() if letter.isalnum())
    return kept or surface.strip()
