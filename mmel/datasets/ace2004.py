"""ACE 2004 newswire (Ratinov et al. 2011)."""

from __future__ import annotations

from mmel.datasets.ganea_hofmann import GaneaHofmann
from mmel.datasets.registry import register


@register
class Ace2004(GaneaHofmann):
    name = "ace2004"
