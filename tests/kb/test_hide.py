"""A base without some entities: really gone, and by no accident of the order."""

from __future__ import annotations

import pytest

from mmel.document import NIL, VisualMention
from mmel.errors import InputError
from mmel.kb import KnowledgeBase
from mmel.kb.hide import hidden_base, hidden_golds, is_hidden
from tests.tiny import ENTITIES, document

SEED, SHARE = 2, 0.4


def test_hidden_entities_are_gone_with_names_and_links(tiny_kb: KnowledgeBase) -> None:
    gone = {entity.id for entity in ENTITIES if is_hidden(entity.id, SHARE, SEED)}
    assert 0 < len(gone) < len(ENTITIES)
    with hidden_base(tiny_kb, SHARE, SEED) as small:
        folder = small.folder
        assert [entity.id for entity in small] == [entity.id for entity in ENTITIES if entity.id not in gone]
        assert (small.indices(sorted(gone)) == -1).all()
        assert small.meta.dangling_links == 0
        for before in tiny_kb:
            if before.id not in gone:
                after = small.entity(before.id)
                assert after.links == tuple(link for link in before.links if link not in gone)
                assert (after.aliases, after.images) == (before.aliases, before.images)
        for entity in ENTITIES:
            for alias in entity.aliases:
                found = small.lookup(alias.name, fuzzy=False)
                assert gone.isdisjoint(small.ids([match.index for match in found]))
                assert sum(match.prior for match in found) == pytest.approx(1 if found else 0)
    assert not folder.exists()
    assert len(tiny_kb) == len(ENTITIES)


def test_a_draw_is_a_share_and_depends_on_the_seed() -> None:
    ids = [f"Q{n}" for n in range(20_000)]
    first, second = ({one for one in ids if is_hidden(one, 0.2, seed)} for seed in (0, 1))
    assert abs(len(first) / len(ids) - 0.2) < 0.01
    assert abs(len(first & second) / len(ids) - 0.04) < 0.01
    assert first <= {one for one in ids if is_hidden(one, 0.5, 0)}


def test_labels_of_hidden_entities_become_nil(tiny_kb: KnowledgeBase) -> None:
    one = document("[Mira|C1] and [Otto|C4], [Ines] and [Zero|NIL].")
    one = type(one)(
        one.id, one.text, text_mentions=one.text_mentions, visual_mentions=(VisualMention("a", None, "F2"),)
    )
    assert hidden_golds(one, tiny_kb) == one
    with hidden_base(tiny_kb, SHARE, SEED) as small:
        found = hidden_golds(one, small)
        wanted = [NIL if g and is_hidden(g, SHARE, SEED) else g for g in ("C1", "C4", None, NIL)]
        assert [mention.entity for mention in found.text_mentions] == wanted
        assert found.visual_mentions[0].entity == (NIL if is_hidden("F2", SHARE, SEED) else "F2")


def test_nothing_left_is_refused(tiny_kb: KnowledgeBase) -> None:
    with pytest.raises(InputError), hidden_base(tiny_kb, 1 - 1e-12, 0):
        pass
