"""Names: the folded form two spellings share, and how alike two spellings are."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

# Quotes, dashes and letters that Unicode does not decompose but people leave out when they type.
_UNIFIED = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u00b4\u0060\u02bc\uff07", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb\uff02", '"'),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d", "-"),
        "ł": "l",
        "Ł": "L",
        "ø": "o",
        "Ø": "O",
        "đ": "d",
        "Đ": "D",
        "ð": "d",
        "Ð": "D",
        "ı": "i",
        "æ": "ae",
        "Æ": "AE",
        "œ": "oe",
        "Œ": "OE",
        "þ": "th",
        "Þ": "TH",
    }
)


class _Marks(dict[int, int | None]):
    """A table for `str.translate` that drops combining marks; it learns each character when it meets it."""

    def __missing__(self, code: int) -> int | None:
        self[code] = None if unicodedata.combining(chr(code)) else code
        return self[code]


_COMBINING = _Marks()


def fold(surface: str) -> str:
    """The form that spellings differing in case, diacritics, quotes, dashes or white space share.

    NFKD, casefold, combining marks dropped, quotes and dashes unified, white space runs to one space.
    `fold(fold(s)) == fold(s)`.
    """
    if surface.isascii():
        return " ".join(surface.replace("`", "'").lower().split())
    folded = surface
    # Case folding can yield new decomposable characters and the other way round; two rounds settle all but oddities.
    while True:
        before = folded
        decomposed = unicodedata.normalize("NFKD", folded.translate(_UNIFIED)).casefold().translate(_UNIFIED)
        folded = " ".join(decomposed.translate(_COMBINING).split())
        if folded == before:
            return folded


def trigrams(folded: str) -> list[str]:
    """The distinct character trigrams of a name, one space added at either end; in order of appearance."""
    padded = f" {folded} "
    return list(dict.fromkeys(padded[i : i + 3] for i in range(len(padded) - 2)))


def similarity_to(query: str) -> Callable[[str], float]:
    """A function that gives the similarity of `query` to another string, in [0, 1].

    `2 LCS(a, b) / (|a| + |b|)`: one minus the normalised insert-and-delete distance, which is what rapidfuzz calls
    `ratio`. The longest common subsequence is counted bit-parallel (Hyyrö, "Bit-parallel LCS-length computation
    revisited", 2004), the query's masks being made once.
    """
    masks: dict[str, int] = {}
    for position, character in enumerate(query):
        masks[character] = masks.get(character, 0) | 1 << position
    ones = (1 << len(query)) - 1

    def similarity(other: str) -> float:
        if not query or not other:
            return float(query == other)
        state = ones
        for character in other:
            matched = state & masks.get(character, 0)
            state = (state + matched) | (state - matched)
        common = len(query) - (state & ones).bit_count()
        return 2 * common / (len(query) + len(other))

    return similarity
