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
    words: tuple[str, ...]
    trigrams: frozenset[str]
    initials: str


class _Title(NamedTuple):
    full: _Name
    bare: _Name
    qualifier: tuple[str, ...]
    parenthetical: bool


def _name(text: str) -> _Name:
    folded = fold(text)
    words = tuple(_WORD.findall(folded))
    padded = f" {folded} "
    initials = "".join(w[0] for w in _WORD.findall(text) if w[0].isupper())
    return _Name(" ".join(words), words, frozenset(padded[i : i + 3] for i in range(len(padded) - 2)), initials)


@lru_cache(maxsize=200_000)
def _title(text: str) -> _Title:
    match = _QUALIFIER.search(text)
    bare = text[: match.start()] if match and match.start() > 0 else text
    qualifier = tuple(_WORD.findall(fold(match.group(1) or match.group(2) or ""))) if match and bare != text else ()
    return _Title(_name(text), _name(bare), qualifier, bool(match and match.group(1)))


@lru_cache(maxsize=1_000_000)
def pair_features(surface: str, title: str) -> tuple[float, ...]:
    """The features of `NAMES` that depend on the two strings alone; those of the document are left 0."""
    mention, page = _mention(surface), _title(title)
    bare = page.bare
    m, t = set(mention.words), set(bare.words)
    both = len(mention.trigrams | bare.trigrams)
    letters = surface.replace(".", "").replace(" ", "")
    return (
        float(mention.text == page.full.text),
        float(mention.text == bare.text),
        float(bare.words[: len(mention.words)] == mention.words),
        float(bare.words[len(bare.words) - len(mention.words) :] == mention.words),
        float(m <= t and bool(m)),
        float(t <= m and bool(t)),
        len(m & t) / max(len(m | t), 1),
        2 * len(mention.trigrams & bare.trigrams) / max(both + len(mention.trigrams & bare.trigrams), 1),
        float(len(letters) > 1 and letters.isupper() and letters == bare.initials),
        float(page.parenthetical),
        float(bool(page.qualifier) and not page.parenthetical),
        0.0,
        0.0,
        min(len(page.full.words), 10) / 10,
    )


@lru_cache(maxsize=200_000)
def _mention(surface: str) -> _Name:
    return _name(surface)


def spelled_out(title: str, document_words: frozenset[str], document_text: str) -> tuple[float, float]:
    """What the document says of a title: the columns `SPELLED_OUT`.

    Args:
        document_words: the folded words of the document, for qualifiers ("(film)", ", Texas") that it mentions.
        document_text: the folded text, for titles that it spells out in full.
    """
    page = _title(title)
    said = sum(w in document_words for w in page.qualifier) / max(len(page.qualifier), 1)
    return said, float(len(page.bare.words) > 1 and page.bare.text in document_text)


def surface_features(surface: str, titles: list[str], document_words: frozenset[str], document_text: str) -> np.ndarray:
    """`[len(titles), len(NAMES)]` float32 of one mention's candidates; see `spelled_out`."""
    out = np.array([pair_features(surface, title) for title in titles], np.float32).reshape(-1, len(NAMES))
    spelled = [spelled_out(title, document_words, document_text) for title in titles]
    out[:, SPELLED_OUT] = np.array(spelled, np.float32).reshape(-1, 2)
    return out


def document_strings(text: str) -> tuple[frozenset[str], str]:
    """`(folded words, folded text)` of a document as `surface_features` wants them."""
    words = _WORD.findall(fold(text))
    return frozenset(words), " ".join(words)
