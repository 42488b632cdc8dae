"""Wikipedia articles (Guo & Barbosa 2018)."""

from __future__ import annotations

from mmel.datasets.ganea_hofmann import GaneaHofmann
from mmel.datasets.registry import register


@register
class Wiki(GaneaHofmann):
    name = "wiki"
    also = ("wikipedia",)
