"""What a sentence says of an entity in plain words: parts of its title, words of its description, years of its life.

Captions are short and descriptions are lists of attributes: the two share few words, and those few decide. Words weigh
by their inverse document frequency over the knowledge base.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from scipy.sparse import csr_matrix

from mmel.candidates.mentions import MentionTable
from mmel.kb import KnowledgeBase
from mmel.kb.names import fold
from mmel.text.surface import bare_title

NAMES = (
    "title_in_name", "name_in_title", "title_in_window", "title_in_sentence", "title_in_other_names",
    "qualifier_in_sentence", "sentence_in_description", "other_names_in_description", "within_years", "years_apart",
    "title_in_full_name", "full_name_in_title", "full_name_against",
)  # fmt: skip
WINDOW = 3  # words each side of a name that may belong to it
_INITIAL = 0.5  # of a word's weight, where only its first letter is known
_REACH = 120  # characters before a mention in which its full name begins
_LIFE = 100  # years that what has one year only is thought to last
# What may stand in a person's name between words that begin with a capital.
_PARTICLES = frozenset(
    "de del della der di da dos du la le van von y e bin ibn al el ten ter zu of the".split()  # noqa: SIM905 (one line)
)
_WORD = re.compile(r"[^\W_]+")
_SPOKEN = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_JOINTS = frozenset((" ", ". ", "-", "  ", ".", " '", "' ", ' "', '" '))
_POSSESSIVE = re.compile(r"'s?(?=\s|$)")
_YEAR = re.compile(r"(?<!\d)(?<!\d[.,])(?:0\d{3}|1\d{3}|20\d{2})(?!\d|,\d)")  # not the 1880 of 1,880 or 21880


def facts(table: MentionTable, ids: np.ndarray, kb: KnowledgeBase, sentences: Sequence[str]) -> np.ndarray:
    """`[M, k, len(NAMES)]` float32, 0 at pads.

    Shares of a title, a name or a qualifier are shares of its words' weight; what is shared with a description is the
    logarithm of one plus the weight of the words. `within_years` is 1 where the sentence's first year lies within those
    of the description, -1 where it does not, 0 where one of the two names none; `years_apart` how far it lies outside,
    in units of 50 years. The full name is the run of capitalised words that the mention is a part of.

    Args:
        ids: `[M, k]` candidates, -1 pads. sentences: the M texts that the mentions stand in.
    """
    mention, column = np.nonzero(ids >= 0)
    out = np.zeros((*ids.shape, len(NAMES)), np.float32)
    if not len(mention):
        return out
    unique, entity = np.unique(ids[mention, column], return_inverse=True)
    bare, qualifiers = zip(*map(bare_title, kb.titles(unique)), strict=True)
    descriptions = kb.descriptions(unique)
    known = {"title": bare, "qualifier": qualifiers, "description": descriptions}
    of_entities = {name: [set(_words(text)) for text in texts] for name, texts in known.items()}
    bags = _Bags(_of_mentions(table, sentences) | of_entities, kb)

    def shared(left: str, right: str) -> np.ndarray:
        return bags.shared(left, mention, right, entity)

    title, name = bags.total("title")[entity], bags.total("name")[mention]
    columns = [
        shared("name", "title") / title,
        shared("name", "title") / name,
        shared("window", "title") / title,
        shared("sentence", "title") / title,
        shared("others", "title") / title,
        shared("rest", "qualifier") / bags.total("qualifier")[entity],
        np.log1p(shared("rest", "description")),
        np.log1p(shared("others", "description")),
        *_years(sentences, descriptions, mention, entity),
        *_full_names(table, bare, mention, entity, bags.weight),
    ]
    out[mention, column] = np.stack(columns, -1)
    return out


def _of_mentions(table: MentionTable, sentences: Sequence[str]) -> dict[str, list[set[str]]]:
    """The sets of words that are known of each mention."""
    spoken, names = [_words(text) for text in sentences], [_words(name) for name in table.name]
    pairs = list(zip(spoken, names, strict=True))
    others = zip(_other_names(table, names), names, strict=True)
    return {
        "name": [set(name) for name in names],
        "window": [set(_around(*pair)) for pair in pairs],
        "sentence": [set(words) for words in spoken],
        "rest": [set(words) - set(name) for words, name in pairs],
        "others": [words - set(name) for words, name in others],
    }


class _Bags:
    """Sets of words as rows of sparse matrices whose values are the roots of the words' weights."""

    def __init__(self, sets: Mapping[str, Sequence[set[str]]], kb: KnowledgeBase) -> None:
        words = sorted(set().union(*(row for rows in sets.values() for row in rows)))
        place = {word: i for i, word in enumerate(words)}
        frequency, entities = kb.word_frequencies(words), len(kb)
        seen = np.array([min(frequency.get(word, 0), entities) for word in words], np.float64)
        # A word of all entities still weighs something: a share of nothing is no share.
        weight = np.log((entities + 1) / (seen + 1)) + 0.01
        self.weight = dict(zip(words, weight.tolist(), strict=True))
        self._rows: dict[str, csr_matrix] = {}
        for name, rows in sets.items():
            column = np.array([place[word] for row in rows for word in row], np.int64)
            ends = np.cumsum([0, *map(len, rows)])
            self._rows[name] = csr_matrix((np.sqrt(weight[column]), column, ends), shape=(len(rows), len(words)))

    def total(self, name: str) -> np.ndarray:
        """Weight of all words of each row; 1 where there is none, to divide by."""
        total = np.asarray(self._rows[name].power(2).sum(1))[:, 0]
        return np.where(total > 0, total, 1.0)

    def shared(self, left: str, row: np.ndarray, right: str, other: np.ndarray) -> np.ndarray:
        """Weight of the words that row `row[i]` of one kind and row `other[i]` of another share."""
        return np.asarray(self._rows[left][row].multiply(self._rows[right][other]).sum(1))[:, 0]


