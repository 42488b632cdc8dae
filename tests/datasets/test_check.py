from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmel.datasets.base import Dataset
from mmel.datasets.card import Card, SplitCounts
from mmel.datasets.check import SplitReport, check
from mmel.document import NIL, Alias, Candidate, Document, Entity, TextMention, VisualMention
from mmel.errors import SkipReport


class Tiny(Dataset):
    """A dataset in memory with a card of its own."""

    name = "tiny"
    needs_root = False

    def __init__(
        self,
        documents: list[Document],
        entities: list[Entity],
        card: Card,
        protocol: str = "kb",
        root: Path | None = None,
    ) -> None:
        self.__dict__["card"] = card
        self._documents, self._entities, self._protocol = documents, entities, protocol
        self._root = root

    @property
    def splits(self) -> tuple[str, ...]:
        return ("test",)

    @property
    def candidate_protocol(self) -> str:
        return self._protocol

    def _read(self, split: str, skips: SkipReport | None) -> Iterator[Document]:
        return iter(self._documents)

    def entities(self, skips: SkipReport | None = None) -> Iterator[Entity]:
        return iter(self._entities)


def card(checksums: dict[str, str] | None = None, entities: int | None = None, **counts: float) -> Card:
    return Card(
        name="tiny",
        title="t",
        task="t",
        citation="c",
        licence="l",
        get="g",
        checksums=checksums or {},
        entities=entities,
        splits={"test": SplitCounts(**counts), "more": SplitCounts()},  # type: ignore[arg-type]
    )


def mentions(*golds: str | None, candidates: tuple[Candidate, ...] | None = None) -> Document:
    text = "x" * len(golds)
    found = tuple(TextMention(i, i + 1, "x", gold, candidates) for i, gold in enumerate(golds))
    return Document("d", text, text_mentions=found, visual_mentions=(VisualMention("a.jpg"),))


ENTITIES = [
    Entity("a", "A", aliases=(Alias("x", 2),), popularity=1),
    Entity("b", "B", aliases=(Alias("x", 1), Alias("x", 2)), popularity=5),
    Entity("c", "C", aliases=(Alias("x", 2),), popularity=3),
    Entity("d", "D", aliases=(Alias("X", 9),)),
]


def test_counts_by_alias() -> None:
    document = mentions("b", "a", "c", "d", NIL, None)
    found = check(
        Tiny([document], ENTITIES, card(documents=1, mentions=6, linked=4, nil=1, visual=1, prior_accuracy=0.25))
    )
    assert found.ok
    assert found.absent == ["more"]
    record = found.splits["test"]
    assert record["unlabelled"] == 1
    # b counts 3; a and c count 2 and keep the order of the KB; d has another name.
    assert record["recall_at"] == {"1": 0.25, "2": 0.5, "5": 0.75, "10": 0.75, "30": 0.75}
    assert record["candidate_recall"] == 0.75


def test_listed_candidates_are_ranked_by_what_the_source_says() -> None:
    names = ("a", "b", "c")
    plain = tuple(Candidate(name) for name in names)
    priors = tuple(Candidate(name, prior) for name, prior in zip(names, (0.1, 0.2, 0.7), strict=True))
    ranks = tuple(Candidate(name, rank=rank) for name, rank in zip(names, (1, 0, 2), strict=True))
    for candidates, best in ((plain, "b"), (priors, "c"), (ranks, "b")):
        for order in (candidates, candidates[::-1]):
            found = check(Tiny([mentions(best, candidates=order)], ENTITIES, card(), "kilt"))
            assert found.splits["test"]["prior_accuracy"] == 1


def test_equal_popularity_goes_by_id_and_not_by_place() -> None:
    flat = [Entity("b", "B"), Entity("a", "A")]
    for order in (("a", "b"), ("b", "a")):
        document = mentions("a", candidates=tuple(map(Candidate, order)))
        assert check(Tiny([document], flat, card(), "PPRforNED")).splits["test"]["prior_accuracy"] == 1


def test_a_mention_without_candidates_is_a_miss() -> None:
    found = check(Tiny([mentions("a", candidates=())], ENTITIES, card(), "kilt"))
    assert found.splits["test"]["candidate_recall"] == 0
    assert found.splits["test"]["linked"] == 1


def test_nothing_linked_has_no_rates() -> None:
    found = check(Tiny([mentions(NIL)], ENTITIES, card(prior_accuracy=0.5)))
    assert found.splits["test"]["prior_accuracy"] is None
    assert found.mismatches == ["test prior_accuracy: None, the card says 0.5"]


def test_mismatches_name_value_and_expectation(tmp_path: Path) -> None:
    (tmp_path / "kb.jsonl").write_text("other")
    described = card({"kb.jsonl": "0" * 64, "absent": "1" * 64}, entities=3, documents=2, prior_accuracy=1.0)
    found = check(Tiny([mentions("b")], ENTITIES, described, root=tmp_path))
    assert not found.ok
    assert found.mismatches[:2] == ["entities: 4, the card says 3", "test documents: 1, the card says 2"]
    assert len(found.mismatches) == 3
    assert "kb.jsonl: SHA-256" in found.mismatches[2]


@given(st.lists(st.integers(0, 40) | st.none(), min_size=1, max_size=30), st.integers(1, 40))
def test_recall_is_the_share_of_golds_in_the_first_k(places: list[int | None], k: int) -> None:
    candidates = [str(i) for i in range(41)]
    report = SplitReport()
    document = mentions(*("none" if place is None else str(place) for place in places))
    report.add(document, lambda mention: candidates)
    assert report.recall_at(k) == pytest.approx(sum(place is not None and place < k for place in places) / len(places))
