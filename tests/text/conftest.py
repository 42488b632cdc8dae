"""Documents of the small film world as the model reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmel.document import Document
from mmel.encoders.text import CachedTextEncoder, TransformerEncoder
from mmel.formats.jsonl import read_documents
from mmel.kb import KnowledgeBase
from mmel.text.prepare import Selection, TextInputs, TextPreparer
from tests.tiny import ALL_SCORERS


@pytest.fixture(scope="session")
def encoder(films: Path, tiny_encoder: Path) -> CachedTextEncoder:
    return CachedTextEncoder(
        TransformerEncoder(str(tiny_encoder), "float32", max_tokens=32), films.parent / "encodings"
    )


@pytest.fixture(scope="session")
def film_documents(films: Path) -> list[Document]:
    return list(read_documents(films / "documents.val.jsonl"))


@pytest.fixture(scope="session")
def film_preparer(films: Path, encoder: CachedTextEncoder) -> TextPreparer:
    kb = KnowledgeBase.open(films.parent / "kb")
    return TextPreparer(kb, encoder, ALL_SCORERS, Selection(30, 4, 2, 2), context_words=10)


@pytest.fixture(scope="session")
def film_inputs(film_preparer: TextPreparer, film_documents: list[Document]) -> TextInputs:
    return film_preparer(film_documents)