def _words(text: str) -> list[str]:
    return _WORD.findall(_POSSESSIVE.sub("", fold(text)))


def _around(spoken: list[str], name: list[str]) -> list[str]:
    """The words up to WINDOW away from the name; all of them where it stands nowhere as it is."""
    places = [i for i in range(len(spoken) - len(name) + 1) if spoken[i : i + len(name)] == name]
    return spoken[max(0, places[0] - WINDOW) : places[0] + len(name) + WINDOW] if places and name else spoken


def _other_names(table: MentionTable, names: Sequence[list[str]]) -> list[set[str]]:
    """The words of the other names of each mention's document."""
    out: list[set[str]] = []
    for low, high in zip(table.first[:-1], table.first[1:], strict=True):
        groups = table.surface_group[low:high].tolist()
        by_group: dict[int, set[str]] = {}
        for group, name in zip(groups, names[low:high], strict=True):
            by_group.setdefault(group, set()).update(name)
        count = Counter(word for words in by_group.values() for word in words)
        # Once a name, not once a mention: a long document has thousands.
        others = {own: count.keys() - {w for w in words if count[w] == 1} for own, words in by_group.items()}
        out += [others[group] for group in groups]
    return out


def full_name(text: str, start: int, end: int) -> str:
    """The run of capitalised words, initials and particles that a span is part of: 'Edwin F. Sweet' of 'Sweet'."""
    far = text.rfind(" ", 0, max(0, start - _REACH)) + 1
    before = _edge(reversed(list(_SPOKEN.finditer(text, far, start))), text, start, -1)
    return text[before : _edge(_SPOKEN.finditer(text, end), text, end, 1)]


def _edge(words: Iterable[re.Match[str]], text: str, at: int, step: int) -> int:
    """How far a name goes from `at`: the edge of the last capitalised word before something else stands."""
    edge = last = at
    for match in words:
        gap = text[match.end() : last] if step < 0 else text[last : match.start()]
        if gap not in _JOINTS or not (match[0][0].isupper() or match[0] in _PARTICLES):
            break
        last = match.start() if step < 0 else match.end()
        if match[0][0].isupper():
            edge = last
    return edge


def _full_names(
    table: MentionTable, titles: Sequence[str], mention: np.ndarray, entity: np.ndarray, weight: Mapping[str, float]
) -> np.ndarray:
    """`[3, cells]`: see `match_names`, of each mention's full name and each candidate's title."""
    spans = zip(table.doc.tolist(), table.start.tolist(), table.end.tolist(), strict=True)
    full = [_words(full_name(table.documents[d].text, a, b)) for d, a, b in spans]
    known = [_words(title) for title in titles]
    cells = zip(mention.tolist(), entity.tolist(), strict=True)
    return np.array([match_names(full[m], known[e], weight) for m, e in cells], np.float32).T


def match_names(name: Sequence[str], title: Sequence[str], weight: Mapping[str, float]) -> tuple[float, float, float]:
    """Shares of the title and of the name that match, and a tenth of the smaller weight of what is left of the two.

    An initial matches a word that begins with it, at half the word's weight. Words left on both sides, a middle name
    against another, say that somebody else is meant. `weight` is by word, 1 for one that is not there.
    """
    left, matched, unmatched = list(title), 0.0, 0.0
    for word in name:
        short = (w for w in left if 1 in (len(word), len(w)) and w[0] == word[0])
        found = word if word in left else next(short, None)
        if found is None:
            unmatched += weight.get(word, 1.0)
        else:
            left.remove(found)
            matched += weight.get(word, 1.0) * (1 if found == word else _INITIAL)
    whole, said, rest = (sum(weight.get(word, 1.0) for word in words) for words in (title, name, left))
    return min(matched / whole, 1) if whole else 0.0, matched / said if said else 0.0, min(unmatched, rest) / 10


def _years(
    sentences: Sequence[str], descriptions: Sequence[str], mention: np.ndarray, entity: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    said = np.array([_first_year(text) for text in sentences])[mention]
    first, last = (np.array(each)[entity] for each in zip(*map(_span, descriptions), strict=True))
    known = np.isfinite(said) & np.isfinite(first)
    apart = np.where(known, np.maximum(first - said, 0) + np.maximum(said - last, 0), 0.0)
    return np.where(known, np.where(apart == 0, 1.0, -1.0), 0.0), np.minimum(apart / 50, 10)


def _first_year(text: str) -> float:
    match = _YEAR.search(text)
    return float(match.group()) if match else np.nan


def _span(description: str) -> tuple[float, float]:
    """First and last year of a description."""
    years = [float(year) for year in _YEAR.findall(description)]
    if not years:
        return np.nan, np.nan
    return min(years), max(years) if len(years) > 1 else years[0] + _LIFE
