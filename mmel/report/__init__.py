"""Reports for people: self-contained HTML pages of linked mentions."""

from mmel.report.document import write_document_report
from mmel.report.visual import EntityCard, VisualResult, write_visual_report

__all__ = ["EntityCard", "VisualResult", "write_document_report", "write_visual_report"]
