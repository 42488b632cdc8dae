"""Surnames take part of the probabilities of the full names that end with them."""

from __future__ import annotations

import numpy as np
import pytest

from mmel.candidates import CandidateGenerator, MentionTable
from mmel.candidates.coreference import share_full_names
from mmel.document import Candidate
from mmel.kb import KnowledgeBase
from tests.tiny import document

LISTS = {
    "Renn": (Candidate("C4", prior=0.6), Candidate("C2", prior=0.3), Candidate("T1", prior=0.1)),
    "Otto Renn": (Candidate("C2", prior=0.9), Candidate("C4", prior=0.1)),
    "Old Renn": (Candidate("T1", prior=1.0),),
    "House of Renn": (Candidate("C2", prior=0.9),),
}


def shared(kb: KnowledgeBase, marked: str) -> tuple[list[dict[str, float]], list[list[str]]]:
    table = MentionTable.of([document(marked, candidates=LISTS)], kb)
    listed = share_full_names(table, CandidateGenerator(kb)(table), kb)
    order = [kb.ids(row[row >= 0]) for row in listed.ids]
    return [dict(zip(o, p.tolist(), strict=False)) for o, p in zip(order, listed.prior, strict=True)], order


def test_a_surname_meets_its_full_name_halfway(tiny_kb: KnowledgeBase) -> None:
    priors, order = shared(tiny_kb, "[Otto Renn] went home. [Renn] slept.")
    assert priors[1] == pytest.approx({"C2": (0.3 + 0.9) / 2, "C4": (0.6 + 0.1) / 2, "T1": 0.05})
    assert order[1] == ["C2", "C4", "T1"]
    assert priors[0] == pytest.approx({"C2": 0.9, "C4": 0.1})


@pytest.mark.parametrize(
    "marked", ["[Renn] slept.", "[Old Renn] is far. [Renn] slept.", "The [House of Renn] fell. [Renn] slept."]
)
def test_alone_or_beside_a_name_that_is_no_persons_nothing_changes(tiny_kb: KnowledgeBase, marked: str) -> None:
    priors, _ = shared(tiny_kb, marked)
    assert priors[-1] == pytest.approx({"C4": 0.6, "C2": 0.3, "T1": 0.1})


def test_another_document_does_not_matter(tiny_kb: KnowledgeBase) -> None:
    both = [document("[Otto Renn] went.", "a", LISTS), document("[Renn] slept.", "b", LISTS)]
    table = MentionTable.of(both, tiny_kb)
    listed = CandidateGenerator(tiny_kb)(table)
    after = share_full_names(table, listed, tiny_kb)
    np.testing.assert_array_equal(after.prior, listed.prior)
    np.testing.assert_array_equal(after.ids, listed.ids)
