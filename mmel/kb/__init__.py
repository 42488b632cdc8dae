"""Knowledge bases: entities, the names p(e|m) they go by, links, full-text search and vectors in one folder.

Names are imported on first use, so that `import mmel.kb` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmel.kb.build import cached_build as cached_build
    from mmel.kb.layout import KbMeta as KbMeta
    from mmel.kb.store import KnowledgeBase as KnowledgeBase
    from mmel.kb.store import Match as Match

_HOMES = {
    "KbMeta": "mmel.kb.layout",
    "KnowledgeBase": "mmel.kb.store",
    "Match": "mmel.kb.store",
    "cached_build": "mmel.kb.build",
}
__all__ = ["KbMeta", "KnowledgeBase", "Match", "cached_build"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mmel.kb' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)
