"""What speaks for an occurrence of a name being a mention: the name, its case, its neighbours, its document."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import log, log1p
from typing import Any, NamedTuple

from mmel.detection.lexicon import Lexicon, Occurrence, words
from mmel.sentences import sentence_starts

FEATURES = (
    "link_probability",  # log odds of the name's occurrences in training being mentions
    "seen",  # log of how many there were
    "unseen",
    "count",  # log of the name's count in the knowledge base
    "entities",  # log of how many entities it may mean there
    "lower_case",  # log of how often its words are written in lower case, to how often with a capital
    "no_case",  # its capital says nothing: it begins a sentence, or all is in capitals
    "lower_case_and_no_case",
    "link_probability_and_no_case",
    "one_word",
    "three_words",
    "lower_start",
    "before",  # log odds by the word or sign before it, and after it
    "after",
    "capital_before",  # it may be a part of a longer name that the knowledge base lacks
    "capital_after",
    "joined",  # by a hyphen or an apostrophe with a further word
    "covered",  # a longer name of the knowledge base is there
    "repeated",  # log of how often the document has it where its capital counts
    "part_of_name",  # the document has a longer name with this word
    "lower_case_here",  # the document has the word in lower case
)
_SMOOTHING = 4.0  # occurrences that a name's or neighbour's training counts are mixed with
_POSSESSIVE = re.compile(r"['’]s?(?!\w)")


class Context(NamedTuple):
    """What an occurrence stands in. `before` and `after` are the words or signs beside it, "" at the text's ends."""

    occurrence: Occurrence
    sentence: int
    no_case: bool
    before: str
    after: str
    capital_before: bool
    capital_after: bool
    joined: bool
    covered: bool
    repeated: int
    part_of_name: bool
    lower_case_here: bool


