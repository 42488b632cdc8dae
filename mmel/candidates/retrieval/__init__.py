"""Candidates by searching the whole knowledge base, where its dictionary of names is not enough.

Retrievers (`mmel.candidates.retrieval.base.Retriever`) list entities for mentions and score any of them; an ensemble
joins them. See Table 4 of Wang et al. 2022, "WikiDiverse".
"""

from mmel.candidates.retrieval.base import Retrieved, Retriever
from mmel.candidates.retrieval.ensemble import Ensemble, Gathered
from mmel.candidates.retrieval.make import Retrieval

__all__ = ["Ensemble", "Gathered", "Retrieval", "Retrieved", "Retriever"]
