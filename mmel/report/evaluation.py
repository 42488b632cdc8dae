"""From an evaluation to its page: linked documents with gold labels, and what is to be shown of their entities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mmel.document import LinkedDocument
from mmel.evaluation.calibration import Certainty
from mmel.evaluation.metrics import link_ranks
from mmel.kb import KnowledgeBase
from mmel.report.chart import reliability_curve
from mmel.report.document import write_document_report
from mmel.report.entities import kb_cards
from mmel.report.html import element
from mmel.report.visual import VisualResult, write_visual_report
from mmel.vision.regions import Region


def write_report(
    path: Path,
    linked: Sequence[LinkedDocument],
    kb: KnowledgeBase,
    pictures: Path,
    *,
    title: str,
    protocol: str,
    certainty: Mapping[str, Certainty],
) -> None:
    """Write the page of linked documents: of texts with what stands beside them, of pictures where no text is linked.

    Args:
        pictures: folder that the pictures of documents and entities are relative to.
        certainty: by modality; reliability is drawn where there are confidences.
    """
    known = {name: one.calibration for name, one in certainty.items() if one.calibration is not None}
    curves = [reliability_curve(one, name) for name, one in known.items()]
    figures = element("div", curves, class_="figures") if curves else None
    cards = kb_cards(kb, pictures)
    if any(one.text_links for one in linked):
        write_document_report(path, linked, cards, pictures, title=title, protocol=protocol, figures=figures)
    else:
        results = visual_results(linked, pictures)
        write_visual_report(path, results, cards, title=title, protocol=protocol, figures=figures)


def visual_results(linked: Sequence[LinkedDocument], pictures: Path) -> list[VisualResult]:
    """One result a linked visual mention."""
    results = []
    for one in linked:
        for mention, link in zip(one.document.visual_mentions, one.visual_links, strict=False):
            rank = link_ranks(mention.entity, link)[0] if mention.entity is not None else float("inf")
            region = Region(pictures / mention.image, mention.box)
            results.append(VisualResult(one.document.id, region, mention.entity, link.candidates, rank))
    return results
