"""Candidate generation: mentions of many documents as one ragged list, their candidates as padded arrays."""

from mmel.candidates.generate import CandidateGenerator, Candidates
from mmel.candidates.mentions import MentionTable

__all__ = ["CandidateGenerator", "Candidates", "MentionTable"]
