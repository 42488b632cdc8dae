"""Mention rows: KILT, deep-ed tables, and the ways back to whole documents."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmel.document import NIL, Candidate, Document, TextMention
from mmel.errors import InputError, SkipReport
from mmel.formats import deep_ed, kilt, wned
from mmel.formats.rows import MIN_OVERLAP, MentionRow, comparable, recover_documents, rejoin_documents


def kilt_row(mention: str = "Bo", answer: str = "Bo Diaz", **other: object) -> dict[str, object]:
    meta = {"left_context": "He saw", "mention": mention, "right_context": "in Turin"}
    return {
        "id": 4,
        "input": "ignored",
        "output": [{"answer": answer}],
        "meta": meta,
        "candidates": ["A", "B", "A"],
        **other,
    }


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def test_kilt_rows(tmp_path: Path) -> None:
    unlisted = kilt_row()
    del unlisted["candidates"], unlisted["output"], unlisted["id"]
    first, empty, bare = kilt.read_rows(write(tmp_path / "k", kilt_row(), kilt_row(answer="", candidates=[]), unlisted))
    listed = (Candidate("A", rank=0), Candidate("B", rank=1))
    assert first == MentionRow("4", None, "He saw", "Bo", "in Turin", "Bo Diaz", listed, 1)
    assert (empty.answer, empty.entity, empty.candidates) == ("", NIL, ())
    assert (bare.id, bare.answer, bare.entity, bare.candidates) == ("3", None, None, None)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ('{"meta": \n', "is no JSON"),
        ({"id": 1}, "field 'meta': is missing"),
        (kilt_row(meta={}), "field 'meta.mention': is missing"),
        (kilt_row(candidates=[1]), "field 'candidates': expected a list of titles"),
        (kilt_row(output=["x"]), "field 'output': expected an object"),
    ],
)
def test_bad_kilt_rows(tmp_path: Path, bad: object, message: str) -> None:
    path = write(tmp_path / "k", kilt_row(), bad)
    with pytest.raises(InputError) as caught:
        list(kilt.read_rows(path))
    assert f"{path}:2: {message}" in str(caught.value)
    skips = SkipReport()
    assert len(list(kilt.read_rows(path, skips))) == 1 and skips.counts.total() == 1


def table_row(*candidates: str, gold: str = "-1", left: str = "EMPTYCTXT", mention: str = "Bo", doc: str = "d") -> str:
    return "\t".join([doc, doc, mention, left, "in Turin", "CANDIDATES", *candidates, "GT:", gold]) + "\n"


def test_deep_ed_rows(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.csv",
        table_row("7,0.750,Diaz, Bo, Jr.", "9,0.25,B", gold="1,7,0.750,Diaz, Bo, Jr."),
        table_row("9,0.25,B", gold="-1,7,Diaz, Bo", left="a b"),
        table_row("EMPTYCAND", doc="e"),
    )
    first, second, third = deep_ed.read_rows(path)
    assert first.candidates == (Candidate("Diaz, Bo, Jr.", 0.75, 0), Candidate("B", 0.25, 1))
    assert (first.id, first.document, first.left, first.right) == ("1", "d", "", "in Turin")
    assert [row.answer for row in (first, second, third)] == ["Diaz, Bo, Jr.", "Diaz, Bo", ""]
    assert second.left == "a b" and third.candidates == () and third.entity == NIL
    assert [document.id for document in deep_ed.read_documents(path)] == ["d", "e"]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("d\td\tBo\n", "3 columns without CANDIDATES"),
        (table_row("9,0.25,B", gold="1,7"), "the gold '1,7' is neither"),
        (table_row("9,0.25,B", gold="-1,7"), "the gold '-1,7' is neither"),
        (table_row("9,B"), "the candidate '9,B' is no"),
        (table_row("9,1.5,B"), "the candidate '9,1.5,B' is no"),
        (table_row("9,x,B"), "could not convert"),
        (table_row("EMPTYCAND", mention=" "), "column 3, the mention, is empty"),
        (table_row("9,0.25,B")[:-8], "without CANDIDATES as the sixth and GT:"),
    ],
)
def test_bad_deep_ed_rows(tmp_path: Path, bad: str, message: str) -> None:
    path = write(tmp_path / "t.csv", table_row("9,0.25,B"), bad)
    with pytest.raises(InputError) as caught:
        list(deep_ed.read_rows(path))
    assert f"{path}:2: " in str(caught.value) and message in str(caught.value)
    skips = SkipReport()
    assert len(list(deep_ed.read_rows(path, skips))) == 1 and skips.counts == {"broken row": 1}


def row(mention: str, answer: str = "X", **other: object) -> MentionRow:
    return replace(MentionRow("r", None, "", mention, "", answer, (Candidate(answer, rank=0),), 1), **other)  # type: ignore[arg-type]


TEXT = Document(
    "d",
    "BO saw al-Hadi, Al & Co. and Cy",
    text_mentions=(
        TextMention(0, 2, "BO", "Bo"),
        TextMention(7, 14, "al-Hadi", NIL),
        TextMention(16, 24, "Al & Co.", "Al"),
        TextMention(29, 31, "Cy", "Cy (page)"),
    ),
)


def test_recovery_takes_rows_in_order(tmp_path: Path) -> None:
    rows = [row("Bo", "Bo Diaz"), row("Al &amp; Co", "Al and Company"), row("Cy", "", candidates=())]
    (document,) = recover_documents(rows, [TEXT])
    assert document.text_mentions == (
        TextMention(0, 2, "BO", "Bo Diaz", (Candidate("Bo Diaz", rank=0),)),
        TextMention(16, 24, "Al & Co.", "Al and Company", (Candidate("Al and Company", rank=0),)),
        TextMention(29, 31, "Cy", "Cy (page)", ()),  # the rows know no page: the text's own title stays
    )


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["Bo", "Zed", "Cy"], "document 'd': the mention at 16 is 'Al & Co.', but row 'r' (line 1) says 'Zed'"),
        (["Bo", "Al Co"], "the mention at 29 is 'Cy', but there is no row left"),
        (["Bo", "Al Co", "Cy", "Dee"], "mention 'Dee') has no mention in the documents"),
    ],
)
def test_recovery_refuses_what_does_not_fit(names: list[str], message: str) -> None:
    with pytest.raises(InputError) as caught:
        list(recover_documents(map(row, names), [TEXT]))
    assert message in str(caught.value)


def test_recovery_finds_its_place_again_where_it_may_skip() -> None:
    skips = SkipReport()
    names = ["Bo", "one row too many", "Cy", "left over"]
    (document,) = recover_documents(map(row, names), [TEXT], skips)
    assert [mention.text for mention in document.text_mentions] == ["BO", "Cy"]
    assert skips.counts == {"mention without its candidate row": 1, "candidate row without its mention": 2}


def test_comparable() -> None:
    assert comparable("Al-Hadi, Jr.") == comparable("al hadi JR") == "alhadijr"
    assert comparable("S&amp;P") == "sp"
    assert comparable("+") != comparable("-")


WORDS = st.lists(st.sampled_from([f"w{at}" for at in range(400)]), min_size=1, max_size=60, unique=True)


@given(WORDS, st.data())
def test_contexts_that_overlap_give_the_text_back(words: list[str], data: st.DataObject) -> None:
    reach = 12
    places = sorted(data.draw(st.sets(st.integers(0, len(words) - 1), min_size=1)))
    rows = [
        row(
            words[at].upper(),
            f"E{at}",
            left=" ".join(words[max(0, at - reach) : at]),
            right=" ".join(words[at + 1 : at + 1 + reach]),
            document="d",
        )
        for at in places
    ]
    (document,) = rejoin_documents(rows)
    assert [mention.entity for mention in document.text_mentions] == [f"E{at}" for at in places]
    assert [mention.text.lower() for mention in document.text_mentions] == [words[at] for at in places]
    if all(later - at <= 2 * reach - MIN_OVERLAP for at, later in pairwise(places)):
        low, high = max(0, places[0] - reach), places[-1] + 1 + reach
        assert document.text.lower() == " ".join(words[low:high])
    nameless = list(rejoin_documents(replace(each, document=None) for each in rows))
    assert sum((each.text_mentions for each in nameless), ()) != ()
    assert [m.entity for each in nameless for m in each.text_mentions] == [f"E{at}" for at in places]


def test_rejoined_documents_part_where_contexts_do() -> None:
    rows = [
        row("Bo", left="", right="met Cy in Turin", id="1"),
        row("Cy", left="Bo met", right="in Turin", id="2"),
        row("Dee", left="All day long it rained on", right="", id="3"),
    ]
    first, second = rejoin_documents(rows)
    assert (first.id, first.text) == ("1", "Bo met Cy in Turin")
    assert [mention.start for mention in first.text_mentions] == [0, 7]
    assert (second.id, second.text) == ("3", "All day long it rained on Dee")
    (gap,) = rejoin_documents([replace(each, document="d") for each in rows])
    assert gap.text == "Bo met Cy in Turin\nAll day long it rained on Dee"


def test_a_surface_is_spelled_as_the_contexts_spell_it() -> None:
    rows = [row("U.S.", left="the", right="and Bo", document="d"), row("Bo", left="the U S and", document="d")]
    (document,) = rejoin_documents(rows)
    assert document.text == "the U S and Bo"
    assert [(m.text, m.name) for m in document.text_mentions] == [("U S", "U.S."), ("Bo", None)]


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "counts", "first_right", "gold_listed"),
    [("msnbc", (20, 656), 89.33, 98.6), ("ace2004", (36, 257), 84.44, 92.2)],
)
def test_real_candidates_and_documents(
    data_root: Path, name: str, counts: tuple[int, int], first_right: float, gold_listed: float
) -> None:
    rows = list(kilt.read_rows(data_root / "kilt" / f"{name}.jsonl"))
    documents = list(recover_documents(rows, wned.read_wned(data_root / "wned" / name)))
    mentions = [mention for document in documents for mention in document.text_mentions]
    assert (len(documents), len(mentions)) == counts
    listed = [[candidate.entity for candidate in mention.candidates or ()] for mention in mentions]
    pairs = list(zip(mentions, listed, strict=True))
    assert 100 * sum(names[:1] == [mention.entity] for mention, names in pairs) / len(mentions) == pytest.approx(
        first_right, abs=0.005
    )
    assert 100 * sum(mention.entity in names for mention, names in pairs) / len(mentions) == pytest.approx(
        gold_listed, abs=0.05
    )
    # The words before a mention are those of its row: the two sources do list the same mentions in order.
    texts = [document for document in documents for _ in document.text_mentions]
    agree = [
        comparable(text.text[: mention.start]).endswith(comparable(" ".join(row.left.split()[-3:])))
        for text, mention, row in zip(texts, mentions, rows, strict=True)
    ]
    assert sum(agree) / len(agree) > 0.99


@pytest.mark.data
def test_real_rows_rejoin_to_nearly_the_real_texts(data_root: Path) -> None:
    rows = list(kilt.read_rows(data_root / "kilt" / "msnbc.jsonl"))
    documents = list(recover_documents(rows, wned.read_wned(data_root / "wned" / "msnbc")))
    names = [document.id for document in documents for _ in document.text_mentions]
    rejoined = list(rejoin_documents(replace(row, document=name) for row, name in zip(rows, names, strict=True)))
    assert [document.id for document in rejoined] == [document.id for document in documents]
    assert sum(document.text.count("\n") for document in rejoined) <= 5
    assert sum(len(document.text_mentions) for document in rejoin_documents(rows)) == 656
