"""Names in raw text, found from the knowledge base itself."""

from __future__ import annotations

from mmel.detection.spans import Span, TextDetector

__all__ = ["Span", "TextDetector"]
