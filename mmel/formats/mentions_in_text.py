"""Mentions that a dataset names without offsets, found in their sentence.

WikiMEL, RichpediaMEL, M3EL 2024 and the JSON forms of WIKIDiverse give a sentence and its mentions as strings, in any
order. A mention may be spelled otherwise than the sentence spells it, or stand nowhere in it; none is lost.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from urllib.parse import unquote

from mmel.document import NIL, TextMention
from mmel.errors import InputError, SkipReport, excerpt
from mmel.kb.names import fold

Span = tuple[int, int]
# Words that a sentence may have between the first and the last word of a mention beyond the mention's own.
MOST_EXTRA_WORDS = 5

SEVERAL = "mention stands several times in its sentence"
OTHERWISE = "mention stands in its sentence in another spelling"
INSIDE = "mention stands in its sentence inside a word"
WITH_OTHERS = "mention stands in its sentence with words between its own"
TOO_OFTEN = "mention is named more often than it stands in its sentence"
WITHIN = "mention stands in its sentence only within other mentions"
NOWHERE = "mention stands nowhere in its sentence"
DECODED = "percent-encoded name was decoded"


def gold_label(answer: str | None) -> str:
    """The entity that a dataset's answer names; `NIL` for `nil` in any spelling and for no answer at all."""
    answer = (answer or "").strip()
    return NIL if answer.casefold() in ("", "nil") else answer


def located(
    sentence: str, surfaces: Sequence[str], entities: Sequence[str | None], skips: SkipReport | None, where: str = ""
) -> tuple[str, tuple[TextMention, ...]]:
    """The text and its mentions, by start: `locate` with labels. `name` has a surface that the text spells otherwise.

    A surface that is percent-encoded is decoded first, and noted, but where the sentence has it as it is written.

    entities: one a surface, as `TextMention.entity`. See `locate` for the rest.
    """
    surfaces = [_decoded(surface, sentence, skips, where) for surface in surfaces]
    text, spans = locate(sentence, surfaces, skips, where)
    mentions = [
        TextMention(start, end, text[start:end], entity, name=None if text[start:end] == surface else surface)
        for (start, end), surface, entity in zip(spans, map(str.strip, surfaces), entities, strict=True)
    ]
    return text, tuple(sorted(mentions, key=lambda mention: mention.start))


def _decoded(surface: str, sentence: str, skips: SkipReport | None, where: str) -> str:
    plain = unquote(surface) if "%" in surface else surface
    if plain == surface or surface in sentence or not plain.strip():
        return surface
    if skips is not None:
        skips.note(DECODED, f"{where + ': ' if where else ''}{surface!r} is {plain!r}")
    return plain


def locate(
    sentence: str, surfaces: Sequence[str], skips: SkipReport | None = None, where: str = ""
) -> tuple[str, list[Span]]:
    """The text that holds all `surfaces`, and their spans in it: end-exclusive, not empty, none overlapping another.

    Longer surfaces are placed before shorter ones, at word boundaries before inside words, as written before other
    spellings (case, accents, quotes, white space), these before the shortest window of words that begins and ends as
    the surface. Of equal surfaces the n-th takes the n-th place; where there are more places than surfaces the first
    ones are taken. A surface without a place is put after the sentence, on a line of its own. All but surfaces that
    stand as written, as often as named, are noted in `skips`, with `where` to say of what. White space around a surface
    is no part of it.

    Raises InputError for a surface that is blank.
    """
    groups: dict[str, list[int]] = {}
    for index, surface in enumerate(surfaces):
        if not surface.strip():
            place = f"mention {index} of {excerpt(sentence)!r}"
            raise InputError(f"{place} is blank", remedy="a mention is a part of its sentence")
        groups.setdefault(surface.strip(), []).append(index)
    placing = _Placing(sentence, groups)
    for reason, search in _SEARCHES:
        if placing.lacks():
            placing.place(search, reason)
    return placing.finish(len(surfaces), skips, where)


class _Placing:
    """The surfaces of one sentence and the places they have so far."""

    def __init__(self, sentence: str, groups: dict[str, list[int]]) -> None:
        self.sentence = sentence
        self.groups = dict(sorted(groups.items(), key=lambda group: -len(group[0])))
        self.places: dict[str, list[Span]] = {surface: [] for surface in groups}
        self.taken: list[Span] = []
        self.notes: list[tuple[str, str]] = []

    def lacks(self) -> bool:
        return len(self.taken) < sum(map(len, self.groups.values()))

    def place(self, search: Callable[[str, str], Iterator[Span]], reason: str) -> None:
        """Give each surface that lacks places those that `search(sentence, surface)` finds and that are free."""
        for surface, indices in self.groups.items():
            lacking = len(indices) - len(self.places[surface])
            if not lacking:
                continue
            free: list[Span] = []
            for span in search(self.sentence, surface):
                if not any(start < span[1] and span[0] < end for start, end in (*self.taken, *free)):
                    free.append(span)
            chosen = free[:lacking]
            self.places[surface] += chosen
            self.taken += chosen
            self.notes += [(reason, surface)] * (len(chosen) if reason else 0)
            self.notes += [(SEVERAL, surface)] * (len(chosen) if len(free) > lacking else 0)

    def finish(self, count: int, skips: SkipReport | None, where: str) -> tuple[str, list[Span]]:
        text, spans = self.sentence, [(0, 0)] * count
        for surface, indices in sorted(self.groups.items(), key=lambda group: group[1]):
            places = sorted(self.places[surface])
            reason = TOO_OFTEN if places else WITHIN if surface in self.sentence else NOWHERE
            self.notes += [(reason, surface)] * (len(indices) - len(places))
            for _ in indices[len(places) :]:
                text = f"{text}\n{surface}" if text else surface
                places.append((len(text) - len(surface), len(text)))
            for index, place in zip(indices, places, strict=True):
                spans[index] = place
        if skips is not None:
            for reason, surface in self.notes:
                skips.note(reason, f"{where + ': ' if where else ''}{surface!r} in {excerpt(self.sentence, surface)!r}")
        return text, spans


