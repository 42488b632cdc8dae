"""Reports for people: self-contained HTML pages of linked documents and mentions."""

from mmel.report.document import DocumentReport, document_page, write_document_report
from mmel.report.entities import EntityCard, kb_cards, trained_pictures
from mmel.report.visual import VisualResult, write_visual_report

__all__ = [
    "DocumentReport",
    "EntityCard",
    "VisualResult",
    "document_page",
    "kb_cards",
    "trained_pictures",
    "write_document_report",
    "write_visual_report",
]
