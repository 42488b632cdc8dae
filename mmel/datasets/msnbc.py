"""News articles of MSNBC (Cucerzan 2007)."""

from __future__ import annotations

from mmel.datasets.ganea_hofmann import GaneaHofmann
from mmel.datasets.registry import register


@register
class MSNBC(GaneaHofmann):
    name = "msnbc"
