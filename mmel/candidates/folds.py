"""Parts of the training documents: what learned from a document scores it too well, so another part's trainee does."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from mmel.document import Document


def document_folds(documents: Sequence[Document], count: int) -> np.ndarray:
    """`[D]` int64 which of `count` parts each document is in; it depends on the document's id alone."""
    return np.array([zlib.crc32(one.id.encode("utf-8", "surrogatepass")) % count for one in documents], np.int64)
