"""Web pages of ClueWeb (Guo & Barbosa 2018)."""

from __future__ import annotations

from mmel.datasets.ganea_hofmann import GaneaHofmann
from mmel.datasets.registry import register


@register
class Cweb(GaneaHofmann):
    name = "cweb"
    also = ("clueweb",)