@dataclass
class Counts:
    """What training documents say: of each key (mentions, occurrences); of words (in lower case, with a capital)."""

    names: dict[str, tuple[float, float]] = field(default_factory=dict)
    before: dict[str, tuple[float, float]] = field(default_factory=dict)
    after: dict[str, tuple[float, float]] = field(default_factory=dict)
    words: dict[str, tuple[float, float]] = field(default_factory=dict)
    rate: float = 0.5

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON has them."""
        tables = {name: {k: list(v) for k, v in sorted(getattr(self, name).items())} for name in _TABLES}
        return {"rate": self.rate, **tables}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Counts:
        """What `to_dict` made plain."""
        tables = {name: {k: (float(a), float(b)) for k, (a, b) in value[name].items()} for name in _TABLES}
        return cls(rate=float(value["rate"]), **tables)

    def odds(self, mentions: float, occurrences: float) -> float:
        """Log odds of a key with these counts, smoothed towards those of all."""
        share = (mentions + _SMOOTHING * self.rate) / (occurrences + _SMOOTHING)
        return log(share / (1 - share))


_TABLES = ("names", "before", "after", "words")


def contexts(text: str, lexicon: Lexicon) -> Iterator[Context]:
    """The occurrences of names in a text, each with what it stands in, in the order of `Lexicon.find`."""
    found = lexicon.find(text)
    if not found:
        return
    page = _Page(text)
    spelled: dict[int, int] = {}
    parts: set[str] = set()
    seen: list[tuple[Occurrence, int, bool]] = []
    for one in found:
        sentence = page.sentence(one.start)
        no_case = page.opens(one.start, sentence) or page.capitals(one, sentence)
        seen.append((one, sentence, no_case))
        if not no_case:
            spelled[one.name] = spelled.get(one.name, 0) + 1
        if one.exact and " " in lexicon.surfaces[one.name]:
            parts.update(lexicon.surfaces[one.name].split())
    reach = -1  # the furthest end of those that begin no later, the longest being first
    for one, sentence, no_case in seen:
        covered = one.end <= reach
        reach = max(reach, one.end)
        surface = lexicon.surfaces[one.name]
        before, capital_before = page.before(one.start, sentence)
        after, capital_after = page.after(one.end)
        yield Context(
            one, sentence, no_case, before, after, capital_before, capital_after, page.joined(one), covered,
            spelled.get(one.name, 0), surface in parts, surface.lower() in page.lower,
        )  # fmt: skip


class _Page:
    """A text with its words and sentences."""

    def __init__(self, text: str) -> None:
        self.text = text
        spans = list(words(text))
        self.starts = [start for start, _ in spans]
        self.ends = [end for _, end in spans]
        self.tokens = [text[start:end] for start, end in spans]
        self.sentences = sentence_starts(text)
        self.lower = {token for token in self.tokens if token.islower()}
        self._shouted: dict[int, bool] = {}

    def sentence(self, place: int) -> int:
        """The sentence of a character."""
        return bisect_right(self.sentences, place) - 1

    def opens(self, start: int, sentence: int) -> bool:
        """Whether no word of the sentence stands before this character."""
        first = bisect_left(self.starts, self.sentences[sentence])
        return first >= len(self.starts) or self.starts[first] >= start

    def capitals(self, one: Occurrence, sentence: int) -> bool:
        """Whether the words of its sentence are in capitals as it is."""
        if not self.text[one.start : one.end].isupper():
            return False
        known = self._shouted.get(sentence)
        if known is None:
            low, high = self._words_of(sentence)
            long = [token for token in self.tokens[low:high] if len(token) > 1 and token.isalpha()]
            known = self._shouted[sentence] = sum(token.isupper() for token in long) > 0.7 * len(long)
        return known

    def _words_of(self, sentence: int) -> tuple[int, int]:
        last = sentence + 1 == len(self.sentences)
        high = len(self.starts) if last else bisect_left(self.starts, self.sentences[sentence + 1])
        return bisect_left(self.starts, self.sentences[sentence]), high

    def before(self, start: int, sentence: int) -> tuple[str, bool]:
        """The word before, in lower case, or the sign between; whether it has a capital that counts."""
        place = bisect_left(self.starts, start) - 1
        gap = self.text[self.ends[place] if place >= 0 else 0 : start]
        if gap.strip() or "\n" in gap or place < 0:
            return gap.strip()[-1:] or ("\n" if gap else ""), False
        token = self.tokens[place]
        counts = token[0].isupper() and not self.opens(self.starts[place], sentence)
        return token.lower(), counts or (token[0].isupper() and token.lower() not in self.lower and len(token) > 3)

    def after(self, end: int) -> tuple[str, bool]:
        """As `before`, of what follows; a possessive is "'s"."""
        if _POSSESSIVE.match(self.text, end):
            return "'s", False
        place = bisect_left(self.starts, end)
        gap = self.text[end : self.starts[place] if place < len(self.starts) else len(self.text)]
        if gap.strip() or "\n" in gap or place == len(self.starts):
            return gap.strip()[:1] or ("\n" if gap else ""), False
        return self.tokens[place].lower(), self.tokens[place][0].isupper()

    def joined(self, one: Occurrence) -> bool:
        """Whether a hyphen or apostrophe ties it to a further word; a possessive does not."""
        text, start, end = self.text, one.start, one.end
        if start >= 2 and text[start - 1] in _TIES and text[start - 2].isalnum():
            return True
        return text[end : end + 1] in _TIES and text[end + 1 : end + 2].isalnum() and not _POSSESSIVE.match(text, end)


_TIES = ("-", "\u2010", "\u2011", "'", "’")


def features(
    context: Context, lexicon: Lexicon, counts: Counts, of_name: tuple[float, float] | None = None
) -> list[float]:
    """The values of FEATURES; `of_name` instead of the counts of the name."""
    surface = lexicon.surfaces[context.occurrence.name]
    mentions, occurrences = of_name or counts.names.get(surface, (0.0, 0.0))
    odds = counts.odds(mentions, occurrences)
    parts = surface.split()
    lower = min(lower_case(part, counts) for part in parts)
    no_case = float(context.no_case)
    return [
        odds,
        log1p(occurrences),
        float(not occurrences),
        log1p(lexicon.counts[context.occurrence.name]),
        log1p(lexicon.entities[context.occurrence.name]),
        lower,
        no_case,
        lower * no_case,
        odds * no_case,
        float(len(parts) == 1),
        float(len(parts) > 2),
        float(surface[0].islower()),
        counts.odds(*counts.before.get(context.before, (0.0, 0.0))),
        counts.odds(*counts.after.get(context.after, (0.0, 0.0))),
        float(context.capital_before),
        float(context.capital_after),
        float(context.joined),
        float(context.covered),
        log1p(context.repeated),
        float(context.part_of_name),
        float(context.lower_case_here),
    ]


def lower_case(word: str, counts: Counts) -> float:
    """Log of how often training texts have a word without a capital, to how often with one that counts."""
    lower, capital = counts.words.get(word.lower(), (0.0, 0.0))
    return log((lower + 0.5) / (capital + 0.5))


def case_counts(texts: Sequence[str]) -> dict[str, tuple[float, float]]:
    """How often each word, in lower case, is written so, and how often with a capital that begins no sentence."""
    counted: dict[str, list[float]] = {}
    for text in texts:
        page = _Page(text)
        openers = {bisect_left(page.starts, start) for start in page.sentences}
        for place, token in enumerate(page.tokens):
            if token.islower():
                counted.setdefault(token, [0.0, 0.0])[0] += 1
            elif place not in openers and token[0].isupper() and not (token.isupper() and len(token) > 1):
                counted.setdefault(token.lower(), [0.0, 0.0])[1] += 1
    return {word: (lower, capital) for word, (lower, capital) in counted.items()}
