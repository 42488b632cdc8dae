from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import fields

import numpy as np
import pytest
import torch

from mmel.document import Document
from mmel.text.batch import TextBatch, iterate_batches, make_batch, plan_batches
from mmel.text.prepare import TextInputs, TextPreparer


@pytest.fixture(scope="module")
def long_inputs(film_preparer: TextPreparer, film_documents: list[Document]) -> TextInputs:
    """One document with the mentions of many, between two short ones."""
    text, mentions = "", []
    for one in film_documents[:12]:
        for mention in one.text_mentions:
            start = len(text) + mention.start
            mentions.append(type(mention)(start, start + len(mention.text), mention.text, mention.entity))
        text += one.text + "\n"
    long = Document("long", text, text_mentions=tuple(mentions))
    return film_preparer([film_documents[12], long, film_documents[13]])


@pytest.mark.parametrize("max_pairs", [1, 100, 900, 10_000])
@pytest.mark.parametrize("max_mentions", [3, 7, 100])
def test_every_mention_is_in_one_piece_of_one_batch(film_inputs: TextInputs, max_pairs: int, max_mentions: int) -> None:
    first = film_inputs.table.first
    plans = [plan_batches(film_inputs, max_pairs, max_mentions, order) for order in (None, np.random.default_rng(1))]
    for plan in plans:
        rows = [row for batch in plan for a, b in batch for row in range(a, b)]
        assert sorted(rows) == list(range(len(film_inputs.table)))
        for batch in plan:
            widths = [b - a for a, b in batch]
            assert max(widths) <= max_mentions
            assert len(batch) == 1 or len(batch) * max(widths) ** 2 <= max_pairs
            for a, b in batch:
                assert film_inputs.table.doc[a] == film_inputs.table.doc[b - 1]
                assert (a - first[film_inputs.table.doc[a]]) % max_mentions == 0
    assert sorted(p for batch in plans[0] for p in batch) == sorted(p for batch in plans[1] for p in batch)


def test_tensors_are_the_rows_of_the_inputs(film_inputs: TextInputs) -> None:
    x = film_inputs
    pieces = [(int(x.table.first[d]), int(x.table.first[d + 1])) for d in (5, 2, 9)]
    batch = make_batch(x, pieces)
    rows = np.concatenate([np.arange(a, b) for a, b in pieces])
    np.testing.assert_array_equal(batch.rows, rows)
    np.testing.assert_array_equal(batch.features.numpy(), x.features[rows])
    np.testing.assert_array_equal(batch.mask.numpy(), x.candidates.ids[rows] >= 0)
    np.testing.assert_array_equal(batch.gold.numpy(), x.gold[rows])
    np.testing.assert_array_equal(batch.prior.numpy(), x.candidates.prior[rows])
    np.testing.assert_array_equal(batch.views.numpy(), x.context.views[rows])
    for i, (a, b) in enumerate(pieces):
        place = batch.place[i]
        assert batch.rows[place[place >= 0]].tolist() == list(range(a, b))
        assert (place[b - a :] == -1).all()
        assert batch.position[place[place >= 0]].tolist() == list(range(b - a))
    d = x.titles.shape[1]
    for i, k in ((0, 0), (3, 1)):
        np.testing.assert_array_equal(batch.entities[i, k, :d].numpy(), x.titles[x.slot[rows[i], k]].astype(np.float32))
        np.testing.assert_array_equal(
            batch.entities[i, k, d:].numpy(), x.entities[x.slot[rows[i], k]].astype(np.float32)
        )
    words = x.context.words[rows]
    np.testing.assert_array_equal(batch.word_mask.numpy(), words >= 0)
    np.testing.assert_array_equal(
        batch.words.numpy()[words >= 0], x.context.tokens[words[words >= 0]].astype(np.float32)
    )
    assert make_batch(x, pieces, with_words=False).words.shape == (len(rows), 0, d)


