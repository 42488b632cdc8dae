"""The evaluation JSON, its table, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmel.document import NIL, Document, Link, LinkedDocument, ScoredCandidate, TextMention, VisualMention
from mmel.errors import InputError
from mmel.evaluation import protocol as module
from mmel.evaluation.metrics import Interval, paired_bootstrap
from mmel.evaluation.protocol import Protocol, compare, competing, evaluate


def linked(
    name: str, text: list[tuple[str | None, str]], visual: list[tuple[str | None, str]] | None = None
) -> LinkedDocument:
    """A document whose mentions are (gold, answer); the candidates are the answer, then Ada, Bea and Cy."""
    document = Document(
        name,
        "x" * max(1, len(text)),
        text_mentions=tuple(TextMention(i, i + 1, "x", gold) for i, (gold, _) in enumerate(text)),
        visual_mentions=tuple(VisualMention(f"{i}.jpg", None, gold) for i, (gold, _) in enumerate(visual or [])),
    )
    return LinkedDocument(
        document,
        tuple(answered(answer) for _, answer in text),
        tuple(answered(answer) for _, answer in visual or []),
    )


def answered(answer: str) -> Link:
    if answer == NIL:
        return Link(NIL, 1.0)
    names = [answer, *(name for name in ("Ada", "Bea", "Cy") if name != answer)]
    return Link(answer, 0.5, tuple(ScoredCandidate(name, 0.5**i, 0.25) for i, name in enumerate(names, 1)))


CORPUS = [
    linked("d1", [("Ada", "Ada"), ("Bea", "Cy"), ("Cy", NIL), (NIL, "Ada"), (None, "Ada")], [("Ada", "Bea")]),
    linked("d2", [("Ada", "Ada"), ("Bea", "Bea")], [("Bea", "Bea"), (NIL, NIL)]),
    linked("d3", [], []),
]
PROTOCOL = Protocol("kb", missing_images=2)


def test_json_has_exactly_the_agreed_keys() -> None:
    result = evaluate(iter(CORPUS), dataset="toy", split="test", protocol=PROTOCOL, seconds=1.5).to_dict()
    assert list(result) == [
        "dataset",
        "split",
        "protocol",
        "documents",
        "text",
        "visual",
        "seconds",
        "documents_per_second",
    ]
    assert result["protocol"] == {
        "candidates": "kb",
        "gold_injected": False,
        "nil": "ignored",
        "missing_images": 2,
        "missing_policy": "masked",
        "competing": "text 3 listed by the dataset; visual 3 listed by the dataset",
        "ties": "realistic",
    }
    assert (result["documents"], result["seconds"], result["documents_per_second"]) == (3, 1.5, 2.0)
    text = result["text"]
    assert set(text) - {"details"} == {
        "mentions",
        "correct",
        "micro_precision",
        "micro_recall",
        "micro_f1",
        "macro_f1",
        "accuracy",
        "candidate_recall",
        "recall_at",
        "mrr_at",
        "mrr",
    }
    assert (text["mentions"], text["correct"], text["micro_precision"], text["accuracy"]) == (5, 3, 3 / 4, 3 / 5)
    assert text["candidate_recall"] == pytest.approx(4 / 5)
    assert text["recall_at"] == {"1": 3 / 5, "3": 4 / 5, "5": 4 / 5, "10": 4 / 5}
    assert text["mrr"] == pytest.approx((1 + 1 / 3 + 0 + 1 + 1) / 5)
    assert text["details"]["with_nil"]["mentions"] == 6
    assert text["details"]["unlabelled"] == 1
    visual = result["visual"]
    assert set(visual) - {"details"} == {"mentions", "accuracy", "micro_f1", "recall_at", "mrr_at", "mrr"}
    assert visual["mentions"] == 2
    assert visual["recall_at"] == {"1": 0.5, "3": 1.0, "5": 1.0, "10": 1.0}
    assert visual["mrr_at"] == {"3": 0.75, "5": 0.75, "10": 0.75} and visual["mrr"] == 0.75


def test_nil_scored_moves_the_headline_and_keeps_the_details() -> None:
    ignored = evaluate(CORPUS, dataset="toy", split="test", protocol=Protocol("kb")).to_dict()
    scored = evaluate(CORPUS, dataset="toy", split="test", protocol=Protocol("kb", nil="scored")).to_dict()
    assert (scored["visual"]["mentions"], scored["visual"]["micro_f1"]) == (3, pytest.approx(2 / 3))
    assert scored["text"]["details"]["in_kb"] == ignored["text"]["details"]["in_kb"]
    assert scored["text"]["mentions"] == ignored["text"]["details"]["with_nil"]["mentions"]


def test_a_modality_without_mentions_is_absent() -> None:
    only_text = [linked("d1", [("Ada", "Ada")]), linked("d2", [("Bea", "Cy")])]
    result = evaluate(only_text, dataset="toy", split="test", protocol=PROTOCOL)
    assert "visual" not in result.to_dict()
    assert "visual" not in result.table()
    with pytest.raises(InputError, match="no visual mention"):
        result.scores("visual")


def test_a_modality_that_was_not_linked_is_absent() -> None:
    text_alone = [LinkedDocument(item.document, item.text_links) for item in CORPUS]
    assert "visual" not in evaluate(text_alone, dataset="toy", split="test", protocol=PROTOCOL).to_dict()


def test_some_documents_linked_and_some_not_is_an_error() -> None:
    for items in ([CORPUS[0], LinkedDocument(CORPUS[1].document)], [LinkedDocument(CORPUS[1].document), CORPUS[0]]):
        with pytest.raises(InputError, match="document 'd2' has text mentions and no text link"):
            evaluate(items, dataset="toy", split="test", protocol=PROTOCOL)


def test_mentions_without_any_link_at_all_is_an_error() -> None:
    with pytest.raises(InputError, match="no document has a link"):
        evaluate([LinkedDocument(CORPUS[1].document)], dataset="toy", split="test", protocol=PROTOCOL)


def test_no_documents_is_a_result_of_nothing() -> None:
    result = evaluate([], dataset="toy", split="test", protocol=PROTOCOL, seconds=0.0).to_dict()
    assert (result["documents"], result["documents_per_second"]) == (0, None)
    assert "text" not in result


def test_one_link_missing_names_the_document() -> None:
    broken = LinkedDocument(CORPUS[1].document, CORPUS[1].text_links[:1], CORPUS[1].visual_links)
    with pytest.raises(InputError, match="document 'd2': 2 mentions and 1 links"):
        evaluate([broken], dataset="toy", split="test", protocol=PROTOCOL)


def test_documents_are_streamed_and_linking_inside_the_iterable_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("mmel.evaluation.protocol.time.perf_counter", lambda: now[0])

    def link() -> Iterator[LinkedDocument]:
        for item in CORPUS:
            now[0] += 2.0
            yield item
            now[0] += 0.5

    assert evaluate(link(), dataset="toy", split="test", protocol=PROTOCOL).seconds == 3 * 2.5


def test_table_prints_protocol_and_counts_beside_the_numbers() -> None:
    table = evaluate(CORPUS, dataset="toy", split="test", protocol=PROTOCOL, seconds=1.5).table()
    for words in (
        "toy test: 3 documents, 1.50 s, 2.0 documents/s",
        "candidates kb (text 3 listed by the dataset; visual 3 listed by the dataset), gold not injected, NIL ignored, "
        "ties realistic, missing images 2 (masked)",
        "75.00     60.00     66.67   3 right of 4 answered, 5 mentions",
        "3 right of 6 mentions, 1 of them NIL",
        "1 mentions without a label are not scored",
        "visual",
        "MRR@3 75.00",
        "H@1 60.00  H@3 80.00  H@5 80.00  H@10 80.00",
        "R@1 50.00  R@3 100.00",
        "MRR 66.67 (a gold that is not listed counts 0)",
    ):
        assert words in table


@pytest.mark.parametrize(
    ("listed", "entities", "words"),
    [
        ([3, 3, 0], 3, "whole KB (3)"),
        ([100, 100], 18_880, "100 of 18,880"),
        ([1, 30, 2], 77_150, "1 to 30 (mean 11.0) of 77,150"),
        ([4, 4], None, "4 listed by the dataset"),
        ([0, 0], 12, ""),
        ([], None, ""),
    ],
)
def test_how_many_compete(listed: list[int], entities: int | None, words: str) -> None:
    assert competing(np.array(listed, np.int64), entities) == words


def test_competition_is_told_by_modality_and_does_not_forbid_a_comparison() -> None:
    free = evaluate(CORPUS, dataset="toy", split="test", protocol=PROTOCOL, entities={"text": 3, "visual": 2_791})
    assert free.to_dict()["protocol"]["competing"] == "text whole KB (3); visual 3 of 2,791"
    given = evaluate(CORPUS, dataset="toy", split="test", protocol=PROTOCOL)
    assert compare(free, given, resamples=50).difference == 0
    only_text = evaluate([linked("d1", [("Ada", "Ada")])], dataset="toy", split="t", protocol=PROTOCOL)
    assert only_text.protocol.competing == "3 listed by the dataset"


def test_nil_among_the_candidates_competes_with_nobody() -> None:
    link = answered("Ada")
    link = replace(link, candidates=(*link.candidates, ScoredCandidate(NIL, 0.1, 0.0)))
    item = replace(linked("d1", [("Ada", "Ada")]), text_links=(link,))
    result = evaluate([item], dataset="toy", split="test", protocol=PROTOCOL, entities={"text": 3})
    assert result.protocol.competing == "whole KB (3)"


def test_answers_without_lists_have_no_ranks() -> None:
    item = replace(linked("d1", [("Ada", "Ada")]), text_links=(Link("Ada", 1.0),))
    result = evaluate([item], dataset="toy", split="test", protocol=PROTOCOL).to_dict()
    assert result["text"]["recall_at"] is None and result["text"]["mrr"] is None
    assert result["protocol"]["competing"] == ""


def test_saved_json_reads_back(tmp_path: Path) -> None:
    result = evaluate(CORPUS, dataset="toy", split="test", protocol=PROTOCOL, seconds=1.5)
    result.save(tmp_path / "out" / "evaluation.json")
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text(encoding="utf-8")) == result.to_dict()


def test_compare_needs_the_same_documents_and_protocol() -> None:
    result = evaluate(CORPUS, dataset="toy", split="test", protocol=PROTOCOL)
    assert compare(result, result, resamples=50).difference == 0
    assert compare(result, result, "visual", resamples=50).difference == 0
    with pytest.raises(InputError, match="not of the same documents"):
        compare(result, evaluate(CORPUS[:2], dataset="toy", split="test", protocol=PROTOCOL))
    with pytest.raises(InputError, match="differ in protocol"):
        compare(result, evaluate(CORPUS, dataset="toy", split="test", protocol=Protocol("kb", nil="scored")))
    with pytest.raises(InputError, match="no visual mention"):
        text_alone = [LinkedDocument(item.document, item.text_links) for item in CORPUS]
        alone = evaluate(text_alone, dataset="toy", split="test", protocol=PROTOCOL)
        compare(alone, alone, "visual")


def coupled() -> tuple[LinkedDocument, LinkedDocument]:
    """A document whose joint links differ, and one that is not coupled."""
    one = linked("d1", [("Ada", "Ada"), ("Bea", "Bea")], [("Ada", "Ada")])
    one = replace(one, alone=linked("d1", [("Ada", "Ada"), ("Bea", "Cy")], [("Ada", NIL)]))
    return one, linked("d2", [("Ada", "Ada")], [("Bea", "Cy")])


def test_what_a_modality_said_alone_stands_beside_the_joint_links() -> None:
    one, other = coupled()
    result = evaluate([one, other], dataset="toy", split="test", protocol=PROTOCOL, seconds=1.0)
    beside = result.to_dict()["alone"]
    assert (beside["text"]["accuracy"], beside["visual"]["accuracy"]) == (pytest.approx(2 / 3), 0.0)
    assert result.gain("text").difference == pytest.approx(1 / 3)
    assert result.gain("visual").difference == pytest.approx(1 / 2)
    assert "text accuracy           alone 66.67   joint 100.00   +33.33 [" in result.table()
    assert "alone" not in evaluate([other], dataset="toy", split="test", protocol=PROTOCOL).to_dict()


def test_gains_are_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []

    def counted(*args: Any, **options: Any) -> Interval:
        drawn.append(options)
        return paired_bootstrap(*args, **options)

    monkeypatch.setattr(module, "paired_bootstrap", counted)
    result = evaluate(coupled(), dataset="toy", split="test", protocol=PROTOCOL, seconds=1.0)
    assert result.to_dict() == result.to_dict() and result.table() == result.table()
    assert len(drawn) == 2  # text and visual
    assert result.gain("text", 50) != result.gain("text") and len(drawn) == 3
    assert result == replace(result) and len(replace(result)._gains) == 0
