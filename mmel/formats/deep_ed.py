"""The mention tables of deep-ed and mulrel-nel (`aida_train.csv`, `wned-msnbc.csv` ...).

Ganea & Hofmann, "Deep Joint Entity Disambiguation with Local Neural Attention", EMNLP 2017; Le & Titov,
"Improving Entity Linking by Modeling Latent Relations between Mentions", ACL 2018. Columns are separated by
tabs: `document, document, mention, left context, right context, CANDIDATES, id,p,title ..., GT:, gold`. The gold
is `position,id,p,title`, or `-1,id,title` where it is no candidate, or `-1` where it has no page.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mmel.document import Candidate, Document
from mmel.errors import InputError, SkipReport
from mmel.files import read_lines
from mmel.formats.rows import MentionRow, rejoin_documents

_FORM = (
    "a row is 'document, document, mention, left, right, CANDIDATES, id,p,title ..., GT:, gold' with tabs between; "
    "a file cut short must be fetched again"
)


def read_rows(path: str | Path, skips: SkipReport | None = None) -> Iterator[MentionRow]:
    """Stream the rows; candidates carry p(e|m) as prior and their position as rank.

    Raises InputError naming line and field where a row is broken; with `skips` it is counted instead.
    """
    for line, content in read_lines(path, skips):
        if not content.strip():
            continue
        try:
            yield _row(content.split("\t"), line)
        except ValueError as error:
            problem = InputError(str(error), file=path, line=line, remedy=_FORM)
            if skips is None:
                raise problem from error
            skips.add("broken row", str(problem))


def read_documents(path: str | Path, skips: SkipReport | None = None) -> Iterator[Document]:
    """Stream the documents of a table, rejoined from the contexts of their rows (see `rejoin_documents`).

    Where the texts are at hand, `recover_documents` over `read_rows` gives true offsets instead.
    """
    return rejoin_documents(read_rows(path, skips))


def _row(columns: list[str], line: int) -> MentionRow:
    if len(columns) < 9 or columns[5] != "CANDIDATES" or columns[-2] != "GT:":
        raise ValueError(f"{len(columns)} columns without CANDIDATES as the sixth and GT: as the last but one")
    if not columns[2].strip():
        raise ValueError("column 3, the mention, is empty")
    listed = [] if columns[6] == "EMPTYCAND" else columns[6:-2]
    candidates = dict(map(_candidate, listed))
    return MentionRow(
        id=str(line),
        document=columns[0],
        left=_context(columns[3]),
        mention=columns[2].strip(),
        right=_context(columns[4]),
        answer=_gold(columns[-1].strip()),
        candidates=tuple(Candidate(title, prior, rank) for rank, (title, prior) in enumerate(candidates.items())),
        line=line,
    )


def _context(words: str) -> str:
    return "" if words == "EMPTYCTXT" else words.strip()


def _candidate(column: str) -> tuple[str, float]:
    parts = column.split(",", 2)  # a title may hold commas
    prior = float(parts[1]) if len(parts) == 3 else -1.0
    if not 0 <= prior <= 1:
        raise ValueError(f"the candidate {column!r} is no 'id,p,title' with p between 0 and 1")
    return parts[2], prior


def _gold(column: str) -> str:
    if column == "-1":
        return ""
    parts = column.split(",", 2 if column.startswith("-1,") else 3)
    if len(parts) != (3 if column.startswith("-1,") else 4):
        raise ValueError(f"the gold {column!r} is neither 'position,id,p,title' nor '-1,id,title' nor '-1'")
    return parts[-1]
