"""All names of a knowledge base in one automaton, and where a text has them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from mmel.kb import KnowledgeBase
from mmel.kb.names import fold

# Scripts that write without spaces, and Hangul, whose particles follow a name without one: every letter is a word.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]"
)
_WORD = re.compile(r"\w+")
_BREAK, _LETTER, _MARK, _ALONE = range(4)


class Occurrence(NamedTuple):
    """Characters `start` to `end` of a text spell the name of this index in its lexicon, or nearly (not `exact`)."""

    start: int
    end: int
    name: int
    exact: bool


class Lexicon:
    """The names of a knowledge base, found in time linear in the text (Aho & Corasick 1975).

    Attributes:
        surfaces: n names as the base spells them, `counts` and `entities` as `KnowledgeBase.names` has them.
        id: changes with the base.
    """

    def __init__(self, kb: KnowledgeBase) -> None:
        from ahocorasick import Automaton

        self.surfaces: list[str] = []
        self.counts: list[float] = []
        self.entities: list[int] = []
        # Of spellings alike but for case or diacritics the most frequent stands for those the base has not.
        standing: dict[str, int] = {}
        for number, (surface, folded, count, entities) in enumerate(kb.names()):
            self.surfaces.append(surface)
            self.counts.append(count)
            self.entities.append(entities)
            if folded and count > self.counts[standing.setdefault(folded, number)]:
                standing[folded] = number
        self._index = {surface: number for number, surface in enumerate(self.surfaces)}
        self._automaton = Automaton()
        for folded, number in standing.items():
            self._automaton.add_word(folded, (len(folded), number))
        if standing:
            self._automaton.make_automaton()
        self._empty = not standing
        self.id = kb.meta.content_hash[:16]

    def __len__(self) -> int:
        return len(self.surfaces)

    def find(self, text: str) -> list[Occurrence]:
        """Every occurrence of a name between word boundaries, overlapping ones too, by start, longest first.

        A name whose case differs counts where the text is in capitals, or capitalises every word that the name does
        but for the first of several; diacritics, quotes, dashes and white space may differ. No name spans two lines.
        """
        if self._empty:
            return []
        folded, starts, ends = _folded(text)
        allowed = boundaries(text)
        found = []
        for last, (length, standing) in self._automaton.iter(folded):
            start, end = starts[last - length + 1], ends[last]
            if allowed[start] and allowed[end]:
                spelling = text[start:end]
                number = self._index.get(spelling)
                if number is not None:
                    found.append(Occurrence(start, end, number, True))
                elif _same_case(spelling, self.surfaces[standing]):
                    found.append(Occurrence(start, end, standing, False))
        found.sort(key=lambda one: (one.start, -one.end))
        return _without_endings(text, found)


def _without_endings(text: str, found: list[Occurrence]) -> list[Occurrence]:
    """Without those that are a shorter one and the ending of its possessive, or a sign that follows it."""
    spans = {one[:2] for one in found}
    kept = []
    for one in found:
        ending = _ENDING.search(text, one.start, one.end)
        if ending is None or (one.start, ending.start()) not in spans:
            kept.append(one)
    return kept


_ENDING = re.compile(r"(?:['’]s?|[,;:])\Z")


def _same_case(spelling: str, surface: str) -> bool:
    """Whether a text that spells a name in another way still writes it as a name."""
    if spelling.islower():
        return surface.islower()
    if spelling.isupper():
        return len(spelling) > 1
    pairs = list(zip(spelling.split(), surface.split(), strict=False))
    # "the Matrix" in the midst of a sentence is "The Matrix".
    firsts = pairs[1:] if len(pairs) > 1 else pairs
    return all(found[0].isupper() or not known[0].isupper() for found, known in firsts)


@lru_cache(maxsize=1 << 16)
def _fold_character(character: str) -> str:
    if character.isspace():
        return "\n" if character in "\n\r\u2028\u2029\x0b\x0c\x85" else " "
    return fold(character)


def _folded(text: str) -> tuple[str, Sequence[int], Sequence[int]]:
    """`fold(text)` line by line, and for each of its characters where in the text it starts and ends."""
    table = {ord(character): _fold_character(character) for character in set(text)}
    if not _UNEVEN.search(text) and all(len(piece) == 1 for piece in table.values()):
        return text.translate(table), range(len(text)), range(1, len(text) + 1)
    pieces: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    before = ""
    for place, character in enumerate(text):
        piece = table[ord(character)]
        if piece == " " and before == " ":
            continue
        if not piece and ends:  # a combining mark belongs to the letter before it
            ends[-1] = place + 1
        for letter in piece:
            pieces.append(letter)
            starts.append(place)
            ends.append(place + 1)
        before = piece or before
    return "".join(pieces), starts, ends


_UNEVEN = re.compile(r"[^\S\n\r]{2}")  # white space that becomes less


def boundaries(text: str) -> bytearray:
    """`[len(text) + 1]`, 1 where a word may begin or end."""
    allowed = bytearray(b"\1") * (len(text) + 1)
    if not {_kind(character) for character in set(text)} & {_MARK, _ALONE}:
        for match in _WORD.finditer(text):
            start, end = match.span()
            allowed[start + 1 : end] = bytes(end - start - 1)
        return allowed
    before = _BREAK
    for place, character in enumerate(text):
        kind = _kind(character)
        if kind == _MARK:
            allowed[place] = place == 0
            continue
        if kind == _LETTER and before == _LETTER:
            allowed[place] = 0
        before = kind
    return allowed


@lru_cache(maxsize=1 << 16)
def _kind(character: str) -> int:
    if unicodedata.category(character).startswith("M"):
        return _MARK
    if not character.isalnum() and character != "_":
        return _BREAK
    return _ALONE if _UNSPACED.match(character) else _LETTER


def standing_alone(text: str, word: str, allowed: bytearray) -> Iterator[tuple[int, int]]:
    """Where a text has exactly this word between its boundaries, as `boundaries` gives them."""
    start = text.find(word)
    while start >= 0:
        end = start + len(word)
        if allowed[start] and allowed[end]:
            yield start, end
        start = text.find(word, end)


def words(text: str) -> Iterator[tuple[int, int]]:
    """Spans of the words of a text: runs of letters, digits and underscores."""
    return (match.span() for match in _WORD.finditer(text))
