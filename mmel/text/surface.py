"""Surface features: how a mention's string and a candidate's title resemble each other."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from mmel.kb.names import fold

NAMES = (
    "exact",
    "exact_bare",
    "prefix",
    "suffix",
    "mention_in_title",
    "title_in_mention",
    "token_jaccard",
    "trigram_dice",
    "acronym",
    "parenthetical",
    "comma",
    "qualifier_in_text",
    "title_in_text",
    "title_words",
)
SPELLED_OUT = slice(NAMES.index("qualifier_in_text"), NAMES.index("title_in_text") + 1)
_WORD = re.compile(r"\w+")
_QUALIFIER = re.compile(r"\s*\(([^()]*)\)\s*$|,\s+(.*)$")


class _Name(NamedTuple):
    text: str
    trigrams: frozenset[str]
    letters: str


class _Title(NamedTuple):
    """A title and its form without qualifier, `bare`: their folded words with one space between.

    Strings, not sets: they cost little to keep for many titles, most of which meet one name only.
    """

    full: str
    bare: str
    bare_folded: str
    bare_title: str
    qualifier: tuple[str, ...]
    parenthetical: bool


@lru_cache(maxsize=1 << 10)
def _mention(surface: str) -> _Name:
    folded = fold(surface)
    return _Name(_words(folded), _trigrams(folded), surface.replace(".", "").replace(" ", ""))


@lru_cache(maxsize=1 << 16)
def _title(text: str) -> _Title:
    folded = fold(text)
    full = _words(folded)
    bare, said = bare_title(text)
    if bare == text:
        return _Title(full, full, folded, text, (), text.startswith("(") and text.endswith(")"))
    folded = fold(bare)
    return _Title(full, _words(folded), folded, bare, tuple(_WORD.findall(fold(said))), text.rstrip().endswith(")"))


def bare_title(title: str) -> tuple[str, str]:
    """`("Paris", "Texas")` of "Paris, Texas", and of "Paris (Texas)"; the whole and "" where there is no qualifier."""
    match = _QUALIFIER.search(title)
    if not match or match.start() == 0:
        return title, ""
    return title[: match.start()], match.group(1) or match.group(2) or ""


def _words(folded: str) -> str:
    return " ".join(_WORD.findall(folded))


def _trigrams(folded: str) -> frozenset[str]:
    padded = f" {folded} "
    return frozenset([padded[i : i + 3] for i in range(len(padded) - 2)])


def _is_acronym(letters: str, title: str) -> bool:
    return letters == "".join([word[0] for word in _WORD.findall(title) if word[0].isupper()])


@lru_cache(maxsize=1 << 16)
def pair_features(surface: str, title: str) -> tuple[float, ...]:
    """The features of `NAMES` that depend on the two strings alone; those of the document are left 0."""
    mention, page = _mention(surface), _title(title)
    own, bare = mention.text.split(), page.bare.split()
    m, t = set(own), set(bare)
    trigrams = _trigrams(page.bare_folded)
    shared = len(mention.trigrams & trigrams)
    letters = mention.letters
    return (
        float(mention.text == page.full),
        float(own == bare),
        float(bare[: len(own)] == own),
        float(bare[len(bare) - len(own) :] == own),
        float(m <= t and bool(m)),
        float(t <= m and bool(t)),
        len(m & t) / max(len(m | t), 1),
        2 * shared / max(len(mention.trigrams) + len(trigrams), 1),
        float(len(letters) > 1 and letters.isupper() and _is_acronym(letters, page.bare_title)),
        float(page.parenthetical),
        float(bool(page.qualifier) and not page.parenthetical),
        0.0,
        0.0,
        min(len(page.full.split()), 10) / 10,
    )


def spelled_out(title: str, document_words: frozenset[str], document_text: str) -> tuple[float, float]:
    """What the document says of a title: the columns `SPELLED_OUT`.

    Args:
        document_words: the folded words of the document, for qualifiers ("(film)", ", Texas") that it mentions.
        document_text: the folded text, for titles that it spells out in full.
    """
    page = _title(title)
    said = sum([w in document_words for w in page.qualifier]) / len(page.qualifier) if page.qualifier else 0.0
    return said, float(" " in page.bare and page.bare in document_text)


def surface_features(surface: str, titles: list[str], document_words: frozenset[str], document_text: str) -> np.ndarray:
    """`[len(titles), len(NAMES)]` float32 of one mention's candidates; see `spelled_out`."""
    out = np.array([pair_features(surface, title) for title in titles], np.float32).reshape(-1, len(NAMES))
    spelled = [spelled_out(title, document_words, document_text) for title in titles]
    out[:, SPELLED_OUT] = np.array(spelled, np.float32).reshape(-1, 2)
    return out


def document_strings(text: str) -> tuple[frozenset[str], str]:
    """`(folded words, folded text)` of a document as `surface_features` wants them."""
    words = _words(fold(text))
    return frozenset(words.split()), words