@pytest.mark.parametrize("max_mentions", [4, 100])
def test_slots_join_what_a_piece_has_in_common(long_inputs: TextInputs, max_mentions: int) -> None:
    x = long_inputs
    pieces = [piece for batch in plan_batches(x, 10_000, max_mentions) for piece in batch]
    batch = make_batch(x, pieces)
    ids = torch.from_numpy(x.candidates.ids[batch.rows]).reshape(-1).tolist()
    k = x.candidates.ids.shape[1]
    owner = [i for i, (a, b) in enumerate(pieces) for _ in range((b - a) * k)]
    group = np.repeat(x.table.surface_group[batch.rows], k).tolist()
    pads = [e < 0 for e in ids]
    doc = [("pad",) if p else (o, e) for p, o, e in zip(pads, owner, ids, strict=True)]
    name = [("pad",) if p else (o, g, e) for p, o, g, e in zip(pads, owner, group, ids, strict=True)]
    assert same_partition(batch.same_doc.tolist(), doc)
    assert same_partition(batch.same_name.tolist(), name)
    graph, edges = x.graph, batch.edges
    mention = edges.cell // k
    hub = {(int(c), h) for c, h in zip(graph.cell, graph.hub, strict=True)}
    rows = torch.from_numpy(batch.rows)[mention]
    cells = (rows * k + edges.cell % k).tolist()
    assert len(cells) == len(graph.cell)
    order = np.argsort(cells, kind="stable")
    hubs = graph.hub.tolist()
    assert sorted(cells) == graph.cell.tolist()
    key = {}
    for level, slots, groups in (
        ("document", edges.doc_slot, edges.group_slot), ("sentence", edges.sentence_slot, edges.sentence_group_slot),
    ):  # fmt: skip
        where, whose = [], []
        for at, edge in enumerate(order.tolist()):
            row = int(rows[edge])
            part = int(owner[int(mention[edge]) * k])
            place = part if level == "document" else (part, int(x.table.sentence[row]))
            where.append((place, hubs[at]))
            whose.append((place, int(x.table.surface_group[row]), hubs[at]))
        key[level] = same_partition(slots[order].tolist(), where) and same_partition(groups[order].tolist(), whose)
    assert key == {"document": True, "sentence": True}
    assert len(hub) == len(cells)


def same_partition(slots: Sequence[int], keys: Sequence[Hashable]) -> bool:
    """Whether equal slots are equal keys; slots are also dense."""
    pairs = set(zip(slots, keys, strict=True))
    return len(pairs) == len(set(slots)) == len(set(keys)) and set(slots) == set(range(len(set(slots))))


def test_a_piece_is_the_same_whatever_stands_beside_it(long_inputs: TextInputs) -> None:
    """Two pieces of one document share no slot, in whichever batch they are."""
    pieces = [p for batch in plan_batches(long_inputs, 10_000, 10) for p in batch]
    together = make_batch(long_inputs, pieces)
    k = long_inputs.candidates.ids.shape[1]
    start = 0
    for piece in pieces:
        alone = make_batch(long_inputs, [piece])
        size = piece[1] - piece[0]
        cells = slice(start * k, (start + size) * k)
        for name in ("same_name", "same_doc"):
            assert same_partition(
                getattr(alone, name).tolist(), [(s,) for s in getattr(together, name)[cells].tolist()]
            )
        mine = (together.edges.cell >= start * k) & (together.edges.cell < (start + size) * k)
        assert (together.edges.cell[mine] - start * k).tolist() == alone.edges.cell.tolist()
        for name in ("doc_slot", "group_slot", "sentence_slot", "sentence_group_slot"):
            slots = getattr(together.edges, name)
            assert same_partition(getattr(alone.edges, name).tolist(), [(s,) for s in slots[mine].tolist()])
            assert not set(slots[mine].tolist()) & set(slots[~mine].tolist())
        start += size


def test_iterate_gives_all(film_inputs: TextInputs) -> None:
    batches = list(iterate_batches(film_inputs, 200, 5, with_words=False))
    assert sorted(np.concatenate([b.rows for b in batches]).tolist()) == list(range(len(film_inputs.table)))
    assert all(isinstance(b, TextBatch) and b.words.shape[1] == 0 for b in batches)
    assert batches[0].to(torch.device("cpu")) is batches[0]


def test_to_moves_every_tensor(film_inputs: TextInputs) -> None:
    batch = next(iter(iterate_batches(film_inputs, 200, 5))).to(torch.device("meta"))
    parts = (vars(part).values() for part in (batch, batch.edges, batch.fusion))
    tensors = [value for part in parts for value in part if isinstance(value, torch.Tensor)]
    # All but the rows, the edges, what the fusions read, of which three are tensors, and pictures: nobody scores them.
    assert len(tensors) == len(fields(batch)) - 4 + len(fields(batch.edges)) + 3
    assert {t.device.type for t in tensors} == {"meta"}


def test_no_mention_gives_no_batch(film_preparer: TextPreparer) -> None:
    assert list(iterate_batches(film_preparer([Document("d", "Nobody.")]), 100, 10)) == []
