"""KILT / GENRE entity-disambiguation JSONL: one mention a line with its contexts and candidate titles.

De Cao et al., "Autoregressive Entity Retrieval", ICLR 2021; the candidates are those of Ganea & Hofmann 2017
(and Le & Titov 2018), listed by falling p(e|m) without its value: only the rank is known.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmel.document import Candidate
from mmel.errors import SkipReport
from mmel.formats.records import Place, read_records
from mmel.formats.rows import MentionRow, recover_documents, rejoin_documents

__all__ = ["read_rows", "recover_documents", "rejoin_documents"]

_FORM = (
    'a row is {"id", "output": [{"answer"}], "meta": {"left_context", "mention", "right_context"}, "candidates": [..]}'
)


def read_rows(path: str | Path, skips: SkipReport | None = None) -> Iterator[MentionRow]:
    """Stream the rows of a KILT/GENRE file; unknown keys are passed over, repeated candidates named once.

    Raises InputError naming line and field where a row is broken; with `skips` it is counted instead.
    """
    return read_records(path, _row, _FORM, skips)


def _row(record: dict[str, Any], place: Place) -> MentionRow:
    meta = place.get(record, "meta", dict)
    outputs = place.get(record, "output", list, [])
    titles = place.get(record, "candidates", list, None)
    if titles and not all(type(title) is str for title in titles):
        raise place.error("expected a list of titles", "candidates")
    unique = None if titles is None else dict.fromkeys(titles)
    return MentionRow(
        id=place.identifier(record, "id", str(place.line)),
        document=None,
        left=place.text(meta, "left_context", "", within="meta").strip(),
        mention=place.text(meta, "mention", within="meta").strip(),
        right=place.text(meta, "right_context", "", within="meta").strip(),
        answer=place.text(outputs[0], "answer", None, within="output") if outputs else None,
        candidates=None if unique is None else tuple(Candidate(title, rank=rank) for rank, title in enumerate(unique)),
        line=place.line,
    )
