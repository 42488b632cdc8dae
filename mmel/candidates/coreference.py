"""Partial names: a surname alone may mean whoever the document names in full.

The coreference heuristic of Ganea & Hofmann (2017, section 7) and Le & Titov (2018): a one-word mention that ends a
longer name of the document takes part of that name's candidates' probabilities.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mmel.candidates.generate import Candidates
from mmel.candidates.mentions import MentionTable
from mmel.kb import KnowledgeBase
from mmel.kb.names import fold


def share_full_names(table: MentionTable, listed: Candidates, kb: KnowledgeBase) -> Candidates:
    """Average p(e|m) of a partial name with that of the full names of its document that end with it.

    A full name counts when the title of its most probable candidate ends with the same word, as persons' titles do,
    and has no 'of': neither University of Florida nor Catherine of Aragon goes by its last word.
    Candidates stay those of the partial name, ordered anew.
    """
    best = listed.ids[:, 0] if listed.ids.shape[1] else np.full(len(table), -1)
    known = np.flatnonzero(best >= 0)
    last_of_title = {
        int(i): fold(title.split(" (")[0]).split()[-1:] for i, title in zip(known, kb.titles(best[known]), strict=True)
    }
    words = [fold(surface).split() for surface in table.surface]
    prior = listed.prior.copy()
    for low, high in zip(table.first[:-1], table.first[1:], strict=True):
        full: dict[str, dict[tuple[str, ...], int]] = {}
        for j in range(low, high):
            if len(words[j]) >= 2 and "of" not in words[j] and last_of_title.get(j) == words[j][-1:]:
                full.setdefault(words[j][-1], {})[tuple(words[j])] = j
        for i in range(low, high):
            if len(words[i]) == 1 and words[i][0] in full:
                prior[i] = (prior[i] + _mean_prior(listed, list(full[words[i][0]].values()), listed.ids[i])) / 2
    order = np.argsort(np.where(listed.mask, -prior, 1), axis=1, kind="stable")
    return replace(listed, prior=prior).take(order)


def _mean_prior(listed: Candidates, rows: list[int], ids: np.ndarray) -> np.ndarray:
    """Mean p(e|m) that the mentions `rows` give to each of `ids`; 0 at pads."""
    total = np.zeros(len(ids), np.float32)
    for row in rows:
        same = (ids[:, None] == listed.ids[row][None]) & (ids >= 0)[:, None]
        total += (same * listed.prior[row]).sum(1)
    return total / len(rows)
