"""AQUAINT newswire (Milne & Witten 2008)."""

from __future__ import annotations

from mmel.datasets.ganea_hofmann import GaneaHofmann
from mmel.datasets.registry import register


@register
class Aquaint(GaneaHofmann):
    name = "aquaint"