# --- searches: the places of a surface in a sentence, by start -------------------------------------------------------


def _as_written(sentence: str, surface: str) -> Iterator[Span]:
    start = sentence.find(surface)
    while start >= 0:
        yield start, start + len(surface)
        start = sentence.find(surface, start + 1)


def _otherwise(sentence: str, surface: str) -> Iterator[Span]:
    """Places that differ in case, accents, quotes or white space only."""
    # Most sentences without the surface as written do not have it otherwise either, and some are long.
    if _flat(surface) not in _flat(sentence):
        return
    folded, origin = _folded(sentence)
    wanted = _folded(surface)[0]
    for start, end in _as_written(folded, wanted) if wanted else ():
        first, last = origin[start], origin[end - 1] + 1
        # A combining mark has no folded form and belongs to the letter before it.
        while last < len(sentence) and unicodedata.combining(sentence[last]):
            last += 1
        yield first, last


def _with_others(sentence: str, surface: str) -> Iterator[Span]:
    """The shortest window of words from the surface's first to its last; none of too many words more."""
    wanted = [fold(match[0]) for match in _WORD.finditer(surface)]
    if not wanted or not _may_have((wanted[0], wanted[-1]), sentence):
        return
    words = [(fold(match[0]), *match.span()) for match in _WORD.finditer(sentence)]
    found: list[tuple[int, Span]] = []
    begin: int | None = None
    for place, (word, start, end) in enumerate(words):
        if word == wanted[0] and len(wanted) == 1:
            found.append((0, (start, end)))
        elif word == wanted[-1] and begin is not None and place - begin < len(wanted) + MOST_EXTRA_WORDS:
            found.append((place - begin, (words[begin][1], end)))
            begin = None
        if word == wanted[0]:
            begin = place
    yield from (span for _, span in sorted(found))


def _may_have(folded: Sequence[str], sentence: str) -> bool:
    """False where a sentence lacks one of some folded words: told without folding the words that are plain."""
    plain = sentence.lower()
    others = () if sentence.isascii() else {fold(word) for word in _WORD.findall(sentence) if not word.isascii()}
    return all(word in plain or word in others for word in folded)


def _at_words(search: Callable[[str, str], Iterator[Span]]) -> Callable[[str, str], Iterator[Span]]:
    def at_words(sentence: str, surface: str) -> Iterator[Span]:
        for start, end in search(sentence, surface):
            if not _within_word(sentence, start) and not _within_word(sentence, end):
                yield start, end

    return at_words


def _within_word(text: str, place: int) -> bool:
    """Whether a place is between two characters of one word; a combining mark belongs to its letter."""
    if not 0 < place < len(text):
        return False
    last, first = text[place - 1], text[place]
    return (first.isalnum() or bool(unicodedata.combining(first))) and (
        last.isalnum() or bool(unicodedata.combining(last))
    )


def _folded(text: str) -> tuple[str, list[int]]:
    """`mmel.kb.names.fold` character by character, runs of white space as one space; where each one came from."""
    pieces: list[str] = []
    origin: list[int] = []
    for place, character in enumerate(text):
        piece = _fold_character(character)
        if piece == " " and pieces and pieces[-1] == " ":
            continue
        pieces.append(piece)
        origin += [place] * len(piece)
    return "".join(pieces), origin


@lru_cache(maxsize=8)
def _flat(text: str) -> str:
    """The text of `_folded`, but for white space around a lone combining mark; whatever is part of one is of both."""
    return _SPACES.sub(" ", text.translate(_FOLDS))


class _Folds(dict[int, str]):
    """A table for `str.translate` that folds each character; it learns one when it meets it."""

    def __missing__(self, code: int) -> str:
        self[code] = _fold_character(chr(code))
        return self[code]


@lru_cache(maxsize=4096)
def _fold_character(character: str) -> str:
    return " " if character.isspace() else fold(character)


_FOLDS = _Folds()
_SPACES = re.compile(" {2,}")
_WORD = re.compile(r"\w+")
_SEARCHES: tuple[tuple[str, Callable[[str, str], Iterator[Span]]], ...] = (
    ("", _at_words(_as_written)),
    (OTHERWISE, _at_words(_otherwise)),
    (INSIDE, _as_written),
    (INSIDE, _otherwise),
    (WITH_OTHERS, _with_others),
)
