"""Retrieval by the overlap of a mention's name with titles and aliases: TF-IDF over words and character n-grams."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from mmel.candidates.mentions import MentionTable
from mmel.candidates.retrieval.base import Retrieved, distinct
from mmel.candidates.retrieval.sparse import SparseIndex
from mmel.document import Entity
from mmel.kb.names import fold

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

WORDS = 0.5  # of the similarity; the rest is that of character n-grams
NGRAMS = (3, 4)
QUALIFIER = 0.4  # weight of the counts of what only tells namesakes apart, and of forms of address
INITIALS = 0.9  # similarity of a title's initials with themselves

_POSSESSIVE = re.compile(r"'s\b|(?<=s)'(?=\s|$)")
_QUALIFIED = re.compile(r"(?P<core>[^(,]*[^(,\s])\s*[(,](?P<rest>.*)", re.DOTALL)
_NO_PARENTHESES = str.maketrans("()", "  ")
_CAPITALISED = re.compile(r"[^\W\d_]\w*")
_ADDRESS = frozenset(
    (  # noqa: SIM905 (reads better as running text)
        "mr mrs ms miss dr sir dame lord lady madam president vice prime premier minister senator sen representative "
        "rep congressman congresswoman governor gov mayor king queen prince princess emperor empress duke duchess "
        "pope bishop archbishop cardinal rev reverend saint st father general gen colonel col captain capt lieutenant "
        "lt major sergeant sgt admiral chief director professor prof judge justice attorney secretary chancellor "
        "ambassador chairman actor actress singer coach former then deputy "
    ).split()
)


def plain_name(name: str) -> str:
    """The folded name without possessive endings: `Iran's` and `IRAN` are both `iran`."""
    return _POSSESSIVE.sub("", fold(name))


def name_parts(name: str) -> tuple[str, str]:
    """What a name says, and what only qualifies it: a parenthesis, what follows a comma, a leading form of address.

    `President da Silva` is `("da silva", "president")`, `Fred (footballer)` is `("fred", "footballer")`; folded. A
    name that is nothing but a form of address is kept as it is.
    """
    plain = plain_name(name)
    match = _QUALIFIED.fullmatch(plain)
    core, rest = (match["core"], match["rest"].translate(_NO_PARENTHESES)) if match else (plain, "")
    words = core.split() or [""]
    address = 0
    # `King of Siam` is no form of address with a name behind it.
    while (
        address < len(words) - 1 and words[address].rstrip(".") in _ADDRESS and words[address + 1] not in ("of", "for")
    ):
        address += 1
    return " ".join(words[address:]), " ".join([*words[:address], *rest.split()])


def initials(title: str) -> str:
    """The folded initials of a title's capitalised words; empty where there are fewer than two."""
    core = re.split(r"[(,]", title)[0]
    letters = [word[0] for word in _CAPITALISED.findall(core) if word[0].isupper()]
    return fold("".join(letters)) if len(letters) > 1 else ""


class NameIndex:
    """The names of a base's entities as unit TF-IDF rows: titles, aliases, and the initials of titles.

    The inner product of two names is `WORDS` times the cosine of their words and the rest times that of their character
    n-grams within words; the counts of qualifiers weigh QUALIFIER. Memory: about 400 bytes a name.
    """

    def __init__(self, entities: Iterable[Entity]) -> None:
        from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer

        owners, names, short = [], [], []
        for number, entity in enumerate(entities):
            for name, is_short in _names(entity):
                owners.append(number)
                names.append(name)
                short.append(is_short)
        self._counts = [
            CountVectorizer(token_pattern=r"[^\W_]+", dtype=np.float32),
            CountVectorizer(analyzer="char_wb", ngram_range=NGRAMS, dtype=np.float32),
        ]
        self._weights = [TfidfTransformer() for _ in self._counts]
        for counts in self._counts:
            counts.fit(" ".join(name) for name in names)
        for counts, weights in zip(self._counts, self._weights, strict=True):
            weights.fit(counts.transform([" ".join(name) for name in names]))
        rows = self.rows(names)
        scale = np.where(short, INITIALS, 1).astype(np.float32)
        self.index = SparseIndex(rows.multiply(scale[:, None]).tocsr(), np.array(owners, np.int64))

    def rows(self, names: list[tuple[str, str]]) -> csr_matrix:
        """`[len(names), F]` float32 of names in their two parts."""
        from scipy.sparse import csr_matrix, hstack

        if not names:  # which the weights refuse
            return csr_matrix((0, sum(len(counts.vocabulary_) for counts in self._counts)), dtype=np.float32)
        blocks = []
        for counts, weights, share in zip(self._counts, self._weights, (WORDS, 1 - WORDS), strict=True):
            core, rest = (counts.transform([name[part] for name in names]) for part in (0, 1))
            blocks.append(weights.transform(core + QUALIFIER * rest) * np.float32(share**0.5))
        return hstack(blocks, format="csr", dtype=np.float32)


def _names(entity: Entity) -> Iterator[tuple[tuple[str, str], bool]]:
    """The distinct names of an entity, and whether each is but its initials."""
    parts = dict.fromkeys(name_parts(name) for name in (entity.title, *(alias.name for alias in entity.aliases)))
    for part in parts:
        yield part, False
    short = initials(entity.title)
    if short and (short, "") not in parts:
        yield (short, ""), True


class NameRetriever:
    """Entities whose title or alias is most like the name of the mention."""

    name = "names"

    def __init__(self, index: NameIndex) -> None:
        self._names = index

    def retrieve(self, table: MentionTable, k: int, leave_out: bool = False) -> Retrieved:
        """See Retriever."""
        queries, place = self._queries(table)
        found = self._names.index.search(queries, k)
        return Retrieved(found.ids[place], found.scores[place])

    def score(self, table: MentionTable, ids: np.ndarray, leave_out: bool = False) -> np.ndarray:
        """See Retriever."""
        queries, place = self._queries(table)
        return self._names.index.score(queries, place, ids)

    def _queries(self, table: MentionTable) -> tuple[csr_matrix, np.ndarray]:
        names, place = distinct(table.name)
        return self._names.rows([name_parts(name) for name in names]), place
