"""Reports for people: self-contained HTML pages of linked mentions."""

from mmel.report.visual import EntityCard, VisualResult, write_visual_report

__all__ = ["EntityCard", "VisualResult", "write_visual_report"]
