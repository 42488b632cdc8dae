"""Where the sentences of a text begin."""

from __future__ import annotations

import re

_SENTENCE_END = re.compile(r"[.!?]['\")\]]*\s+(?=[\"'(\[]?[A-Z0-9])|\n+")


def sentence_starts(text: str) -> list[int]:
    """Characters at which a sentence begins: after final punctuation before a capital, and after line breaks."""
    return [0, *(match.end() for match in _SENTENCE_END.finditer(text) if match.end() < len(text))]
